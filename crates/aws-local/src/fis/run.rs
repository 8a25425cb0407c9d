//! The life of one action of an experiment.
//!
//! An action with a duration is done when its duration has passed, whatever its commands say by then; those that
//! still run are cancelled. The fault is undone before the action counts as ended.

use std::time::Duration;

use super::catalog::{self, Does};
use super::commands;
use super::engine::{Failure, World};
use super::experiment::{ActionRun, ActionStatus, CommandRole, Experiment, SentCommand};
use super::{advice, records};
use crate::ecs;

/// How long an ending action waits for its commands after CancelCommand. An agent that is gone never answers;
/// one that is there has ten seconds for it, and the store gives up on it after thirty.
const CANCEL_PATIENCE: Duration = Duration::from_secs(60);

/// Starts an action whose turn has come.
pub(super) fn start(experiment: &mut Experiment, name: &str, world: &mut World<'_>) {
    let action = experiment.definition.actions[name].clone();
    let targets = experiment.targets_of(name).to_vec();
    let does = catalog::action(&action.action_id).map(|kind| kind.does);
    let Some(run) = experiment.actions.get_mut(name) else { return };
    if targets.is_empty() && !matches!(does, Some(Does::Wait)) {
        run.status = ActionStatus::Skipped;
        run.reason = "Action was skipped: its target is empty.".to_owned();
        world.say(&experiment.id, name, "skipped: its target is empty".to_owned());
        return;
    }
    run.started = Some(world.context.now);
    run.status = ActionStatus::Running;
    run.reason = "Action is running.".to_owned();
    world.say(&experiment.id, name, format!("running {} on {} target(s)", action.action_id, targets.len()));
    records::action_start(experiment, name, world);
    let outcome = match does {
        Some(Does::Wait) => Ok(()),
        Some(Does::StopTasks) => stop_tasks(experiment, name, &targets, world),
        Some(Does::Document { .. }) => commands::send_all(experiment, name, &targets, world),
        None => Err(failure("InternalFailure", name, format!("there is no action {}", action.action_id))),
    };
    match outcome {
        Ok(()) if matches!(does, Some(Does::StopTasks)) => complete(experiment, name, world),
        Ok(()) => {}
        Err(failure) => fail(experiment, name, failure, world),
    }
}

fn failure(code: &'static str, location: &str, reason: String) -> Failure {
    Failure { code, location: location.to_owned(), reason }
}

fn stop_tasks(
    experiment: &Experiment,
    name: &str,
    targets: &[String],
    world: &mut World<'_>,
) -> Result<(), Failure> {
    for task in targets {
        let why = format!("stopped by action {name} of experiment {}", experiment.id);
        ecs::stop_task(world.state, task, &why, world.context)
            .map_err(|error| failure("DependentServiceFailure", name, format!("StopTask: {error}")))?;
        world.say(&experiment.id, name, format!("StopTask {task}"));
    }
    Ok(())
}

/// Looks after a running action.
pub(super) fn poll(experiment: &mut Experiment, name: &str, world: &mut World<'_>) {
    commands::refresh(experiment, name, world);
    let now = world.context.now;
    let Some(run) = experiment.actions.get(name) else { return };
    let over = run.started.zip(run.duration).is_some_and(|(began, lasts)| now >= began + lasts);
    if run.cancelled.is_some() {
        if commands_are_over(run, world) {
            complete(experiment, name, world);
        } else if out_of_patience(run, world) {
            advice::no_answer(experiment, name, world);
            complete(experiment, name, world);
        }
        return;
    }
    let broken = faults(run).find(|command| command.ended.is_some() && command.status != "Success").cloned();
    if let Some(broken) = broken {
        let failure = commands::failure_of(&broken, name);
        advice::of_failed_command(experiment, name, &broken, world);
        fail(experiment, name, failure, world);
    } else if over && !commands_are_over(run, world) {
        commands::cancel_all(experiment, name, world);
        advice::cancelled_at_the_end(experiment, name, world);
    } else if over || (run.duration.is_none() && commands_are_over(run, world)) {
        complete(experiment, name, world);
    } else {
        commands::beat(experiment, name, world);
    }
}

/// Stops a running action before its time.
pub(super) fn stop(experiment: &mut Experiment, name: &str, world: &mut World<'_>) {
    commands::cancel_all(experiment, name, world);
    if let Some(run) = experiment.actions.get_mut(name) {
        run.status = ActionStatus::Stopping;
        run.reason = "Action is stopping.".to_owned();
    }
    world.say(&experiment.id, name, "stopping".to_owned());
    poll_stopping(experiment, name, world);
}

/// A stopped action is over when its faults are.
pub(super) fn poll_stopping(experiment: &mut Experiment, name: &str, world: &mut World<'_>) {
    commands::refresh(experiment, name, world);
    let Some(run) = experiment.actions.get(name) else { return };
    if !commands_are_over(run, world) {
        if !out_of_patience(run, world) {
            return;
        }
        advice::no_answer(experiment, name, world);
    }
    end(experiment, name, ActionStatus::Stopped, "Action was stopped.".to_owned(), world);
}

fn faults(run: &ActionRun) -> impl Iterator<Item = &SentCommand> {
    run.commands.iter().filter(|command| command.role == CommandRole::Fault)
}

/// Nothing of it runs any more: all commands have ended, or the instances are gone that would say so.
fn commands_are_over(run: &ActionRun, world: &World<'_>) -> bool {
    faults(run)
        .all(|command| command.ended.is_some() || !world.state.instances.contains_key(&command.instance_id))
}

fn out_of_patience(run: &ActionRun, world: &World<'_>) -> bool {
    run.cancelled.is_some_and(|since| world.context.now >= since + CANCEL_PATIENCE)
}

fn complete(experiment: &mut Experiment, name: &str, world: &mut World<'_>) {
    end(experiment, name, ActionStatus::Completed, "Action was completed.".to_owned(), world);
}

/// The action failed, and with it the experiment. What it had sent is cancelled.
fn fail(experiment: &mut Experiment, name: &str, failure: Failure, world: &mut World<'_>) {
    commands::cancel_all(experiment, name, world);
    let reason = failure.reason.clone();
    if let Some(run) = experiment.actions.get_mut(name) {
        run.status = ActionStatus::Failed;
        run.reason.clone_from(&reason);
    }
    records::action_error(experiment, name, world);
    end(experiment, name, ActionStatus::Failed, reason, world);
    experiment.fail(world, failure);
}

fn end(experiment: &mut Experiment, name: &str, status: ActionStatus, reason: String, world: &mut World<'_>) {
    let Some(run) = experiment.actions.get_mut(name) else { return };
    run.status = status;
    run.ended = Some(world.context.now);
    world.say(&experiment.id, name, format!("{}: {reason}", status.as_str()));
    run.reason = reason;
    records::action_end(experiment, name, world);
}
