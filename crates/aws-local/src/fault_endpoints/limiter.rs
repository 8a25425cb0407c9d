//! The agent's rate limiter: one request per route in some seconds. Pure; time is a parameter.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::request::{Kind, Operation};

/// A route of a task.
type Key = (String, Kind, Operation);

/// When each route let a request through. A token bucket of one token: a refused request costs nothing.
#[derive(Debug, Default)]
pub(super) struct Limiter(HashMap<Key, SystemTime>);

impl Limiter {
    /// Whether a request may go on. `interval` zero lets everything through.
    pub(super) fn admit(&mut self, key: Key, now: SystemTime, interval: Duration) -> bool {
        let last = self.0.get(&key);
        // A clock that was set back must not lock a route for long.
        let free = last.is_none_or(|last| now.duration_since(*last).map_or(true, |since| since >= interval));
        if free {
            self.0.insert(key, now);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_every_task_has_five_seconds_of_its_own() {
        let mut limiter = Limiter::default();
        let start = SystemTime::UNIX_EPOCH;
        let key = |task: &str, kind, operation| (task.to_owned(), kind, operation);
        let five = Duration::from_secs(5);
        let mut at = |seconds, task, kind, operation| {
            limiter.admit(key(task, kind, operation), start + Duration::from_millis(seconds), five)
        };
        assert!(at(0, "t", Kind::Latency, Operation::Start));
        assert!(!at(4_999, "t", Kind::Latency, Operation::Start));
        assert!(at(1, "t", Kind::Latency, Operation::Stop), "another operation");
        assert!(at(1, "t", Kind::PacketLoss, Operation::Start), "another fault");
        assert!(at(1, "u", Kind::Latency, Operation::Start), "another task");
        assert!(at(5_000, "t", Kind::Latency, Operation::Start), "refused requests do not count");
    }
}
