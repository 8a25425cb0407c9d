//! The faults that are active in this process, for `taskfault status`. A fault is listed when it has started, and
//! leaves the list when its [`Listed`] is dropped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

/// One active fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The command that started it.
    pub command_id: String,
    /// What was started: [`effects::fault::ActiveFault::started`].
    pub description: String,
    /// When it ends by itself at the latest, by the wall clock.
    pub until: SystemTime,
    /// The FIS action whose heartbeats keep it active, where it needs them.
    pub action: Option<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct ActiveFaults {
    next: Cell<u64>,
    entries: RefCell<Vec<(u64, Entry)>>,
    changed: Notify,
}

impl ActiveFaults {
    /// Lists a fault that has just started and lasts for `duration`, until the result is dropped.
    pub fn add(
        self: &Rc<Self>,
        command_id: &str,
        description: &str,
        duration: Duration,
        action: Option<&str>,
    ) -> Listed {
        let number = self.next.get();
        self.next.set(number + 1);
        let entry = Entry {
            command_id: command_id.to_owned(),
            description: description.to_owned(),
            until: SystemTime::now() + duration,
            action: action.map(str::to_owned),
        };
        self.entries.borrow_mut().push((number, entry));
        self.changed.notify_waiters();
        Listed { number, list: Rc::clone(self) }
    }

    /// The active fault of a command, if there is one.
    pub fn of(&self, command_id: &str) -> Option<Entry> {
        let entries = self.entries.borrow();
        entries.iter().find(|(_, entry)| entry.command_id == command_id).map(|(_, entry)| entry.clone())
    }

    /// Waits until a fault is listed or leaves the list.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Keeps one fault in the list. Dropping it removes the fault.
#[derive(Debug)]
#[must_use = "the fault leaves the list when this is dropped"]
pub struct Listed {
    number: u64,
    list: Rc<ActiveFaults>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.list.entries.borrow_mut().retain(|(number, _)| *number != self.number);
        self.list.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_listed_while_it_is_active() {
        let list = Rc::new(ActiveFaults::default());
        let minute = Duration::from_secs(60);
        let first = list.add("c1", "cpu-stress: 1 thread", minute, None);
        let second = list.add("c2", "network-latency: 200 ms", minute, Some("action"));
        let entry = list.of("c2").unwrap();
        assert_eq!(
            (entry.description.as_str(), entry.action.as_deref()),
            ("network-latency: 200 ms", Some("action"))
        );
        let left = entry.until.duration_since(SystemTime::now()).unwrap();
        assert!(left <= minute && left > minute / 2, "{left:?}");
        drop(second);
        assert!(list.of("c2").is_none() && list.of("c1").is_some());
        drop(first);
        assert!(list.of("c1").is_none());
    }
}
