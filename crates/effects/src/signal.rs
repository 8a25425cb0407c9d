//! Signals to processes by name, through descriptors that pin the process, so that a process id that is used
//! again meanwhile hits no other process.
//!
//! Whose names match is decided here as killall (psmisc) decides it. Which process ids are out of bounds is
//! decided here too: this process, process 1, kernel threads.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use faults::kill_process::Signal;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::fault::StartError;

pub(crate) mod guardian;
pub mod misses;
pub mod namespace;
pub mod process;

use misses::{Exempt, Misses, NOT_SHARED};
use namespace::Namespace;
use process::{Match, Process};

/// Why no signal could be sent at all. No process was signalled.
#[derive(Debug, Error)]
pub enum SignalError {
    /// `/proc` cannot be read.
    #[error("could not read the processes in /proc: {0}")]
    Proc(io::Error),
    /// `/proc` is of another PID namespace.
    #[error(
        "/proc belongs to another PID namespace than this process, so its process ids cannot be trusted; mount a /proc of this namespace"
    )]
    OtherProc,
    /// This is the host's own PID namespace, and that is not allowed.
    #[error(
        "this process is in the host's own PID namespace, where a name may belong to anybody on the machine; \
         give the task pidMode task, or allow it with --host-processes or TASKFAULT_ALLOW_HOST_PROCESSES=true"
    )]
    Host,
    /// Whose PID namespace this is cannot be told.
    #[error(
        "could not find out which PID namespace this is, and it might be the host's own; allow it with \
         --host-processes or TASKFAULT_ALLOW_HOST_PROCESSES=true"
    )]
    Unknown,
    /// The kernel has no `pidfd_open`, or it is forbidden.
    #[error(
        "this kernel cannot pin a process ({0}); Linux 5.3 or newer can, unless a seccomp profile forbids it"
    )]
    NoPidfd(io::Error),
}

/// One process that was found by its name and pinned.
#[derive(Debug)]
pub struct Pinned {
    /// As it was when it was pinned.
    pub process: Process,
    /// Means this process for ever.
    pidfd: OwnedFd,
}

/// What became of a signal.
#[derive(Debug)]
pub enum Sent {
    /// The process got it.
    Yes,
    /// The process had ended.
    Ended,
    /// The kernel refused it.
    Refused(io::Error),
}

/// The end of a process, to be waited for.
#[derive(Debug)]
pub struct End(AsyncFd<OwnedFd>);

impl Pinned {
    /// Sends it a signal.
    pub fn send(&self, signal: rustix::process::Signal) -> Sent {
        match rustix::process::pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) => Sent::Yes,
            Err(Errno::SRCH) => Sent::Ended,
            Err(error) => Sent::Refused(error.into()),
        }
    }

    /// What to wait for to know that the process has ended.
    ///
    /// # Errors
    /// There is no descriptor left for it, or the runtime cannot take one more.
    pub fn end(&self) -> io::Result<End> {
        // SAFETY: the descriptor is open, and the AsyncFd owns it from here on, so it stays so.
        let pidfd = unsafe { AsyncFd::register_with_interest(self.pidfd.try_clone()?, Interest::READABLE) };
        Ok(End(pidfd.map_err(|error| error.into_parts().1)?))
    }
}

impl End {
    /// Waits until the process has ended; false if that cannot be known.
    pub async fn reached(&self) -> bool {
        // A pidfd becomes readable when its process ends.
        self.0.readable().await.is_ok()
    }
}

/// What a search by name came to.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that have the name and may be signalled.
    pub pinned: Vec<Pinned>,
    /// What was left out, and why.
    pub misses: Misses,
}

/// Pins every process called `name`, except those that are out of bounds. `allow_host` stands for the words of
/// somebody who knows that this is the host's own PID namespace.
///
/// # Errors
/// If it cannot be done safely. That no process has the name is no error here.
pub fn pin_by_name(name: &str, allow_host: bool) -> Result<Found, SignalError> {
    admit(allow_host)?;
    // Whether this can be done at all is known before a process is touched.
    pidfd_open(std::process::id()).map_err(SignalError::NoPidfd)?;
    let mut found = Found::default();
    for process in process::all().map_err(SignalError::Proc)? {
        match process.matches(name) {
            Match::No if bounds(&process).is_none() && !process.zombie => {
                found.misses.others.insert(process.name);
            }
            Match::No => {}
            Match::CannotTell => {
                let why =
                    "its name is as long as the kernel keeps, and its command line does not say the rest";
                found.misses.exempt.push(Exempt { process, why });
            }
            Match::Yes => match bounds(&process) {
                Some(why) => found.misses.exempt.push(Exempt { process, why }),
                None => found.pinned.extend(pin(process, name)),
            },
        }
    }
    Ok(found)
}

