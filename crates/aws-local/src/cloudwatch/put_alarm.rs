//! PutMetricAlarm.

use serde_json::{Map, Value};

use super::alarm::{Alarm, Kind, Settings};
use super::evaluation::{Comparison, Missing};
use super::metrics::{MetricId, Statistic};
use super::queries::{self, Asked, DataQuery, MetricStat, Range, Results};
use super::threshold::{Threshold, Watched};
use super::{Answer, CloudWatchState, at_most, dimensions, whole};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::tags::Tags;

/// What an alarm may have that is not evaluated here, and what it is.
const NOT_HERE: &[(&str, &str)] = &[
    ("ThresholdMetricId", "anomaly detection"),
    ("EvaluationCriteria", "PromQL"),
    ("EvaluationInterval", "an interval of one's own"),
    ("WarmUpConfiguration", "a warm-up period"),
];

/// What an alarm on one metric has in place of `Metrics`.
const OF_ONE_METRIC: &[&str] =
    &["MetricName", "Namespace", "Dimensions", "Period", "Unit", "Statistic", "ExtendedStatistic"];

/// The longest evaluation range in seconds: a day, with a period of an hour or more a week.
const DAY: u64 = 24 * 60 * 60;

/// PutMetricAlarm: makes an alarm, or replaces all that it watches and leaves its state.
pub(super) fn put(body: &Map<String, Value>, state: &mut CloudWatchState, context: &Context) -> Answer {
    let members = Members::new(body);
    let name = members.required("AlarmName");
    let tags = tags(members)?;
    let settings = read(members)?.check(body)?;
    keep(name, settings, tags, state, context)
}

/// Makes an alarm, or replaces its settings.
///
/// # Errors
/// An alarm of the other type has the name.
pub(super) fn keep(
    name: &str,
    settings: Settings,
    tags: Tags,
    state: &mut CloudWatchState,
    context: &Context,
) -> Answer {
    match state.alarms.get_mut(name) {
        Some(alarm) if alarm.settings.kind.name() != settings.kind.name() => {
            let (there, wanted) = (alarm.settings.kind.name(), settings.kind.name());
            let message = format!("The name {name} is that of a {there}; a {wanted} needs another");
            return Err(ApiError::validation(message));
        }
        // Tags of an alarm that is there are left alone, as the service does.
        Some(alarm) => alarm.configure(settings, context.now),
        None => {
            state.alarms.insert(name.to_owned(), Alarm::new(name, settings, tags, context));
        }
    }
    Ok(Value::Null)
}

/// The member `Tags`.
pub(super) fn tags(members: Members<'_>) -> Result<Tags, ApiError> {
    /// As the service's guide has it.
    const MOST_TAGS: usize = 50;
    at_most(MOST_TAGS, "Tags", members.each("Tags").count())?;
    let pair = |tag: Members<'_>| (tag.required("Key").to_owned(), tag.required("Value").to_owned());
    Ok(members.each("Tags").map(pair).collect())
}

/// The members by themselves; what they must be together is checked later.
struct Draft<'a> {
    description: Option<&'a str>,
    actions_enabled: Option<bool>,
    actions: [Vec<&'a str>; 3],
    namespace: Option<&'a str>,
    metric: Option<&'a str>,
    dimensions: Vec<(&'a str, &'a str)>,
    statistic: Option<&'a str>,
    extended: Option<&'a str>,
    unit: Option<&'a str>,
    period: Option<u32>,
    metrics: Vec<DataQuery>,
    evaluation_periods: Option<u32>,
    datapoints_to_alarm: Option<u32>,
    threshold: Option<f64>,
    comparison: &'a str,
    treat_missing_data: Option<&'a str>,
    low_sample_count: Option<&'a str>,
}

