//! Metrics: what was put, and the statistics of a span of time.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A metric is told from others by its namespace, its name and all its dimensions together.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct MetricId {
    pub namespace: String,
    pub name: String,
    pub dimensions: BTreeMap<String, String>,
}

impl MetricId {
    /// A metric of ours.
    pub(crate) fn new(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> MetricId {
        let dimensions = dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        MetricId { namespace: namespace.to_owned(), name: name.to_owned(), dimensions: dimensions.collect() }
    }

    /// As ListMetrics tells it.
    pub(super) fn item(&self) -> Value {
        let pairs = self.dimensions.iter().map(|(name, value)| json!({ "Name": name, "Value": value }));
        let dimensions: Vec<Value> = pairs.collect();
        json!({ "Namespace": self.namespace, "MetricName": self.name, "Dimensions": dimensions })
    }
}

/// Some values of a metric at one moment: one value, one value several times, or a statistic set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// Milliseconds since 1970.
    pub(super) at: u64,
    pub(super) unit: String,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) minimum: f64,
    pub(super) maximum: f64,
}

impl Sample {
    /// The same value `count` times.
    pub(super) fn of(at: u64, unit: &str, value: f64, count: f64) -> Sample {
        Sample { at, unit: unit.to_owned(), count, sum: value * count, minimum: value, maximum: value }
    }
}

/// How values of one period go together in a [`Series`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Together {
    /// Equal values are counted: requests, times of requests. Percentiles can be had.
    Counted,
    /// Number, sum, lowest and highest are kept: percent of a CPU.
    Measured,
}

/// The samples of one metric, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Series(VecDeque<Sample>);

/// The oldest time stamp that PutMetricData takes, in milliseconds before now: two weeks. Nothing older is kept.
pub(super) const OLDEST_MS: u64 = 14 * 24 * 60 * 60 * 1000;

/// So many samples are kept of a metric; a load generator that puts a thousand values a second for five
/// minutes stays below. The oldest go first.
const KEPT_SAMPLES: usize = 500_000;

impl Series {
    /// Adds samples, in their places in time, and forgets what is too old at `now_ms` or too much.
    pub(super) fn insert(&mut self, samples: impl IntoIterator<Item = Sample>, now_ms: u64) {
        let mut late = false;
        for sample in samples {
            late |= self.0.back().is_some_and(|last| last.at > sample.at);
            self.0.push_back(sample);
        }
        if late {
            // Once for all of a request: to make room for each would take minutes where there are many. Stable, and
            // quick on what is nearly sorted.
            self.0.make_contiguous().sort_by_key(|sample| sample.at);
        }
        let oldest = now_ms.saturating_sub(OLDEST_MS);
        while self.0.len() > KEPT_SAMPLES || self.0.front().is_some_and(|first| first.at < oldest) {
            self.0.pop_front();
        }
    }

    /// Adds values of a metric of ours that counts in periods: the same value several times (`Together::Counted`),
    /// or a measurement of which only the statistics are kept (`Together::Measured`). So a series has few samples,
    /// however often something is told.
    pub(super) fn add(&mut self, sample: Sample, together: Together) {
        let at = sample.at;
        let place = self.0.partition_point(|earlier| earlier.at < at);
        let mut of_period = self.0.range_mut(place..).take_while(|other| other.at == at);
        let same = of_period.find(|other| match together {
            Together::Counted => {
                other.unit == sample.unit
                    && (other.minimum, other.maximum) == (sample.minimum, sample.maximum)
            }
            Together::Measured => other.unit == sample.unit,
        });
        match same {
            Some(other) => {
                other.count += sample.count;
                other.sum += sample.sum;
                other.minimum = other.minimum.min(sample.minimum);
                other.maximum = other.maximum.max(sample.maximum);
            }
            None => self.insert([sample], at),
        }
    }

    /// The samples from `start` to before `end`, of one unit or of all.
    pub(super) fn span<'a>(
        &'a self,
        start: u64,
        end: u64,
        unit: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Sample> {
        let first = self.0.partition_point(|sample| sample.at < start);
        let last = self.0.partition_point(|sample| sample.at < end).max(first);
        self.0.range(first..last).filter(move |sample| unit.is_none_or(|unit| unit == sample.unit))
    }

