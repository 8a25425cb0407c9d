//! `disk-fill`: what its percentage means here, and its report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Asked, figures, rounded};

use crate::amount::{bytes, share_of, short};
use crate::disk::space::Space;
use crate::disk::{DiskFill as Fill, FillPlan, FillReport, writable_folder};
use crate::fault::{
    ActiveFault, FaultReport, FaultSummary, Perform, Preflight, StartError, Started, Undone, off_thread,
};
use crate::task::Task;
use faults::Parameters;
use faults::disk_fill::DiskFill;

/// Where a file may go on the file system of `/`, besides the folder that the task names.
const FOLDERS: [&str; 7] = ["/var/lib/amazon/ssm", "/var/tmp", "/tmp", "/", "/var/lib", "/root", "/home"];

struct ActiveDiskFill {
    asked: DiskFill,
    duration: Duration,
    folder: PathBuf,
    before: Space,
    fill: Fill,
}

impl Perform for DiskFill {
    fn preflight(task: &Task) -> Preflight {
        Preflight::of(find(task))
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(std::future::ready(start(self, duration, task)))
    }
}

fn start(asked: &DiskFill, duration: Duration, task: &Task) -> Started {
    let path = asked.path.as_path();
    let before = Space::of_writable(path)?;
    let used_goal = goal(asked, before)?;
    let folder = folder(path, task)?;
    let plan = FillPlan { folder: folder.clone(), used_goal };
    let fill = Fill::start(plan)?;
    Ok(Box::new(ActiveDiskFill { asked: asked.clone(), duration, folder, before, fill }))
}

/// A folder on the file system of `path` that files may be made in.
fn folder(path: &Path, task: &Task) -> Result<PathBuf, String> {
    let mut folders = vec![path];
    folders.extend(task.scratch.as_deref());
    folders.extend(FOLDERS.map(Path::new));
    writable_folder(path, &folders)
}

/// What it would find with its default path.
fn find(task: &Task) -> Result<String, StartError> {
    let DiskFill { path, .. } = DiskFill::with_defaults()?;
    let space = Space::of_writable(&path)?;
    let folder = folder(&path, task)?;
    Ok(format!(
        "{} is {:.1} % full, files can be made in {}",
        path.display(),
        space.percent(),
        folder.display()
    ))
}

/// Bytes that shall be in use: the share of what is used or available, rounded down.
fn goal(asked: &DiskFill, before: Space) -> Result<u64, String> {
    let goal = share_of(before.whole(), asked.percent);
    if goal > before.used {
        return Ok(goal);
    }
    Err(format!(
        "the file system of {} is already {:.1} % full ({} of {}), which is not below the {} % asked",
        asked.path.display(),
        before.percent(),
        bytes(before.used),
        bytes(before.whole()),
        asked.percent
    ))
}

impl ActiveFault for ActiveDiskFill {
    fn started(&self) -> String {
        let (path, folder) = (self.asked.path.display(), self.folder.display());
        format!(
            "disk-fill: filling the file system of {path} to {} %, by a file in {folder}",
            self.asked.percent
        )
    }

    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.fill.broken())
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        let ActiveDiskFill { asked, duration, folder, before, fill } = *self;
        // Giving a large file's blocks back takes the file system a while.
        off_thread(move || {
            let (report, failure) = fill.stop();
            let summary = summary(&asked, duration, &folder, before, &report);
            FaultReport { summary: Some(summary), undone: Undone::Done("the file is gone"), failure }
        })
    }
}

fn summary(
    asked: &DiskFill,
    duration: Duration,
    folder: &Path,
    before: Space,
    done: &FillReport,
) -> FaultSummary {
    let state = |space: Space| {
        format!("{:.1} % ({} of {})", space.percent(), bytes(space.used), bytes(space.whole()))
    };
    let asked_for = asked_for(asked, duration, folder);
    let achieved = achieved(done, &state(done.fullest));
    let text = format!("disk-fill: asked {}\n", asked_for.text);
    let mut summary = FaultSummary { text, asked: asked_for, achieved, ..FaultSummary::default() };
    summary.remark(format!("before: {}", state(before)));
    summary.line(&format!("achieved: {}", summary.achieved.text));
    if let Some(least) = done.least_full
        && least.percent() < f64::from(asked.percent) - 1.0
    {
        summary.note(format!("others freed space meanwhile, down to {}", state(least)));
    }
    summary.remark(format!("after: {}", done.after.map_or("unknown".to_owned(), state)));
    summary
}

fn asked_for(asked: &DiskFill, duration: Duration, folder: &Path) -> Asked {
    let text = format!(
        "{} % of the file system of {} for {} s, by a file in {}",
        asked.percent,
        asked.path.display(),
        short(duration.as_secs_f64()),
        folder.display(),
    );
    let figures = figures([("percent", asked.percent.into())]);
    Asked { text, seconds: duration.as_secs_f64(), figures }
}

/// `fullest` is the fullest state, in words.
fn achieved(done: &FillReport, fullest: &str) -> Achieved {
    let how = if done.written { "written, because blocks cannot be reserved here" } else { "reserved" };
    let taken = format!("{} {how}", bytes(done.taken));
    let mut figures =
        figures([("percent", rounded(done.fullest.percent(), 1).into()), ("taken_bytes", done.taken.into())]);
    let text = match done.reached_after {
        Some(after) => {
            figures.insert("after_seconds".into(), rounded(after.as_secs_f64(), 1).into());
            format!("{fullest} after {:.1} s, {taken}", after.as_secs_f64())
        }
        None => format!("{fullest} when it ended, {taken}"),
    };
    Achieved { text, figures, ..Achieved::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(percent: u8) -> DiskFill {
        DiskFill { percent, path: "/data".into() }
    }

    #[test]
    fn the_goal_leaves_the_reserve_of_root_alone() {
        // 1000 in all, of which 100 are root's: 95 % is of the 900.
        let space = Space { used: 300, available: 600, read_only: false };
        assert_eq!(goal(&asked(95), space), Ok(855));
        assert_eq!(goal(&asked(100), space), Ok(900));
    }

    #[test]
    fn what_is_full_enough_is_refused() {
        let space = Space { used: 50, available: 50, read_only: false };
        for percent in [1, 49, 50] {
            let refused = goal(&asked(percent), space).unwrap_err();
            assert!(refused.contains("/data is already 50.0 % full"), "{refused}");
        }
        assert_eq!(goal(&asked(51), space), Ok(51));
        let huge = Space { used: 1, available: u64::MAX - 1, read_only: false };
        assert_eq!(goal(&asked(100), huge), Ok(u64::MAX));
    }
}
