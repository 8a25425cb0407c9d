//! `kill-process`: signals by name, sent at the start, then it is watched whether the processes end.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use nix::sys::signal::Signal;

use crate::amount::many;
use crate::fault::{ActiveFault, FaultReport, Perform, Preflight, StartError, Started};
use crate::signal::namespace::Namespace;
use crate::signal::process::Process;
use crate::signal::{End, Signals, Spared, admit, signal_by_name};
use crate::task::Task;
use faults::kill_process::{self, KillProcess};

/// Processes named in one line of the report.
const MOST_NAMED: usize = 24;

const NOT_SHARED: &str = "the PID namespace is not shared; set pidMode to task in the task definition";

struct ActiveKillProcess {
    asked: KillProcess,
    /// Those that got the signal, and whether they have ended.
    hit: Vec<(Process, End, Cell<bool>)>,
    /// Those that did not, with the reason.
    refused: Vec<(Process, String)>,
    spared: Vec<Spared>,
}

impl Perform for KillProcess {
    fn preflight(task: &Task) -> Preflight {
        Preflight::of(find(task))
    }

    fn start<'a>(&'a self, _: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(std::future::ready(start(self, task)))
    }
}

fn start(asked: &KillProcess, task: &Task) -> Started {
    let signal = match asked.signal {
        kill_process::Signal::Term => Signal::SIGTERM,
        kill_process::Signal::Kill => Signal::SIGKILL,
    };
    let allow_host = asked.host_processes || task.allow_host_processes;
    let Signals { signalled, spared } = signal_by_name(&asked.name, signal, allow_host)?;
    let mut live = ActiveKillProcess { asked: asked.clone(), hit: Vec::new(), refused: Vec::new(), spared };
    for mut one in signalled {
        let process = one.process.clone();
        if let Some(error) = one.refused.take() {
            live.refused.push((process, error.to_string()));
            continue;
        }
        let end =
            one.end().map_err(|error| format!("the signal was sent, but cannot be watched: {error}"))?;
        live.hit.push((process, end, Cell::new(false)));
    }
    if live.hit.is_empty() { Err(live.nobody().into()) } else { Ok(Box::new(live)) }
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

impl ActiveKillProcess {
    /// Why nobody got the signal.
    fn nobody(&self) -> String {
        let mut text = match (self.refused.is_empty(), self.spared.is_empty()) {
            (true, true) => format!("no process is called {}", self.asked.name),
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

    fn left_alone(&self) -> Vec<String> {
        let refused = self
            .refused
            .iter()
            .take(MOST_NAMED / 4)
            .map(|(process, why)| format!("{} {} refused it: {why}", process.pid, process.name));
        let spared = self.spared.iter().take(MOST_NAMED / 4).map(|spared| {
            format!("{} {} was left alone: {}", spared.process.pid, spared.process.name, spared.why)
        });
        refused.chain(spared).collect()
    }

    fn describe(&self) -> String {
        let KillProcess { name, signal, .. } = &self.asked;
        let named = self.hit.iter().take(MOST_NAMED);
        let mut list: Vec<_> =
            named.map(|(process, ..)| format!("{} {}", process.pid, process.name)).collect();
        if self.hit.len() > MOST_NAMED {
            list.push(format!("and {} more", self.hit.len() - MOST_NAMED));
        }
        let count = self.hit.len() as u64;
        let ended = self.hit.iter().filter(|(.., ended)| ended.get()).count();
        let mut text = format!(
            "kill-process: asked {} for every process called {name}\nsignalled: {}: {}\nended within {} s: {ended} \
             of {count}\n",
            signal.name(),
            if count == 1 { "1 process".to_owned() } else { format!("{count} processes") },
            list.join(", "),
            kill_process::WATCH.as_secs(),
        );
        for line in self.left_alone() {
            text += &format!("note: {line}\n");
        }
        let unsaid = self.refused.len() + self.spared.len() - self.left_alone().len();
        if unsaid > 0 {
            text += &format!("note: {} left alone as well\n", many(unsaid as u64, "other"));
        }
        text + "a signal cannot be taken back; there is nothing to undo\n"
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
        let text = self.describe();
        Box::pin(std::future::ready(FaultReport { text, undone: None, failure: None }))
    }
}
