//! What FIS reaches of the other services.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::World;
use crate::Context;
use crate::cloudwatch::CloudWatchState;
use crate::ecs::{self, EcsState, LastStatus, Sidecar};
use crate::error::ApiError;
use crate::fis::catalog;
use crate::fis::services::{
    Alarm, AutomationStatus, CommandStatus, Instance, Order, Resource, Runbook, Services, Stage,
};
use crate::iam::IamState;
use crate::logs::{self, LogsState};
use crate::ssm::{self, SsmState, automation};
use crate::tags::{TASK_ARN_TAG, Tags};

/// The services besides FIS, as far as experiments act upon them.
#[derive(Debug)]
pub(crate) struct Others<'a> {
    pub(super) ssm: &'a mut SsmState,
    pub(super) ecs: &'a mut EcsState,
    pub(super) cloudwatch: &'a mut CloudWatchState,
    pub(super) logs: &'a mut LogsState,
    pub(super) iam: &'a IamState,
}

/// The tasks whose sidecars have registered, in the order of their instances' ids.
pub(super) fn sidecars(ssm: &SsmState) -> Vec<Sidecar> {
    let of_task = |instance: &ssm::state::Instance| {
        let task_arn = instance.tags.get(TASK_ARN_TAG)?.clone();
        Some(Sidecar { task_arn, registered: instance.registered })
    };
    ssm.instances.values().filter_map(of_task).collect()
}

