//! FIS actions that need heartbeats: which run or wait here, and until when.
//!
//! The `-ECS` documents are sent again and again by FIS with the same id; each call extends the life of the
//! first to 60 s after the time of the call. The wall clock's time is a parameter; all other time is tokio's, so that
//! tests control both.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::document::awsfis::ActionState;

/// How long a fault goes on after the last call (the `-ECS` documents: 60 s; FIS calls every 20 s).
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a call of FIS cannot be honoured. The command exits with 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatError {
    /// A further call, and no fault to extend.
    #[error(
        "there is no fault of FIS action {id} to extend here: it has ended, its heartbeats stopped for \
         60 s, or it never started in this task"
    )]
    NoSuchFault {
        /// The FIS action.
        id: String,
    },
    /// A first call for an action whose fault is active.
    #[error("a fault of FIS action {id} runs already in this task; nothing was started")]
    RunsAlready {
        /// The FIS action.
        id: String,
    },
    /// A first call that had to wait for too long.
    #[error(
        "FIS action {id} was called more than 60 s ago by this task's clock, and no heartbeat came since: nothing \
         was started"
    )]
    Expired {
        /// The FIS action.
        id: String,
    },
}

#[derive(Debug)]
struct Entry {
    deadline: watch::Sender<Instant>,
    /// Whether its fault is active; else its command waits.
    runs: bool,
}

/// All FIS actions of this sidecar, by id.
#[derive(Debug, Default)]
pub struct Heartbeats(RefCell<HashMap<String, Entry>>);

impl Heartbeats {
    /// A first call was accepted and may have to wait: heartbeats count from now on.
    pub fn announce(&self, state: &ActionState, now: SystemTime) {
        let entry = || Entry { deadline: watch::Sender::new(deadline(state, now)), runs: false };
        self.0.borrow_mut().entry(state.id.clone()).or_insert_with(entry);
    }

    /// An announced call will never run.
    pub fn withdraw(&self, id: &str) {
        self.0.borrow_mut().retain(|known, entry| known != id || entry.runs);
    }

    /// The fault of a first call is about to start. The lease ends the action when it is dropped.
    ///
    /// # Errors
    /// A fault with this id runs already, or the call is too old.
    pub fn begin(self: &Rc<Self>, state: &ActionState, now: SystemTime) -> Result<Lease, HeartbeatError> {
        let id = state.id.clone();
        self.announce(state, now);
        let mut entries = self.0.borrow_mut();
        // It was put there a line above, if it was not there before.
        let Some(entry) = entries.get_mut(&id) else { return Err(HeartbeatError::NoSuchFault { id }) };
        if entry.runs {
            return Err(HeartbeatError::RunsAlready { id });
        }
        if *entry.deadline.borrow() <= Instant::now() {
            entries.remove(&id);
            return Err(HeartbeatError::Expired { id });
        }
        entry.runs = true;
        let deadline = entry.deadline.subscribe();
        Ok(Lease { id, deadline, all: Rc::clone(self) })
    }

    /// When the fault of this action ends unless another call comes, by the wall clock.
    pub fn until(&self, id: &str, now: SystemTime) -> Option<SystemTime> {
        let deadline = *self.0.borrow().get(id)?.deadline.borrow();
        Some(now + deadline.saturating_duration_since(Instant::now()))
    }

    /// A further call: extends the life to 60 s after it, if that is later than what is known. Gives how long
    /// the fault lives from now on if nothing more comes.
    ///
    /// # Errors
    /// No fault with this id runs or waits here.
    pub fn beat(&self, state: &ActionState, now: SystemTime) -> Result<Duration, HeartbeatError> {
        let entries = self.0.borrow();
        let gone = || HeartbeatError::NoSuchFault { id: state.id.clone() };
        let entry = entries.get(&state.id).ok_or_else(gone)?;
        let asked = deadline(state, now);
        entry.deadline.send_if_modified(|known| {
            let later = asked > *known;
            *known = asked.max(*known);
            later
        });
        let left = entry.deadline.borrow().saturating_duration_since(Instant::now());
        // Its time is over, and its step is about to end.
        if left.is_zero() { Err(gone()) } else { Ok(left) }
    }
}

/// When the fault of a call ends: 60 s after the time of the call.
fn deadline(state: &ActionState, now: SystemTime) -> Instant {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(state.call_time) + TIMEOUT;
    Instant::now() + end.duration_since(now).unwrap_or(Duration::ZERO)
}

/// Keeps a FIS action registered while its fault is active. Dropping it ends the action.
#[derive(Debug)]
#[must_use = "the action ends when this is dropped"]
pub struct Lease {
    id: String,
    deadline: watch::Receiver<Instant>,
    all: Rc<Heartbeats>,
}

impl Lease {
    /// The id of the action.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When the action ends unless another call comes, as it moves.
    pub fn until(&self) -> Until {
        Until(self.deadline.clone())
    }

    /// Is ready when no call has come for too long. `moved` is told how long the action has from now on, each time
    /// that a call extends it.
    pub async fn expired(&mut self, moved: &dyn Fn(Duration)) {
        loop {
            let deadline = *self.deadline.borrow_and_update();
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                // The sender lives as long as the lease.
                _ = self.deadline.changed() => moved(self.until().left()),
            }
        }
    }
}

