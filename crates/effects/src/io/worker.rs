//! One I/O worker: its file, its mix of operations, and its care for the space of others.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::buffer::{ALIGNMENT, Buffer};
use super::{Counters, IoPlan};
use crate::amount::whole;
use crate::disk::space::Space;
use crate::disk::unlinked::unlinked;
use crate::worker_pool::StopSignal;

/// A large transfer, and the least that one is where many workers share [`UNDER_WAY`]: still sixteen small ones.
const LARGE: usize = 1024 * 1024;
const LEAST_LARGE: usize = 64 * 1024;
/// What all workers together have under way in large transfers, and let gather in dirty pages, each: a cancel waits
/// until the disk has written that.
const UNDER_WAY: usize = 4 * LARGE;
/// How long a worker waits when there is no space at all.
const PAUSE: Duration = Duration::from_millis(100);
/// Operations between two looks at the space, when the file is not growing.
const LOOK_EVERY: u64 = 32;

/// Small transfers in a row. A disk is loaded by bytes as well as by requests, and a large transfer takes as long
/// as many small ones: with as many of each there would be hardly any requests.
const SMALL_ROW: u64 = 8;

/// The operations, each as often as it stands here.
const MIX: [Operation; 16] = {
    use Operation::*;
    [
        Append,
        SmallWrites,
        SmallReads,
        CachedWrite,
        Append,
        SmallReads,
        Sync,
        Read,
        SmallWrites,
        Append,
        Metadata,
        SmallReads,
        CachedWrite,
        SmallWrites,
        Append,
        Read,
    ]
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// A large write at the end of the file, or once it is full grown at the next place in the round.
    Append,
    /// A small write anywhere, through the page cache.
    CachedWrite,
    /// A large read anywhere.
    Read,
    /// Small ones anywhere, a row of them.
    SmallWrites,
    SmallReads,
    Sync,
    /// Another file made and dropped; this one's times, mode and size changed.
    Metadata,
}

/// A worker with its file.
#[derive(Debug)]
pub(super) struct Worker {
    folder: PathBuf,
    /// Through the page cache.
    file: File,
    /// The same file past the page cache, where that can be had.
    direct: Option<File>,
    /// How large the file may get.
    most: u64,
    reserve: u64,
    /// How many share what all files may have.
    workers: u64,
    /// Bytes of a large transfer; whole small ones.
    large: usize,
    /// Dirty pages that it lets gather, in bytes.
    most_dirty: u64,
    stop: StopSignal,
    size: u64,
    /// Where the next large write goes once the file is full grown.
    place: u64,
    /// Bytes written and not yet synced.
    dirty: u64,
    turn: u64,
    buffer: Buffer,
    random: fastrand::Rng,
    counters: Arc<Counters>,
}

impl Worker {
    /// A worker on `file`, which may grow to `most` bytes.
    ///
    /// # Errors
    /// If the file cannot be truncated to nothing.
    pub(super) fn new(
        file: File,
        plan: &IoPlan,
        most: u64,
        number: u64,
        counters: Arc<Counters>,
    ) -> io::Result<Worker> {
        file.set_len(0)?;
        let share = UNDER_WAY / whole(plan.workers.into());
        let large = (share / LEAST_LARGE * LEAST_LARGE).clamp(LEAST_LARGE, LARGE);
        let buffer = Buffer::new(large);
        let direct = past_the_cache(&file, &buffer);
        Ok(Worker {
            folder: plan.folder.clone(),
            file,
            direct,
            most,
            reserve: plan.reserve,
            workers: plan.workers.into(),
            large,
            most_dirty: share.max(LEAST_LARGE) as u64,
            stop: StopSignal::default(),
            size: 0,
            place: 0,
            dirty: 0,
            turn: 0,
            buffer,
            random: fastrand::Rng::with_seed(number),
            counters,
        })
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    /// Works until told to end. The file closes when this returns.
    pub(super) fn run(mut self, stop: &StopSignal) -> Result<(), String> {
        self.stop = stop.clone();
        while !stop.is_set() {
            let operation = MIX[whole(self.turn % MIX.len() as u64)];
            self.turn += 1;
            if self.turn.is_multiple_of(LOOK_EVERY) || self.size > self.allowed() {
                self.make_way().map_err(|error| format!("could not look after the space: {error}"))?;
            }
            match self.perform(operation) {
                Ok(()) => Counters::add(&self.counters.operations, 1),
                Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                    Counters::add(&self.counters.refused, 1);
                    stop.sleep(PAUSE);
                }
                Err(error) => {
                    return Err(format!("{operation:?} in {} failed: {error}", self.folder.display()));
                }
            }
        }
        Ok(())
    }

