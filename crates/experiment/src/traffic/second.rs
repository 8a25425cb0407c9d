//! What became of the requests that were due in one second.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use super::request::Failure;
use record::{Second, Times, clock};

/// Counts of one second that is not reported yet.
#[derive(Debug)]
pub(super) struct Figures {
    sent: u32,
    ok: u32,
    errors: BTreeMap<Failure, u32>,
    /// Of answers of success and of failures, in microseconds.
    ok_times: Histogram<u64>,
    failed_times: Histogram<u64>,
    lag: Duration,
}

/// Two digits: percentiles within 1 %. Auto-resizing, so that no time is too long.
fn histogram() -> Histogram<u64> {
    #[allow(clippy::expect_used, reason = "two digits are within the library's 0 to 5")]
    Histogram::new(2).expect("a histogram of two digits")
}

/// What a histogram has counted, each by the highest time that counts as the same.
fn times(histogram: &Histogram<u64>) -> Times {
    let mut times = Times::default();
    for counted in histogram.iter_recorded() {
        let number = u32::try_from(counted.count_at_value()).unwrap_or(u32::MAX);
        times.add(counted.value_iterated_to(), number);
    }
    times
}

impl Figures {
    fn new() -> Figures {
        Figures {
            sent: 0,
            ok: 0,
            errors: BTreeMap::new(),
            ok_times: histogram(),
            failed_times: histogram(),
            lag: Duration::ZERO,
        }
    }

    /// What is reported and kept; `at` is when the second began.
    pub(super) fn summary(&self, at: SystemTime) -> Second {
        let (ok_times, failed_times) = (times(&self.ok_times), times(&self.failed_times));
        let mut all = ok_times.clone();
        all.merge(&failed_times);
        let percentile = |share| all.percentile_ms(share).map(round_ms);
        Second {
            at: clock::epoch_seconds(at),
            sent: self.sent,
            ok: self.ok,
            errors: self.errors.iter().map(|(kind, count)| (kind.as_str().to_owned(), *count)).collect(),
            p50_ms: percentile(0.50),
            p95_ms: percentile(0.95),
            p99_ms: percentile(0.99),
            lag_ms: round_ms(self.lag.as_secs_f64() * 1000.0),
            ok_times,
            failed_times,
        }
    }
}

/// To a hundredth of a millisecond: more digits would pretend.
fn round_ms(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// The seconds that are not over, or whose requests have not all ended.
#[derive(Debug, Default)]
pub(super) struct Tally {
    seconds: BTreeMap<u64, Figures>,
    /// The first second that was not reported yet.
    next: u64,
    pending: u32,
}

impl Tally {
    /// A request of `second` was sent, so much later than it was due.
    pub(super) fn sent(&mut self, second: u64, lag: Duration) {
        let figures = self.seconds.entry(second).or_insert_with(Figures::new);
        figures.sent += 1;
        figures.lag = figures.lag.max(lag);
        self.pending += 1;
    }

    /// A request of `second` has ended, so long after it was due.
    pub(super) fn ended(&mut self, second: u64, outcome: Result<(), Failure>, took: Duration) {
        self.pending -= 1;
        let figures = self.seconds.entry(second).or_insert_with(Figures::new);
        let times = match outcome {
            Ok(()) => {
                figures.ok += 1;
                &mut figures.ok_times
            }
            Err(kind) => {
                *figures.errors.entry(kind).or_default() += 1;
                &mut figures.failed_times
            }
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        // Cannot fail: the histogram grows.
        let _ = times.record(micros);
    }

    /// Requests under way.
    pub(super) fn pending(&self) -> u32 {
        self.pending
    }

    /// Takes out, in order, the seconds before `passed` whose requests have all ended, up to the first that
    /// waits. Seconds in which nothing was due are there too, empty.
    pub(super) fn take_over(&mut self, passed: u64) -> Vec<(u64, Figures)> {
        let mut over = Vec::new();
        let end = passed.min(self.seconds.keys().next_back().map_or(0, |last| last + 1));
        while self.next < end {
            let waits = self.seconds.get(&self.next).is_some_and(|figures| figures.waits());
            if waits {
                break;
            }
            over.push((self.next, self.seconds.remove(&self.next).unwrap_or_else(Figures::new)));
            self.next += 1;
        }
        over
    }
}

impl Figures {
    fn waits(&self) -> bool {
        self.ok + self.errors.values().sum::<u32>() < self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_second_is_told_when_it_is_over_and_its_last_request_has_ended() {
        let mut tally = Tally::default();
        tally.sent(0, Duration::ZERO);
        tally.sent(0, 3 * MS);
        tally.sent(1, Duration::ZERO);
        tally.ended(1, Ok(()), MS);
        tally.ended(0, Ok(()), 10 * MS);
        assert!(tally.take_over(2).is_empty(), "the first second has a request under way");
        tally.ended(0, Err(Failure::Refused), 1000 * MS);
        assert!(tally.take_over(0).is_empty(), "it is not over");
        let reported = tally.take_over(1);
        assert_eq!(reported.len(), 1);
        let second = reported[0].1.summary(SystemTime::UNIX_EPOCH);
        assert_eq!((second.sent, second.ok, second.failed()), (2, 1, 1));
        assert_eq!(second.errors["refused"], 1);
        assert!((second.lag_ms - 3.0).abs() < 1e-9);
        assert!((second.p50_ms.unwrap() - 10.0).abs() < 0.2, "{second:?}");
        assert!((second.p99_ms.unwrap() - 1000.0).abs() < 10.0, "a failure waited too: {second:?}");
        let [_, _, answered] = second.answered_ms();
        assert!((answered.unwrap() - 10.0).abs() < 0.2, "failures are kept apart: {second:?}");
        assert_eq!((second.ok_times.count(), second.failed_times.count()), (1, 1));
        assert_eq!((tally.take_over(2)[0].0, tally.pending()), (1, 0));
    }

    #[test]
    fn seconds_without_requests_are_told_empty() {
        let mut tally = Tally::default();
        tally.sent(0, Duration::ZERO);
        tally.ended(0, Ok(()), MS);
        tally.sent(3, Duration::ZERO);
        let reported = tally.take_over(4);
        assert_eq!(reported.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2]);
        let empty = reported[1].1.summary(SystemTime::UNIX_EPOCH);
        assert_eq!((empty.sent, empty.p50_ms), (0, None));
    }
}
