//! What a fault is to whoever runs it: something that can be performed, then something that is active, then a
//! report. Each fault has a file of its own that brings its parameters and its effect together; [`registry`]
//! lists them.
//!
//! [`registry`]: crate::registry

use std::error::Error;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Asked, Touched};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::given_up;
use crate::task::Task;

/// Why a fault did not start: the error of its effect, or a sentence. Its text ends without a full stop, and
/// everything is as it was before, unless the text says otherwise.
pub type StartError = Box<dyn Error + Send + Sync>;

/// A fault that was started, or why it was not.
pub type Started = Result<Box<dyn ActiveFault>, StartError>;

/// Moves the end of one fault to so long from now ([`ActiveFault::deadline`]).
pub type Deadline = Box<dyn Fn(Duration)>;

/// The parameters of one fault, as something that can be performed.
pub trait Perform {
    /// Whether this fault would work in `task` with its default parameters, as far as can be told without doing it.
    fn preflight(task: &Task) -> Preflight
    where
        Self: Sized;

    /// Starts it, to be active for `duration`. Checks everything before it touches anything; what fails half-way is
    /// undone.
    fn start<'a>(&'a self, duration: Duration, task: &'a Task) -> LocalBoxFuture<'a, Started>;
}

/// A fault that has been started. [`ActiveFault::finish`] undoes it and reports; dropping it undoes it as well, at
/// once and without a report.
pub trait ActiveFault {
    /// What has been started, in one line without an end: `cpu-stress: 2 threads at 80 % of a core each`.
    fn started(&self) -> String;

    /// Is ready when the fault has ended by itself: done, or broken. Polled for as long as the fault is active, so
    /// that a fault which has to do something on the control thread meanwhile can do it here.
    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// What moves the end at which the kernel itself ends the fault; None where no such end can be moved. It is
    /// called with how long the fault lasts from now on, and does nothing once the fault is over.
    fn deadline(&self) -> Option<Deadline> {
        None
    }

    /// Undoes the fault and reports what it came to.
    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, FaultReport>;
}

/// What a fault came to.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultReport {
    /// None where even that cannot be told.
    pub summary: Option<FaultSummary>,
    /// What is left of it.
    pub undone: Undone,
    /// Why it was not what was asked, or could not be undone.
    pub failure: Option<String>,
}

/// What a fault was asked and what it achieved: once for people, once as data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FaultSummary {
    /// For people: whole lines, under [`MOST_TEXT`] bytes.
    pub text: String,
    /// What it was asked, as data.
    pub asked: Asked,
    /// What it achieved, as data.
    pub achieved: Achieved,
    /// What the fault took effect on, where that is counted: packets or processes.
    pub matched: Option<u64>,
    /// How much of that it took effect on, where that is counted.
    pub touched: Option<Touched>,
    /// What else is worth knowing. All of it stands in the text, too.
    pub notes: Vec<String>,
}

impl FaultSummary {
    /// Adds a line for people: `limit: 1.0 GiB`, which is a note as well.
    pub(crate) fn remark(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.line(&line);
        self.notes.push(line);
    }

    /// Adds a note, for people behind the word `note`.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        self.line(&format!("note: {note}"));
        self.notes.push(note);
    }

    /// Adds a line for people only.
    pub(crate) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// Most bytes of a report for people: the figures have to fit behind it.
pub const MOST_TEXT: usize = 1_600;

/// What became of a fault's traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// Nothing is left, and what that means: `no thread left`.
    Done(&'static str),
    /// Something is left; the failure says what.
    Failed,
    /// It left nothing that could be undone.
    Nothing,
}

/// Whether a fault will work in a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// Whether all of it will work.
    pub works: bool,
    /// What will work and how, or why not and what to change; it goes on behind the fault's name.
    pub text: String,
}

impl Preflight {
    /// It will work; nothing more is to be said.
    pub fn works() -> Preflight {
        Preflight { works: true, text: "will work here".to_owned() }
    }

    /// It will work with what was found, or will not because of an error.
    pub fn of(found: Result<String, StartError>) -> Preflight {
        match found {
            Ok(found) => Preflight { works: true, text: format!("will work here: {found}") },
            Err(reason) => Preflight { works: false, text: format!("will not work here: {reason}") },
        }
    }
}