    fn perform(&mut self, operation: Operation) -> io::Result<()> {
        match operation {
            Operation::Append => self.append(),
            Operation::CachedWrite => self.small_write(true),
            Operation::Read => self.read(self.large),
            Operation::SmallWrites => self.row(|worker| worker.small_write(false)),
            Operation::SmallReads => self.row(|worker| worker.read(ALIGNMENT)),
            Operation::Sync => self.sync(),
            Operation::Metadata => self.metadata(),
        }
    }

    /// Grows the file while it may and there is space, else goes round in it.
    fn append(&mut self) -> io::Result<()> {
        if self.size + self.large as u64 <= self.most
            && self.room()? >= self.large as u64
            && self.take_share()
        {
            return self.grow();
        }
        if self.size == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let at = self.place;
        let length = whole(self.size.min(self.large as u64));
        self.write(length, at)?;
        self.place = if at + 2 * self.large as u64 > self.size { 0 } else { at + self.large as u64 };
        self.sync_if_dirty()
    }

    /// Grows by a whole transfer or not at all, so that every place in the file stays aligned.
    fn grow(&mut self) -> io::Result<()> {
        let written = self.write(self.large, self.size);
        if !matches!(written, Ok(written) if written == self.large as u64) {
            self.counters.size.fetch_sub(self.large as u64, Relaxed);
            self.file.set_len(self.size)?;
            return Err(written.err().unwrap_or_else(|| ErrorKind::StorageFull.into()));
        }
        self.size += self.large as u64;
        self.counters.largest.fetch_max(self.counters.size.load(Relaxed), Relaxed);
        self.sync_if_dirty()
    }

    fn write(&mut self, length: usize, at: u64) -> io::Result<u64> {
        let direct = self.direct.as_ref().filter(|_| length.is_multiple_of(ALIGNMENT));
        let written = direct.unwrap_or(&self.file).write_at(self.buffer.first(length), at)? as u64;
        if direct.is_none() {
            self.dirty += written;
        }
        Counters::add(&self.counters.written, written);
        Ok(written)
    }

    /// Takes a transfer's length of what all files may have; false where that is used up.
    fn take_share(&self) -> bool {
        let counters = &self.counters;
        let allowed = counters.allowed.load(Relaxed);
        let taken = |size: u64| Some(size + self.large as u64).filter(|now| *now <= allowed);
        counters.size.fetch_update(Relaxed, Relaxed, taken).is_ok()
    }

    /// This worker's part of what all files may have.
    fn allowed(&self) -> u64 {
        self.counters.allowed.load(Relaxed) / self.workers
    }

    /// A row of small operations, cut short by the end; the last of them is counted by who called this.
    fn row(&mut self, mut one: impl FnMut(&mut Self) -> io::Result<()>) -> io::Result<()> {
        for _ in 1..SMALL_ROW {
            if self.stop.is_set() {
                return Ok(());
            }
            one(self)?;
            Counters::add(&self.counters.operations, 1);
        }
        one(self)
    }