/// Whether this is a place in which names may be trusted.
///
/// # Errors
/// The reason why not.
pub fn admit(allow_host: bool) -> Result<(), SignalError> {
    let pid = fs::read_link("/proc/self").map_err(SignalError::Proc)?;
    if pid.to_str() != Some(&std::process::id().to_string()) {
        return Err(SignalError::OtherProc);
    }
    match Namespace::read(Path::new("/")) {
        Namespace::Host if !allow_host => Err(SignalError::Host),
        Namespace::Unknown if !allow_host => Err(SignalError::Unknown),
        _ => Ok(()),
    }
}

/// Whose processes a search by name would find in this place, in words.
///
/// # Errors
/// Nothing would be found but our own container's, or [`admit`] refuses.
pub(crate) fn preflight(allow_host: bool) -> Result<String, StartError> {
    admit(allow_host)?;
    match Namespace::read(Path::new("/")) {
        Namespace::Host => Ok("every process of the host can be signalled, as was allowed".into()),
        Namespace::Shared => Ok("the processes of the task's other containers can be seen".into()),
        Namespace::Private => {
            Err(format!("only processes of this container would be hit: {NOT_SHARED}").into())
        }
        Namespace::Unknown => Ok("which processes can be seen could not be told, but was allowed".into()),
    }
}

/// Why a process gets no signal whatever its name, if so.
fn bounds(process: &Process) -> Option<&'static str> {
    if process.pid == std::process::id() {
        Some("it is taskfault itself")
    } else if process.pid == 1 {
        Some("it is the first process of its PID namespace, whose end would be the end of all others")
    } else if process.kernel_thread {
        Some("it is a thread of the kernel")
    } else {
        None
    }
}

/// None if the process was gone or became another one before it was pinned.
fn pin(process: Process, name: &str) -> Option<Pinned> {
    let pidfd = pidfd_open(process.pid).ok()?;
    // From here on the descriptor means one process for ever, and if that has ended, the signal is refused. So
    // what /proc says now, a start in the same second and still the name, is said of the one that gets it.
    let now = Process::read(process.pid)?;
    (now.started == process.started && now.matches(name) == Match::Yes)
        .then_some(Pinned { process: now, pidfd })
}

fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// The kernel's number of a signal that FIS knows.
pub fn number(signal: Signal) -> rustix::process::Signal {
    match signal {
        Signal::Term => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, kernel_thread: bool) -> Process {
        Process {
            pid,
            name: "x".into(),
            started: 0,
            kernel_thread,
            zombie: false,
            stopped: false,
            command: Vec::new(),
        }
    }

    #[test]
    fn some_are_out_of_bounds_whatever_their_name() {
        assert!(bounds(&process(std::process::id(), false)).is_some_and(|why| why.contains("itself")));
        assert!(bounds(&process(1, false)).is_some_and(|why| why.contains("first process")));
        assert!(bounds(&process(77, true)).is_some_and(|why| why.contains("kernel")));
        assert_eq!(bounds(&process(u32::MAX, false)), None);
    }

    #[test]
    fn a_process_that_is_gone_or_another_gets_nothing() {
        let own = Process::read(std::process::id()).unwrap();
        // This process under a name or a start that it does not have.
        assert!(pin(own.clone(), "not-my-name").is_none());
        let program = std::env::current_exe().unwrap();
        let name = program.file_name().unwrap().to_str().unwrap();
        assert!(pin(own.clone(), name).is_some());
        let earlier = Process { started: own.started + 1, ..own };
        assert!(pin(earlier, name).is_none());
        assert!(pin(process(4_194_305, false), "x").is_none(), "above pid_max");
    }
}
