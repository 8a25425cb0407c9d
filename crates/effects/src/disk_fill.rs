//! `disk-fill`: what its percentage means here, and its report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Asked, figures, rounded};

use crate::amount::{bytes, many, share_of, short};
use crate::disk::medium::Medium;
use crate::disk::space::Space;
use crate::disk::unlinked::unlinked;
use crate::disk::{DiskFill as Fill, FillGoal, FillPlan, FillReport, writable_folder};
use crate::fault::{
    ActiveFault, FaultReport, FaultSummary, Perform, Preflight, StartError, Started, Undone, off_thread,
    start_off_thread,
};
use crate::task::Task;
use crate::task::limits::memory::Room;
use crate::task::memory::TaskMemory;
use faults::Parameters;
use faults::disk_fill::DiskFill;

/// Where a file may go on the file system of `/`, besides the folder that the task names.
const FOLDERS: [&str; 7] = ["/var/lib/amazon/ssm", "/var/tmp", "/tmp", "/", "/var/lib", "/root", "/home"];

struct ActiveDiskFill {
    asked: DiskFill,
    duration: Duration,
    filling: Filling,
    /// Asked for what the other containers use of the memory, where they cannot be seen.
    memory: TaskMemory,
}

/// A fill, and where it is.
struct Filling {
    folder: PathBuf,
    /// Whether the folder is on another mount of the disk.
    is_beside: bool,
    before: Space,
    /// The memory limit that its files count against, before there were any.
    limit: Option<Room>,
    fill: Fill,
}

impl Perform for DiskFill {
    fn preflight(task: &Task) -> Preflight {
        Preflight::of(find(task))
    }

    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started> {
        Box::pin(start(self, duration, task))
    }
}

async fn start(asked: &DiskFill, duration: Duration, task: &Task) -> Started {
    let memory = TaskMemory::of(task).await;
    let (fill, scratch, limits) = (asked.clone(), task.scratch.clone(), memory.limits());
    // A file system may not answer.
    let filling = start_off_thread(move || -> Result<_, StartError> {
        let Place { before, folder, is_beside } = place(&fill.path, scratch.as_deref())?;
        let medium = Medium::of(&folder).map_err(|error| cannot_look(&folder, &error))?;
        let limit = match medium {
            Medium::Memory => limits.least_headroom(),
            Medium::Disk => None,
        };
        let goal = goal(&fill, before)?;
        if let Some(limit) = &limit {
            has_room(&fill.path, limit)?;
        }
        let room = limit.is_some().then(|| limits.follow());
        let started = Fill::start(FillPlan { folder: folder.clone(), goal }, room)?;
        Ok(Filling { folder, is_beside, before, limit, fill: started })
    })
    .await?;
    Ok(Box::new(ActiveDiskFill { asked: asked.clone(), duration, filling, memory }))
}

fn cannot_look(folder: &Path, error: &std::io::Error) -> String {
    format!("what the file system of {} keeps its files in cannot be told: {error}", folder.display())
}

/// Whether anything may be taken of the memory that the files of `path` are kept in.
fn has_room(path: &Path, limit: &Room) -> Result<(), String> {
    if limit.headroom() > 0 {
        return Ok(());
    }
    Err(format!(
        "files on the file system of {} are kept in memory, and {}",
        path.display(),
        limit.no_headroom()
    ))
}

/// Where the file goes.
struct Place {
    /// The file system, before there is a file.
    before: Space,
    folder: PathBuf,
    /// Whether the folder is on another mount of the disk.
    is_beside: bool,
}

/// A folder on the file system of `path`, or else one on another mount of the same disk: of a root that is read-only, or
/// in which this user owns nothing, the volume of the state folder.
fn place(path: &Path, scratch: Option<&Path>) -> Result<Place, StartError> {
    let on_it = Space::of_writable(path).map_err(StartError::from).and_then(|before| {
        let folder = folder(path, scratch)?;
        Ok(Place { before, folder, is_beside: false })
    });
    on_it.or_else(|refused| {
        let folders = scratch.into_iter().chain(FOLDERS.map(Path::new));
        let beside = folders.filter(|folder| Space::is_one_disk(path, folder)).find_map(|folder| {
            let before = Space::of_writable(folder).ok()?;
            unlinked(folder).ok()?;
            Some(Place { before, folder: folder.to_owned(), is_beside: true })
        });
        beside.ok_or(refused)
    })
}

