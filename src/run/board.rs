//! The faults that live in this process now, for `taskfault status`. They put themselves up when they have
//! started, and are taken down when they are dropped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

/// One fault that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    pub command_id: String,
    /// What was started: [`effects::fault::ActiveFault::started`].
    pub words: String,
    /// When it ends by itself at the latest, by the wall clock.
    pub until: SystemTime,
    /// The FIS action whose heartbeats it lives on, where it does.
    pub action: Option<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Board {
    next: Cell<u64>,
    posted: RefCell<Vec<(u64, Posted)>>,
    changed: Notify,
}

impl Board {
    /// Puts up a fault that has just started and lives for `duration`. It stays for as long as the result lives.
    pub fn post(
        self: &Rc<Self>,
        command_id: &str,
        words: &str,
        duration: Duration,
        action: Option<&str>,
    ) -> OnBoard {
        let number = self.next.get();
        self.next.set(number + 1);
        let posted = Posted {
            command_id: command_id.to_owned(),
            words: words.to_owned(),
            until: SystemTime::now() + duration,
            action: action.map(str::to_owned),
        };
        self.posted.borrow_mut().push((number, posted));
        self.changed.notify_waiters();
        OnBoard { number, board: Rc::clone(self) }
    }

    /// The fault of a command, if one lives.
    pub fn of(&self, command_id: &str) -> Option<Posted> {
        let posted = self.posted.borrow();
        posted.iter().find(|(_, posted)| posted.command_id == command_id).map(|(_, posted)| posted.clone())
    }

    /// Waits until a fault is put up or taken down.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// A fault's place on the board.
#[derive(Debug)]
pub struct OnBoard {
    number: u64,
    board: Rc<Board>,
}

impl Drop for OnBoard {
    fn drop(&mut self) {
        self.board.posted.borrow_mut().retain(|(number, _)| *number != self.number);
        self.board.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_on_the_board_for_as_long_as_it_lives() {
        let board = Rc::new(Board::default());
        let minute = Duration::from_secs(60);
        let first = board.post("c1", "cpu-stress: 1 thread", minute, None);
        let second = board.post("c2", "network-latency: 200 ms", minute, Some("action"));
        let posted = board.of("c2").unwrap();
        assert_eq!(
            (posted.words.as_str(), posted.action.as_deref()),
            ("network-latency: 200 ms", Some("action"))
        );
        let left = posted.until.duration_since(SystemTime::now()).unwrap();
        assert!(left <= minute && left > minute / 2, "{left:?}");
        drop(second);
        assert!(board.of("c2").is_none() && board.of("c1").is_some());
        drop(first);
        assert!(board.of("c1").is_none());
    }
}