impl Services for Others<'_> {
    fn instance_of(&self, task_arn: &str, now: SystemTime) -> Option<Instance> {
        let instances = self.ssm.instances.values();
        let found = instances
            .filter(|instance| instance.tags.get(TASK_ARN_TAG).is_some_and(|arn| arn == task_arn))
            .max_by_key(|instance| instance.last_ping)?;
        Some(instance(found, now))
    }

    fn instance(&self, id: &str, now: SystemTime) -> Option<Instance> {
        self.ssm.instances.get(id).map(|found| instance(found, now))
    }

    fn is_registered(&self, instance_id: &str) -> bool {
        self.ssm.instances.contains_key(instance_id)
    }

    fn send_command(&mut self, order: Order<'_>, context: &Context) -> Result<String, ApiError> {
        let Order { document, version, instance_id, parameters, delivery, comment } = order;
        let order = ssm::Order { document, version, instance_id, parameters, delivery, comment };
        ssm::send_order(order, self.ssm, context).map(|id| id.to_string())
    }

    fn command_status(&self, command_id: &str) -> Option<CommandStatus> {
        let status = SsmState::summary(self.ssm.command(command_id)?).status;
        Some(CommandStatus {
            status: status.as_str(),
            details: status.details(),
            is_final: status.is_final(),
        })
    }

    fn cancel_command(&mut self, command_id: &str, now: SystemTime) -> Result<(), ApiError> {
        ssm::cancel_command(command_id, self.ssm, now)
    }

    fn start_automation(&mut self, runbook: Runbook, context: &Context) -> Result<String, ApiError> {
        let Runbook { document, version, parameters, role } = runbook;
        let order = automation::Order { document, version, parameters, executed_by: role, token: None };
        automation::start(order, self.ssm, context)
    }

    fn automation(&self, execution: &str) -> Option<AutomationStatus> {
        let execution = self.ssm.automations.find(execution)?;
        Some(AutomationStatus {
            status: execution.status.as_str(),
            is_final: execution.status.is_final(),
            failure: execution.failure.clone(),
            commands: execution.commands(),
        })
    }

    fn stop_automation(&mut self, execution: &str) {
        let execution = self.ssm.automations.find_mut(execution);
        if let Some(execution) = execution.filter(|execution| !execution.status.is_final()) {
            automation::stop(execution, false);
        }
    }

    fn trusts(&self, role_arn: &str) -> Option<bool> {
        self.iam.trusts(role_arn, "fis.amazonaws.com")
    }

    fn last_line(&self, command_id: &str) -> Option<String> {
        let command = self.ssm.command(command_id)?;
        let plugins = || command.invocations.iter().flat_map(|invocation| invocation.plugins.iter().rev());
        let line = |text: &str| text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
        let errors = plugins().find_map(|plugin| line(&plugin.stderr));
        errors
            .or_else(|| plugins().find_map(|plugin| line(&plugin.stdout)))
            .map(|line| line.chars().take(200).collect())
    }

    fn resources(&self, resource_type: &str, context: &Context) -> Vec<Resource> {
        match resource_type {
            catalog::TASK => {
                ecs::described(self.ecs, &sidecars(self.ssm), context).into_iter().map(task).collect()
            }
            catalog::CLUSTER => {
                let described = ecs::described_clusters(self.ecs, &sidecars(self.ssm), context).into_iter();
                described.map(cluster).collect()
            }
            catalog::INSTANCE => {
                self.ssm.instances.values().map(|instance| stand_in(instance, context)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn stop_task(&mut self, task_arn: &str, reason: &str, context: &Context) -> Result<(), ApiError> {
        let sidecars = sidecars(self.ssm);
        ecs::stop_task(self.ecs, &sidecars, task_arn, reason, context)
    }

    fn container_instances(&self, cluster_arn: &str, context: &Context) -> Vec<(String, bool)> {
        let cluster = cluster_arn.rsplit('/').next().unwrap_or_default();
        let instances = ecs::container_instances(self.ecs, cluster, context).into_iter();
        instances.map(|instance| (instance.arn, instance.draining)).collect()
    }

    fn set_draining(&mut self, instance_arn: &str, draining: bool, context: &Context) -> bool {
        ecs::set_draining(self.ecs, instance_arn, draining, context)
    }

    fn subnet_of_zone(&self, zone: &str, context: &Context) -> Option<String> {
        Some(ecs::Zone::find(zone, &context.region)?.subnet().to_string())
    }

    fn alarm(&self, arn: &str, context: &Context) -> Option<Alarm> {
        let alarm = self.cloudwatch.alarm(arn)?;
        let needs = self.cloudwatch.shortest_delay(alarm, context.speed);
        Some(Alarm { state: alarm.state.as_str(), needs })
    }

    fn write_log(&mut self, group: &str, stream: &str, at: SystemTime, line: String) -> bool {
        self.logs.put(group, stream, at, line)
    }
}

/// What runbooks reach: the APIs here, as clients do.
#[derive(Debug)]
pub(super) struct Apis<'a> {
    pub(super) world: &'a mut World,
}

impl automation::Apis for Apis<'_> {
    fn call(
        &mut self,
        service: &str,
        operation: &str,
        body: &Map<String, Value>,
        context: &Context,
    ) -> Option<Result<Value, ApiError>> {
        match service {
            "cloudwatch" => self.world.call_cloudwatch(operation, body, context),
            "ecs" => self.world.call_ecs(operation, body, context),
            "fis" => self.world.call_fis(operation, body, context),
            "logs" => logs::call(operation, body, &mut self.world.logs, context),
            "resourcegroupstaggingapi" => self.world.call_tagging(operation, body, context),
            "ssm" => ssm::call(operation, body, &mut self.world.ssm, context),
            _ => None,
        }
    }

    fn command(&self, id: &str) -> Option<&ssm::state::Command> {
        self.world.ssm.command(id)
    }
}

fn instance(found: &ssm::state::Instance, now: SystemTime) -> Instance {
    Instance {
        id: found.id.clone(),
        online: found.ping_status(now) == "Online",
        task: found.tags.get(TASK_ARN_TAG).cloned(),
    }
}

/// A managed instance in the place of an instance of EC2.
fn stand_in(instance: &ssm::state::Instance, context: &Context) -> Resource {
    let Context { region, account, now, .. } = context;
    Resource {
        arn: format!("arn:aws:ec2:{region}:{account}:instance/{}", instance.id),
        parameters: BTreeMap::new(),
        stage: if instance.ping_status(*now) == "Online" { Stage::Running } else { Stage::OnTheWay },
        tags: instance.tags.clone(),
        description: json!({ "instanceId": instance.id, "state": { "name": "running" } }),
    }
}

fn cluster((arn, tags, description): (String, Tags, Value)) -> Resource {
    Resource { arn, parameters: BTreeMap::new(), stage: Stage::Running, tags, description }
}

fn task(task: ecs::Described) -> Resource {
    let ecs::Described { arn, cluster, service, last, ending, tags, description } = task;
    let mut parameters = BTreeMap::from([("cluster", cluster)]);
    parameters.extend(service.map(|service| ("service", service)));
    let stage = match last {
        LastStatus::Stopped => Stage::Stopped,
        LastStatus::Running if !ending => Stage::Running,
        _ => Stage::OnTheWay,
    };
    Resource { arn, parameters, stage, tags, description }
}
