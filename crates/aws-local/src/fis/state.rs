//! Templates, experiments and the safety lever as data, and the lines that wait for the server's log.

use serde::{Deserialize, Serialize};

use super::definition::Template;
use super::experiment::Experiment;
use super::safety::SafetyLever;
use super::tokens::Tokens;

/// The most targets of one action, as the service's quotas are for every `aws:ecs` action on tasks until one
/// asks for more.
pub(crate) const TARGETS_PER_ACTION: usize = 5;

/// Templates, experiments and the safety lever.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FisState {
    /// In the order of their creation.
    pub templates: Vec<Template>,
    /// In the order of their start.
    pub experiments: Vec<Experiment>,
    pub lever: SafetyLever,
    /// The quota of targets per action, if it is not [`TARGETS_PER_ACTION`]; 0 is no limit. A switch for tests.
    #[serde(skip)]
    pub targets_per_action: Option<usize>,
    /// Whether any role will do, also one that is not there. A switch for tests.
    #[serde(skip)]
    pub any_role: bool,
    /// The home of the tasks, if that is another region than this one.
    #[serde(skip)]
    pub tasks_elsewhere: Option<String>,
    pub(super) tokens: Tokens,
    /// Whether the experiments in here are of this process: those of an earlier one are over.
    #[serde(skip)]
    pub(super) resumed: bool,
    #[serde(skip)]
    pub(super) journal: Vec<Line>,
    /// What waits to be written into buckets.
    #[serde(skip)]
    pub(super) objects: Vec<Object>,
}

/// An object of S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub bucket: String,
    pub key: String,
    pub text: String,
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
    pub(crate) fn flush_log(&mut self) {
        for Line { who, what, outcome } in self.journal.drain(..) {
            for part in wrapped(&outcome) {
                tracing::info!(who, what, outcome = part);
            }
        }
    }

    /// Takes what waits to be written into buckets.
    pub(crate) fn take_objects(&mut self) -> Vec<Object> {
        std::mem::take(&mut self.objects)
    }

    /// The experiment with this id.
    pub(crate) fn experiment(&self, id: &str) -> Option<&Experiment> {
        self.experiments.iter().find(|experiment| experiment.id == id)
    }

    /// The most targets of an action; None without a limit.
    pub(super) fn quota(&self) -> Option<usize> {
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

impl FisState {
    /// A line for the server's log.
    pub(super) fn log(&mut self, who: &str, what: &str, outcome: String) {
        self.journal.push(Line { who: who.to_owned(), what: what.to_owned(), outcome });
    }
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
