//! `process-pause`: processes are pinned, a guardian waits, they are stopped; at the end they go on.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::{LocalBoxFuture, join_all};
use outcome::{Achieved, Asked, figures, rounded};
use rustix::process::Signal;

use crate::amount::short;
use crate::fault::{ActiveFault, FaultReport, FaultSummary, Perform, Preflight, StartError, Started, Undone};
use crate::signal::guardian::Guardian;
use crate::signal::misses::{Exempt, MOST_NAMED, MOST_NAMED_AS_DATA, Misses, named, processes};
use crate::signal::process::Process;
use crate::signal::{self, End, Found, Pinned, Sent, pin_by_name};
use crate::task::Task;
use faults::process_pause::ProcessPause;

/// How long after its end the guardian ends a pause that we have not ended.
const GRACE: Duration = Duration::from_secs(1);

struct ActiveProcessPause {
    asked: ProcessPause,
    duration: Duration,
    since: Instant,
    stopped: Stopped,
    ends: Vec<(End, Cell<bool>)>,
    misses: Misses,
}

/// Processes that stand still; dropping it lets them go on.
#[must_use = "dropped, the processes go on"]
struct Stopped {
    processes: Vec<Pinned>,
    /// Ends after they go on.
    _guardian: Guardian,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in &self.processes {
            // One that has ended needs none; whom we could stop we may let go on.
            let _ = process.send(Signal::CONT);
        }
    }
}

impl Perform for ProcessPause {
    fn preflight(task: &Task) -> Preflight {
        Preflight::of(signal::preflight(task.allow_host_processes))
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(std::future::ready(start(self, duration, task)))
    }
}

fn start(asked: &ProcessPause, duration: Duration, task: &Task) -> Started {
    let allow_host = asked.host_processes || task.allow_host_processes;
    let Found { mut pinned, mut misses } = pin_by_name(&asked.name, allow_host)?;
    // To let it go on at the end would undo what somebody else has done.
    for one in pinned.extract_if(.., |one| one.process.stopped) {
        misses.exempt.push(Exempt { process: one.process, why: "it was stopped already" });
    }
    if pinned.is_empty() {
        return Err(misses.no_hit(&asked.name).into());
    }
    let guardian = Guardian::start(&pinned, duration + GRACE).map_err(|error| {
        format!("cannot start the child that ends the pause if this process dies: {error}")
    })?;
    let mut stopped = Stopped { processes: Vec::new(), _guardian: guardian };
    for one in pinned {
        match one.send(Signal::STOP) {
            Sent::Yes => stopped.processes.push(one),
            Sent::Ended => {}
            Sent::Refused(error) => misses.refused.push((one.process, error)),
        }
    }
    if stopped.processes.is_empty() {
        return Err(misses.no_hit(&asked.name).into());
    }
    let watched = |error| StartError::from(format!("the processes cannot be watched: {error}"));
    let ends = stopped.processes.iter().map(|one| Ok((one.end().map_err(watched)?, Cell::new(false))));
    let ends = ends.collect::<Result<_, StartError>>()?;
    let since = Instant::now();
    Ok(Box::new(ActiveProcessPause { asked: asked.clone(), duration, since, stopped, ends, misses }))
}

/// What has become of the processes at the end.
#[derive(Debug, Default)]
struct Afterwards {
    /// Ended while they stood still.
    ended: u64,
    /// Somebody else let them go on before.
    went_on: u64,
    /// Do not go on: somebody else has stopped them again.
    still: Vec<Process>,
}

impl Stopped {
    fn names(&self) -> impl ExactSizeIterator<Item = &Process> {
        self.processes.iter().map(|one| &one.process)
    }

    /// Lets them go on.
    fn release(self) -> Afterwards {
        let mut afterwards = Afterwards::default();
        let now =
            |one: &Pinned| Process::read(one.process.pid).filter(|now| now.started == one.process.started);
        for one in &self.processes {
            match now(one) {
                None => afterwards.ended += 1,
                Some(process) if process.zombie => afterwards.ended += 1,
                Some(process) if !process.stopped => afterwards.went_on += 1,
                Some(_) => {
                    let _ = one.send(Signal::CONT);
                    afterwards.still.extend(now(one).filter(|process| process.stopped));
                }
            }
        }
        afterwards
    }
}

impl ActiveProcessPause {
    fn summary(&self) -> FaultSummary {
        let name = &self.asked.name;
        let (hit, lived) = (self.stopped.processes.len() as u64, self.since.elapsed());
        let stopped = |most| format!("stopped: {}: {}", processes(hit), named(self.stopped.names(), most));
        let seconds = rounded(lived.as_secs_f64().min(self.duration.as_secs_f64()), 1);
        let asked = Asked {
            text: format!("every process called {name} stopped for {} s", short(self.duration.as_secs_f64())),
            seconds: self.duration.as_secs_f64(),
            figures: figures([("process", name.as_str().into())]),
        };
        let achieved = Achieved {
            text: format!("{} for {seconds:.1} s", stopped(MOST_NAMED_AS_DATA)),
            figures: figures([("stopped", hit.into()), ("stopped_seconds", seconds.into())]),
            ..Achieved::default()
        };
        let text = format!("process-pause: asked {}\n{}\n", asked.text, stopped(MOST_NAMED));
        let mut summary =
            FaultSummary { text, asked, achieved, matched: Some(hit), ..FaultSummary::default() };
        self.misses.note_in(&mut summary);
        summary
    }
}

impl ActiveFault for ActiveProcessPause {
    fn started(&self) -> String {
        format!("process-pause: {} called {} stopped", processes(self.ends.len() as u64), self.asked.name)
    }

    /// When all have ended there is nothing left to pause.
    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        let all = &self.ends;
        let ends = all.iter().map(|(end, ended)| async move {
            ended.set(end.reached().await);
        });
        Box::pin(async move {
            join_all(ends).await;
            if !all.iter().all(|(_, ended)| ended.get()) {
                std::future::pending::<()>().await;
            }
        })
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        let mut summary = self.summary();
        let Afterwards { ended, went_on, still } = self.stopped.release();
        if ended > 0 {
            summary.note(format!("{} ended while stopped", processes(ended)));
        }
        if went_on > 0 {
            summary.note(format!("{} went on before the end: another has sent SIGCONT", processes(went_on)));
        }
        let (undone, failure) = match still.is_empty() {
            true => (Undone::Done("no process left stopped"), None),
            false => {
                let names = named(still.iter(), MOST_NAMED);
                let why = format!("still stopped, by somebody else or again: {names}; send SIGCONT to them");
                (Undone::Failed, Some(why))
            }
        };
        Box::pin(std::future::ready(FaultReport { summary: Some(summary), undone, failure }))
    }
}