/// A folder on the file system of `path` that files may be made in.
fn folder(path: &Path, scratch: Option<&Path>) -> Result<PathBuf, String> {
    let mut folders = vec![path];
    folders.extend(scratch);
    folders.extend(FOLDERS.map(Path::new));
    writable_folder(path, &folders)
}

/// What it would find with its default path.
fn find(task: &Task) -> Result<String, StartError> {
    let DiskFill { path, .. } = DiskFill::with_defaults()?;
    let Place { before, folder, is_beside } = place(&path, task.scratch.as_deref())?;
    let beside = if is_beside { ", on the same disk" } else { "" };
    Ok(format!(
        "{} is {:.1} % full, files can be made in {}{beside}",
        path.display(),
        before.percent(),
        folder.display()
    ))
}

/// The size that was asked for, or the share of what is used or available, rounded down.
fn goal(asked: &DiskFill, before: Space) -> Result<FillGoal, String> {
    let path = asked.path.display();
    if asked.bytes > before.room() {
        let (free, wanted) = (bytes(before.room()), bytes(asked.bytes));
        return Err(format!(
            "the file system of {path} has {free} free, which is less than the {wanted} asked"
        ));
    }
    if asked.bytes > 0 {
        return Ok(FillGoal::Taken(asked.bytes));
    }
    if before.is_endless() {
        return Err(format!(
            "the file system of {path} has no end ({} in all), so {} % of it cannot be reached; ask for a size with \
             --bytes, or name another --path",
            bytes(before.whole()),
            asked.percent
        ));
    }
    let goal = share_of(before.whole(), asked.percent);
    if goal > before.used {
        return Ok(FillGoal::Used(goal));
    }
    Err(format!(
        "the file system of {path} is already {:.1} % full ({} of {}), which is not below the {} % asked",
        before.percent(),
        bytes(before.used),
        bytes(before.whole()),
        asked.percent
    ))
}

impl ActiveFault for ActiveDiskFill {
    fn started(&self) -> String {
        let (asked, folder) = (share(&self.asked), self.filling.folder.display());
        match self.asked.bytes {
            0 => format!("disk-fill: filling {asked}, by a file in {folder}"),
            _ => format!("disk-fill: taking {asked}, by a file in {folder}"),
        }
    }

    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        let broken = self.filling.fill.broken();
        Box::pin(self.memory.follow_until(broken))
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        let ActiveDiskFill { asked, duration, filling, .. } = *self;
        // Giving a large file's blocks back takes the file system a while.
        off_thread(move || {
            let Filling { folder, is_beside, before, limit, fill } = filling;
            let (report, failure) = fill.stop();
            let mut summary = summary(&asked, duration, &folder, before, &report);
            if is_beside {
                let (path, folder) = (asked.path.display(), folder.display());
                summary.note(format!("no file can be made on {path}; {folder} is on the same disk"));
            }
            note_missing(&report, limit.as_ref(), &mut summary);
            FaultReport { summary: Some(summary), undone: Undone::Done("the file is gone"), failure }
        })
    }
}

/// `the file system of /data to 80 %`, `1.0 GiB of the file system of /data`.
fn share(asked: &DiskFill) -> String {
    let path = asked.path.display();
    match asked.bytes {
        0 => format!("the file system of {path} to {} %", asked.percent),
        size => format!("{} of the file system of {path}", bytes(size)),
    }
}

/// `80.0 % (51.2 MiB of 64.0 MiB)`.
fn state(space: Space) -> String {
    if space.whole() == 0 {
        return "a file system that does not count".to_owned();
    }
    if space.is_endless() {
        return format!("{} in use, of a file system without an end", bytes(space.used));
    }
    format!("{:.1} % ({} of {})", space.percent(), bytes(space.used), bytes(space.whole()))
}

fn summary(
    asked: &DiskFill,
    duration: Duration,
    folder: &Path,
    before: Space,
    done: &FillReport,
) -> FaultSummary {
    let asked_for = asked_for(asked, duration, folder);
    let achieved = achieved(done, &state(done.fullest));
    let text = format!("disk-fill: asked {}\n", asked_for.text);
    let mut summary = FaultSummary { text, asked: asked_for, achieved, ..FaultSummary::default() };
    summary.remark(format!("before: {}", state(before)));
    summary.line(&format!("achieved: {}", summary.achieved.text));
    if asked.bytes == 0
        && done.reached_after.is_some()
        && let Some(least) = done.least_full
        && least.percent() < f64::from(asked.percent) - 1.0
    {
        summary.note(format!("others freed space meanwhile, down to {}", state(least)));
    }
    summary.remark(format!("after: {}", done.after.map_or("unknown".to_owned(), state)));
    summary
}

