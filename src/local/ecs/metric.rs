//! Container Insights' count of running tasks, as a metric of CloudWatch that alarms can look at.

use super::{LastStatus, ServiceStatus};
use crate::local::Context;
use crate::local::store::State;

/// Source: CloudWatch user guide, "Amazon ECS Container Insights metrics".
const NAMESPACE: &str = "ECS/ContainerInsights";

/// Puts `RunningTaskCount` of every service now, by ClusterName and ServiceName.
pub fn put_running_counts(state: &mut State, context: &Context) {
    let services = state.ecs.services.values().filter(|it| it.status != ServiceStatus::Inactive);
    for service in services {
        let of_service = |task: &&super::Task| {
            task.last == LastStatus::Running
                && !task.ending
                && task.cluster == service.cluster
                && task.service.as_ref() == Some(&service.name)
        };
        let running = state.ecs.tasks.values().filter(of_service).count();
        let dimensions = [("ClusterName", service.cluster.as_str()), ("ServiceName", service.name.as_str())];
        state.cloudwatch.put(
            NAMESPACE,
            "RunningTaskCount",
            &dimensions,
            context.now,
            running as f64,
            "Count",
        );
    }
}
