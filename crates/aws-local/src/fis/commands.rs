//! What the service calls in Systems Manager for an action: SendCommand, ListCommands, CancelCommand. They go
//! through the same door as everybody's calls, so Run Command's history shows them.
//!
//! One command for each task; the service's own way is not documented.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use uuid::Uuid;

use super::document::{self, HEARTBEAT, Order};
use super::engine::{Failure, World};
use super::experiment::{CommandRole, Experiment, SentCommand};
use crate::ecs::TASK_ARN_TAG;
use crate::error::ApiError;
use crate::ssm;
use crate::store::{Instance, State};

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
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let action = &experiment.definition.actions[name];
    let failed = |code: &'static str, reason: String| Failure { code, location: name.to_owned(), reason };
    if let Some(zone) = document::zone_in_sources(action) {
        return Err(failed(
            "ConfigurationFailure",
            format!(
                "{zone} stands for the subnets of an Availability Zone, and there are none here; name address ranges"
            ),
        ));
    }
    let Some(order) = document::order(action, experiment.speed) else {
        return Err(failed("InternalFailure", format!("{} sends no document", action.action_id)));
    };
    let mut pairs = Vec::with_capacity(tasks.len());
    for task in tasks {
        let Some(instance) = instance_of(world.state, task) else {
            return Err(failed(
                "InvalidTarget",
                format!(
                    "Task {task} is not a managed instance: no instance has the tag {TASK_ARN_TAG} with its ARN. \
                     Its sidecar has not registered, or has gone."
                ),
            ));
        };
        let online = instance.ping_status(world.context.now) == "Online";
        pairs.push((task.clone(), instance.id.clone(), online));
    }
    for (task, instance, online) in pairs {
        if !online {
            let text = format!(
                "the sidecar of {task} ({instance}) has been silent for a while; it may never answer"
            );
            experiment.note(world, Some(name), text);
        }
        let state_id = Uuid::new_v4().to_string();
        let sent = send(experiment, &order, &task, &instance, (&state_id, 1), world).map_err(|error| {
            failed("DependentServiceFailure", format!("SendCommand for task {task}: {error}"))
        })?;
        world.say(
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

/// The instance that has registered for a task, the one heard last if there are several.
fn instance_of<'s>(state: &'s State, task: &str) -> Option<&'s Instance> {
    let of_task = |instance: &&Instance| instance.tags.get(TASK_ARN_TAG).is_some_and(|arn| arn == task);
    state.instances.values().filter(of_task).max_by_key(|instance| instance.last_ping)
}

fn send(
    experiment: &Experiment,
    order: &Order,
    task: &str,
    instance: &str,
    (state_id, count): (&str, u32),
    world: &mut World<'_>,
) -> Result<SentCommand, ApiError> {
    let now = world.context.now;
    let request = json!({
        "DocumentName": order.name,
        "InstanceIds": [instance],
        "Parameters": order.sent(state_id, count, now),
        "TimeoutSeconds": DELIVERY.as_secs(),
        "Comment": format!("AWS FIS experiment {}", experiment.id),
    });
    let answer = call("SendCommand", request, world)?;
    let text = |member: &str| answer["Command"][member].as_str().unwrap_or_default().to_owned();
    Ok(SentCommand {
        task_arn: task.to_owned(),
        instance_id: instance.to_owned(),
        command_id: text("CommandId"),
        document: order.name.to_owned(),
        role: if count == 1 { CommandRole::Fault } else { CommandRole::Heartbeat },
        sent: now,
        status: text("Status"),
        details: text("StatusDetails"),
        ended: None,
        state_id: state_id.to_owned(),
        count,
    })
}

fn call(operation: &str, request: Value, world: &mut World<'_>) -> Result<Value, ApiError> {
    let body = match request {
        Value::Object(body) => body,
        _ => serde_json::Map::new(),
    };
    let answer = ssm::call(operation, &body, world.state, world.context);
    answer.unwrap_or_else(|| Err(ApiError::new("UnknownOperationException", operation)))
}

/// Asks for the statuses of the commands of an action that have not ended.
pub(super) fn refresh(experiment: &mut Experiment, name: &str, world: &mut World<'_>) {
    let Experiment { id, actions, .. } = experiment;
    let Some(run) = actions.get_mut(name) else { return };
    for command in run.commands.iter_mut().filter(|command| command.ended.is_none()) {
        let Ok(answer) = call("ListCommands", json!({ "CommandId": command.command_id }), world) else {
            continue;
        };
        let text = |member: &str| answer["Commands"][0][member].as_str().unwrap_or_default();
        if command.status == text("Status") && command.details == text("StatusDetails") {
            continue;
        }
        command.status = text("Status").to_owned();
        command.details = text("StatusDetails").to_owned();
        if matches!(command.status.as_str(), "Success" | "Failed" | "TimedOut" | "Cancelled") {
            command.ended = Some(world.context.now);
        }
        if command.role == CommandRole::Fault {
            world.say(id, name, format!("command {} is {}", command.command_id, command.details));
        } else {
            world.changed = true;
        }
    }
}

/// Cancels the commands of an action that have not ended.
pub(super) fn cancel_all(experiment: &mut Experiment, name: &str, world: &mut World<'_>) {
    let Experiment { id, actions, .. } = experiment;
    let Some(run) = actions.get_mut(name) else { return };
    if run.cancelled.is_some() {
        return;
    }
    run.cancelled = Some(world.context.now);
    for command in run.commands.iter().filter(|command| command.ended.is_none()) {
        let outcome = call("CancelCommand", json!({ "CommandId": command.command_id }), world);
        let said = outcome.map_or_else(|error| error.to_string(), |_| "asked".to_owned());
        world.say(id, name, format!("CancelCommand {}: {said}", command.command_id));
    }
}

/// Tells the faults of an action that they may go on, if they live on heartbeats and it is time.
pub(super) fn beat(experiment: &mut Experiment, name: &str, world: &mut World<'_>) {
    let action = &experiment.definition.actions[name];
    let Some(order) = document::order(action, experiment.speed).filter(|order| order.beats) else { return };
    for (first, count) in due(experiment, name, world.context.now) {
        let number = (first.state_id.as_str(), count);
        match send(experiment, &order, &first.task_arn, &first.instance_id, number, world) {
            Ok(sent) => {
                world.changed = true;
                if let Some(run) = experiment.actions.get_mut(name) {
                    run.commands.push(sent);
                }
            }
            Err(error) => {
                let text = format!(
                    "a heartbeat for {} could not be sent ({error}); without them the fault ends by itself after 60 s",
                    first.task_arn
                );
                experiment.note(world, Some(name), text);
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
        location: name.to_owned(),
        reason: format!("Command {command_id} on task {task_arn} ended as {details}."),
    }
}