    /// The periods from `start` to before `end` in which there are samples, each `period` long, by their beginnings.
    /// `start` is the beginning of one. All are milliseconds, and `period` is not 0.
    pub(super) fn periods(&self, start: u64, end: u64, period: u64) -> impl Iterator<Item = u64> + use<'_> {
        let mut next = start;
        std::iter::from_fn(move || {
            let place = self.0.partition_point(|sample| sample.at < next);
            let at = self.0.get(place).map(|sample| sample.at).filter(|at| *at < end)?;
            let found = start + (at - start) / period * period;
            next = found.saturating_add(period);
            Some(found)
        })
    }

    /// When the last sample was, in milliseconds since 1970.
    pub(super) fn last_at(&self) -> Option<u64> {
        self.0.back().map(|sample| sample.at)
    }
}

/// What is made of the samples of a span.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Statistic {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
    /// From 0 to 100.
    Percentile(f64),
}

/// A statistic of a span, and how many values it is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) value: f64,
    pub(super) count: f64,
}

impl Statistic {
    pub(super) const NAMES: &'static [&'static str] =
        &["SampleCount", "Average", "Sum", "Minimum", "Maximum"];

    /// `Average`, …, or a percentile: `p` and a number from 0 to 100 (`p99.9`).
    pub(super) fn parse(text: &str) -> Option<Statistic> {
        Some(match text {
            "SampleCount" => Statistic::SampleCount,
            "Average" => Statistic::Average,
            "Sum" => Statistic::Sum,
            "Minimum" => Statistic::Minimum,
            "Maximum" => Statistic::Maximum,
            _ => {
                let digits = text.strip_prefix('p')?;
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                let percent = digits.parse().ok().filter(|percent| plain && (0.0..=100.0).contains(percent));
                Statistic::Percentile(percent?)
            }
        })
    }

    /// As the API writes it.
    pub(super) fn text(self) -> String {
        match self {
            Statistic::SampleCount => "SampleCount".to_owned(),
            Statistic::Average => "Average".to_owned(),
            Statistic::Sum => "Sum".to_owned(),
            Statistic::Minimum => "Minimum".to_owned(),
            Statistic::Maximum => "Maximum".to_owned(),
            Statistic::Percentile(percent) => format!("p{percent}"),
        }
    }

    /// The statistic of some samples; None if there are none, or if a percentile is asked of statistic sets
    /// that do not hold it.
    pub(super) fn of<'a>(self, samples: impl Iterator<Item = &'a Sample>) -> Option<Point> {
        let samples: Vec<&Sample> = samples.collect();
        let count: f64 = samples.iter().map(|sample| sample.count).sum();
        if samples.is_empty() || count <= 0.0 {
            return None;
        }
        let sum = || samples.iter().map(|sample| sample.sum).sum::<f64>();
        let value = match self {
            Statistic::SampleCount => count,
            Statistic::Average => sum() / count,
            Statistic::Sum => sum(),
            Statistic::Minimum => samples.iter().map(|sample| sample.minimum).fold(f64::INFINITY, f64::min),
            Statistic::Maximum => {
                samples.iter().map(|sample| sample.maximum).fold(f64::NEG_INFINITY, f64::max)
            }
            Statistic::Percentile(percent) => percentile(&samples, percent, count)?,
        };
        Some(Point { value, count })
    }

    /// Whether `count` values are too few to say much about this percentile: fewer than ten of them would lie
    /// beyond it (the user guide's bound for `EvaluateLowSampleCountPercentile`).
    pub(super) fn too_few(self, count: f64) -> bool {
        match self {
            Statistic::Percentile(percent) => {
                let beyond = percent.min(100.0 - percent) / 100.0;
                count * beyond < 10.0
            }
            _ => false,
        }
    }
}

