//! The control law of one worker: how much of the next slice to burn. Pure; knows no clock.
//!
//! Time is cut into windows of one second, and windows into slices of a few milliseconds. What a worker owes
//! at the end of a slice counts from the start of the window, so what was missed (a late wake-up, a
//! throttled quota, another load) is made up inside the same window, and forgotten at its end: a fault
//! that could not have its share for a while does not come back as a burst later.

use std::time::Duration;

/// The window in which the share is kept. One second, because that is the finest resolution at which
/// anybody looks at CPU use.
pub const WINDOW: Duration = Duration::from_secs(1);

/// Length of a slice. Short against the 100 ms period of a CFS quota, so that the share is spread evenly
/// over each period; long against the 50–100 µs that a wake-up costs.
pub const SLICE: Duration = Duration::from_millis(10);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Burn until the thread has used `used_until` of CPU time in all, or until `wall_until` has passed
    /// since the start, whichever comes first.
    Burn {
        /// CPU time of the thread in all.
        used_until: Duration,
        /// Time since the start.
        wall_until: Duration,
    },
    /// Sleep until `wall_until` has passed since the start.
    Rest {
        /// Time since the start.
        wall_until: Duration,
    },
}

/// The state of the loop: which window it is in, and what had been used when that began.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Share of one core, 0–1.
    share: f64,
    /// Number of the current window, from 0.
    window: u32,
    /// CPU time used before the current window began.
    used_before: Duration,
}

/// How often `part` is over in `elapsed`. In 12 hours a slice is so 4,320,000 times.
fn times(elapsed: Duration, part: Duration) -> u32 {
    u32::try_from(elapsed.as_nanos() / part.as_nanos()).unwrap_or(u32::MAX)
}

impl Pace {
    /// A loop for `share` of one core; what lies outside 0–1 counts as the nearest end.
    pub fn new(share: f64) -> Self {
        Pace { share: share.clamp(0.0, 1.0), window: 0, used_before: Duration::ZERO }
    }

    /// The next turn, `elapsed` after the start with `used` CPU time spent in all. Both never go back.
    pub fn next(&mut self, elapsed: Duration, used: Duration) -> Turn {
        let window = times(elapsed, WINDOW);
        if window != self.window {
            self.window = window;
            self.used_before = used;
        }
        let slice = times(elapsed, SLICE);
        let wall_until = SLICE * (slice + 1);
        let owed = (wall_until - WINDOW * window).mul_f64(self.share);
        let used_until = self.used_before + owed;
        if used >= used_until { Turn::Rest { wall_until } } else { Turn::Burn { used_until, wall_until } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A worker on a machine made of a closure: `grant(now)` says how much of the next 100 µs it may run.
    /// Gives the CPU time of each window.
    fn simulate(share: f64, windows: u32, mut grant: impl FnMut(Duration) -> f64) -> Vec<Duration> {
        const TICK: Duration = Duration::from_micros(100);
        let mut pace = Pace::new(share);
        let (mut now, mut used) = (Duration::ZERO, Duration::ZERO);
        let mut totals = Vec::new();
        for window in 1..=windows {
            let before = used;
            while now < WINDOW * window {
                match pace.next(now, used) {
                    Turn::Burn { used_until, .. } => {
                        used += TICK.mul_f64(grant(now)).min(used_until - used);
                    }
                    Turn::Rest { wall_until } => assert!(wall_until > now, "a rest must end in the future"),
                }
                now += TICK;
            }
            totals.push(used - before);
        }
        totals
    }

    fn points(used: Duration) -> f64 {
        used.as_secs_f64() * 100.0
    }

    #[test]
    fn a_free_core_gives_exactly_the_share() {
        for percent in [1.0, 10.0, 25.0, 33.0, 50.0, 90.0, 99.0, 100.0] {
            for used in simulate(percent / 100.0, 3, |_| 1.0) {
                assert!((points(used) - percent).abs() < 0.2, "{percent} % gave {}", points(used));
            }
        }
    }

    #[test]
    fn zero_never_burns() {
        assert_eq!(simulate(0.0, 2, |_| 1.0), [Duration::ZERO; 2]);
    }

    #[test]
    fn what_is_missed_is_made_up_inside_the_window() {
        // Nothing at all for the first 400 ms of each second.
        for used in simulate(0.5, 3, |now| if now.subsec_millis() < 400 { 0.0 } else { 1.0 }) {
            assert!((points(used) - 50.0).abs() < 0.2, "{}", points(used));
        }
    }

    #[test]
    fn what_is_missed_is_forgotten_at_the_windows_end() {
        let used = simulate(0.5, 3, |now| if now < WINDOW { 0.0 } else { 1.0 });
        assert_eq!(used[0], Duration::ZERO);
        assert!((points(used[1]) - 50.0).abs() < 0.2, "no burst after a starved window: {}", points(used[1]));
    }

    #[test]
    fn a_quota_above_the_share_does_not_matter() {
        // CFS: 50 ms of each 100 ms, then throttled; asked 40 %.
        let mut spent = (0, 0.0);
        let used = simulate(0.4, 3, move |now| {
            let period = times(now, Duration::from_millis(100));
            if spent.0 != period {
                spent = (period, 0.0);
            }
            if spent.1 >= 50.0 {
                return 0.0;
            }
            spent.1 += 0.1;
            1.0
        });
        for used in used {
            assert!((points(used) - 40.0).abs() < 0.2, "{}", points(used));
        }
    }

    proptest! {
        /// Whatever the machine grants: never more than the share, and the share if there was enough.
        #[test]
        fn never_above_the_share_and_never_needlessly_below(
            percent in 0u8..=100,
            grants in proptest::collection::vec(0.0f64..=1.0, 1..40),
        ) {
            let share = f64::from(percent) / 100.0;
            let mut at = 0;
            let mut granted = 0.0;
            let used = simulate(share, 1, |_| {
                at = (at + 1) % grants.len();
                granted += grants[at];
                grants[at]
            });
            prop_assert!(points(used[0]) <= f64::from(percent) + 0.001);
            // `granted` counts only what was offered while burning: less than the share means all was taken.
            let offered = granted / 100.0;
            prop_assert!(points(used[0]) >= offered.min(f64::from(percent)) - 0.2);
        }

        /// The turn is always about the slice that `elapsed` is in, even after a long sleep.
        #[test]
        fn a_turn_ends_within_one_slice(elapsed_us in 0u64..43_200_000_000, used_us in 0u64..43_200_000_000) {
            let elapsed = Duration::from_micros(elapsed_us);
            let end = match Pace::new(0.5).next(elapsed, Duration::from_micros(used_us)) {
                Turn::Burn { wall_until, .. } | Turn::Rest { wall_until } => wall_until,
            };
            prop_assert!(end > elapsed && end - elapsed <= SLICE);
        }
    }
}
