//! A fork that makes system calls and nothing else: for what has to outlive us by a moment, or to end before us.
//!
//! The process has threads, so the child may neither allocate nor take a lock that another thread held when it was
//! forked. Whoever starts one keeps to that.

use std::io;
use std::os::fd::RawFd;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A child that has not been waited for. Dropping it kills it and waits for its end.
#[derive(Debug)]
#[must_use = "dropped, the child is killed"]
pub(crate) struct Child {
    pid: Pid,
    /// How it ended, once that is known. Its id may be another's from then on.
    ended: Option<End>,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal.
    Signalled(Signal),
    /// It is gone, and nobody knows how.
    Unknown,
}

impl Child {
    /// Forks a child that does `work`, and ends, with every signal blocked: one that is for the sidecar must not end
    /// it.
    ///
    /// It sends no signal at its end, so that neither tokio nor whoever waits for any child takes it for theirs.
    ///
    /// # Safety
    /// `work` makes system calls and writes to memory that was there before. It does not allocate, lock or panic.
    ///
    /// # Errors
    /// The kernel has no process left for it.
    pub(crate) unsafe fn fork(work: impl FnOnce()) -> io::Result<Child> {
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // SAFETY: as fork(2), but for the signal at its end: no flag, and a stack of its own by copying. The child
        // keeps to what the caller has promised.
        let forked = unsafe { libc::syscall(libc::SYS_clone, 0_usize, 0_usize, 0_usize, 0_usize, 0_usize) };
        let error = Errno::last();
        if forked == 0 {
            work();
            // SAFETY: ends this process alone, without the destructors that are its parent's.
            unsafe { libc::_exit(0) }
        }
        before.thread_set_mask()?;
        match i32::try_from(forked) {
            Ok(pid @ 1..) => Ok(Child { pid: Pid::from_raw(pid), ended: None }),
            _ => Err(error.into()),
        }
    }

    /// Its process id, for as long as it has not ended.
    #[cfg(test)]
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<End> {
        self.wait(WaitPidFlag::WNOHANG)
    }

    fn wait(&mut self, flags: WaitPidFlag) -> Option<End> {
        while self.ended.is_none() {
            self.ended = match waitpid(self.pid, Some(flags | WaitPidFlag::__WALL)) {
                Ok(WaitStatus::Exited(_, code)) => Some(End::Exited(code)),
                Ok(WaitStatus::Signaled(_, signal, _)) => Some(End::Signalled(signal)),
                Ok(WaitStatus::StillAlive) => return None,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => Some(End::Unknown),
            };
        }
        self.ended
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // It has not been waited for, so its id is its own.
            let _ = kill(self.pid, Signal::SIGKILL);
            self.wait(WaitPidFlag::empty());
        }
    }
}

/// In a child: closes every descriptor but `kept`, which are sorted. Sockets and locks of the sidecar must not
/// outlive it there. Kernels before 5.9 cannot do that.
pub(crate) fn close_all_but(kept: &[RawFd]) {
    let mut from = 0;
    for descriptor in kept {
        if *descriptor > from {
            // SAFETY: closes descriptors of this process that nothing in it uses.
            unsafe { libc::syscall(libc::SYS_close_range, from, *descriptor - 1, 0) };
        }
        from = *descriptor + 1;
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exits(code: i32) -> Child {
        // SAFETY: the child ends at once.
        unsafe { Child::fork(move || libc::_exit(code)) }.unwrap()
    }

    #[test]
    fn its_end_is_told() {
        let mut child = exits(7);
        assert_eq!(child.wait(WaitPidFlag::empty()), Some(End::Exited(7)));
        assert_eq!(child.ended(), Some(End::Exited(7)));
    }

    #[test]
    fn it_lives_until_it_is_dropped() {
        // SAFETY: the child waits for ever.
        let mut child = unsafe {
            Child::fork(|| {
                loop {
                    libc::pause();
                }
            })
        }
        .unwrap();
        assert_eq!(child.ended(), None);
        let process = format!("/proc/{}", child.pid);
        drop(child);
        assert!(!std::path::Path::new(&process).exists());
    }

    #[test]
    fn who_waits_for_children_of_fork_does_not_get_it() {
        let mut child = exits(3);
        assert_eq!(waitpid(child.pid, None), Err(Errno::ECHILD));
        assert_eq!(child.wait(WaitPidFlag::empty()), Some(End::Exited(3)));
    }
}
