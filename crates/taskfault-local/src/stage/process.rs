//! Processes seen from outside, through `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

/// CPU time that a process, with all its threads, has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuTime(pub Duration);

/// CPU time of the process `pid` so far, user and system.
///
/// Resolution: one clock tick, 10 ms on every Linux of today.
///
/// # Errors
/// `NotFound` when there is no such process; `InvalidData` when the kernel's line cannot be read.
pub fn cpu_time(pid: i32) -> io::Result<CpuTime> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, line.clone()))?;
    // USER_HZ is part of the kernel's interface to user space: 100 on x86-64 and arm64.
    Ok(CpuTime(Duration::from_millis(ticks * 10)))
}

/// `utime` + `stime`, fields 14 and 15 of proc_pid_stat(5). The name in parentheses may hold anything.
fn ticks(line: &str) -> Option<u64> {
    let mut fields = line.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// A process with its parent and its pid in its innermost pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub pid: i32,
    pub inner_pid: i32,
}

/// The living children of `parent`.
pub(super) fn children(parent: i32) -> io::Result<Vec<Seen>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end between the listing and the look.
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let Some((parent_pid, inner_pid)) = relations(&status) else { continue };
        if parent_pid == parent {
            found.push(Seen { pid, inner_pid });
        }
    }
    Ok(found)
}

/// Parent, and the last of the pids that namespaces give the process (`NSpid`, proc_pid_status(5)).
fn relations(status: &str) -> Option<(i32, i32)> {
    let value = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let parent = value("PPid:")?.trim().parse().ok()?;
    let inner = value("NSpid:")?.split_whitespace().last()?.parse().ok()?;
    Some((parent, inner))
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
    fn reads_parent_and_innermost_pid() {
        let status = "Name:\tsleep\nPPid:\t7\nNSpid:\t4711\t13\t2\nThreads:\t1\n";
        assert_eq!(relations(status), Some((7, 2)));
    }

    #[test]
    fn a_process_that_is_not_there_is_not_found() {
        assert_eq!(cpu_time(i32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn this_process_has_used_some_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = cpu_time(own).unwrap();
        let mut sum = 0_u64;
        while cpu_time(own).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_time(own).unwrap() > before);
    }
}
