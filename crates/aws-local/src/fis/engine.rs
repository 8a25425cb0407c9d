//! The life of experiments: a step function over the state and the time.
//!
//! Targets are resolved once, before any action; actions start when those they wait for are done; the first that
//! fails ends the experiment; whatever ends it, everything it has started is stopped first.

use super::experiment::{ActionStatus, Ending, Experiment, ExperimentError, ExperimentStatus, Note};
use super::{FisState, Line, advice, alarms, records, restart, run, targets};
use crate::Context;
use crate::store::State;

/// What an experiment acts upon: everything else in the state.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) state: &'a mut State,
    pub(super) context: &'a Context,
    pub(super) changed: bool,
}

/// Why something failed: the service's code, where in the template, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    pub(super) location: String,
    pub(super) reason: String,
}

/// Lets every experiment take a step. True if anything changed.
pub(super) fn advance(state: &mut State, context: &Context) -> bool {
    let resumed = restart::end_what_was_running(state, context);
    if state.fis.experiments.iter().all(|experiment| experiment.status.is_final()) {
        return resumed;
    }
    // Out of the state, so that each can act upon the rest of it.
    let mut experiments = std::mem::take(&mut state.fis.experiments);
    let mut world = World { state, context, changed: resumed };
    for experiment in experiments.iter_mut().filter(|experiment| !experiment.status.is_final()) {
        step(experiment, &mut world);
    }
    let changed = world.changed;
    state.fis.experiments = experiments;
    changed
}

fn step(experiment: &mut Experiment, world: &mut World<'_>) {
    watch(experiment, world);
    if experiment.ending.is_none() && experiment.started.is_none() {
        open(experiment, world);
    }
    if experiment.ending.is_none() {
        run_actions(experiment, world);
    }
    if experiment.ending.is_some() {
        wind_down(experiment, world);
    }
}

/// The stop conditions and the safety lever.
fn watch(experiment: &mut Experiment, world: &mut World<'_>) {
    if experiment.ending.is_some() {
        return;
    }
    if let Some(alarm) = alarms::triggered(world.state, &experiment.definition) {
        let text = match experiment.started {
            None => format!(
                "the alarm {alarm} was in ALARM before the experiment began: AWS stops such an experiment at once, \
                 and nothing was injected. Wait until the alarm is OK again"
            ),
            Some(_) => format!("the alarm {alarm} went to ALARM and stopped the experiment"),
        };
        experiment.note(world, None, text);
        experiment.end(stopped("Experiment halted by stop condition."));
    } else if world.state.fis.lever.engaged {
        experiment.note(
            world,
            None,
            format!("the safety lever was engaged: {}", world.state.fis.lever.reason),
        );
        experiment.end(stopped("Experiment halted by safety lever."));
    }
}

fn stopped(reason: &str) -> Ending {
    Ending { status: ExperimentStatus::Stopped, reason: reason.to_owned(), error: None }
}

/// Resolves the targets; then the experiment runs, or is over.
fn open(experiment: &mut Experiment, world: &mut World<'_>) {
    let now = world.context.now;
    experiment.started = Some(now);
    records::experiment_start(experiment, world);
    advice::at_start(experiment, world);
    if let Err(failure) = targets::resolve(experiment, world) {
        experiment.fail(world, failure);
        return;
    }
    experiment.status = ExperimentStatus::Running;
    experiment.reason = "Experiment is running.".to_owned();
    world.say(&experiment.id, "experiment", "running".to_owned());
    if experiment.rehearsal {
        for run in experiment.actions.values_mut() {
            run.status = ActionStatus::Skipped;
            run.reason = "Action was skipped: actionsMode is skip-all.".to_owned();
        }
        let text = "a rehearsal (skip-all): targets were resolved, no action was run";
        experiment.note(world, None, text.to_owned());
    }
}

/// Polls what runs and starts what may start, until neither leads to anything new.
fn run_actions(experiment: &mut Experiment, world: &mut World<'_>) {
    let names: Vec<String> = experiment.actions.keys().cloned().collect();
    for name in &names {
        if experiment.actions[name].status == ActionStatus::Running {
            run::poll(experiment, name, world);
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
            Some(name) => run::start(experiment, name, world),
            None => break,
        }
    }
    if experiment.ending.is_none() && experiment.actions.values().all(|run| run.status.is_final()) {
        finish(experiment, world, ExperimentStatus::Completed, "Experiment completed.".to_owned());
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
fn wind_down(experiment: &mut Experiment, world: &mut World<'_>) {
    let names: Vec<String> = experiment.actions.keys().cloned().collect();
    for name in &names {
        match experiment.actions[name].status {
            ActionStatus::Pending => {
                let Some(run) = experiment.actions.get_mut(name) else { continue };
                run.status = ActionStatus::Cancelled;
                run.reason = "Action was cancelled before it started.".to_owned();
                world.changed = true;
            }
            ActionStatus::Running | ActionStatus::Initiating => run::stop(experiment, name, world),
            ActionStatus::Stopping => run::poll_stopping(experiment, name, world),
            _ => {}
        }
    }
    if experiment.actions.values().all(|run| run.status.is_final())
        && let Some(ending) = experiment.ending.clone()
    {
        experiment.error = ending.error;
        finish(experiment, world, ending.status, ending.reason);
    }
}

fn finish(experiment: &mut Experiment, world: &mut World<'_>, status: ExperimentStatus, reason: String) {
    experiment.status = status;
    experiment.ended = Some(world.context.now);
    world.say(&experiment.id, "experiment", format!("{}: {reason}", status.as_str()));
    experiment.reason = reason;
    records::experiment_end(experiment, world);
}

impl Experiment {
    /// Begins its end: what runs is stopped first. The first ending stays.
    pub(super) fn end(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.status = ExperimentStatus::Stopping;
            self.reason = "Experiment is stopping.".to_owned();
            self.ending = Some(ending);
        }
    }

    /// Ends it as failed.
    pub(super) fn fail(&mut self, world: &mut World<'_>, failure: Failure) {
        let error = ExperimentError {
            account_id: world.context.account.clone(),
            code: failure.code.to_owned(),
            location: failure.location,
        };
        self.end(Ending { status: ExperimentStatus::Failed, reason: failure.reason, error: Some(error) });
        world.changed = true;
    }

    /// Says something worth knowing, once.
    pub(super) fn note(&mut self, world: &mut World<'_>, action: Option<&str>, text: String) {
        let action = action.map(str::to_owned);
        if self.notes.iter().any(|note| note.action == action && note.text == text) {
            return;
        }
        let about = action.as_deref().map_or_else(|| "note".to_owned(), |name| format!("note on {name}"));
        world.say(&self.id, &about, text.clone());
        self.notes.push(Note { at: world.context.now, action, text });
    }
}

impl World<'_> {
    /// A line for the server's log; also marks the state as changed.
    pub(super) fn say(&mut self, who: &str, what: &str, outcome: String) {
        self.changed = true;
        self.state.fis.say(who, what, outcome);
    }
}

impl FisState {
    /// A line for the server's log.
    pub(super) fn say(&mut self, who: &str, what: &str, outcome: String) {
        self.journal.push(Line { who: who.to_owned(), what: what.to_owned(), outcome });
    }
}

#[cfg(test)]
mod tests;
