//! Scripts that an earlier life of the sidecar left: it was killed, and so could not end them.
//!
//! A script's folder says who leads its process group, and since when, so that no later process of the same number is
//! taken for it. Run before any script of this life.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid};

use crate::signal::process::beginning;
use crate::state_folder;

/// Beside the script: `PID BEGINNING`, of the shell that runs it.
const FILE: &str = "_process";
/// A command's folder, plug-in or step, property: no script lies deeper.
const DEPTH: usize = 4;

/// What has become of the script of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOver {
    /// It was still running, and has been killed with its process group.
    Ended,
    /// Its shell is gone. What it had put in the background may still run.
    Gone,
    /// It runs on.
    RunsOn {
        /// The process that leads its group.
        pid: u32,
        /// Why it could not be killed.
        reason: String,
    },
}

/// Notes who runs the script in `folder`. A kill between its start and this leaves a script that nobody finds.
pub(super) fn note(folder: &Path, pid: u32) {
    let noted = beginning(pid).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
    // Not synced: what ends the machine ends the script.
    let noted = noted.and_then(|began| fs::write(folder.join(FILE), format!("{pid} {began}")));
    if let Err(error) = noted {
        tracing::debug!(folder = %folder.display(), %error, "a script of which no later life would know");
    }
}

/// Ends the scripts that are left below `orchestration`, and removes their folders: by the name of the command's folder,
/// what has become of them. What cannot be removed is said in the log.
pub fn end_left_over(orchestration: &Path) -> BTreeMap<String, LeftOver> {
    let mut found = BTreeMap::new();
    for command in folders(orchestration) {
        let mut scripts = Vec::new();
        find(&command, DEPTH, &mut scripts);
        let name = command.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let worst = scripts.iter().map(|folder| end(folder)).max_by_key(LeftOver::weight);
        let worst = worst.unwrap_or(LeftOver::Gone);
        tracing::warn!(command = name, script = ?worst, "an earlier life of this sidecar left a script");
        if !matches!(worst, LeftOver::RunsOn { .. })
            && let Err(error) = fs::remove_dir_all(&command)
        {
            tracing::warn!(folder = %command.display(), %error, "the folder of a script could not be removed");
        }
        found.insert(name, worst);
    }
    found
}

impl LeftOver {
    /// What is worst is told of a command with several scripts.
    fn weight(&self) -> u8 {
        match self {
            LeftOver::Gone => 0,
            LeftOver::Ended => 1,
            LeftOver::RunsOn { .. } => 2,
        }
    }
}

/// Folders in `folder`, and no links to any.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Adds the folders at and below `folder` in which a script lies.
fn find(folder: &Path, depth: usize, scripts: &mut Vec<PathBuf>) {
    if folder.join(FILE).exists() {
        scripts.push(folder.to_owned());
    }
    if depth > 0 {
        folders(folder).iter().for_each(|inner| find(inner, depth - 1, scripts));
    }
}

fn end(folder: &Path) -> LeftOver {
    let noted = state_folder::read(&folder.join(FILE)).ok().and_then(|text| parse(&text));
    let Some((pid, began)) = noted else { return LeftOver::Gone };
    let Ok(id) = i32::try_from(pid).map(Pid::from_raw) else { return LeftOver::Gone };
    // The shell leads its group, whatever program it has become since.
    if beginning(pid) != Some(began) || getpgid(Some(id)) != Ok(id) {
        return LeftOver::Gone;
    }
    match killpg(id, Signal::SIGKILL) {
        Ok(()) => LeftOver::Ended,
        Err(Errno::ESRCH) => LeftOver::Gone,
        Err(error) => LeftOver::RunsOn { pid, reason: error.to_string() },
    }
}

fn parse(text: &[u8]) -> Option<(u32, u64)> {
    let (pid, began) = std::str::from_utf8(text).ok()?.split_once(' ')?;
    // Neither 0 nor 1 is a script's, and as groups they would mean everybody.
    Some((pid.parse().ok().filter(|pid| *pid > 1)?, began.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sh").args(["-c", "sleep 600 & sleep 600"]).process_group(0).spawn().unwrap()
    }

    fn folder(root: &Path, path: &str) -> PathBuf {
        let folder = root.join(path);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn what_runs_is_ended_and_its_folder_removed() {
        let root = tempfile::tempdir().unwrap();
        let mut child = sleeper();
        let script = folder(root.path(), "c0mmand/awsrunShellScript/0.awsrunShellScript");
        fs::write(script.join("_script.sh"), "sleep 600").unwrap();
        note(&script, child.id());
        assert_eq!(end_left_over(root.path()), [("c0mmand".to_owned(), LeftOver::Ended)].into());
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        assert_eq!(end_left_over(root.path()), BTreeMap::new());
    }

    #[test]
    fn a_later_process_of_the_same_number_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let mut child = sleeper();
        let began = beginning(child.id()).unwrap();
        for (command, text) in [
            ("other", format!("{} {}", child.id(), began + 1)),
            ("all", "1 0".to_owned()),
            ("us", format!("{} {}", std::process::id(), beginning(std::process::id()).unwrap())),
            ("damaged", "x".to_owned()),
        ] {
            let folder = folder(root.path(), command);
            fs::write(folder.join(FILE), text).unwrap();
        }
        // This process leads no group, unless somebody has made it one.
        if getpgid(None) == Ok(nix::unistd::getpid()) {
            fs::remove_dir_all(root.path().join("us")).unwrap();
        }
        let ended = end_left_over(root.path());
        assert!(ended.values().all(|one| *one == LeftOver::Gone), "{ended:?}");
        assert!(child.try_wait().unwrap().is_none());
        killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
