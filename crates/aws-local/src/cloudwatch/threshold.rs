//! What a metric alarm watches and when it says so: a metric or an expression against a fixed threshold.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::AlarmState;
use super::evaluation::{Comparison, Missing, Rule, decide, range};
use super::metrics::{MetricId, Point, Series, Statistic};
use super::queries::{DataQuery, MetricStat, Range, Results};
use crate::wire::date_text;

/// The part of PutMetricAlarm that decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Threshold {
    #[serde(flatten)]
    pub(super) source: Watched,
    pub(super) evaluation_periods: u32,
    pub(super) datapoints_to_alarm: Option<u32>,
    pub(super) threshold: f64,
    pub(super) comparison: Comparison,
    pub(super) treat_missing_data: Option<Missing>,
    /// `EvaluateLowSampleCountPercentile`: `evaluate` or `ignore`.
    pub(super) low_sample_count: Option<String>,
}

/// Whose values are compared. Periods are as asked for; [`crate::Context::speed`] divides them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Watched {
    /// `Metrics`: exactly one is returned, and that is the one; all have one period.
    Queries {
        metrics: Vec<DataQuery>,
    },
    Metric(MetricStat),
}

/// What an evaluation came to.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) state: AlarmState,
    pub(super) reason: String,
    pub(super) data: String,
}

/// Some seconds in milliseconds, divided by the speed; at least one.
pub(super) fn shortened_ms(seconds: u32, speed: f64) -> u64 {
    crate::whole(f64::from(seconds) * 1000.0 / speed).max(1)
}

impl Watched {
    /// In seconds.
    pub(super) fn period(&self) -> u32 {
        match self {
            Watched::Metric(stat) => stat.period,
            Watched::Queries { metrics } => {
                let returned = metrics.iter().find(|query| query.returned);
                returned.map_or(60, |query| query.period(metrics))
            }
        }
    }
}

impl Threshold {
    /// Its members in DescribeAlarms; null where it has none.
    pub(super) fn members(&self) -> Value {
        let mut members = json!({
            "EvaluationPeriods": self.evaluation_periods,
            "DatapointsToAlarm": self.datapoints_to_alarm,
            "Threshold": self.threshold,
            "ComparisonOperator": self.comparison.as_str(),
            "TreatMissingData": self.treat_missing_data.map(Missing::as_str),
            "EvaluateLowSampleCountPercentile": self.low_sample_count,
        });
        match &self.source {
            Watched::Queries { metrics } => {
                members["Metrics"] = metrics.iter().map(DataQuery::item).collect();
            }
            Watched::Metric(stat) => {
                let text = stat.statistic.text();
                let simple = Statistic::NAMES.contains(&text.as_str());
                members[if simple { "Statistic" } else { "ExtendedStatistic" }] = json!(text);
                members["Period"] = json!(stat.period);
                members["Unit"] = json!(stat.unit);
                if let (Some(members), Value::Object(metric)) = (members.as_object_mut(), stat.metric.item())
                {
                    members.extend(metric);
                }
            }
        }
        members
    }

    fn rule(&self) -> Rule {
        let periods = self.evaluation_periods as usize;
        Rule {
            to_alarm: self.datapoints_to_alarm.map_or(periods, |wanted| wanted as usize),
            periods,
            missing: self.treat_missing_data.unwrap_or(Missing::Unknown),
        }
    }

    /// How often it is evaluated, in seconds: every minute, with a period below a minute every ten seconds.
    /// Periods are multiples of it.
    fn interval(&self) -> u32 {
        if self.source.period() < 60 { 10 } else { 60 }
    }

    pub(super) fn interval_ms(&self, speed: f64) -> u64 {
        shortened_ms(self.interval(), speed)
    }

