//! What the local AWS says about each request and message: a `tracing` event with three fields, and no secret in
//! them. Senders choose some of the texts: they may have any length and any character.

use std::fmt;

use tracing::Event;
use tracing::field::{Field, Visit};

/// The target of every event begins with this.
pub const TARGET: &str = "aws_local";

/// An event of the local AWS, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// A managed instance, a task, an experiment; the kind of caller where it has no name.
    pub who: String,
    /// The request or message; `>` before what goes to an agent, `<` before what comes from one.
    pub what: String,
    /// The status, and what there is to say about it.
    pub outcome: String,
}

impl Line {
    /// Reads an event.
    pub fn of(event: &Event<'_>) -> Line {
        let mut line = Line::default();
        event.record(&mut line);
        line
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "who" => value.clone_into(&mut self.who),
            "what" => value.clone_into(&mut self.what),
            "outcome" => value.clone_into(&mut self.outcome),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
