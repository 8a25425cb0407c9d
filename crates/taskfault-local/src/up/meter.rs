//! The CPU that tasks use, measured from outside.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::stage::{CpuTime, cpu_time};
use record::CpuSample;
use record::clock::epoch_seconds;

/// Measures the share of one core that each process used since the last sample.
#[derive(Debug, Default)]
pub(super) struct Meters {
    /// By pid, as this process sees it.
    seen: BTreeMap<i32, (CpuTime, Instant)>,
}

impl Meters {
    /// Percent of one core that some processes used since the last sample, all their threads together. None at
    /// the first sample, and when all of them are gone.
    pub(super) fn sample(&mut self, pids: impl IntoIterator<Item = i32>) -> Option<CpuSample> {
        let (mut percent, mut any) = (0.0, false);
        for pid in pids {
            let Ok(used) = cpu_time(pid) else {
                self.seen.remove(&pid);
                continue;
            };
            let now = Instant::now();
            if let Some((before, at)) = self.seen.insert(pid, (used, now)) {
                percent += share(used.0.saturating_sub(before.0), now - at);
                any = true;
            }
        }
        any.then(|| CpuSample { at: epoch_seconds(SystemTime::now()), percent })
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

    #[test]
    fn a_process_is_measured_from_its_second_sample_on() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut meters = Meters::default();
        assert_eq!(meters.sample([own]), None);
        assert!(meters.sample([own, i32::MAX]).is_some());
        assert_eq!(meters.sample([i32::MAX]), None);
    }
}