    /// How long it needs to see something: the periods that must breach, as long as they are here.
    pub(super) fn shortest_delay(&self, speed: f64) -> Duration {
        let periods = self.datapoints_to_alarm.unwrap_or(self.evaluation_periods);
        let seconds = f64::from(self.source.period()) * f64::from(periods) / speed;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The data points of the evaluation range that ends at `end`, newest first, each with its start.
    fn points(
        &self,
        metrics: &BTreeMap<MetricId, Series>,
        end: u64,
        speed: f64,
    ) -> Vec<(u64, Option<Point>)> {
        // Made of whole intervals, so that roundings do not add up.
        let period = self.interval_ms(speed) * u64::from(self.source.period() / self.interval());
        let count = range(self.evaluation_periods as usize);
        let starts = (0..count).map(|back| end.saturating_sub(period * (back as u64 + 1)));
        match &self.source {
            Watched::Metric(stat) => {
                let series = metrics.get(&stat.metric);
                let point = |start: u64| {
                    let samples = series?.span(start, start + period, stat.unit.as_deref());
                    stat.statistic.of(samples)
                };
                starts.map(|start| (start, point(start))).collect()
            }
            Watched::Queries { metrics: queries } => {
                let second = self.interval_ms(speed) as f64 / f64::from(self.interval());
                let start = end.saturating_sub(period * count as u64);
                let range = Range { start, end, aligned: false, second };
                let query = queries.iter().find(|query| query.returned);
                // What has no result has no data.
                let lines = query.and_then(|query| Results::new(queries, metrics, range).of(query).ok());
                let line = lines.and_then(|lines| lines.into_iter().next());
                let value = |start: u64| line.as_ref()?.points.get(&start).copied();
                let point = |start: u64| value(start).map(|value| Point { value, count: f64::INFINITY });
                starts.map(|start| (start, point(start))).collect()
            }
        }
    }

    /// What becomes of an alarm in the state `from`, by the whole periods before `end`; None if it stays there.
    pub(super) fn decide(
        &self,
        metrics: &BTreeMap<MetricId, Series>,
        end: u64,
        from: AlarmState,
        (now, speed): (SystemTime, f64),
    ) -> Option<Decision> {
        let points = self.points(metrics, end, speed);
        let breaches = |point: &Point| self.comparison.breaches(point.value, self.threshold);
        let decided: Vec<Option<bool>> =
            points.iter().map(|(_, point)| point.as_ref().map(breaches)).collect();
        let rule = self.rule();
        let used: Vec<(u64, Point)> =
            points.iter().filter_map(|&(start, point)| Some((start, point?))).take(rule.periods).collect();
        let too_few = |point: &Point| match &self.source {
            Watched::Metric(stat) => stat.statistic.too_few(point.count),
            Watched::Queries { .. } => false,
        };
        if self.low_sample_count.as_deref() == Some("ignore") && used.iter().any(|(_, point)| too_few(point))
        {
            return None;
        }
        let state = decide(&decided, rule).filter(|state| *state != from)?;
        Some(Decision {
            state,
            reason: self.reason_for(from, state, &used, rule),
            data: self.reason_data_for(&used, now),
        })
    }

    /// In the service's manner, which people know from their mails.
    fn reason_for(&self, from: AlarmState, to: AlarmState, used: &[(u64, Point)], rule: Rule) -> String {
        let (comparison, threshold) = (self.comparison, self.threshold);
        let filled = rule.periods - used.len();
        if to == AlarmState::InsufficientData {
            return format!("Insufficient Data: {} unknown.", counted(filled, "datapoint", "was", "were"));
        }
        let treated = match rule.missing {
            Missing::Breaching => "Breaching",
            _ => "NonBreaching",
        };
        if used.is_empty() {
            let periods = if filled == 1 { "period" } else { "periods" };
            let missing = counted(filled, "missing datapoint", "was", "were");
            return format!(
                "Threshold Crossed: no datapoints were received for {filled} {periods} and {missing} treated as \
                 [{treated}]."
            );
        }
        let breaching = used.iter().filter(|(_, point)| comparison.breaches(point.value, threshold)).count();
        let (count, not, wanted) = match to {
            AlarmState::Alarm => (breaching, "", rule.to_alarm),
            _ => (used.len() - breaching, "not ", rule.periods - rule.to_alarm + 1),
        };
        let values: Vec<String> = used.iter().map(|(start, point)| value_text(*start, point.value)).collect();
        let verb = if count == 1 { "was" } else { "were" };
        let wanted_noun = if wanted == 1 { "datapoint" } else { "datapoints" };
        let mut reason = format!(
            "Threshold Crossed: {count} out of the last {} datapoints [{}] {verb} {not}{} the threshold \
             ({threshold:?}) (minimum {wanted} {wanted_noun} for {} -> {} transition)",
            used.len(),
            values.join(", "),
            comparison.as_text(),
            from.as_str(),
            to.as_str(),
        );
        if filled > 0 && matches!(rule.missing, Missing::Breaching | Missing::NotBreaching) {
            let missing = counted(filled, "missing datapoint", "was", "were");
            reason.push_str(&format!("; {missing} treated as [{treated}]"));
        }
        reason.push('.');
        reason
    }

    fn reason_data_for(&self, used: &[(u64, Point)], now: SystemTime) -> String {
        let values: Vec<f64> = used.iter().rev().map(|(_, point)| point.value).collect();
        let mut data = json!({
            "version": "1.0", "queryDate": date_text(now), "period": self.source.period(),
            "recentDatapoints": values, "threshold": self.threshold,
        });
        if let Watched::Metric(stat) = &self.source {
            data["statistic"] = json!(stat.statistic.text());
        }
        data.to_string()
    }
}

fn counted(count: usize, noun: &str, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {noun} {one}"),
        _ => format!("{count} {noun}s {many}"),
    }
}

/// `99.5 (23/11/26 09:30:00)`.
fn value_text(start_ms: u64, value: f64) -> String {
    let date = date_text(SystemTime::UNIX_EPOCH + Duration::from_millis(start_ms));
    let part = |range: std::ops::Range<usize>| date.get(range).unwrap_or_default();
    format!("{value:?} ({}/{}/{} {})", part(8..10), part(5..7), part(2..4), part(11..19))
}
