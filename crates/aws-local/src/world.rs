//! The services together: the only place that knows all their states.
//!
//! A service owns its state and sees no other's. What one needs of another goes through here: FIS by its trait
//! [`fis::Services`], ECS by what it is given.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Context;
use crate::cloudwatch::{self, CloudWatchState, MetricId};
use crate::ecs::{self, EcsState};
use crate::error::ApiError;
use crate::fis::{self, FisState};
use crate::iam::IamState;
use crate::logs::LogsState;
use crate::ssm::{SsmState, automation};
use crate::tagging::{self, Tagged};

mod measured;
mod regions;
mod services;
mod snapshot;

pub use measured::{Balanced, LoadBalancer, Usage};
pub(crate) use regions::{Regions, is_region};
use services::Others;
pub use snapshot::SnapshotError;

/// Everything that the local AWS knows. Plain data behind one lock; time comes in as a parameter.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct World {
    // The state file has had its members at the top from its first day.
    /// Systems Manager.
    #[serde(flatten)]
    pub ssm: SsmState,
    #[serde(default)]
    pub(crate) cloudwatch: CloudWatchState,
    /// The control plane.
    #[serde(default)]
    pub ecs: EcsState,
    #[serde(default)]
    pub(crate) fis: FisState,
    #[serde(default)]
    pub(crate) iam: IamState,
    #[serde(default)]
    pub(crate) logs: LogsState,
}

impl World {
    /// Applies everything that time does: to commands, metrics, alarms and experiments. True if anything
    /// changed that a request may wait for.
    pub(crate) fn let_time_pass(&mut self, context: &Context) -> bool {
        let swept = self.ssm.sweep(context.now);
        self.count_tasks(context);
        let alarms = cloudwatch::advance(&mut self.cloudwatch, context);
        let automations = self.advance_automations(context);
        let (fis, mut services) = self.fis_and_services();
        swept | alarms | automations | fis::advance(fis, &mut services, context)
    }

    /// Executions of runbooks, which make calls as clients do.
    pub(crate) fn advance_automations(&mut self, context: &Context) -> bool {
        if self.ssm.automations.is_empty() {
            return false;
        }
        // Out of the state, so that each can act upon the rest of it.
        let mut automations = std::mem::take(&mut self.ssm.automations);
        let mut apis = services::Apis { world: self };
        let changed = automation::advance(&mut automations, &mut apis, context);
        // Those that a step has started.
        automations.executions.append(&mut self.ssm.automations.executions);
        self.ssm.automations = automations;
        changed
    }

    /// The count of running tasks as a metric, as Container Insights has it.
    fn count_tasks(&mut self, context: &Context) {
        let sidecars = services::sidecars(&self.ssm);
        for count in ecs::running_counts(&mut self.ecs, &sidecars, context) {
            let dimensions =
                [("ClusterName", count.cluster.as_str()), ("ServiceName", count.service.as_str())];
            let running = f64::from(count.running);
            let metric = MetricId::new("ECS/ContainerInsights", "RunningTaskCount", &dimensions);
            self.cloudwatch.put(metric, context.now, running, "Count");
        }
    }

    /// Performs one operation of ECS; None if it is not one.
    pub fn call_ecs(
        &mut self,
        operation: &str,
        body: &Map<String, Value>,
        context: &Context,
    ) -> Option<Result<Value, ApiError>> {
        let sidecars = services::sidecars(&self.ssm);
        ecs::call(operation, body, &mut self.ecs, &sidecars, context)
    }

    /// Performs one operation of the Resource Groups Tagging API; None if it is not one.
    pub(crate) fn call_tagging(
        &mut self,
        operation: &str,
        body: &Map<String, Value>,
        context: &Context,
    ) -> Option<Result<Value, ApiError>> {
        let tasks = ecs::described(&self.ecs, &services::sidecars(&self.ssm), context).into_iter();
        let tagged = tasks.map(|task| Tagged { arn: task.arn, kind: "ecs:task", tags: task.tags });
        tagging::call(operation, body, &tagged.collect::<Vec<_>>())
    }

    /// Performs one operation of FIS; None if it is not one.
    pub fn call_fis(
        &mut self,
        operation: &str,
        body: &Map<String, Value>,
        context: &Context,
    ) -> Option<Result<Value, ApiError>> {
        let (fis, services) = self.fis_and_services();
        fis::call(operation, body, fis, &services, context)
    }

    /// Performs one operation of CloudWatch; None if it is not one.
    pub fn call_cloudwatch(
        &mut self,
        operation: &str,
        body: &Map<String, Value>,
        context: &Context,
    ) -> Option<Result<Value, ApiError>> {
        cloudwatch::call(operation, body, &mut self.cloudwatch, context)
    }

    /// What an experiment of a template would come to now.
    ///
    /// # Errors
    /// There is no such template.
    pub fn outlook(&mut self, template: &str, context: &Context) -> Result<fis::Outlook, ApiError> {
        let (fis, services) = self.fis_and_services();
        fis::outlook::of(template, fis, &services, context)
    }

    /// FIS, and what its experiments act upon.
    pub(crate) fn fis_and_services(&mut self) -> (&mut FisState, Others<'_>) {
        let World { ssm, cloudwatch, ecs, fis, logs, iam } = self;
        (fis, Others { ssm, ecs, cloudwatch, logs, iam })
    }
}
