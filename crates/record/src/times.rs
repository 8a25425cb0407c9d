//! Response times as counts, so that those of many seconds can be put together and percentiles stay true.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many requests took how long. In JSON a text: `21887*3 22015`, microseconds and how often, once if not said.
///
/// Percentiles of percentiles mean nothing; those of counts that were added up are those of all requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times(BTreeMap<u64, u32>);

impl Times {
    /// Counts `number` requests of `micros` microseconds.
    pub fn add(&mut self, micros: u64, number: u32) {
        if number > 0 {
            let count = self.0.entry(micros).or_default();
            *count = count.saturating_add(number);
        }
    }

    /// Adds all that another one has counted.
    pub fn merge(&mut self, other: &Times) {
        other.0.iter().for_each(|(micros, number)| self.add(*micros, *number));
    }

    /// How many requests were counted.
    pub fn count(&self) -> u64 {
        self.0.values().map(|number| u64::from(*number)).sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time, in milliseconds, that a share of the requests (`0.95`) did not exceed. None if nothing was counted.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count, from 0 to that count"
    )]
    pub fn percentile_ms(&self, share: f64) -> Option<f64> {
        let count = self.count();
        let rank = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = self.0.iter().find(|(_, number)| {
            seen += u64::from(**number);
            seen >= rank
        });
        reached.map(|(micros, _)| *micros as f64 / 1000.0)
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        for (micros, number) in &self.0 {
            let space = if text.is_empty() { "" } else { " " };
            // Writing to a String cannot fail.
            let _ = match number {
                1 => write!(text, "{space}{micros}"),
                _ => write!(text, "{space}{micros}*{number}"),
            };
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Times, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut times = Times::default();
        for entry in text.split_whitespace() {
            let (micros, number) = entry.split_once('*').unwrap_or((entry, "1"));
            let (Ok(micros), Ok(number)) = (micros.parse(), number.parse()) else {
                return Err(D::Error::custom(format!("{entry:?} is not MICROSECONDS or MICROSECONDS*COUNT")));
            };
            times.add(micros, number);
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(entries: &[(u64, u32)]) -> Times {
        let mut times = Times::default();
        entries.iter().for_each(|(micros, number)| times.add(*micros, *number));
        times
    }

    #[test]
    fn percentiles_of_merged_counts_are_those_of_all_requests() {
        let mut all = times(&[(10_000, 90)]);
        all.merge(&times(&[(10_000, 5), (500_000, 5)]));
        assert_eq!(all.count(), 100);
        assert_eq!(
            [0.5, 0.95, 0.96, 1.0].map(|share| all.percentile_ms(share).unwrap()),
            [10.0, 10.0, 500.0, 500.0]
        );
        assert_eq!(times(&[(7_000, 1)]).percentile_ms(0.0), Some(7.0));
        assert_eq!(Times::default().percentile_ms(0.95), None);
    }

    #[test]
    fn the_json_is_one_short_text() {
        let some = times(&[(22_015, 1), (21_887, 3)]);
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(text, "\"21887*3 22015\"");
        assert_eq!(serde_json::from_str::<Times>(&text).unwrap(), some);
        assert!(serde_json::from_str::<Times>("\"\"").unwrap().is_empty());
        for wrong in ["\"fast\"", "\"1*\"", "\"-1\"", "\"1*2*3\"", "7"] {
            assert!(serde_json::from_str::<Times>(wrong).is_err(), "{wrong}");
        }
    }
}
