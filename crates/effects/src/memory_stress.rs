//! `memory-stress`: what its percentage means here, its margin, and its report.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Asked, figures, rounded};

use crate::amount::{bytes, many, share_of, short};
use crate::fault::{
    ActiveFault, FaultReport, FaultSummary, Perform, Preflight, StartError, Started, Undone, off_thread,
    start_off_thread,
};
use crate::memory::{MemoryLoad, MemoryPlan, MemoryReport, Surroundings};
use crate::task::Task;
use crate::task::limits::CpuLimits;
use crate::task::limits::memory::{MemoryLimits, Room};
use crate::task::memory::TaskMemory;
use faults::Parameters;
use faults::memory_stress::MemoryStress;

/// Processes that hold memory, at most: more would take and touch no faster.
const MOST_CHILDREN: u32 = 8;

struct ActiveMemoryStress {
    asked: MemoryStress,
    duration: Duration,
    workers: u32,
    /// Processes that hold it.
    children: u32,
    /// Bytes to hold.
    goal: u64,
    /// The tightest limit, before the first page was taken.
    before: Room,
    memory: TaskMemory,
    load: MemoryLoad,
}

impl Perform for MemoryStress {
    fn preflight(task: &Task) -> Preflight {
        Preflight::of(find(task))
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(start(self, duration, task))
    }
}

async fn start(stress: &MemoryStress, duration: Duration, task: &Task) -> Started {
    let memory = TaskMemory::of(task).await;
    let limits = memory.limits();
    let before =
        limits.least_headroom().ok_or("neither the memory of the machine nor a limit can be read")?;
    let goal = goal(stress.percent, &before)?;
    let cpus = CpuLimits::read(task).affinity;
    let workers = match stress.workers {
        0 => cpus,
        workers => workers,
    };
    let children = workers.min(cpus).min(MOST_CHILDREN);
    let plan = MemoryPlan { children, bytes: goal, duration };
    // The kernel may have to look for memory before it has a process.
    let load = start_off_thread(move || -> Result<_, StartError> {
        let room = limits.follow();
        let surroundings = Surroundings { room, oom_kills: Arc::new(move || limits.oom_kills()) };
        Ok(MemoryLoad::start(plan, &surroundings)?)
    })
    .await?;
    let asked = stress.clone();
    Ok(Box::new(ActiveMemoryStress { asked, duration, workers, children, goal, before, memory, load }))
}

/// What it would find with its default share.
fn find(task: &Task) -> Result<String, StartError> {
    let room = MemoryLimits::read(task).least_headroom().ok_or("no memory limit can be read")?;
    goal(MemoryStress::with_defaults()?.percent, &room)?;
    Ok(format!("{} of {} free ({})", bytes(room.free()), bytes(room.limit), room.source))
}

fn goal(percent: u8, before: &Room) -> Result<u64, String> {
    let asked = share_of(before.free(), percent);
    match u64::try_from(before.headroom()) {
        Ok(most) if most > 0 => Ok(asked.min(most)),
        _ => Err(before.no_headroom()),
    }
}

impl ActiveFault for ActiveMemoryStress {
    fn started(&self) -> String {
        format!("memory-stress: {} taking {}", many(u64::from(self.workers), "worker"), bytes(self.goal))
    }

    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        let broken = self.load.broken();
        Box::pin(self.memory.follow_until(broken))
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        // Giving gigabytes back takes the kernel a while.
        off_thread(move || {
            let ActiveMemoryStress { asked, duration, workers, children, goal, before, memory, load } = *self;
            let limits = memory.limits();
            let same = |room: &Room| room.source == before.source;
            let at_end = limits.rooms().into_iter().find(same);
            let (report, failure) = load.stop();
            let after = limits.rooms().into_iter().find(same);
            let uses = Uses { before, at_end, after };
            let mut summary = summary(&asked, duration, workers, goal, &uses, &report);
            if children < workers {
                let holding = format!("{children} process{}", if children == 1 { "" } else { "es" });
                summary.note(format!("{workers} workers asked; {holding} held it for all of them"));
            }
            let undone = Undone::Done("all of it is given back");
            FaultReport { summary: Some(summary), undone, failure }
        })
    }
}

/// The use of the tightest limit over the life of the fault.
struct Uses {
    before: Room,
    at_end: Option<Room>,
    after: Option<Room>,
}

