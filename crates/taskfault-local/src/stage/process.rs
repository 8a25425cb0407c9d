//! Processes seen from outside, through `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// CPU time that a process, with all its threads, has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuTime(pub Duration);

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// So far, user and system.
    pub cpu: CpuTime,
    /// What it holds now (RSS), in bytes.
    pub memory: u64,
}

/// What each process of a task uses, by its pid there, but for the first one, which is ours. `first` is the pid of
/// that one, as this process sees it.
///
/// The task's own `/proc` lists its processes and no others, so that one look costs as much as the task has processes.
///
/// # Errors
/// The task is gone.
pub fn used_in_task(first: i32) -> io::Result<BTreeMap<i32, Used>> {
    let folder = PathBuf::from(format!("/proc/{first}/root/proc"));
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).filter(|pid| *pid != 1) else {
            continue;
        };
        // A process may end between the listing and the look.
        let Ok(line) = fs::read_to_string(folder.join(&name).join("stat")) else { continue };
        if let Some(used) = used(&line) {
            all.insert(pid, used);
        }
    }
    Ok(all)
}

fn used(line: &str) -> Option<Used> {
    // USER_HZ is part of the kernel's interface to user space: 100 on x86-64 and arm64.
    let cpu = CpuTime(Duration::from_millis(ticks(line)? * 10));
    // Field 24, in pages.
    let pages: u64 = line.rsplit_once(')')?.1.split_whitespace().nth(21)?.parse().ok()?;
    Some(Used { cpu, memory: pages.saturating_mul(page_size()) })
}

fn page_size() -> u64 {
    let told = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    told.ok().flatten().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

/// `utime` + `stime`, fields 14 and 15 of proc_pid_stat(5). The name in parentheses may hold anything.
fn ticks(line: &str) -> Option<u64> {
    let mut fields = line.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_user_and_system_time_whatever_the_name_is() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 5 0 0 0 120 34 0 0 20 0 1 0 8 0 0";
        assert_eq!(ticks(line), Some(154));
        assert_eq!(ticks("42 (cut) S 1 42"), None);
    }

    #[test]
    fn reads_what_a_process_holds() {
        let line = "42 (a) S 1 42 42 0 -1 4194560 5 0 0 0 120 34 0 0 20 0 1 0 8 9000 25 0";
        let used = used(line).unwrap();
        assert_eq!((used.cpu.0.as_millis(), used.memory), (1540, 25 * page_size()));
    }

    #[test]
    fn a_task_that_is_gone_has_no_processes() {
        assert_eq!(used_in_task(i32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn this_process_is_among_those_of_its_proc() {
        let own = i32::try_from(std::process::id()).unwrap();
        let used = used_in_task(own).unwrap();
        assert!(used[&own].memory > 100_000, "{:?}", used[&own]);
    }
}
