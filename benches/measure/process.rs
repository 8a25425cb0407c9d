//! Processes, measured from outside.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

/// A process that is killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(pub Child);

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // One that has ended already needs none.
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Memory of one process, in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub resident: f64,
    /// Shared pages are counted by their share.
    pub proportional: f64,
}

/// What a process has in memory (`/proc/PID/smaps_rollup`).
pub(crate) fn memory(pid: i32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let of = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
    };
    Memory { resident: of("Rss:"), proportional: of("Pss:") }
}

/// CPU time of all threads of a process so far; nothing of one that is gone.
pub(crate) fn cpu_time(pid: i32) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid));
    clock.and_then(ClockId::now).map_or(Duration::ZERO, Duration::from)
}

/// All living processes that are seen here, but for this one. Parts have a pid namespace of their own.
pub(crate) fn others() -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let pids =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|it| it.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own && state(*pid).is_some_and(|state| state != 'Z')).collect()
}

fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The process and all below it.
pub(crate) fn family(root: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = others().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut all = vec![root];
    let mut next = 0;
    while let Some(above) = all.get(next).copied() {
        all.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    all
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Looks until it holds, at most `limit`; the moment it held.
pub(crate) fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> Option<Instant> {
    let end = Instant::now() + limit;
    loop {
        let now = Instant::now();
        if holds() {
            return Some(now);
        }
        if now > end {
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
