//! Who lets stopped processes go on when we cannot: a child that holds their descriptors and waits for our end.
//!
//! The kernel stops a process for as long as nobody says otherwise, and it ties that to no descriptor. So a child is
//! forked before the first process is stopped. It has no work but to wait for the end of a pipe whose other end is
//! ours, which the kernel closes however we end, and for the time at which the pause is over at the latest, so that
//! it also ends the pause of a sidecar that is itself stopped. Then it sends SIGCONT and ends.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::Pinned;
use crate::child::{Child, close_all_but};

/// Waits in a child. Dropping it ends the child without a signal to anybody: whoever stopped the processes lets them
/// go on first.
#[derive(Debug)]
#[must_use = "dropped, nobody lets the processes go on if this process is killed"]
pub(crate) struct Guardian {
    _child: Child,
    /// Held for the kernel to close.
    _ours: OwnedFd,
}

impl Guardian {
    /// Starts the child, for at most `limit` (whole milliseconds, up to 24 days).
    ///
    /// # Errors
    /// The kernel has no process or no descriptor left for it.
    pub(crate) fn start(processes: &[Pinned], limit: Duration) -> io::Result<Guardian> {
        let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
        let watched: Vec<RawFd> = processes.iter().map(|process| process.pidfd.as_raw_fd()).collect();
        let mut kept = watched.clone();
        kept.push(theirs.as_raw_fd());
        kept.sort_unstable();
        let limit = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the child calls nothing but system calls: no allocation, no lock of another thread.
        let child = unsafe { Child::fork(|| guard(theirs.as_raw_fd(), &kept, &watched, limit)) }?;
        Ok(Guardian { _child: child, _ours: ours })
    }
}

/// The child's whole life.
fn guard(pipe: RawFd, kept: &[RawFd], watched: &[RawFd], limit: i32) -> ! {
    close_all_but(kept);
    // SAFETY: system calls on descriptors that this process holds; none of them touches memory but `poll`, which
    // writes into the one entry that it gets.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"taskfault-guard".as_ptr());
        let mut end = libc::pollfd { fd: pipe, events: libc::POLLIN, revents: 0 };
        // Broken off only where this process was stopped itself; the time begins again then.
        while libc::poll(&raw mut end, 1, limit) < 0 {}
        for process in watched {
            let nothing = std::ptr::null::<libc::siginfo_t>();
            libc::syscall(libc::SYS_pidfd_send_signal, *process, libc::SIGCONT, nothing, 0);
        }
        libc::_exit(0)
    }
}
