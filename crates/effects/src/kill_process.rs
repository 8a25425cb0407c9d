//! `kill-process`: signals by name, sent at the start, then it is watched whether the processes end.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use outcome::{Achieved, Asked, figures};

use crate::amount::many;
use crate::fault::{ActiveFault, FaultReport, FaultSummary, Perform, Preflight, StartError, Started, Undone};
use crate::signal::namespace::Namespace;
use crate::signal::process::Process;
use crate::signal::{End, Exempt, Signals, admit, signal_by_name};
use crate::task::Task;
use faults::kill_process::{self, KillProcess};

/// Processes named in one line of the report.
const MOST_NAMED: usize = 24;
/// Bytes that a named process takes on average at most: real names have 15 at most.
const MOST_BYTES_PER_NAME: usize = 24;
/// Processes named where room is short.
const MOST_NAMED_AS_DATA: usize = 3;

const NOT_SHARED: &str = "the PID namespace is not shared; set pidMode to task in the task definition";

struct ActiveKillProcess {
    asked: KillProcess,
    duration: Duration,
    /// Those that got the signal, and whether they have ended.
    hit: Vec<(Process, End, Cell<bool>)>,
    /// Those that did not, with the reason.
    refused: Vec<(Process, String)>,
    exempt: Vec<Exempt>,
    /// The names of the processes that were not meant.
    others: BTreeSet<String>,
}

impl Perform for KillProcess {
    fn preflight(task: &Task) -> Preflight {
        Preflight::of(find(task))
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(std::future::ready(start(self, duration, task)))
    }
}

fn start(asked: &KillProcess, duration: Duration, task: &Task) -> Started {
    let allow_host = asked.host_processes || task.allow_host_processes;
    let Signals { signalled, exempt, others } = signal_by_name(&asked.name, asked.signal, allow_host)?;
    let asked = asked.clone();
    let mut active =
        ActiveKillProcess { asked, duration, hit: Vec::new(), refused: Vec::new(), exempt, others };
    for mut one in signalled {
        let process = one.process.clone();
        if let Some(error) = one.refused.take() {
            active.refused.push((process, error.to_string()));
            continue;
        }
        let end =
            one.end().map_err(|error| format!("the signal was sent, but cannot be watched: {error}"))?;
        active.hit.push((process, end, Cell::new(false)));
    }
    if active.hit.is_empty() { Err(active.no_hit().into()) } else { Ok(Box::new(active)) }
}

/// Whose processes it would find.
fn find(task: &Task) -> Result<String, StartError> {
    admit(task.allow_host_processes)?;
    match Namespace::read(Path::new("/")) {
        Namespace::Host => Ok("every process of the host can be signalled, as was allowed".into()),
        Namespace::Shared => Ok("the processes of the task's other containers can be seen".into()),
        Namespace::Private => {
            Err(format!("only processes of this container would be hit: {NOT_SHARED}").into())
        }
        Namespace::Unknown => Ok("which processes can be seen could not be told, but was allowed".into()),
    }
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

impl ActiveKillProcess {
    /// Why no process got the signal.
    fn no_hit(&self) -> String {
        let mut text = match (self.refused.is_empty(), self.exempt.is_empty()) {
            (true, true) => format!("no process is called {}{}", self.asked.name, self.there_are()),
            _ => format!("no process called {} could be signalled", self.asked.name),
        };
        for line in self.left_alone() {
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

    fn left_alone(&self) -> Vec<String> {
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

    /// `7 python, 9 python`, of those that were signalled; at most `most` of them, and fewer if their names are long.
    fn named(&self, most: usize) -> String {
        let named = self.hit.iter().take(most);
        let named = named.map(|(process, ..)| format!("{} {}", process.pid, process.name));
        let mut list = fitting(named, most * MOST_BYTES_PER_NAME);
        if self.hit.len() > list.len() {
            list.push(format!("and {} more", self.hit.len() - list.len()));
        }
        list.join(", ")
    }

    fn summary(&self, duration: Duration) -> FaultSummary {
        let KillProcess { name, signal, .. } = &self.asked;
        let hit = self.hit.len() as u64;
        let ended = self.hit.iter().filter(|(.., ended)| ended.get()).count();
        let processes = if hit == 1 { "1 process".to_owned() } else { format!("{hit} processes") };
        let signalled = |most| format!("signalled: {processes}: {}", self.named(most));
        let ends = format!("ended within {} s: {ended} of {hit}", kill_process::WATCH.as_secs());
        let asked = Asked {
            text: format!("{} for every process called {name}", signal.name()),
            seconds: duration.as_secs_f64(),
            figures: figures([("signal", signal.name().into()), ("process", name.as_str().into())]),
        };
        let achieved = Achieved {
            text: format!("{}; {ends}", signalled(MOST_NAMED_AS_DATA)),
            figures: figures([("signalled", hit.into()), ("ended", ended.into())]),
            ..Achieved::default()
        };
        let text = format!("kill-process: asked {}\n{}\n{ends}\n", asked.text, signalled(MOST_NAMED));
        let mut summary =
            FaultSummary { text, asked, achieved, matched: Some(hit), ..FaultSummary::default() };
        let left_alone = self.left_alone();
        let unsaid = self.refused.len() + self.exempt.len() - left_alone.len();
        left_alone.into_iter().for_each(|line| summary.note(line));
        if unsaid > 0 {
            summary.note(format!("{} left alone as well", many(unsaid as u64, "other")));
        }
        summary.remark("a signal cannot be taken back; there is nothing to undo");
        summary
    }
}

impl ActiveFault for ActiveKillProcess {
    fn started(&self) -> String {
        let KillProcess { name, signal, .. } = &self.asked;
        format!("kill-process: {} sent to every process called {name}: {} hit", signal.name(), self.hit.len())
    }

    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        let ends = self.hit.iter().map(|(_, end, ended)| async move {
            ended.set(end.reached().await);
        });
        Box::pin(async move {
            join_all(ends).await;
        })
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        let summary = Some(self.summary(self.duration));
        Box::pin(std::future::ready(FaultReport { summary, undone: Undone::Nothing, failure: None }))
    }
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