fn read(members: Members<'_>) -> Result<Draft<'_>, ApiError> {
    Ok(Draft {
        description: members.text("AlarmDescription"),
        actions_enabled: members.flag("ActionsEnabled"),
        actions: ["OKActions", "AlarmActions", "InsufficientDataActions"].map(|name| members.texts(name)),
        namespace: members.text("Namespace"),
        metric: members.text("MetricName"),
        dimensions: dimensions(members).collect(),
        statistic: members.text("Statistic"),
        extended: members.text("ExtendedStatistic"),
        unit: members.text("Unit"),
        period: whole(members, "Period")?,
        metrics: queries::read(members.each("Metrics"))?,
        evaluation_periods: whole(members, "EvaluationPeriods")?,
        datapoints_to_alarm: whole(members, "DatapointsToAlarm")?,
        threshold: members.decimal("Threshold"),
        comparison: members.required("ComparisonOperator"),
        treat_missing_data: members.text("TreatMissingData"),
        low_sample_count: members.text("EvaluateLowSampleCountPercentile"),
    })
}

impl Draft<'_> {
    fn check(self, body: &Map<String, Value>) -> Result<Settings, ApiError> {
        if let Some((member, what)) = NOT_HERE.iter().find(|(member, _)| is_given(body, member)) {
            return Err(not_here(member, what));
        }
        if body.get("EvaluationWindow").is_some_and(|window| !window["WallClockWindow"].is_null()) {
            return Err(not_here("EvaluationWindow", "a wall clock window"));
        }
        // The comparisons of anomaly detection are in the model: they are known, and refused with a reason.
        let comparison = Comparison::parse(self.comparison)
            .ok_or_else(|| not_here("ComparisonOperator", "anomaly detection"))?;
        let source = match self.metrics.is_empty() {
            true => self.metric()?,
            false => self.queries(body)?,
        };
        let evaluation_periods = self.periods(source.period())?;
        let datapoints_to_alarm = self.datapoints_to_alarm;
        if datapoints_to_alarm.is_some_and(|wanted| wanted > evaluation_periods) {
            return Err(ApiError::validation("DatapointsToAlarm must not be greater than EvaluationPeriods"));
        }
        let treat_missing_data = self
            .treat_missing_data
            .map(|name| Missing::parse(name).ok_or_else(|| one_of("TreatMissingData", name, Missing::NAMES)));
        let low = self.low_sample_count;
        if let Some(other) = low.filter(|low| !matches!(*low, "evaluate" | "ignore")) {
            return Err(one_of("EvaluateLowSampleCountPercentile", other, &["evaluate", "ignore"]));
        }
        let threshold = Threshold {
            source,
            evaluation_periods,
            datapoints_to_alarm,
            threshold: self.threshold.ok_or_else(|| missing("Threshold"))?,
            comparison,
            treat_missing_data: treat_missing_data.transpose()?,
            low_sample_count: low.map(str::to_owned),
        };
        Ok(settings(self.description, self.actions_enabled, &self.actions, Kind::Metric(threshold)))
    }

    fn metric(&self) -> Result<Watched, ApiError> {
        let dimensions =
            self.dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let statistic = self.statistic()?;
        let period = self.period.ok_or_else(|| missing("Period"))?;
        Ok(Watched::Metric(MetricStat {
            metric: MetricId {
                namespace: self.namespace.ok_or_else(|| missing("Namespace"))?.to_owned(),
                name: self.metric.ok_or_else(|| missing("MetricName"))?.to_owned(),
                dimensions: dimensions.collect(),
            },
            statistic,
            period,
            unit: self.unit.map(str::to_owned),
        }))
    }

    /// What `Metrics` must be together, by the model's documentation.
    fn queries(&self, body: &Map<String, Value>) -> Result<Watched, ApiError> {
        /// Of metrics, and of expressions.
        const MOST: usize = 10;
        if let Some(member) = OF_ONE_METRIC.iter().find(|member| is_given(body, member)) {
            let message = format!("{member} and Metrics cannot be given together");
            return Err(ApiError::new("InvalidParameterCombinationException", message));
        }
        let metrics = &self.metrics;
        let stats: Vec<&MetricStat> = metrics
            .iter()
            .filter_map(|query| match &query.asked {
                Asked::Metric(stat) => Some(stat),
                Asked::Expression { .. } => None,
            })
            .collect();
        if stats.len() > MOST || metrics.len() - stats.len() > MOST {
            return Err(ApiError::validation(format!(
                "Metrics may have {MOST} queries with MetricStat and {MOST} with Expression"
            )));
        }
        let mut returned = metrics.iter().filter(|query| query.returned);
        let (Some(query), None) = (returned.next(), returned.next()) else {
            // Recorded from the service, for alarms with a band; its number is the other one here.
            return Err(ApiError::validation("Exactly one element of the metrics list should return data."));
        };
        if stats.iter().any(|stat| stat.period != query.period(metrics)) {
            return Err(ApiError::validation("Period must be the same for all metrics of an alarm"));
        }
        // Types do not hang on the data, so that nothing at all shows what it will be.
        let range = Range { start: 0, end: 0, aligned: false, second: 1000.0 };
        let nothing = std::collections::BTreeMap::new();
        if Results::new(metrics, &nothing, range).is_array(query)? {
            // Recorded from the service.
            return Err(ApiError::validation(
                "Metrics expression that return multi time series are only allowed for MetricsInsights expression \
                 with an ORDER BY clause",
            ));
        }
        Ok(Watched::Queries { metrics: metrics.clone() })
    }

    fn statistic(&self) -> Result<Statistic, ApiError> {
        let name = match (self.statistic, self.extended) {
            (Some(name), None) | (None, Some(name)) => name,
            _ => {
                let message = "exactly one of Statistic and ExtendedStatistic must be given";
                return Err(ApiError::validation(message));
            }
        };
        Statistic::parse(name).ok_or_else(|| {
            let message = format!(
                "the value {name} for ExtendedStatistic is not known here: percentiles are, p0 to p100 (p99.9)"
            );
            ApiError::new("InvalidParameterValueException", message)
        })
    }

    fn periods(&self, period: u32) -> Result<u32, ApiError> {
        let evaluation_periods = self.evaluation_periods.ok_or_else(|| missing("EvaluationPeriods"))?;
        if !matches!(period, 10 | 20 | 30) && (period == 0 || !period.is_multiple_of(60)) {
            let message = format!("Period is {period}: it must be 10, 20, 30 or a multiple of 60 seconds");
            return Err(ApiError::validation(message));
        }
        let longest = if period < 3600 { DAY } else { 7 * DAY };
        if u64::from(period) * u64::from(evaluation_periods) > longest {
            let message = format!(
                "Period times EvaluationPeriods must not be more than {longest} seconds with a Period of {period}"
            );
            return Err(ApiError::validation(message));
        }
        Ok(evaluation_periods)
    }
}

