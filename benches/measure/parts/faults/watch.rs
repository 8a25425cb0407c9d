//! What sees an effect, and that it is gone: the CPU clock, memory, a disk, a process, packets. All from outside
//! of whoever makes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;

use crate::probe::Probe;
use crate::process::{Running, cpu_time, others, until};

/// CPU time that nobody uses for the command alone.
const BURNT: Duration = Duration::from_millis(10);
/// Without any CPU time for so long: it has ended.
const QUIET: Duration = Duration::from_millis(10);
/// What was allocated this moment takes ext4 twenty times as long to free; a fault of minutes has left it behind.
const SETTLED: Duration = Duration::from_millis(50);
pub(crate) const MIB: u64 = 1024 * 1024;

/// A way to see one kind of effect.
pub(crate) enum Watch {
    /// CPU time of all other processes here.
    Cpu {
        before: Duration,
    },
    /// Resident memory of all other processes here, in bytes, without what they have of files: a program whose text is
    /// mapped again when it is needed holds no memory by that.
    Memory {
        before: u64,
    },
    /// Bytes in use on a file system that nobody else uses.
    Space {
        folder: PathBuf,
        before: u64,
        enough: u64,
    },
    /// Bytes in use on a file system that others use too: seen at `full`, gone at `free`.
    Level {
        folder: PathBuf,
        full: u64,
        free: u64,
    },
    /// A process that is to be killed.
    Victim {
        program: PathBuf,
        victim: Option<Running>,
    },
    Packets(Probe),
}

impl Watch {
    pub(crate) fn cpu() -> Watch {
        Watch::Cpu { before: Duration::ZERO }
    }

    pub(crate) fn memory() -> Watch {
        Watch::Memory { before: 0 }
    }

    /// The effect is seen once so many bytes are taken.
    pub(crate) fn space(folder: &Path, enough: u64) -> Watch {
        Watch::Space { folder: folder.to_owned(), before: 0, enough }
    }

    /// Looks at how things are before the effect.
    pub(crate) fn arm(&mut self) {
        match self {
            Watch::Cpu { before } => {
                // A sidecar that has just started may still have the slower of two threads that race for a key.
                let _ = quiet(Duration::from_secs(5));
                *before = burnt();
            }
            Watch::Memory { before } => *before = resident(),
            Watch::Space { folder, before, .. } => *before = used(folder),
            Watch::Level { .. } => {}
            Watch::Victim { program, victim } => {
                let mut command = Command::new(program);
                let child = command.arg("600").stdin(Stdio::null()).spawn().unwrap();
                *victim = Some(Running(child));
                // It has its own name only once it has been executed.
                thread::sleep(Duration::from_millis(5));
            }
            Watch::Packets(probe) => {
                // A stretch without any effect, so that nothing of the one before is seen.
                let now = Instant::now();
                let _ = probe.first(now, false, Duration::from_secs(5));
            }
        }
    }

    /// Time from `since` until the effect is seen.
    pub(crate) fn seen(&mut self, since: Instant, limit: Duration) -> Option<Duration> {
        let at = match self {
            Watch::Cpu { before } => until(limit, || burnt() >= *before + BURNT),
            Watch::Memory { before } => until(limit, || resident() >= *before + 16 * MIB),
            Watch::Space { folder, before, enough } => until(limit, || used(folder) >= *before + *enough),
            Watch::Level { folder, full, .. } => {
                let at = until(limit, || used(folder) >= *full);
                thread::sleep(SETTLED);
                at
            }
            Watch::Victim { victim, .. } => until(limit, || victim.as_mut().unwrap().has_ended()),
            Watch::Packets(probe) => return probe.first(since, true, limit),
        };
        at.map(|at| at.saturating_duration_since(since))
    }

    /// Time from `since` until it is gone.
    pub(crate) fn gone(&mut self, since: Instant, limit: Duration) -> Option<Duration> {
        let at = match self {
            Watch::Cpu { .. } => quiet(limit),
            Watch::Memory { before } => until(limit, || resident() <= *before + 4 * MIB),
            Watch::Space { folder, before, .. } => until(limit, || used(folder) <= *before + MIB / 16),
            Watch::Level { folder, free, .. } => until(limit, || used(folder) <= *free),
            Watch::Victim { .. } => Some(since),
            Watch::Packets(probe) => return probe.first(since, false, limit),
        };
        at.map(|at| at.saturating_duration_since(since))
    }
}

/// CPU time of all others so far. A process that ends takes its own with it; so does its effect.
fn burnt() -> Duration {
    others().into_iter().map(cpu_time).sum()
}

/// The last moment at which somebody used CPU, once nobody has for a while.
fn quiet(limit: Duration) -> Option<Instant> {
    let (began, mut last) = (Instant::now(), Instant::now());
    let mut before = burnt();
    while last.elapsed() < QUIET {
        if began.elapsed() > limit {
            return None;
        }
        thread::sleep(Duration::from_millis(1));
        let now = burnt();
        // Who only waits uses a little too: the sidecar that answers, a shell.
        if now > before + Duration::from_micros(700) {
            last = Instant::now();
        }
        before = now;
    }
    Some(last)
}

fn resident() -> u64 {
    let of = |pid: i32| {
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let mut pages = statm.split(' ').skip(1).map_while(|field| field.parse::<u64>().ok());
        Some(pages.next()?.saturating_sub(pages.next()?))
    };
    others().into_iter().filter_map(of).sum::<u64>() * 4096
}

fn used(folder: &Path) -> u64 {
    let told = statvfs(folder).unwrap();
    (told.blocks() - told.blocks_free()) * told.fragment_size()
}
