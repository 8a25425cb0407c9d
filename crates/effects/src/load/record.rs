//! What a load achieved, window by window, in bounded memory. Pure; the caller brings the clock readings.

use std::time::Duration;

use super::pace::WINDOW;

/// Most intervals a record keeps. A longer load gets longer intervals, each a whole number of seconds.
pub const MAX_INTERVALS: u64 = 60;

/// A window shorter than this says too little to be anybody's lowest or highest.
const WHOLE_WINDOW: Duration = Duration::from_millis(900);

/// CPU time used over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stretch {
    /// Length on the clock on the wall.
    pub wall: Duration,
    /// CPU time of all workers together.
    pub used: Duration,
}

impl Stretch {
    /// CPUs kept busy on average over the stretch; 0 for an empty one.
    pub fn cpus(self) -> f64 {
        if self.wall.is_zero() { 0.0 } else { self.used.as_secs_f64() / self.wall.as_secs_f64() }
    }

    fn add(&mut self, other: Stretch) {
        self.wall += other.wall;
        self.used += other.used;
    }
}

/// CPU time achieved over the life of a load: in all, per interval, and the extremes of its 1 s windows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// Windows in one interval.
    per_interval: u64,
    /// The latest reading: time since the start, CPU time used.
    latest: Stretch,
    intervals: Vec<Stretch>,
    /// Windows in the interval that is being filled.
    filled: u64,
    /// Average CPUs of the worst and the best whole window.
    lowest: Option<f64>,
    highest: Option<f64>,
}

impl Record {
    /// An empty record for a load that is meant to live for `duration`.
    pub fn new(duration: Duration) -> Self {
        let windows = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        Record { per_interval: windows.div_ceil(MAX_INTERVALS).max(1), ..Record::default() }
    }

    /// Takes a reading: `elapsed` since the start, `used` CPU time in all. Called once a window.
    pub fn push(&mut self, elapsed: Duration, used: Duration) {
        let step = Stretch {
            wall: elapsed.saturating_sub(self.latest.wall),
            used: used.saturating_sub(self.latest.used),
        };
        if step.wall.is_zero() {
            return;
        }
        self.latest = Stretch { wall: elapsed, used };
        if step.wall >= WHOLE_WINDOW {
            self.lowest = Some(self.lowest.map_or(step.cpus(), |lowest| lowest.min(step.cpus())));
            self.highest = Some(self.highest.map_or(step.cpus(), |highest| highest.max(step.cpus())));
        }
        // A load that lives on past its plan fills its last interval: memory stays bounded.
        let room = self.filled < self.per_interval || self.intervals.len() as u64 > MAX_INTERVALS;
        match self.intervals.last_mut() {
            Some(interval) if room => interval.add(step),
            _ => {
                self.intervals.push(step);
                self.filled = 0;
            }
        }
        self.filled += 1;
    }

    /// Takes the last reading, once the load is gone.
    pub fn close(&mut self, elapsed: Duration, used: Duration) {
        self.push(elapsed, used);
        // A scrap of a few milliseconds behind the last whole window would read like a sudden change.
        if let [.., before, last] = self.intervals.as_mut_slice()
            && last.wall < WINDOW / 2
        {
            before.add(*last);
            self.intervals.pop();
        }
    }

    /// Time the load lived.
    pub fn elapsed(&self) -> Duration {
        self.latest.wall
    }

    /// CPU time of all workers over the whole life.
    pub fn used(&self) -> Duration {
        self.latest.used
    }

    /// CPUs kept busy on average over the whole life.
    pub fn mean_cpus(&self) -> f64 {
        self.latest.cpus()
    }

    /// CPUs kept busy in the worst and the best 1 s window; None if it did not live for one.
    pub fn extremes_cpus(&self) -> Option<(f64, f64)> {
        self.lowest.zip(self.highest)
    }

    /// Length of an interval, in seconds.
    pub fn interval_seconds(&self) -> u64 {
        self.per_interval
    }

    /// Intervals in their order, at most [`MAX_INTERVALS`] and one over. The last may be shorter.
    pub fn intervals(&self) -> &[Stretch] {
        &self.intervals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn cpus(record: &Record) -> Vec<f64> {
        record.intervals().iter().map(|interval| (interval.cpus() * 100.0).round() / 100.0).collect()
    }

    #[test]
    fn one_interval_per_second_for_a_minute() {
        let mut record = Record::new(Duration::from_secs(60));
        for second in 1..=60 {
            record.push(millis(second * 1000), millis(second * 600));
        }
        record.close(millis(60_002), millis(36_001));
        assert_eq!(record.interval_seconds(), 1);
        assert_eq!(record.intervals().len(), 60, "the last scrap belongs to the last second");
        assert_eq!(record.used(), millis(36_001));
        assert_eq!(record.elapsed(), millis(60_002));
    }

    #[test]
    fn a_long_load_keeps_few_intervals_and_exact_extremes() {
        let mut record = Record::new(Duration::from_secs(43_200));
        assert_eq!(record.interval_seconds(), 720);
        let mut used = Duration::ZERO;
        for second in 1..=43_200 {
            used += millis(if second == 1000 { 100 } else { 500 });
            record.push(Duration::from_secs(second), used);
        }
        assert_eq!(record.intervals().len(), 60);
        assert_eq!(
            record.extremes_cpus().map(|(low, high)| ((low * 10.0).round(), (high * 10.0).round())),
            Some((1.0, 5.0))
        );
        assert_eq!(record.intervals().iter().map(|interval| interval.used).sum::<Duration>(), used);
    }

    #[test]
    fn a_late_reading_is_measured_over_its_own_length() {
        let mut record = Record::new(Duration::from_secs(3));
        record.push(millis(1000), millis(500));
        record.push(millis(2500), millis(1250));
        assert_eq!(cpus(&record), [0.5, 0.5]);
    }

    #[test]
    fn a_short_last_window_is_no_extreme() {
        let mut record = Record::new(Duration::from_secs(9));
        record.push(millis(1000), millis(500));
        record.close(millis(1700), millis(500));
        assert_eq!(record.extremes_cpus(), Some((0.5, 0.5)));
        assert_eq!(cpus(&record), [0.5, 0.0]);
    }

    #[test]
    fn a_load_that_outlives_its_plan_stays_bounded() {
        let mut record = Record::new(Duration::from_secs(1));
        for second in 1..=500 {
            record.push(Duration::from_secs(second), millis(second * 100));
        }
        assert!(record.intervals().len() as u64 <= MAX_INTERVALS + 1);
        assert_eq!(
            record.intervals().iter().map(|interval| interval.wall).sum::<Duration>(),
            Duration::from_secs(500)
        );
    }

    #[test]
    fn nothing_happened_is_zero_not_a_division() {
        assert_eq!(Record::default().mean_cpus(), 0.0);
        assert_eq!(Record::default().extremes_cpus(), None);
    }
}
