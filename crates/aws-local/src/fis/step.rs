//! One step of an experiment: what it may use, and what it leaves behind in the experiment.

use super::experiment::{Ending, Experiment, ExperimentError, ExperimentStatus, Note};
use super::services::Services;
use super::state::FisState;
use crate::Context;

/// What a step may use.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// All but the experiments, which are taken out while they take their steps.
    pub(super) fis: &'a mut FisState,
    pub(super) services: &'a mut dyn Services,
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
    pub(super) fn fail(&mut self, step: &mut Step<'_>, failure: Failure) {
        let error = ExperimentError {
            account_id: step.context.account.clone(),
            code: failure.code.to_owned(),
            location: failure.location,
        };
        self.end(Ending { status: ExperimentStatus::Failed, reason: failure.reason, error: Some(error) });
        step.changed = true;
    }

    /// Says something worth knowing, once.
    pub(super) fn note(&mut self, step: &mut Step<'_>, action: Option<&str>, text: String) {
        let action = action.map(str::to_owned);
        if self.notes.iter().any(|note| note.action == action && note.text == text) {
            return;
        }
        let about = action.as_deref().map_or_else(|| "note".to_owned(), |name| format!("note on {name}"));
        step.log(&self.id, &about, text.clone());
        self.notes.push(Note { at: step.context.now, action, text });
    }
}

impl Step<'_> {
    /// A line for the server's log; also marks the state as changed.
    pub(super) fn log(&mut self, who: &str, what: &str, outcome: String) {
        self.changed = true;
        self.fis.log(who, what, outcome);
    }
}