/// Starts on a thread of its own what may wait for a file system, the kernel or a free CPU, so that the control side does
/// not. Once the future is dropped nothing begins any more; what has begun is undone there, and only who asks
/// [`given_up`] waits for that.
pub(crate) async fn start_off_thread<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    let (give, taken) = oneshot::channel();
    let thread = tokio::task::spawn_blocking(move || {
        if !give.is_closed() {
            // Undone here where nobody takes it any more.
            drop(give.send(start()));
        }
    });
    let mut starting = Starting { thread: Some(thread), taken };
    let started = (&mut starting.taken).await;
    match (started, starting.thread.take()) {
        (Ok(started), _) => started,
        (Err(_), Some(thread)) => match thread.await {
            Err(broken) => std::panic::resume_unwind(broken.into_panic()),
            Ok(()) => unreachable!("it gives what it has started, or panics"),
        },
        (Err(_), None) => unreachable!("only its drop takes the thread"),
    }
}

/// A start that is under way, or whose value nobody has taken yet. Dropped, it is given up.
struct Starting<T: Send + 'static> {
    thread: Option<JoinHandle<()>>,
    taken: oneshot::Receiver<T>,
}

impl<T: Send + 'static> Drop for Starting<T> {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.taken.close();
        match self.taken.try_recv() {
            // It was on its way here.
            Ok(started) => given_up::undo_off_thread(move || drop(started)),
            Err(_) => given_up::follow(thread),
        }
    }
}

/// Undoes on a thread of its own what may wait for a disk or for the kernel, so that the control side does not.
pub(crate) fn off_thread(
    undo: impl FnOnce() -> FaultReport + Send + 'static,
) -> LocalBoxFuture<'static, FaultReport> {
    Box::pin(async move {
        tokio::task::spawn_blocking(undo).await.unwrap_or_else(|error| FaultReport {
            summary: None,
            undone: Undone::Failed,
            failure: Some(format!("undoing it broke off: {error}")),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;

    struct Live(Arc<AtomicBool>);

    impl Drop for Live {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        // One thread for blocking work, so that a test can keep it.
        tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap()
    }

    async fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) {
        let mut future = Some(future);
        std::future::poll_fn(|context| {
            if let Some(future) = future.take() {
                assert!(future.poll(context).is_pending(), "too quick for this test");
            }
            std::task::Poll::Ready(())
        })
        .await;
    }

    #[test]
    fn a_start_that_is_given_up_before_it_begins_never_begins() {
        runtime().block_on(async {
            let (release, held) = mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || held.recv());
            let begun = Arc::new(AtomicBool::new(false));
            let seen = begun.clone();
            let mut starting = Box::pin(start_off_thread(move || seen.store(true, Ordering::SeqCst)));
            poll_once(starting.as_mut()).await;
            drop(starting);
            release.send(()).unwrap();
            busy.await.unwrap().unwrap();
            // The thread is free for this only after the start.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            assert!(!begun.load(Ordering::SeqCst));
        });
    }

    #[test]
    fn a_start_that_is_given_up_in_the_middle_is_undone_and_its_drop_does_not_wait() {
        runtime().block_on(async {
            let (tell, told) = mpsc::channel::<()>();
            let (release, held) = mpsc::channel::<()>();
            let live = Arc::new(AtomicBool::new(false));
            let seen = live.clone();
            let mut starting = Box::pin(start_off_thread(move || {
                tell.send(()).unwrap();
                held.recv().unwrap();
                seen.store(true, Ordering::SeqCst);
                Live(seen)
            }));
            poll_once(starting.as_mut()).await;
            told.recv().unwrap();
            // It would wait for ever for what only comes after it.
            drop(starting);
            release.send(()).unwrap();
            given_up::undone().await;
            assert!(!live.load(Ordering::SeqCst), "undone");
        });
    }

    #[test]
    fn what_is_given_while_it_is_given_up_is_undone() {
        runtime().block_on(async {
            let live = Arc::new(AtomicBool::new(true));
            let seen = live.clone();
            let mut starting = Box::pin(start_off_thread(move || Live(seen)));
            poll_once(starting.as_mut()).await;
            // The thread is free for this only after the start.
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            assert!(live.load(Ordering::SeqCst), "nobody has taken it");
            drop(starting);
            given_up::undone().await;
            assert!(!live.load(Ordering::SeqCst), "undone");
        });
    }

    #[test]
    fn what_was_started_is_given() {
        let live = Arc::new(AtomicBool::new(true));
        let started = runtime().block_on(start_off_thread({
            let live = live.clone();
            move || Live(live)
        }));
        assert!(live.load(Ordering::SeqCst));
        drop(started);
    }
}
