//! What FIS reaches of the other services.

use std::time::SystemTime;

use uuid::Uuid;

use crate::Context;
use crate::cloudwatch::{AlarmState, CloudWatchState};
use crate::ecs::{self, EcsState, LastStatus, Sidecar};
use crate::error::ApiError;
use crate::fis::services::{Alarm, CommandStatus, Instance, Order, Services, Stage, Task};
use crate::logs::LogsState;
use crate::ssm::{self, SsmState};
use crate::tags::TASK_ARN_TAG;

/// The services besides FIS, as far as experiments act upon them.
#[derive(Debug)]
pub(crate) struct Others<'a> {
    pub(super) ssm: &'a mut SsmState,
    pub(super) ecs: &'a mut EcsState,
    pub(super) cloudwatch: &'a mut CloudWatchState,
    pub(super) logs: &'a mut LogsState,
}

/// The tasks whose sidecars have registered, in the order of their instances' ids.
pub(super) fn sidecars(ssm: &SsmState) -> Vec<Sidecar> {
    let of_task = |instance: &ssm::state::Instance| {
        let task_arn = instance.tags.get(TASK_ARN_TAG)?.clone();
        Some(Sidecar { task_arn, registered: instance.registered })
    };
    ssm.instances.values().filter_map(of_task).collect()
}

impl Others<'_> {
    fn command(&self, command_id: &str) -> Option<&ssm::state::Command> {
        let id = Uuid::try_parse(command_id).ok()?;
        self.ssm.commands.iter().find(|command| command.id == id)
    }
}

impl Services for Others<'_> {
    fn instance_of(&self, task_arn: &str, now: SystemTime) -> Option<Instance> {
        let instances = self.ssm.instances.values();
        let found = instances
            .filter(|instance| instance.tags.get(TASK_ARN_TAG).is_some_and(|arn| arn == task_arn))
            .max_by_key(|instance| instance.last_ping)?;
        Some(Instance { id: found.id.clone(), online: found.ping_status(now) == "Online" })
    }

    fn is_registered(&self, instance_id: &str) -> bool {
        self.ssm.instances.contains_key(instance_id)
    }

    fn send_command(&mut self, order: Order<'_>, context: &Context) -> Result<String, ApiError> {
        let Order { document, instance_id, parameters, delivery, comment } = order;
        let order = ssm::Order { document, instance_id, parameters, delivery, comment };
        ssm::send_order(order, self.ssm, context).map(|id| id.to_string())
    }

    fn command_status(&self, command_id: &str) -> Option<CommandStatus> {
        let status = SsmState::summary(self.command(command_id)?).status;
        Some(CommandStatus {
            status: status.as_str(),
            details: status.details(),
            is_final: status.is_final(),
        })
    }

    fn cancel_command(&mut self, command_id: &str, now: SystemTime) -> Result<(), ApiError> {
        ssm::cancel_command(command_id, self.ssm, now)
    }

    fn last_line(&self, command_id: &str) -> Option<String> {
        let command = self.command(command_id)?;
        let plugins = || command.invocations.iter().flat_map(|invocation| invocation.plugins.iter().rev());
        let line = |text: &str| text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
        let errors = plugins().find_map(|plugin| line(&plugin.stderr));
        errors
            .or_else(|| plugins().find_map(|plugin| line(&plugin.stdout)))
            .map(|line| line.chars().take(200).collect())
    }

    fn tasks(&self, context: &Context) -> Vec<Task> {
        ecs::described(self.ecs, &sidecars(self.ssm), context).into_iter().map(task).collect()
    }

    fn stop_task(&mut self, task_arn: &str, reason: &str, context: &Context) -> Result<(), ApiError> {
        let sidecars = sidecars(self.ssm);
        ecs::stop_task(self.ecs, &sidecars, task_arn, reason, context)
    }

    fn alarm(&self, arn: &str, context: &Context) -> Option<Alarm> {
        let alarm = self.cloudwatch.alarm(arn)?;
        Some(Alarm { in_alarm: alarm.state == AlarmState::Alarm, needs: alarm.shortest_delay(context.speed) })
    }

    fn write_log(&mut self, group: &str, stream: &str, at: SystemTime, line: String) -> bool {
        self.logs.put(group, stream, at, line)
    }
}

fn task(task: ecs::Described) -> Task {
    let ecs::Described { arn, cluster, service, last, ending, tags, description } = task;
    let stage = match last {
        LastStatus::Stopped => Stage::Stopped,
        LastStatus::Running if !ending => Stage::Running,
        _ => Stage::OnTheWay,
    };
    Task { arn, cluster, service, stage, tags, description }
}