/// Why it was less than asked.
fn note_missing(done: &FillReport, limit: Option<&Room>, summary: &mut FaultSummary) {
    if let Some(why) = done.refused {
        summary.note(format!("less than asked: {why}"));
    }
    let Some(limit) = limit else { return };
    let counts =
        format!("files here are kept in memory and count against its limit of {}", bytes(limit.limit));
    if done.reached_after.is_none() && done.refused.is_none() {
        summary.note(format!("{counts} ({}), of which {} stay free", limit.source, bytes(limit.margin())));
    } else {
        summary.note(counts);
    }
    if done.given_back > 0 {
        summary.note(format!("others needed memory: gave back {}", many(done.given_back, "time")));
    }
}

fn asked_for(asked: &DiskFill, duration: Duration, folder: &Path) -> Asked {
    let what = match asked.bytes {
        0 => format!("{} % of the file system of {}", asked.percent, asked.path.display()),
        _ => share(asked),
    };
    let seconds = short(duration.as_secs_f64());
    let text = format!("{what} for {seconds} s, by a file in {}", folder.display());
    let figures = match asked.bytes {
        0 => figures([("percent", asked.percent.into())]),
        size => figures([("bytes", size.into())]),
    };
    Asked { text, seconds: duration.as_secs_f64(), figures }
}

/// `fullest` is the fullest state, in words.
fn achieved(done: &FillReport, fullest: &str) -> Achieved {
    let how = if done.written { "written, because blocks cannot be reserved here" } else { "reserved" };
    let taken = format!("{} {how}", bytes(done.taken));
    let mut figures = figures([("taken_bytes", done.taken.into())]);
    if !done.fullest.is_endless() {
        figures.insert("percent".into(), rounded(done.fullest.percent(), 1).into());
    }
    let text = match done.reached_after {
        Some(after) => {
            figures.insert("after_seconds".into(), rounded(after.as_secs_f64(), 1).into());
            format!("{fullest} after {:.1} s, {taken}", after.as_secs_f64())
        }
        None => format!("not reached: {fullest} at most, {taken}"),
    };
    Achieved { text, figures, ..Achieved::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(percent: u8) -> DiskFill {
        DiskFill { percent, bytes: 0, path: "/data".into() }
    }

    #[test]
    fn the_goal_leaves_the_reserve_of_root_alone() {
        // 1000 in all, of which 100 are root's: 95 % is of the 900.
        let space = Space { used: 300, available: 600, read_only: false };
        assert_eq!(goal(&asked(95), space), Ok(FillGoal::Used(855)));
        assert_eq!(goal(&asked(100), space), Ok(FillGoal::Used(900)));
    }

    #[test]
    fn what_is_full_enough_is_refused() {
        let space = Space { used: 50, available: 50, read_only: false };
        for percent in [1, 49, 50] {
            let refused = goal(&asked(percent), space).unwrap_err();
            assert!(refused.contains("/data is already 50.0 % full"), "{refused}");
        }
        assert_eq!(goal(&asked(51), space), Ok(FillGoal::Used(51)));
    }

    #[test]
    fn a_file_system_without_an_end_needs_a_size() {
        // EFS calls itself 8 EiB large, a tmpfs without a limit 0.
        for available in [9_223_372_036_853_727_232, 0] {
            let space = Space { used: 0, available, read_only: false };
            let refused = goal(&asked(80), space).unwrap_err();
            assert!(refused.contains("has no end") && refused.contains("--bytes"), "{refused}");
            let sized = DiskFill { bytes: 5, ..asked(80) };
            assert_eq!(goal(&sized, space), Ok(FillGoal::Taken(5)));
        }
        let small = Space { used: 50, available: 50, read_only: false };
        let refused = goal(&DiskFill { bytes: 51, ..asked(80) }, small).unwrap_err();
        assert!(refused.contains("has 50 bytes free, which is less than the 51 bytes asked"), "{refused}");
    }
}
