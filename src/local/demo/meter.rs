//! The CPU that a process uses, measured from outside.

use std::io;
use std::time::{Duration, Instant};

use crate::local::stage::{CpuTime, cpu_time};

/// Measures the share of one core that a process used since the last look.
#[derive(Debug)]
pub(super) struct Meter {
    pid: i32,
    used: CpuTime,
    at: Instant,
}

impl Meter {
    /// Starts to measure the process `pid`, as this process sees it.
    pub(super) fn of(pid: i32) -> io::Result<Meter> {
        Ok(Meter { pid, used: cpu_time(pid)?, at: Instant::now() })
    }

    /// Percent of one core since the last look, all threads together; 100 is one whole core.
    pub(super) fn percent(&mut self) -> io::Result<f64> {
        let (used, at) = (cpu_time(self.pid)?, Instant::now());
        let percent = share(used.0.saturating_sub(self.used.0), at - self.at);
        (self.used, self.at) = (used, at);
        Ok(percent)
    }
}

fn share(used: Duration, passed: Duration) -> f64 {
    if passed.is_zero() { 0.0 } else { 100.0 * used.as_secs_f64() / passed.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_percent_of_one_core() {
        assert!((share(Duration::from_millis(600), Duration::from_secs(1)) - 60.0).abs() < 1e-9);
        assert!((share(Duration::from_secs(2), Duration::from_secs(1)) - 200.0).abs() < 1e-9);
        assert!(share(Duration::from_secs(1), Duration::ZERO).abs() < 1e-9);
    }
}
