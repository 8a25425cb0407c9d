//! Writes to the state folder, on a thread of its own.
//!
//! The folder may lie on a file system that hangs (NFS, EFS). A write that hangs then takes this thread with it and
//! not the control thread, which goes on without what is written there, and says so.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::watch;

/// How long a caller waits for its write at most.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// Writes that may wait. One is at most a reply, of some kilobytes.
const QUEUE: usize = 1_024;

type Write = Box<dyn FnOnce() + Send>;

/// The thread, as the control thread has it. It ends when this is dropped and what waits is written.
#[derive(Debug)]
pub struct StateWriter {
    folder: PathBuf,
    queue: SyncSender<Write>,
    submitted: Cell<u64>,
    done: watch::Receiver<u64>,
    stalled: Cell<bool>,
}

impl StateWriter {
    /// Starts the thread for what is written to `folder`.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(folder: &Path) -> std::io::Result<StateWriter> {
        let (queue, writes) = sync_channel::<Write>(QUEUE);
        let (written, done) = watch::channel(0);
        std::thread::Builder::new().name("state-writer".to_owned()).spawn(move || {
            while let Ok(write) = writes.recv() {
                write();
                written.send_modify(|count| *count += 1);
            }
        })?;
        let (submitted, stalled) = (Cell::new(0), Cell::new(false));
        Ok(StateWriter { folder: folder.to_owned(), queue, submitted, done, stalled })
    }

    /// Has `write` done after all that came before it. One for which there is no room is dropped, and the log says
    /// so.
    pub fn submit(&self, write: impl FnOnce() + Send + 'static) {
        match self.queue.try_send(Box::new(write)) {
            Ok(()) => self.submitted.set(self.submitted.get() + 1),
            Err(_) => self.note_stall(),
        }
    }

    /// Waits until everything is done that was submitted before this call; no longer than a second, and not at all
    /// while the folder is known to hang. Whether it is done.
    pub async fn settled(&self) -> bool {
        let submitted = self.submitted.get();
        let mut done = self.done.clone();
        if *done.borrow_and_update() >= submitted {
            if self.stalled.replace(false) {
                tracing::info!(folder = %self.folder.display(), "the state folder answers again");
            }
            return true;
        }
        if self.stalled.get() {
            return false;
        }
        let settled = tokio::time::timeout(SETTLE_LIMIT, done.wait_for(|done| *done >= submitted)).await;
        if matches!(settled, Ok(Ok(_))) {
            return true;
        }
        self.note_stall();
        false
    }

    fn note_stall(&self) {
        if !self.stalled.replace(true) {
            tracing::error!(
                folder = %self.folder.display(),
                "the state folder does not answer; going on without it: taskfault status may be old, and commands that \
                 are running when this process is killed may run again or stay without an answer"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn writes_are_done_in_their_order() {
        let writer = StateWriter::start(Path::new("/")).unwrap();
        assert!(writer.settled().await, "nothing to wait for");
        let (sender, numbers) = channel();
        for number in 0..100 {
            let sender = sender.clone();
            writer.submit(move || sender.send(number).unwrap());
        }
        assert!(writer.settled().await);
        assert_eq!(numbers.try_iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_write_that_hangs_is_waited_for_once_and_no_longer_than_a_second() {
        let writer = StateWriter::start(Path::new("/")).unwrap();
        let (release, hang) = channel::<()>();
        writer.submit(move || assert!(hang.recv().is_err()));
        assert!(!writer.settled().await);
        for _ in 0..2 * QUEUE {
            writer.submit(|| ());
            assert!(!writer.settled().await);
        }
        drop(release);
        let all = QUEUE as u64 + 1;
        writer.done.clone().wait_for(|done| *done >= all).await.unwrap();
        assert!(writer.settled().await);
    }
}
