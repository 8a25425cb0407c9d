//! The life of experiments: a step function over the state and the time.
//!
//! Targets are resolved once, before any action; actions start when those they wait for are done; the first that
//! fails ends the experiment; whatever ends it, everything it has started is stopped first.

use super::experiment::{ActionStatus, Ending, Experiment, ExperimentStatus};
use super::services::Services;
use super::state::FisState;
use super::step::{Failure, Step};
use super::{advice, alarms, records, restart, run, targets};
use crate::Context;

/// Lets time pass: every experiment takes a step. True if anything changed.
pub(crate) fn advance(fis: &mut FisState, services: &mut dyn Services, context: &Context) -> bool {
    let resumed = restart::end_what_was_running(fis, context);
    if fis.experiments.iter().all(|experiment| experiment.status.is_final()) {
        return resumed;
    }
    // Out of the state, so that each can act upon the rest of it.
    let mut experiments = std::mem::take(&mut fis.experiments);
    let mut step = Step { fis, services, context, changed: resumed };
    for experiment in experiments.iter_mut().filter(|experiment| !experiment.status.is_final()) {
        take(experiment, &mut step);
    }
    let changed = step.changed;
    fis.experiments = experiments;
    changed
}

fn take(experiment: &mut Experiment, step: &mut Step<'_>) {
    watch(experiment, step);
    if experiment.ending.is_none() && experiment.started.is_none() {
        open(experiment, step);
    }
    if experiment.ending.is_none() {
        run_actions(experiment, step);
    }
    if experiment.ending.is_some() {
        wind_down(experiment, step);
    }
}

/// The stop conditions and the safety lever.
fn watch(experiment: &mut Experiment, step: &mut Step<'_>) {
    if experiment.ending.is_some() {
        return;
    }
    if let Some(alarm) = alarms::triggered(step.services, &experiment.definition, step.context) {
        let text = match experiment.started {
            None => format!(
                "the alarm {alarm} was in ALARM before the experiment began: AWS stops such an experiment at once, \
                 and nothing was injected. Wait until the alarm is OK again"
            ),
            Some(_) => format!("the alarm {alarm} went to ALARM and stopped the experiment"),
        };
        experiment.note(step, None, text);
        experiment.end(stopped("Experiment halted by stop condition."));
    } else if step.fis.lever.engaged {
        experiment.note(step, None, format!("the safety lever was engaged: {}", step.fis.lever.reason));
        experiment.end(stopped("Experiment halted by safety lever."));
    }
}

fn stopped(reason: &str) -> Ending {
    Ending { status: ExperimentStatus::Stopped, reason: reason.to_owned(), error: None }
}

/// Resolves the targets; then the experiment runs, or is over.
fn open(experiment: &mut Experiment, step: &mut Step<'_>) {
    let now = step.context.now;
    experiment.started = Some(now);
    records::experiment_start(experiment, step);
    advice::at_start(experiment, step);
    let role = &experiment.definition.role_arn;
    if let Some(reason) = role_obstacle(step.fis, step.services, role) {
        let failure = Failure { code: "AuthorizationFailure", location: "experiment".to_owned(), reason };
        experiment.fail(step, failure);
        return;
    }
    if let Err(failure) = targets::resolve(experiment, step) {
        experiment.fail(step, failure);
        return;
    }
    experiment.status = ExperimentStatus::Running;
    experiment.reason = "Experiment is running.".to_owned();
    step.log(&experiment.id, "experiment", "running".to_owned());
    if experiment.rehearsal {
        for run in experiment.actions.values_mut() {
            run.status = ActionStatus::Skipped;
            run.reason = "Action was skipped: actionsMode is skip-all.".to_owned();
        }
        let text = "a rehearsal (skip-all): targets were resolved, no action was run";
        experiment.note(step, None, text.to_owned());
    }
}

/// Why FIS cannot take a role; None if it can, or if nobody looks.
pub(super) fn role_obstacle(fis: &FisState, services: &dyn Services, role: &str) -> Option<String> {
    match services.trusts(role) {
        _ if fis.any_role => None,
        Some(true) => None,
        Some(false) => {
            Some(format!("Unable to assume role {role}: its trust policy does not name fis.amazonaws.com."))
        }
        None => Some(format!(
            "Unable to assume role {role}: there is no such role (aws iam create-role). The local AWS brings {} along.",
            "role/taskfault-local-experiment"
        )),
    }
}

/// Polls what runs and starts what may start, until neither leads to anything new.
fn run_actions(experiment: &mut Experiment, step: &mut Step<'_>) {
    let names: Vec<String> = experiment.actions.keys().cloned().collect();
    for name in &names {
        if experiment.actions[name].status == ActionStatus::Running {
            run::poll(experiment, name, step);
        }
    }
    while !any(experiment, ActionStatus::Failed) {
        let ready = names.iter().find(|name| {
            experiment.actions[*name].status == ActionStatus::Pending
                && experiment.definition.actions[*name]
                    .start_after
                    .iter()
                    .all(|before| done(experiment, before))
        });
        match ready {
            Some(name) => run::start(experiment, name, step),
            None => break,
        }
    }
    if experiment.ending.is_none() && experiment.actions.values().all(|run| run.status.is_final()) {
        finish(experiment, step, ExperimentStatus::Completed, "Experiment completed.".to_owned());
    }
}

fn any(experiment: &Experiment, status: ActionStatus) -> bool {
    experiment.actions.values().any(|run| run.status == status)
}

/// Whether an action lets those begin that wait for it.
fn done(experiment: &Experiment, name: &str) -> bool {
    let status = experiment.actions.get(name).map(|run| run.status);
    matches!(status, Some(ActionStatus::Completed | ActionStatus::Skipped))
}

/// Stops what runs, lets nothing start, and ends the experiment once nothing is left.
fn wind_down(experiment: &mut Experiment, step: &mut Step<'_>) {
    let names: Vec<String> = experiment.actions.keys().cloned().collect();
    for name in &names {
        match experiment.actions[name].status {
            ActionStatus::Pending => {
                let Some(run) = experiment.actions.get_mut(name) else { continue };
                run.status = ActionStatus::Cancelled;
                run.reason = "Action was cancelled before it started.".to_owned();
                step.changed = true;
            }
            ActionStatus::Running | ActionStatus::Initiating => run::stop(experiment, name, step),
            ActionStatus::Stopping => run::poll_stopping(experiment, name, step),
            _ => {}
        }
    }
    if experiment.actions.values().all(|run| run.status.is_final())
        && let Some(ending) = experiment.ending.clone()
    {
        experiment.error = ending.error;
        finish(experiment, step, ending.status, ending.reason);
    }
}

fn finish(experiment: &mut Experiment, step: &mut Step<'_>, status: ExperimentStatus, reason: String) {
    experiment.status = status;
    experiment.ended = Some(step.context.now);
    step.log(&experiment.id, "experiment", format!("{}: {reason}", status.as_str()));
    experiment.reason = reason;
    records::experiment_end(experiment, step);
}

#[cfg(test)]
mod tests;
