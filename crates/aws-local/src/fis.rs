//! Fault Injection Service: templates, experiments, and the engine that runs them.
//!
//! Members, limits and error codes are those of the service's public API model (version 2020-12-01). What the
//! engine does is what the service's guide says of it; where the guide is silent, the place says so. Where the
//! service surprises people it does so here too, and a [`Note`] says it in plain words.

use http::request::Parts;
use serde::{Deserialize, Serialize};

use super::Context;
use super::error::ApiError;
use super::log::Log;
use super::model::FIS;
use super::shared::Shared;
use super::store::State;
use super::wire::Answer;

mod accounts;
mod actions;
mod advice;
mod alarms;
mod arn;
pub mod catalog;
mod check;
mod commands;
pub mod definition;
mod document;
mod engine;
pub mod experiment;
mod experiments;
mod filter;
mod lever;
mod listing;
mod read;
mod records;
mod request;
mod restart;
mod run;
#[cfg(test)]
mod scene;
mod select;
mod tags;
mod targets;
mod templates;
mod view;

pub use definition::{Action, Definition, StopCondition, Target, Template};
pub use experiment::{ActionRun, ActionStatus, CommandRole, Experiment, ExperimentStatus, Note, SentCommand};
pub use lever::SafetyLever;

/// The most targets of one action, as the service's quotas are for every `aws:ecs` action on tasks until one
/// asks for more.
pub const TARGETS_PER_ACTION: usize = 5;

/// Templates, experiments and the safety lever.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FisState {
    /// In the order of their creation.
    pub templates: Vec<Template>,
    /// In the order of their start.
    pub experiments: Vec<Experiment>,
    pub lever: SafetyLever,
    /// The quota of targets per action, if it is not [`TARGETS_PER_ACTION`]; 0 is no limit. A switch for tests.
    #[serde(skip)]
    pub targets_per_action: Option<usize>,
    tokens: listing::Tokens,
    /// Whether the experiments in here are of this process: those of an earlier one are over.
    #[serde(skip)]
    resumed: bool,
    #[serde(skip)]
    journal: Vec<Line>,
}

/// A line of the server's log that waits to be written: who, what, and what came of it.
#[derive(Debug)]
pub(super) struct Line {
    who: String,
    what: String,
    outcome: String,
}

impl FisState {
    /// Writes what has happened since the last call to the server's log.
    pub(super) fn tell(&mut self, log: &Log) {
        for Line { who, what, outcome } in self.journal.drain(..) {
            for part in wrapped(&outcome) {
                log.line(&who, &what, part);
            }
        }
    }

    /// The experiment with this id.
    pub fn experiment(&self, id: &str) -> Option<&Experiment> {
        self.experiments.iter().find(|experiment| experiment.id == id)
    }

    fn quota(&self) -> Option<usize> {
        match self.targets_per_action {
            Some(0) => None,
            Some(quota) => Some(quota),
            None => Some(TARGETS_PER_ACTION),
        }
    }
}

/// A long sentence in pieces that the log does not cut off, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    const CHARACTERS: usize = 140;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(last) = lines.last_mut() else { break };
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= CHARACTERS {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Lets time pass: starts, polls and ends actions. True if anything changed.
pub fn advance(state: &mut State, context: &Context) -> bool {
    engine::advance(state, context)
}

/// Answers a request of the service's rest-json protocol; None if its path is none of ours.
pub(super) fn answer(shared: &Shared, parts: &Parts, body: &[u8]) -> Option<Answer> {
    request::answer(shared, parts, body)
}

/// What is not there (HTTP 404).
fn not_found(message: String) -> ApiError {
    FIS.refuse("ResourceNotFoundException", message)
}

/// What the state of things does not allow (HTTP 409).
fn conflict(message: String) -> ApiError {
    FIS.refuse("ConflictException", message)
}

/// More than the service's quotas allow (HTTP 402, as the model has it).
fn over_quota(message: String) -> ApiError {
    FIS.refuse("ServiceQuotaExceededException", message)
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn long_sentences_are_broken_between_words_and_lose_nothing() {
        assert_eq!(wrapped("short"), ["short"]);
        let long = "a word and ".repeat(60);
        let lines = wrapped(&long);
        assert!(lines.len() > 3 && lines.iter().all(|line| line.len() <= 140), "{lines:?}");
        assert_eq!(lines.join(" "), long);
    }
}
