//! Pages held by a child: by what the OOM killer takes first, and alone.
//!
//! A child of its own because the OOM killer takes whole processes: pages of the sidecar's would have it, or the
//! application, killed. The child has the highest score that there is (`oom_score_adj` 1000), runs no code but
//! [`hold`], and ends with the thread that started it (`PR_SET_PDEATHSIG`), however that ends, or at its deadline by
//! its own clock, whatever its parent does. It takes and gives back as a page shared with its parent says.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::page_size;
use super::region::{Atomics, Region, Shared};
use crate::amount::whole;
use crate::child::{Child, End, close_all_but};

/// Taken in one go, at most: between two it sees that its target is lower now.
const STEP: u64 = 1024 * 1024;
/// How often every page is written to.
const TOUCH: Duration = Duration::from_secs(1);

/// A child and the bytes that it holds. Dropping it gives them back.
#[derive(Debug)]
#[must_use = "dropped, the memory is given back"]
pub(super) struct Ballast {
    // First: the child is gone before the page is.
    child: Child,
    control: Shared<Control>,
}

/// What parent and child tell each other. Zeros are where it begins.
#[derive(Debug)]
#[repr(C)]
struct Control {
    /// Bytes to hold; the parent's.
    target: AtomicU64,
    /// Counts changes of the target; the child sleeps on it.
    changes: AtomicU32,
    /// Bytes held; the child's.
    held: AtomicU64,
    /// Pages written to again; the child's.
    touched: AtomicU64,
    /// Why the score could not be raised; the child's.
    refused: AtomicI32,
}

// SAFETY: atomics alone.
unsafe impl Atomics for Control {}

impl Ballast {
    /// Starts a child that may hold up to `share` bytes, whole pages, for at most `limit`; it holds nothing yet. What
    /// it writes is `pattern`, at least [`Ballast::pattern`] long.
    ///
    /// # Errors
    /// If address space or a process cannot be had.
    pub(super) fn start(share: u64, pattern: &[u8], limit: Duration) -> io::Result<Ballast> {
        let control = Shared::<Control>::new()?;
        let region = Region::new(whole(share))?;
        let pages = Pages { start: region.start(), share, page: page_size(), pattern: pattern.as_ptr() };
        let parent = std::process::id();
        let until = Instant::now() + limit;
        // SAFETY: the child makes system calls, reads the clock, and writes to the region and to the shared page.
        let child = unsafe { Child::fork(|| hold(&pages, &control, parent, until)) }?;
        Ok(Ballast { child, control })
    }

    /// Bytes without a pattern, for every page of every ballast.
    pub(super) fn pattern() -> Vec<u8> {
        crate::io::random_bytes(whole(STEP))
    }

    /// Says how many bytes it shall hold.
    pub(super) fn set_target(&self, bytes: u64) {
        if self.control.target.swap(bytes, SeqCst) != bytes {
            self.control.changes.fetch_add(1, SeqCst);
            wake(&self.control.changes);
        }
    }

    /// Bytes that it holds now, but for the step in which it is.
    pub(super) fn held(&self) -> u64 {
        self.control.held.load(SeqCst)
    }

    /// Whether it holds exactly what it was told.
    pub(super) fn settled(&self) -> bool {
        self.held() == self.control.target.load(SeqCst)
    }

    /// Pages written to again.
    pub(super) fn touched(&self) -> u64 {
        self.control.touched.load(Relaxed)
    }

    /// Why the OOM killer does not take it first.
    pub(super) fn refused(&self) -> Option<io::Error> {
        let code = self.control.refused.load(Relaxed);
        (code != 0).then(|| io::Error::from_raw_os_error(code))
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<End> {
        self.child.ended()
    }
}

/// The child's share: nothing of it is touched before the fork.
struct Pages {
    start: *mut u8,
    share: u64,
    /// Bytes of one.
    page: u64,
    pattern: *const u8,
}

impl Pages {
    /// Writes the pattern to the `length` bytes, up to a step, that begin at `from`.
    ///
    /// # Safety
    /// The region and the pattern are mapped in this process.
    unsafe fn take(&self, from: u64, length: u64) {
        debug_assert!(length <= STEP);
        // SAFETY: within the region, because no target is larger than the share; the pattern is a step long.
        unsafe { std::ptr::copy_nonoverlapping(self.pattern, self.start.add(whole(from)), whole(length)) };
    }

    /// Gives the pages from `from` to `to` back.
    ///
    /// # Safety
    /// As for [`Pages::take`].
    unsafe fn give_back(&self, from: u64, to: u64) {
        // SAFETY: whole pages within the region, which nothing borrows.
        unsafe {
            let start = self.start.add(whole(from)).cast();
            libc::madvise(start, whole(to.saturating_sub(from)), libc::MADV_DONTNEED)
        };
    }