    fn small_write(&mut self, cached: bool) -> io::Result<()> {
        let Some(at) = self.somewhere(ALIGNMENT) else { return Ok(()) };
        let direct = self.direct.as_ref().filter(|_| !cached);
        let written = direct.unwrap_or(&self.file).write_at(self.buffer.first(ALIGNMENT), at)? as u64;
        if direct.is_none() {
            self.dirty += written;
        }
        Counters::add(&self.counters.written, written);
        self.sync_if_dirty()
    }

    fn read(&mut self, length: usize) -> io::Result<()> {
        let Some(at) = self.somewhere(length) else { return Ok(()) };
        let file = match &self.direct {
            Some(direct) => direct,
            None => {
                // So that the disk is asked and not the cache.
                let _ = posix_fadvise(
                    &self.file,
                    at.cast_signed(),
                    length.cast_signed() as i64,
                    PosixFadviseAdvice::POSIX_FADV_DONTNEED,
                );
                &self.file
            }
        };
        let read = file.read_at(self.buffer.first_mut(length), at)? as u64;
        Counters::add(&self.counters.read, read);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        // Every other one with the file's own data: times and size.
        if (self.turn / MIX.len() as u64).is_multiple_of(2) {
            self.file.sync_data()?
        } else {
            self.file.sync_all()?
        }
        self.dirty = 0;
        Counters::add(&self.counters.syncs, 1);
        Ok(())
    }

    fn sync_if_dirty(&mut self) -> io::Result<()> {
        // What is dirty at the end is never written: the file is gone then.
        if self.dirty < self.most_dirty || self.stop.is_set() {
            return Ok(());
        }
        Counters::add(&self.counters.operations, 1);
        self.sync()
    }

    /// Work for the file system's books, on files that nobody can see.
    fn metadata(&mut self) -> io::Result<()> {
        let other = unlinked(&self.folder)?;
        other.set_len(ALIGNMENT as u64)?;
        other.set_permissions(Permissions::from_mode(0o400))?;
        drop(other);
        self.file.set_modified(SystemTime::now())?;
        Counters::add(&self.counters.metadata, 4);
        Counters::add(&self.counters.operations, 3);
        Ok(())
    }

    /// A random aligned place from which `length` bytes can be had.
    fn somewhere(&mut self, length: usize) -> Option<u64> {
        let last = self.size.checked_sub(length as u64)? / ALIGNMENT as u64;
        Some(self.random.u64(..=last) * ALIGNMENT as u64)
    }

    /// What may still be taken without touching the reserve.
    fn room(&self) -> io::Result<u64> {
        Ok(Space::of_file(&self.file)?.room().saturating_sub(self.reserve))
    }

    /// Halves the file when others have eaten into the reserve; gives back what is above its part of the memory.
    fn make_way(&mut self) -> io::Result<()> {
        let in_the_way =
            self.size >= 2 * self.large as u64 && Space::of_file(&self.file)?.room() < self.reserve / 2;
        if in_the_way {
            let half = self.size / 2 / self.large as u64 * self.large as u64;
            // Until the next look the file does not grow back into what others need.
            self.most = half;
            return self.shrink(half);
        }
        let allowed = self.allowed();
        // What all have together is what counts: one may have more where another has less.
        if self.size > allowed && self.counters.size.load(Relaxed) > self.counters.allowed.load(Relaxed) {
            return self.shrink(allowed / self.large as u64 * self.large as u64);
        }
        Ok(())
    }

    fn shrink(&mut self, size: u64) -> io::Result<()> {
        self.file.set_len(size)?;
        self.place = 0;
        self.counters.size.fetch_sub(self.size - size, Relaxed);
        self.size = size;
        Counters::add(&self.counters.shrunk, 1);
        Ok(())
    }
}

/// The same file opened past the page cache; None where that cannot be done, found out by doing it.
fn past_the_cache(file: &File, buffer: &Buffer) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_DIRECT | libc::O_CLOEXEC);
    let direct = options.open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    direct.write_at(buffer.first(ALIGNMENT), 0).ok()?;
    file.set_len(0).ok()?;
    Some(direct)
}
