//! Container Insights' count of running tasks, as a metric of CloudWatch that alarms can look at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::external::Sidecar;
use super::{EcsState, LastStatus, ServiceStatus};
use crate::Context;

/// How often the count of running tasks becomes a metric. Container Insights does it once a minute; several
/// values in each minute let an alarm see a gap of a few seconds.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// How many tasks of a service run: a value of the metric `RunningTaskCount` in the namespace
/// `ECS/ContainerInsights` (CloudWatch user guide, "Amazon ECS Container Insights metrics").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningCount {
    /// Name of its cluster.
    pub cluster: String,
    /// Name of the service.
    pub service: String,
    /// How many of its tasks run.
    pub running: u32,
}

/// The count of every service, when it is time again; empty until then.
pub fn running_counts(state: &mut EcsState, sidecars: &[Sidecar], context: &Context) -> Vec<RunningCount> {
    // Alarms with shorter periods, for tests, need their values as much more often.
    let every = COUNT_EVERY.div_f64(context.speed);
    if state.counted.is_some_and(|at| context.now < at + every) {
        return Vec::new();
    }
    state.counted = Some(context.now);
    let counts = running(state, sidecars).into_iter();
    counts.map(|((cluster, service), running)| RunningCount { cluster, service, running }).collect()
}

/// By cluster and name. The service of an external task is one as long as it is remembered, with no task if need be.
fn running(state: &EcsState, sidecars: &[Sidecar]) -> BTreeMap<(String, String), u32> {
    let mut counts = BTreeMap::new();
    let tasks = state.tasks_by_service();
    for (key, service) in &state.services {
        if service.status != ServiceStatus::Inactive {
            let own = tasks.get(&(key.0.as_str(), key.1.as_str())).into_iter().flatten();
            let running =
                own.filter(|task| task.last == LastStatus::Running && !task.ending).map(|_| 1).sum();
            counts.insert(key.clone(), running);
        }
    }
    let registered: BTreeSet<&String> = sidecars.iter().map(|sidecar| &sidecar.task_arn).collect();
    for (arn, task) in &state.external {
        let count = counts.entry((task.cluster.clone(), task.service.clone())).or_insert(0);
        *count += u32::from(registered.contains(arn));
    }
    counts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::external;
    use super::super::fixture::Fixture;
    use super::*;

    fn counts(fixture: &Fixture) -> Vec<(String, u32)> {
        running(&fixture.state, &fixture.sidecars)
            .into_iter()
            .map(|((_, service), count)| (service, count))
            .collect()
    }

    #[test]
    fn tasks_that_were_started_here_and_external_ones_are_counted_by_service() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 2);
        assert_eq!(counts(&fixture), [("app".to_owned(), 0)]);
        fixture.start_all();
        for id in ["one", "two"] {
            assert!(external::note(&mut fixture.state, "demo", "web", id, &fixture.context));
        }
        fixture.instance("arn:aws:ecs:eu-west-1:000000000000:task/demo/one");
        assert_eq!(counts(&fixture), [("app".to_owned(), 2), ("web".to_owned(), 1)]);
        fixture.sidecars.clear();
        fixture.ok("DeleteService", json!({ "service": "app", "force": true }));
        fixture.end_all();
        assert_eq!(
            counts(&fixture),
            [("web".to_owned(), 0)],
            "an external task's service is remembered with no task"
        );
    }

    #[test]
    fn the_counts_are_put_when_it_is_time() {
        let mut fixture = Fixture::new();
        external::note(&mut fixture.state, "demo", "web", "one", &fixture.context);
        running_counts(&mut fixture.state, &fixture.sidecars, &fixture.context);
        let first = fixture.state.counted;
        fixture.pass(4);
        running_counts(&mut fixture.state, &fixture.sidecars, &fixture.context);
        assert_eq!(fixture.state.counted, first);
        fixture.pass(1);
        running_counts(&mut fixture.state, &fixture.sidecars, &fixture.context);
        assert_eq!(fixture.state.counted, Some(fixture.context.now));
    }
}
