//! What a fault is to whoever runs it: something that can be performed, then something that is active, then a
//! report. Each fault has a file of its own that brings its parameters and its effect together; [`registry`]
//! lists them.
//!
//! [`registry`]: crate::registry

use std::error::Error;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Asked};

use crate::task::Task;

/// Why a fault did not start: the error of its effect, or a sentence. Its text ends without a full stop, and
/// everything is as it was before, unless the text says otherwise.
pub type StartError = Box<dyn Error + Send + Sync>;

/// A fault that was started, or why it was not.
pub type Started = Result<Box<dyn ActiveFault>, StartError>;

/// The parameters of one fault, as something that can be performed.
pub trait Perform {
    /// Whether this fault would work in `task` with its default parameters, as far as can be told without doing it.
    fn preflight(task: &Task) -> Preflight
    where
        Self: Sized;

    /// Starts it, to be active for `duration`. Checks everything before it touches anything; what fails half-way is
    /// undone.
    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started>;
}

/// A fault that has been started. [`ActiveFault::finish`] undoes it and reports; dropping it undoes it as well, at
/// once and without a report.
pub trait ActiveFault {
    /// What has been started, in one line without an end: `cpu-stress: 2 threads at 80 % of a core each`.
    fn started(&self) -> String;

    /// Is ready when the fault has ended by itself: done, or broken. Polled for as long as the fault is active, so
    /// that a fault which has to do something on the control thread meanwhile can do it here.
    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Undoes the fault and reports what it came to.
    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport>;
}

/// What a fault came to.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultReport {
    /// None where even that cannot be told.
    pub summary: Option<FaultSummary>,
    /// What is left of it.
    pub undone: Undone,
    /// Why it was not what was asked, or could not be undone.
    pub failure: Option<String>,
}

/// What a fault was asked and what it achieved: once for people, once as data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FaultSummary {
    /// For people: whole lines, under [`MOST_TEXT`] bytes.
    pub text: String,
    /// What it was asked, as data.
    pub asked: Asked,
    /// What it achieved, as data.
    pub achieved: Achieved,
    /// What the fault took effect on, where that is counted: packets or processes.
    pub matched: Option<u64>,
    /// What else is worth knowing. All of it stands in the text, too.
    pub notes: Vec<String>,
}

impl FaultSummary {
    /// Adds a line for people: `limit: 1.0 GiB`, which is a note as well.
    pub(crate) fn remark(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.line(&line);
        self.notes.push(line);
    }

    /// Adds a note, for people behind the word `note`.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        self.line(&format!("note: {note}"));
        self.notes.push(note);
    }

    /// Adds a line for people only.
    pub(crate) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// Most bytes of a report for people: the figures have to fit behind it.
pub const MOST_TEXT: usize = 1_600;

/// What became of a fault's traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// Nothing is left, and what that means: `no thread left`.
    Done(&'static str),
    /// Something is left; the failure says what.
    Failed,
    /// It left nothing that could be undone.
    Nothing,
}

/// Whether a fault will work in a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// Whether all of it will work.
    pub works: bool,
    /// What will work and how, or why not and what to change; it goes on behind the fault's name.
    pub text: String,
}

impl Preflight {
    /// It will work; nothing more is to be said.
    pub fn works() -> Preflight {
        Preflight { works: true, text: "will work here".to_owned() }
    }

    /// It will work with what was found, or will not because of an error.
    pub fn of(found: Result<String, StartError>) -> Preflight {
        match found {
            Ok(found) => Preflight { works: true, text: format!("will work here: {found}") },
            Err(reason) => Preflight { works: false, text: format!("will not work here: {reason}") },
        }
    }
}

/// Undoes on a thread of its own what may wait for a disk or for the kernel, so that the control side does not.
pub(crate) fn off_thread(
    undo: impl FnOnce() -> FaultReport + Send + 'static,
) -> LocalBoxFuture<'static, FaultReport> {
    Box::pin(async move {
        tokio::task::spawn_blocking(undo).await.unwrap_or_else(|error| FaultReport {
            summary: None,
            undone: Undone::Failed,
            failure: Some(format!("undoing it broke off: {error}")),
        })
    })
}