/// What every alarm has, whatever it looks at.
pub(super) fn settings(
    description: Option<&str>,
    actions_enabled: Option<bool>,
    actions: &[Vec<&str>; 3],
    kind: Kind,
) -> Settings {
    let owned = |texts: &Vec<&str>| texts.iter().map(|text| (*text).to_owned()).collect();
    let [ok_actions, alarm_actions, insufficient_data_actions] = actions.each_ref().map(owned);
    Settings {
        description: description.map(str::to_owned),
        actions_enabled: actions_enabled.unwrap_or(true),
        ok_actions,
        alarm_actions,
        insufficient_data_actions,
        kind,
    }
}

fn is_given(body: &Map<String, Value>, member: &str) -> bool {
    body.get(member)
        .is_some_and(|value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()))
}

fn missing(member: &str) -> ApiError {
    ApiError::new("MissingRequiredParameterException", format!("the parameter {member} must be given"))
}

fn not_here(member: &str, what: &str) -> ApiError {
    let message = format!(
        "{member}: the local CloudWatch does not evaluate {what}; it evaluates alarms on metrics and metric math with \
         a fixed threshold. Put such a metric, or set the alarm's state with SetAlarmState"
    );
    ApiError::new("InvalidParameterCombinationException", message)
}

fn one_of(member: &str, value: &str, allowed: &[&str]) -> ApiError {
    let message = format!("the value {value} for {member} must be one of {}", allowed.join(", "));
    ApiError::new("InvalidParameterValueException", message)
}