    /// Writes to the first byte of each page before `held`, until the target changes.
    ///
    /// # Safety
    /// As for [`Pages::take`].
    unsafe fn touch(&self, held: u64, control: &Control, changes: u32) {
        let mut at = 0;
        while at < held && control.changes.load(SeqCst) == changes {
            let end = held.min(at.saturating_add(STEP));
            let pages = end.saturating_sub(at) / self.page;
            while at < end {
                // SAFETY: within the region.
                unsafe {
                    let byte = self.start.add(whole(at));
                    byte.write_volatile(byte.read_volatile().wrapping_add(1));
                }
                at = at.saturating_add(self.page);
            }
            control.touched.fetch_add(pages, Relaxed);
        }
    }
}

/// The child's whole life. No allocation, no lock, nothing that can panic.
fn hold(pages: &Pages, control: &Control, parent: u32, until: Instant) -> ! {
    close_all_but(&[]);
    // SAFETY: system calls, and pages of this process alone.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"taskfault-mem".as_ptr());
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        if libc::getppid().cast_unsigned() != parent {
            libc::_exit(0);
        }
        control.refused.store(be_taken_first(), Relaxed);
        let mut held = 0;
        let mut touched = Instant::now();
        loop {
            let changes = control.changes.load(SeqCst);
            let now = Instant::now();
            if now >= until {
                libc::_exit(0);
            }
            let target = control.target.load(SeqCst).min(pages.share);
            if target < held {
                pages.give_back(target, held);
                held = target;
                control.held.store(held, SeqCst);
            } else if target > held {
                let step = target.saturating_sub(held).min(STEP);
                pages.take(held, step);
                held = held.saturating_add(step);
                control.held.store(held, SeqCst);
            } else if now.saturating_duration_since(touched) >= TOUCH {
                pages.touch(held, control, changes);
                touched = Instant::now();
            } else {
                sleep(&control.changes, changes, TOUCH.min(until.saturating_duration_since(now)));
            }
        }
    }
}

/// Tells the OOM killer to take this process before any other: 0, or the number of an error.
///
/// # Safety
/// Every descriptor may be closed.
unsafe fn be_taken_first() -> i32 {
    let most = b"1000";
    // SAFETY: a path that ends with a zero, and bytes of that length.
    unsafe {
        // The files of a process that may not be looked into belong to root, and we may be another user.
        let before = libc::prctl(libc::PR_GET_DUMPABLE);
        libc::prctl(libc::PR_SET_DUMPABLE, 1);
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        let refused = Errno::last_raw();
        libc::prctl(libc::PR_SET_DUMPABLE, before);
        if file < 0 {
            return refused;
        }
        let written = libc::write(file, most.as_ptr().cast(), most.len());
        let error = if written < 0 { Errno::last_raw() } else { 0 };
        libc::close(file);
        error
    }
}

/// Sleeps for `time`, or until `word` is not `seen` any more.
fn sleep(word: &AtomicU32, seen: u32, time: Duration) {
    // Both fit: less than a second, and TOUCH is one.
    let time = libc::timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(0),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    let none = std::ptr::null::<u32>();
    // SAFETY: waits on a word that lives as long as this process; not private, because another process wakes it.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, &raw const time, none, 0);
    }
}

fn wake(word: &AtomicU32) {
    let none = std::ptr::null::<u32>();
    // SAFETY: wakes whoever sleeps on the word; reads and writes nothing.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1, none, none, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const HOUR: Duration = Duration::from_secs(3600);

    fn ballast(limit: Duration) -> Ballast {
        Ballast::start(64 * MIB, &Ballast::pattern(), limit).unwrap()
    }

    /// Waits for what a child does at once; one that never does it is a test that hangs, and is seen.
    fn until(mut seen: impl FnMut() -> bool) {
        while !seen() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Resident memory of the child, in bytes.
    fn resident(ballast: &Ballast) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", ballast.child.pid())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * page_size()
    }

    #[test]
    fn what_is_held_is_the_childs_and_is_given_back() {
        let ballast = ballast(HOUR);
        ballast.set_target(64 * MIB);
        until(|| ballast.settled());
        let full = resident(&ballast);
        assert!(full > 63 * MIB, "{full}");
        until(|| ballast.touched() >= 64 * MIB / page_size());
        ballast.set_target(MIB);
        until(|| ballast.settled());
        let left = resident(&ballast);
        assert!(left < full - 62 * MIB, "{left} of {full}");
    }

    #[test]
    fn the_oom_killer_takes_it_first() {
        let ballast = ballast(HOUR);
        let file = format!("/proc/{}/oom_score_adj", ballast.child.pid());
        until(|| std::fs::read_to_string(&file).unwrap() == "1000\n");
        assert!(ballast.refused().is_none());
        let ours = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_ne!(ours, "1000\n", "ours is untouched");
    }

    #[test]
    fn it_ends_at_its_deadline_by_itself() {
        let mut ballast = ballast(Duration::from_millis(100));
        ballast.set_target(MIB);
        until(|| ballast.ended().is_some());
        assert_eq!(ballast.ended(), Some(End::Exited(0)));
    }

    #[test]
    fn it_ends_with_the_thread_that_started_it() {
        let started = std::thread::spawn(|| {
            let ballast = ballast(HOUR);
            ballast.set_target(MIB);
            until(|| ballast.settled());
            ballast
        });
        let mut ballast = started.join().unwrap();
        until(|| ballast.ended().is_some());
        assert_eq!(ballast.ended(), Some(End::Signalled(nix::sys::signal::Signal::SIGKILL)));
    }
}
