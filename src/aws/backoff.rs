//! Exponential back-off with full jitter.
//!
//! Full jitter (a uniform draw between zero and the current ceiling) spreads a fleet that was disturbed at the
//! same moment better than a jittered fixed delay does, and wastes fewer calls.

use std::time::Duration;

/// A series of delays: the n-th is drawn uniformly from zero to `base`·2ⁿ, never above `cap`.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// A series whose first ceiling is `base`.
    pub fn new(base: Duration, cap: Duration) -> Backoff {
        Backoff { base, cap, attempt: 0 }
    }

    /// The ceiling of the next delay.
    fn ceiling(&self) -> Duration {
        self.base.saturating_mul(2u32.saturating_pow(self.attempt)).min(self.cap)
    }

    /// The next delay; the one after it may be twice as long.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.ceiling().mul_f64(fastrand::f64());
        self.attempt = self.attempt.saturating_add(1);
        delay
    }

    /// Starts again from the base, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// A duration drawn uniformly from zero to `ceiling`.
pub fn jitter(ceiling: Duration) -> Duration {
    ceiling.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_below_a_doubling_ceiling_and_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        for ceiling in [1, 2, 4, 8, 8, 8] {
            assert_eq!(backoff.ceiling(), Duration::from_secs(ceiling));
            assert!(backoff.next_delay() <= Duration::from_secs(ceiling));
        }
        backoff.reset();
        assert_eq!(backoff.ceiling(), Duration::from_secs(1));
    }

    #[test]
    fn many_attempts_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..200 {
            assert!(backoff.next_delay() <= Duration::from_secs(60));
        }
    }
}
