//! When each route may be asked again: the agent takes one request in 5 s for each of its nine.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The agent's 5 s, and a little more: requests do not all take equally long on their way.
pub(super) const INTERVAL: Duration = Duration::from_millis(5_250);

/// One for the whole process, because the agent counts that way.
static PACE: Mutex<Pace> = Mutex::new(Pace(BTreeMap::new()));

/// When each route, by its URL, is free again.
#[derive(Debug)]
struct Pace(BTreeMap<String, Instant>);

impl Pace {
    /// Takes the next free moment of a route, and gives how long it is until then.
    fn reserve(&mut self, url: &str, now: Instant) -> Duration {
        let free = self.0.get(url).copied().unwrap_or(now).max(now);
        self.0.insert(url.to_owned(), free + INTERVAL);
        free - now
    }

    /// The agent refused it as too early: another client had used the route.
    fn refused(&mut self, url: &str, now: Instant) {
        let free = self.0.get(url).copied().unwrap_or(now).max(now + INTERVAL);
        self.0.insert(url.to_owned(), free);
    }
}

/// How long to wait before the route is asked; the moment is taken.
pub(super) fn reserve(url: &str) -> Duration {
    PACE.lock().unwrap_or_else(PoisonError::into_inner).reserve(url, Instant::now())
}

/// The route was asked too early.
pub(super) fn refused(url: &str) {
    PACE.lock().unwrap_or_else(PoisonError::into_inner).refused(url, Instant::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_one_route_queue_up_and_others_do_not_care() {
        let (mut pace, now) = (Pace(BTreeMap::new()), Instant::now());
        assert_eq!(pace.reserve("a", now), Duration::ZERO);
        assert_eq!(pace.reserve("a", now), INTERVAL);
        assert_eq!(pace.reserve("a", now), 2 * INTERVAL);
        assert_eq!(pace.reserve("b", now), Duration::ZERO);
        assert_eq!(pace.reserve("a", now + 10 * INTERVAL), Duration::ZERO);
    }

    #[test]
    fn a_refusal_costs_an_interval_from_now() {
        let (mut pace, now) = (Pace(BTreeMap::new()), Instant::now());
        pace.reserve("a", now);
        pace.refused("a", now + Duration::from_secs(1));
        assert_eq!(pace.reserve("a", now + Duration::from_secs(1)), INTERVAL);
    }
}
