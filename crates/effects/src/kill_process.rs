//! `kill-process`: signals by name, sent at the start, then it is watched whether the processes end.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use outcome::{Achieved, Asked, figures};

use crate::fault::{ActiveFault, FaultReport, FaultSummary, Perform, Preflight, Started, Undone};
use crate::signal::misses::{MOST_NAMED, MOST_NAMED_AS_DATA, Misses, named, processes};
use crate::signal::process::Process;
use crate::signal::{self, End, Found, Sent, pin_by_name};
use crate::task::Task;
use faults::kill_process::{self, KillProcess};

struct ActiveKillProcess {
    asked: KillProcess,
    duration: Duration,
    /// Those that got the signal, and whether they have ended.
    hit: Vec<(Process, End, Cell<bool>)>,
    misses: Misses,
}

impl Perform for KillProcess {
    fn preflight(task: &Task) -> Preflight {
        Preflight::of(signal::preflight(task.allow_host_processes))
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(std::future::ready(start(self, duration, task)))
    }
}

fn start(asked: &KillProcess, duration: Duration, task: &Task) -> Started {
    let allow_host = asked.host_processes || task.allow_host_processes;
    let Found { pinned, misses } = pin_by_name(&asked.name, allow_host)?;
    let mut active = ActiveKillProcess { asked: asked.clone(), duration, hit: Vec::new(), misses };
    for one in pinned {
        match one.send(signal::number(asked.signal)) {
            Sent::Yes => {
                let end = one
                    .end()
                    .map_err(|error| format!("the signal was sent, but cannot be watched: {error}"))?;
                active.hit.push((one.process, end, Cell::new(false)));
            }
            // By itself, in between.
            Sent::Ended => {}
            Sent::Refused(error) => active.misses.refused.push((one.process, error)),
        }
    }
    if active.hit.is_empty() { Err(active.misses.no_hit(&asked.name).into()) } else { Ok(Box::new(active)) }
}

impl ActiveKillProcess {
    fn summary(&self, duration: Duration) -> FaultSummary {
        let KillProcess { name, signal, .. } = &self.asked;
        let hit = self.hit.len() as u64;
        let ended = self.hit.iter().filter(|(.., ended)| ended.get()).count();
        let signalled = |most| {
            format!(
                "signalled: {}: {}",
                processes(hit),
                named(self.hit.iter().map(|(process, ..)| process), most)
            )
        };
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
        self.misses.note_in(&mut summary);
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