/// When an action ends unless another call comes.
#[derive(Debug)]
pub struct Until(watch::Receiver<Instant>);

impl Until {
    /// How long that is from now.
    pub fn left(&self) -> Duration {
        self.0.borrow().saturating_duration_since(Instant::now())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.all.0.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_766_000_000;

    fn call(id: &str, time: u64, count: u64) -> ActionState {
        ActionState { id: id.to_owned(), call_time: time, call_count: count }
    }

    /// The wall clock of a test: `START` at its beginning, and then as tokio's.
    struct Clock(Instant);

    impl Clock {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(START) + self.0.elapsed()
        }

        async fn pass(&self, seconds: u64) {
            tokio::time::sleep_until(self.0 + Duration::from_secs(seconds)).await;
        }
    }

    /// The second at which the action ends if it gets exactly these calls: when, and with which time in it.
    async fn life(calls: &[(u64, u64)]) -> u64 {
        let clock = Clock(Instant::now());
        let all = Rc::new(Heartbeats::default());
        let mut lease = all.begin(&call("a", START, 1), clock.now()).unwrap();
        let beats = async {
            for (n, (when, said)) in (2..).zip(calls) {
                clock.pass(*when).await;
                all.beat(&call("a", START + said, n), clock.now()).unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = lease.expired(&|_| {}) => {}
            () = beats => {}
        }
        clock.0.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn an_action_lives_sixty_seconds_after_its_last_call() {
        assert_eq!(life(&[]).await, 60);
        assert_eq!(life(&[(20, 20), (40, 40)]).await, 100);
        assert_eq!(life(&[(59, 59)]).await, 119);
    }

    #[tokio::test(start_paused = true)]
    async fn late_doubled_and_mixed_up_calls_never_shorten_it() {
        assert_eq!(life(&[(20, 20), (20, 20)]).await, 80, "doubled");
        assert_eq!(life(&[(41, 40), (42, 20)]).await, 100, "the older one came last");
        assert_eq!(life(&[(50, 20)]).await, 80, "half a minute late");
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_the_end_is_told() {
        let clock = Clock(Instant::now());
        let all = Rc::new(Heartbeats::default());
        let mut lease = all.begin(&call("a", START, 1), clock.now()).unwrap();
        assert_eq!(lease.until().left().as_secs(), 60);
        let told = RefCell::new(Vec::new());
        let moved = |left: Duration| told.borrow_mut().push(left.as_secs());
        let beats = async {
            clock.pass(20).await;
            all.beat(&call("a", START + 20, 2), clock.now()).unwrap();
            all.beat(&call("a", START + 10, 2), clock.now()).unwrap();
            clock.pass(45).await;
            all.beat(&call("a", START + 40, 3), clock.now()).unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = lease.expired(&moved) => {}
            () = beats => {}
        }
        assert_eq!(*told.borrow(), [60, 55]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_fault_there_is_nothing_to_extend() {
        let (clock, all) = (Clock(Instant::now()), Rc::new(Heartbeats::default()));
        let gone = Err(HeartbeatError::NoSuchFault { id: "a".into() });
        assert_eq!(all.beat(&call("a", START, 2), clock.now()), gone);
        let lease = all.begin(&call("a", START, 1), clock.now()).unwrap();
        let other = all.beat(&call("b", START, 2), clock.now()).unwrap_err().to_string();
        assert!(other.contains("action b"), "{other}");
        drop(lease);
        assert_eq!(all.beat(&call("a", START, 3), clock.now()), gone);
        let mut lease = all.begin(&call("a", START, 1), clock.now()).unwrap();
        lease.expired(&|_| {}).await;
        // The lease is still there, undoing; a beat must not promise what will not be.
        assert_eq!(all.beat(&call("a", START, 4), clock.now()), gone);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_start_of_the_same_action_is_refused() {
        let (clock, all) = (Clock(Instant::now()), Rc::new(Heartbeats::default()));
        let _lease = all.begin(&call("a", START, 1), clock.now()).unwrap();
        let again = all.begin(&call("a", START, 1), clock.now()).unwrap_err();
        assert_eq!(again, HeartbeatError::RunsAlready { id: "a".into() });
        assert!(all.begin(&call("b", START, 1), clock.now()).is_ok(), "another action");
        assert!(all.beat(&call("a", START + 1, 2), clock.now()).is_ok(), "the first one goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waited_too_long_starts_nothing_unless_heartbeats_came() {
        let (clock, all) = (Clock(Instant::now()), Rc::new(Heartbeats::default()));
        for id in ["a", "b", "c"] {
            all.announce(&call(id, START, 1), clock.now());
        }
        clock.pass(40).await;
        assert!(all.beat(&call("a", START + 40, 2), clock.now()).is_ok());
        all.withdraw("c");
        assert!(all.beat(&call("c", START + 40, 2), clock.now()).is_err());
        clock.pass(70).await;
        assert!(all.begin(&call("a", START, 1), clock.now()).is_ok());
        let late = all.begin(&call("b", START, 1), clock.now()).unwrap_err();
        assert_eq!(late, HeartbeatError::Expired { id: "b".into() });
        assert!(late.to_string().contains("60 s"), "{late}");
    }
}