/// The smallest value that at least `percent` of all values do not exceed. A statistic set counts only if all
/// its values are the same.
fn percentile(samples: &[&Sample], percent: f64, count: f64) -> Option<f64> {
    if samples.iter().any(|sample| sample.minimum < sample.maximum) {
        return None;
    }
    let mut values: Vec<(f64, f64)> = samples.iter().map(|sample| (sample.minimum, sample.count)).collect();
    values.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let wanted = count * percent / 100.0;
    let mut seen = 0.0;
    for &(value, times) in &values {
        seen += times;
        if seen >= wanted {
            return Some(value);
        }
    }
    // Counts with fractions may leave a rounding error behind.
    values.last().map(|&(value, _)| value)
}

/// The metrics in the state file: a list of pairs, because JSON has only texts as keys.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{MetricId, Series};

    pub(in super::super) fn serialize<S: Serializer>(
        metrics: &BTreeMap<MetricId, Series>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(metrics)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<MetricId, Series>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[(u64, f64)]) -> Series {
        let mut series = Series::default();
        for &(at, value) in values {
            series.insert([Sample::of(at, "None", value, 1.0)], at);
        }
        series
    }

    fn statistic(name: &str, series: &Series) -> Option<f64> {
        let statistic = Statistic::parse(name).unwrap();
        statistic.of(series.span(0, u64::MAX, None)).map(|point| point.value)
    }

    #[test]
    fn statistics_are_what_they_are_called() {
        let series = series(&[(1, 4.0), (2, 1.0), (3, 2.0), (4, 9.0)]);
        for (name, value) in [
            ("SampleCount", 4.0),
            ("Sum", 16.0),
            ("Average", 4.0),
            ("Minimum", 1.0),
            ("Maximum", 9.0),
            ("p0", 1.0),
            ("p50", 2.0),
            ("p75", 4.0),
            ("p99.9", 9.0),
            ("p100", 9.0),
        ] {
            assert_eq!(statistic(name, &series), Some(value), "{name}");
            assert_eq!(Statistic::parse(name).unwrap().text(), name);
        }
        assert_eq!(statistic("Sum", &Series::default()), None);
        for name in ["p", "p101", "p-1", "pinf", "p1e1", "tm90", "average", ""] {
            assert_eq!(Statistic::parse(name), None, "{name}");
        }
    }

    #[test]
    fn counts_weigh_and_statistic_sets_have_no_percentiles() {
        let mut series = Series::default();
        series.insert([Sample::of(1, "Count", 1.0, 9.0)], 1);
        series.insert([Sample::of(1, "Count", 11.0, 1.0)], 1);
        assert_eq!(statistic("Average", &series), Some(2.0));
        assert_eq!(statistic("p90", &series), Some(1.0));
        assert_eq!(statistic("p91", &series), Some(11.0));
        let set = Sample { at: 2, unit: "Count".into(), count: 2.0, sum: 30.0, minimum: 10.0, maximum: 20.0 };
        series.insert([set], 2);
        assert_eq!(statistic("Sum", &series), Some(50.0));
        assert_eq!(statistic("p50", &series), None);
    }

    #[test]
    fn a_span_has_its_start_and_not_its_end() {
        let series = series(&[(10, 1.0), (30, 3.0), (20, 2.0)]);
        let at = |start, end| series.span(start, end, None).map(|sample| sample.at).collect::<Vec<_>>();
        assert_eq!(at(0, 100), [10, 20, 30]);
        assert_eq!(at(10, 30), [10, 20]);
        assert_eq!(at(30, 10), [0; 0]);
        assert_eq!(series.span(0, 100, Some("Count")).count(), 0);
    }

    #[test]
    fn what_is_too_old_is_forgotten() {
        let mut series = series(&[(1000, 1.0)]);
        series.insert([Sample::of(OLDEST_MS + 1001, "None", 2.0, 1.0)], OLDEST_MS + 1001);
        assert_eq!(statistic("SampleCount", &series), Some(1.0));
        series.insert([Sample::of(1, "None", 2.0, 1.0)], OLDEST_MS + 1001);
        assert_eq!(statistic("SampleCount", &series), Some(1.0));
    }

    #[test]
    fn a_percentile_needs_ten_values_beyond_it() {
        let percentile = Statistic::Percentile(99.0);
        assert!(percentile.too_few(999.0) && !percentile.too_few(1001.0));
        assert!(Statistic::Percentile(1.0).too_few(999.0));
        assert!(!Statistic::Average.too_few(1.0));
    }
}
