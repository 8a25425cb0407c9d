//! `disk-fill`: what its percentage means here, and its report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::amount::{bytes, share_of, short};
use crate::disk::space::Space;
use crate::disk::{DiskFill as Fill, FillPlan, FillReport, writable_folder};
use crate::fault::{ActiveFault, FaultReport, Perform, Preflight, StartError, Started, off_thread};
use crate::task::Task;
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
    let path = Path::new(DiskFill::DEFAULT_PATH);
    let space = Space::of_writable(path)?;
    let folder = folder(path, task)?;
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
            let text = describe(&asked, duration, &folder, before, &report);
            FaultReport { text, undone: Some("the file is gone".into()), failure }
        })
    }
}

fn describe(asked: &DiskFill, duration: Duration, folder: &Path, before: Space, done: &FillReport) -> String {
    let state = |space: Space| {
        format!("{:.1} % ({} of {})", space.percent(), bytes(space.used), bytes(space.whole()))
    };
    let mut text = format!(
        "disk-fill: asked {} % of the file system of {} for {} s, by a file in {}\nbefore: {}\n",
        asked.percent,
        asked.path.display(),
        short(duration.as_secs_f64()),
        folder.display(),
        state(before)
    );
    let how = if done.written { "written, because blocks cannot be reserved here" } else { "reserved" };
    text += &match done.reached_after {
        Some(after) => format!(
            "achieved: {} after {:.1} s, {} {how}\n",
            state(done.fullest),
            after.as_secs_f64(),
            bytes(done.taken)
        ),
        None => format!("achieved: {} when it ended, {} {how}\n", state(done.fullest), bytes(done.taken)),
    };
    if let Some(least) = done.least_full
        && least.percent() < f64::from(asked.percent) - 1.0
    {
        text += &format!("note: others freed space meanwhile, down to {}\n", state(least));
    }
    text + &format!("after: {}\n", done.after.map_or("unknown".to_owned(), state))
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
