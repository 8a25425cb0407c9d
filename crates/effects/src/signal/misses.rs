//! What a search by name left out, and how that is told.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::namespace::Namespace;
use super::process::Process;
use crate::amount::many;
use crate::fault::FaultSummary;

/// Processes named in one line of a report.
pub(crate) const MOST_NAMED: usize = 24;
/// Processes named where room is short.
pub(crate) const MOST_NAMED_AS_DATA: usize = 3;
/// Bytes that a named process takes on average at most: real names have 15 at most.
const MOST_BYTES_PER_NAME: usize = 24;

/// What to do where processes of other containers cannot be seen.
pub(crate) const NOT_SHARED: &str =
    "the PID namespace is not shared; set pidMode to task in the task definition";

/// A process of the name that gets no signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exempt {
    /// Which it is.
    pub process: Process,
    /// Why it gets none.
    pub why: &'static str,
}

/// Who did not get a signal, and why.
#[derive(Debug, Default)]
pub struct Misses {
    /// Named alike, and left alone.
    pub exempt: Vec<Exempt>,
    /// To whom the kernel refused it.
    pub refused: Vec<(Process, io::Error)>,
    /// The names of the others that may be signalled.
    pub others: BTreeSet<String>,
}

impl Misses {
    /// Why no process called `name` got a signal.
    pub(crate) fn no_hit(&self, name: &str) -> String {
        let mut text = match (self.refused.is_empty(), self.exempt.is_empty()) {
            (true, true) => format!("no process is called {name}{}", self.there_are()),
            _ => format!("no process called {name} could be signalled"),
        };
        for line in self.lines() {
            text += &format!("; {line}");
        }
        if Namespace::read(Path::new("/")) == Namespace::Private {
            text += &format!(". Processes of other containers cannot be seen from here: {NOT_SHARED}");
        }
        text
    }

    /// `; there are nginx, python3`: what the name may have been meant to be.
    fn there_are(&self) -> String {
        let mut names =
            fitting(self.others.iter().take(MOST_NAMED).cloned(), MOST_NAMED * MOST_BYTES_PER_NAME);
        if names.is_empty() {
            return String::new();
        }
        if names.len() < self.others.len() {
            names.push(format!("and {} more", self.others.len() - names.len()));
        }
        format!("; there are {}", names.join(", "))
    }

    /// Notes who has the name and got no signal: the first of them each, the others by their number.
    pub(crate) fn note_in(&self, summary: &mut FaultSummary) {
        let lines = self.lines();
        let unsaid = self.refused.len() + self.exempt.len() - lines.len();
        lines.into_iter().for_each(|line| summary.note(line));
        if unsaid > 0 {
            summary.note(format!("{} left alone as well", many(unsaid as u64, "other")));
        }
    }

    /// A line for each of the first who have the name and got no signal.
    fn lines(&self) -> Vec<String> {
        let refused = self
            .refused
            .iter()
            .take(MOST_NAMED / 4)
            .map(|(process, why)| format!("{} {} refused it: {why}", process.pid, process.name));
        let exempt = self.exempt.iter().take(MOST_NAMED / 4).map(|exempt| {
            format!("{} {} was left alone: {}", exempt.process.pid, exempt.process.name, exempt.why)
        });
        fitting(refused.chain(exempt), MOST_NAMED * MOST_BYTES_PER_NAME)
    }
}

/// `1 process`, `2 processes`.
pub(crate) fn processes(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

/// `7 python, 9 python`: at most `most` of `processes`, and fewer if their names are long.
pub(crate) fn named<'a>(processes: impl ExactSizeIterator<Item = &'a Process>, most: usize) -> String {
    let all = processes.len();
    let named = processes.take(most).map(|process| format!("{} {}", process.pid, process.name));
    let mut list = fitting(named, most * MOST_BYTES_PER_NAME);
    if all > list.len() {
        list.push(format!("and {} more", all - list.len()));
    }
    list.join(", ")
}

/// The first of `texts`, as many as fit into so many bytes; at least one.
fn fitting(texts: impl Iterator<Item = String>, bytes: usize) -> Vec<String> {
    let mut taken = 0;
    let fits = |text: &String| {
        let first = taken == 0;
        taken += text.len();
        first || taken <= bytes
    };
    texts.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_names_as_fit_are_told_and_at_least_one() {
        let fitting = |bytes| fitting(["aa", "bb", "cc"].map(str::to_owned).into_iter(), bytes).len();
        assert_eq!([fitting(0), fitting(2), fitting(4), fitting(5), fitting(6)], [1, 1, 2, 2, 3]);
    }
}
