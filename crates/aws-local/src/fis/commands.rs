//! What an action does in Systems Manager: it sends commands, asks what became of them, cancels them.
//!
//! One command for each task; the service's own way is not documented.

use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::arn;
use super::document::{self, HEARTBEAT, Order};
use super::experiment::{CommandRole, Experiment, SentCommand};
use super::services::{self, Instance};
use super::step::{Failure, Step};
use crate::error::ApiError;
use crate::tags::TASK_ARN_TAG;

/// How long a command may wait for its agent. An agent that is there takes it within a second.
const DELIVERY: Duration = Duration::from_secs(60);

/// Sends the document of an action to all its tasks, if each has a managed instance.
///
/// # Errors
/// A task has no managed instance, or SendCommand was refused; what had been sent stays in the action.
pub(super) fn send_all(
    experiment: &mut Experiment,
    name: &str,
    tasks: &[String],
    step: &mut Step<'_>,
) -> Result<(), Failure> {
    let action = &experiment.definition.actions[name];
    let failed =
        |code: &'static str, reason: String| Failure { code, location: format!("actions.{name}"), reason };
    let Some(mut order) = document::order(action, experiment.speed) else {
        return Err(failed("InternalFailure", format!("{} sends no document", action.action_id)));
    };
    let zones = order
        .resolve_zones(action, |zone| step.services.subnet_of_zone(zone, step.context))
        .map_err(|zone| {
            let region = &step.context.region;
            failed("ConfigurationFailure", format!("there is no Availability Zone {zone} in {region} here"))
        })?;
    for (zone, range) in zones {
        let text =
            format!("{zone} among the sources is the zone's subnet {range}: the tasks of `up` in that zone");
        experiment.note(step, Some(name), text);
    }
    let mut pairs = Vec::with_capacity(tasks.len());
    for task in tasks {
        let now = step.context.now;
        let of_task = step.services.instance_of(task, now);
        // The last part of an instance's ARN is its id.
        let Some(instance) = of_task.or_else(|| step.services.instance(arn::last_name(task), now)) else {
            return Err(failed(
                "InvalidTarget",
                format!(
                    "At least one ECS Task is not registered as a SSM managed instance. SSM Agent must be running as \
                     a sidecar in the task, and the task must be registered within Systems Manager as a managed \
                     instance. No instance has the tag {TASK_ARN_TAG} with {task}."
                ),
            ));
        };
        pairs.push((instance.task.clone().unwrap_or_else(|| task.clone()), instance));
    }
    for (task, Instance { id: instance, online, .. }) in pairs {
        if !online {
            let text = format!(
                "the sidecar of {task} ({instance}) has been silent for a while; it may never answer"
            );
            experiment.note(step, Some(name), text);
        }
        let state_id = Uuid::new_v4().to_string();
        let sent = send(experiment, &order, &task, &instance, (&state_id, 1), step).map_err(|error| {
            failed("DependentServiceFailure", format!("SendCommand for task {task}: {error}"))
        })?;
        step.log(
            &experiment.id,
            name,
            format!("SendCommand {} to {instance}: {}", order.name, sent.command_id),
        );
        if let Some(run) = experiment.actions.get_mut(name) {
            run.commands.push(sent);
        }
    }
    Ok(())
}

fn send(
    experiment: &Experiment,
    order: &Order,
    task: &str,
    instance: &str,
    (state_id, count): (&str, u32),
    step: &mut Step<'_>,
) -> Result<SentCommand, ApiError> {
    let now = step.context.now;
    let sent = services::Order {
        document: &order.name,
        version: order.version.as_deref(),
        instance_id: instance,
        parameters: order.sent(state_id, count, now),
        delivery: DELIVERY,
        comment: format!("AWS FIS experiment {}", experiment.id),
    };
    let command_id = step.services.send_command(sent, step.context)?;
    let status = step.services.command_status(&command_id);
    Ok(SentCommand {
        task_arn: task.to_owned(),
        instance_id: instance.to_owned(),
        command_id,
        document: order.name.clone(),
        role: if count == 1 { CommandRole::Fault } else { CommandRole::Heartbeat },
        sent: now,
        status: status.map_or("", |now| now.status).to_owned(),
        details: status.map_or("", |now| now.details).to_owned(),
        ended: None,
        state_id: state_id.to_owned(),
        count,
    })
}

/// Asks for the statuses of the commands of an action that have not ended.
pub(super) fn refresh(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    let Experiment { id, actions, .. } = experiment;
    let Some(run) = actions.get_mut(name) else { return };
    for command in run.commands.iter_mut().filter(|command| command.ended.is_none()) {
        let Some(now) = step.services.command_status(&command.command_id) else { continue };
        if command.status == now.status && command.details == now.details {
            continue;
        }
        command.status = now.status.to_owned();
        command.details = now.details.to_owned();
        if now.is_final {
            command.ended = Some(step.context.now);
        }
        if command.role == CommandRole::Fault {
            step.log(id, name, format!("command {} is {}", command.command_id, command.details));
        } else {
            step.changed = true;
        }
    }
}

/// Cancels the commands of an action that have not ended.
pub(super) fn cancel_all(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    let Experiment { id, actions, .. } = experiment;
    let Some(run) = actions.get_mut(name) else { return };
    if run.cancelled.is_some() {
        return;
    }
    run.cancelled = Some(step.context.now);
    for command in run.commands.iter().filter(|command| command.ended.is_none()) {
        let outcome = step.services.cancel_command(&command.command_id, step.context.now);
        let said = outcome.map_or_else(|error| error.to_string(), |()| "asked".to_owned());
        step.log(id, name, format!("CancelCommand {}: {said}", command.command_id));
    }
}

/// Tells the faults of an action that they may go on, if they live on heartbeats and it is time.
pub(super) fn beat(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    let action = &experiment.definition.actions[name];
    let Some(mut order) = document::order(action, experiment.speed).filter(|order| order.beats) else {
        return;
    };
    // Known since the action began.
    let _ = order.resolve_zones(action, |zone| step.services.subnet_of_zone(zone, step.context));
    for (first, count) in due(experiment, name, step.context.now) {
        let number = (first.state_id.as_str(), count);
        match send(experiment, &order, &first.task_arn, &first.instance_id, number, step) {
            Ok(sent) => {
                step.changed = true;
                if let Some(run) = experiment.actions.get_mut(name) {
                    run.commands.push(sent);
                }
            }
            Err(error) => {
                let text = format!(
                    "a heartbeat for {} could not be sent ({error}); without them the fault ends by itself after 60 s",
                    first.task_arn
                );
                experiment.note(step, Some(name), text);
            }
        }
    }
}

/// The faults whose last call is a heartbeat ago, and the number of the next call.
fn due(experiment: &Experiment, name: &str, now: SystemTime) -> Vec<(SentCommand, u32)> {
    let commands = &experiment.actions[name].commands;
    let faults = commands.iter().filter(|one| one.role == CommandRole::Fault && one.ended.is_none());
    faults
        .filter_map(|fault| {
            let last =
                commands.iter().filter(|one| one.state_id == fault.state_id).max_by_key(|one| one.count)?;
            (now >= last.sent + HEARTBEAT).then(|| (fault.clone(), last.count + 1))
        })
        .collect()
}

/// What a command that did not succeed means for its action.
pub(super) fn failure_of(command: &SentCommand, name: &str) -> Failure {
    let SentCommand { task_arn, command_id, details, .. } = command;
    Failure {
        code: "DependentServiceFailure",
        location: format!("actions.{name}"),
        reason: format!("Command {command_id} on task {task_arn} ended as {details}."),
    }
}