fn summary(
    asked: &MemoryStress,
    duration: Duration,
    workers: u32,
    goal: u64,
    uses: &Uses,
    done: &MemoryReport,
) -> FaultSummary {
    let before = &uses.before;
    let asked_for = asked_for(asked, duration, workers, goal, before);
    let achieved = achieved(done);
    let text = format!("memory-stress: asked {}\n", asked_for.text);
    let mut summary = FaultSummary { text, asked: asked_for, achieved, ..FaultSummary::default() };
    let (limit, used) = (bytes(before.limit), bytes(before.used));
    summary.remark(format!("limit: {limit} ({}), {used} used before", before.source));
    summary.line(&format!("achieved: {}", summary.achieved.text));
    if goal < share_of(before.free(), asked.percent) {
        let margin = bytes(before.margin());
        summary.note(format!("less than asked, because {margin} stay free in any case"));
    }
    if done.given_back > 0 {
        let least = done.least.map_or(String::new(), |least| format!(", down to {}", bytes(least)));
        summary.note(format!(
            "others needed memory: gave back {}{least}; {} held in the end",
            many(done.given_back, "time"),
            bytes(done.held)
        ));
    }
    note_losses(done, &mut summary);
    let (at_end, after) = (share_of_limit(uses.at_end.as_ref()), share_of_limit(uses.after.as_ref()));
    summary.remark(format!("use: {at_end} at the end, {after} after"));
    summary
}

fn note_losses(done: &MemoryReport, summary: &mut FaultSummary) {
    if done.taken > 0 {
        summary.note(format!(
            "others needed memory faster than it could be given back: the OOM killer took a process that held it, {}; \
             it was started again",
            many(done.taken, "time")
        ));
    }
    if done.killed > 0 {
        let times = many(done.killed, "time");
        summary.note(format!(
            "a process that held the memory was killed from outside, {times}; it was started again"
        ));
    }
    if let Some(code) = done.not_first {
        let error = std::io::Error::from_raw_os_error(code);
        summary.note(format!(
            "the OOM killer could not be told to take this memory first (/proc/self/oom_score_adj: {error})"
        ));
    }
}

/// `400.0 MiB (78 % of the limit)`.
fn share_of_limit(room: Option<&Room>) -> String {
    room.map_or("unknown".to_owned(), |room| {
        let percent = 100.0 * room.used as f64 / room.limit as f64;
        format!("{} ({percent:.0} % of the limit)", bytes(room.used))
    })
}

fn asked_for(asked: &MemoryStress, duration: Duration, workers: u32, goal: u64, before: &Room) -> Asked {
    let text = format!(
        "{} % of {} free for {} s: {} ({})",
        asked.percent,
        bytes(before.free()),
        short(duration.as_secs_f64()),
        bytes(goal),
        many(u64::from(workers), "worker")
    );
    let figures = figures([
        ("percent", asked.percent.into()),
        ("bytes", goal.into()),
        ("limit_bytes", before.limit.into()),
        ("workers", workers.into()),
    ]);
    Asked { text, seconds: duration.as_secs_f64(), figures }
}

fn achieved(done: &MemoryReport) -> Achieved {
    let touched = format!("{} written to again", many(done.touched, "page"));
    let mut figures = figures([("bytes", done.most.into()), ("times_given_back", done.given_back.into())]);
    if done.taken > 0 {
        figures.insert("times_taken_by_oom_killer".into(), done.taken.into());
    }
    let text = match done.reached_after {
        Some(after) => {
            figures.insert("after_seconds".into(), rounded(after.as_secs_f64(), 1).into());
            format!("{} held after {:.1} s, {touched}", bytes(done.most), after.as_secs_f64())
        }
        None => format!("at most {} held, less than asked; {touched}", bytes(done.most)),
    };
    Achieved { text, figures, ..Achieved::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::limits::memory::MemorySource;

    const MIB: u64 = 1024 * 1024;

    fn room(limit: u64, used: u64) -> Room {
        Room { limit: limit * MIB, used: used * MIB, source: MemorySource::Machine }
    }

    #[test]
    fn the_share_is_of_what_is_free_and_never_reaches_the_limit() {
        assert_eq!(goal(50, &room(512, 112)), Ok(200 * MIB));
        // A twentieth of 512 MiB stays.
        assert_eq!(goal(100, &room(512, 112)), Ok(400 * MIB - 512 * MIB / 20));
        for limit in [8, 64, 256, 4096, 1024 * 1024] {
            let room = room(limit, 0);
            assert!(goal(100, &room).unwrap() + room.margin() <= room.limit);
        }
    }

    #[test]
    fn a_task_without_room_is_refused_with_figures() {
        for used in [500, 512, 600] {
            let refused = goal(80, &room(512, used)).unwrap_err();
            assert!(refused.contains("of 512.0 MiB (memory of the machine) are free"), "{refused}");
        }
    }
}
