//! The life of one action of an experiment.
//!
//! An action with a duration is done when its duration has passed, whatever its commands say by then; those that
//! still run are cancelled. The fault is undone before the action counts as ended.

use std::time::Duration;

use super::automation::Standing;
use super::catalog::{self, Does};
use super::commands;
use super::experiment::{ActionRun, ActionStatus, CommandRole, Experiment, SentCommand};
use super::step::{Failure, Step};
use super::{advice, alarms, automation, drain, records};

/// How long an ending action waits for its commands after CancelCommand. An agent that is gone never answers;
/// one that is there has ten seconds for it, and the store gives up on it after thirty.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts an action whose turn has come.
pub(super) fn start(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    let action = experiment.definition.actions[name].clone();
    let targets = experiment.targets_of(name).to_vec();
    let does = catalog::action(&action.action_id).map(|kind| kind.does);
    let Some(run) = experiment.actions.get_mut(name) else { return };
    if does.is_none() && (action.targets.is_empty() || !targets.is_empty()) {
        let reason = format!("{} is not played here; list-actions shows what is.", action.action_id);
        fail(experiment, name, failure("ConfigurationFailure", name, reason), step);
        return;
    }
    if targets.is_empty() && !action.targets.is_empty() {
        run.status = ActionStatus::Skipped;
        run.reason = "Action was skipped: its target is empty.".to_owned();
        step.log(&experiment.id, name, "skipped: its target is empty".to_owned());
        return;
    }
    run.started = Some(step.context.now);
    run.status = ActionStatus::Running;
    run.reason = "Action is running.".to_owned();
    step.log(&experiment.id, name, format!("running {} on {} target(s)", action.action_id, targets.len()));
    records::action_start(experiment, name, step);
    let outcome = match does {
        Some(Does::Wait) => Ok(()),
        Some(Does::StopTasks) => stop_tasks(experiment, name, &targets, step),
        Some(Does::Drain) => drain::start(experiment, name, &targets, step),
        Some(Does::AssertAlarms) => match alarms::amiss(step.services, &action, step.context) {
            None => Ok(()),
            Some(reason) => Err(failure("ConfigurationFailure", name, reason)),
        },
        Some(Does::Automation) => automation::start(experiment, name, step),
        Some(Does::Command | Does::Document { .. }) => commands::send_all(experiment, name, &targets, step),
        None => Err(failure("InternalFailure", name, format!("there is no action {}", action.action_id))),
    };
    match outcome {
        Ok(()) if matches!(does, Some(Does::AssertAlarms | Does::StopTasks)) => {
            complete(experiment, name, step)
        }
        Ok(()) => {}
        Err(failure) => fail(experiment, name, failure, step),
    }
}

fn failure(code: &'static str, location: &str, reason: String) -> Failure {
    Failure { code, location: format!("actions.{location}"), reason }
}

fn stop_tasks(
    experiment: &Experiment,
    name: &str,
    targets: &[String],
    step: &mut Step<'_>,
) -> Result<(), Failure> {
    for task in targets {
        let why = format!("stopped by action {name} of experiment {}", experiment.id);
        step.services
            .stop_task(task, &why, step.context)
            .map_err(|error| failure("DependentServiceFailure", name, format!("StopTask: {error}")))?;
        step.log(&experiment.id, name, format!("StopTask {task}"));
    }
    Ok(())
}

/// Looks after a running action.
pub(super) fn poll(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    if let Some(standing) = automation::standing(experiment, name, step) {
        match standing {
            Standing::Runs => {}
            Standing::Succeeded => complete(experiment, name, step),
            Standing::Failed(reason) => {
                fail(experiment, name, failure("DependentServiceFailure", name, reason), step);
            }
        }
        return;
    }
    commands::refresh(experiment, name, step);
    let now = step.context.now;
    let Some(run) = experiment.actions.get(name) else { return };
    let over = run.started.zip(run.duration).is_some_and(|(began, lasts)| now >= began + lasts);
    if run.cancelled.is_some() {
        if commands_are_over(run, step) {
            complete(experiment, name, step);
        } else if cancel_timed_out(run, step) {
            advice::no_answer(experiment, name, step);
            complete(experiment, name, step);
        }
        return;
    }
    let broken = faults(run).find(|command| command.ended.is_some() && command.status != "Success").cloned();
    if let Some(broken) = broken {
        let failure = commands::failure_of(&broken, name);
        advice::of_failed_command(experiment, name, &broken, step);
        fail(experiment, name, failure, step);
    } else if over && !commands_are_over(run, step) {
        commands::cancel_all(experiment, name, step);
        advice::cancelled_at_the_end(experiment, name, step);
    } else if over || (run.duration.is_none() && commands_are_over(run, step)) {
        complete(experiment, name, step);
    } else {
        commands::beat(experiment, name, step);
    }
}

/// Stops a running action before its time.
pub(super) fn stop(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    cancel(experiment, name, step);
    if let Some(run) = experiment.actions.get_mut(name) {
        run.status = ActionStatus::Stopping;
        run.reason = "Action is stopping.".to_owned();
    }
    step.log(&experiment.id, name, "stopping".to_owned());
    poll_stopping(experiment, name, step);
}

/// A stopped action is over when its faults are.
pub(super) fn poll_stopping(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    commands::refresh(experiment, name, step);
    automation::standing(experiment, name, step);
    let Some(run) = experiment.actions.get(name) else { return };
    if !automation::is_over(run, step) {
        return;
    }
    if !commands_are_over(run, step) {
        if !cancel_timed_out(run, step) {
            return;
        }
        advice::no_answer(experiment, name, step);
    }
    end(experiment, name, ActionStatus::Stopped, "Action was stopped.".to_owned(), step);
}

/// Ends what an action has sent or started. A runbook ends within the time that Automation gives its `onCancel`.
fn cancel(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    commands::cancel_all(experiment, name, step);
    automation::cancel(experiment, name, step);
}

fn faults(run: &ActionRun) -> impl Iterator<Item = &SentCommand> {
    run.commands.iter().filter(|command| command.role == CommandRole::Fault)
}

/// Nothing of it runs any more: all commands have ended, or the instances are gone that would say so.
fn commands_are_over(run: &ActionRun, step: &Step<'_>) -> bool {
    faults(run).all(|command| command.ended.is_some() || !step.services.is_registered(&command.instance_id))
}

fn cancel_timed_out(run: &ActionRun, step: &Step<'_>) -> bool {
    run.cancelled.is_some_and(|since| step.context.now >= since + CANCEL_TIMEOUT)
}

fn complete(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    end(experiment, name, ActionStatus::Completed, "Action was completed.".to_owned(), step);
}

/// The action failed, and with it the experiment. What it had sent is cancelled.
fn fail(experiment: &mut Experiment, name: &str, failure: Failure, step: &mut Step<'_>) {
    cancel(experiment, name, step);
    let reason = failure.reason.clone();
    if let Some(run) = experiment.actions.get_mut(name) {
        run.status = ActionStatus::Failed;
        run.reason.clone_from(&reason);
    }
    records::action_error(experiment, name, step);
    end(experiment, name, ActionStatus::Failed, reason, step);
    experiment.fail(step, failure);
}

fn end(experiment: &mut Experiment, name: &str, status: ActionStatus, reason: String, step: &mut Step<'_>) {
    drain::undo(experiment, name, step);
    let Some(run) = experiment.actions.get_mut(name) else { return };
    run.status = status;
    run.ended = Some(step.context.now);
    step.log(&experiment.id, name, format!("{}: {reason}", status.as_str()));
    run.reason = reason;
    records::action_end(experiment, name, step);
}
