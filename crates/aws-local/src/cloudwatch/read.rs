//! GetMetricStatistics, GetMetricData and ListMetrics. Their periods are seconds of the clock on the wall: the
//! time stamps they are asked for are, too.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::metrics::{MetricId, Series, Statistic, UNITS};
use super::{Answer, CloudWatchState, NAMESPACE_RULE, dimensions, page};
use crate::Context;
use crate::error::ApiError;
use crate::ssm::members::{Members, Pattern, Text};
use crate::wire::epoch_ms;

/// The most data points of one answer of GetMetricStatistics, and of one of GetMetricData.
const MOST_POINTS: u64 = 1440;
const MOST_DATA_POINTS: i64 = 100_800;

/// The most queries of GetMetricData.
const MOST_QUERIES: usize = 500;

static QUERY_ID: Pattern = Pattern::new("[a-z][a-zA-Z0-9_]*");

/// GetMetricStatistics. Units are told apart.
pub(super) fn statistics(body: &Map<String, Value>, state: &CloudWatchState) -> Answer {
    let mut members = Members::new(body);
    let metric = metric(&mut members);
    for name in ["Namespace", "MetricName", "StartTime", "EndTime", "Period"] {
        members.require(name);
    }
    let times = (members.time("StartTime"), members.time("EndTime"));
    let period = members.number("Period", 1, i64::from(u32::MAX)).unwrap_or(60);
    let simple = members.texts("Statistics", 1, 5, Text::one_of(Statistic::NAMES));
    let extended = members.texts("ExtendedStatistics", 1, 10, Text::ANY);
    let unit = members.text("Unit", Text::one_of(UNITS));
    members.finish()?;
    if simple.is_empty() && extended.is_empty() {
        let message = "one of Statistics and ExtendedStatistics must be given";
        return Err(ApiError::new("MissingRequiredParameterException", message));
    }
    let extended: Vec<(&str, Statistic)> =
        extended.into_iter().map(|name| Ok((name, percentile(name)?))).collect::<Result<_, ApiError>>()?;
    let simple: Vec<(&str, Statistic)> =
        simple.into_iter().filter_map(|name| Some((name, Statistic::parse(name)?))).collect();
    let span = Span::new(times, period)?;
    if span.starts().count() as u64 > MOST_POINTS {
        let message = format!("more than {MOST_POINTS} data points were asked for: take a longer Period");
        return Err(ApiError::new("InvalidParameterCombinationException", message));
    }
    let label = metric.name.clone();
    let mut points = Vec::new();
    if let Some(series) = state.metrics.get(&metric) {
        let units = UNITS.iter().copied().filter(|known| unit.is_none_or(|wanted| wanted == *known));
        for unit in units {
            points.extend(
                span.starts()
                    .filter_map(|start| datapoint(series, start, span.period, unit, &simple, &extended)),
            );
        }
    }
    Ok(json!({ "Label": label, "Datapoints": points }))
}

fn datapoint(
    series: &Series,
    start: u64,
    period: u64,
    unit: &str,
    simple: &[(&str, Statistic)],
    extended: &[(&str, Statistic)],
) -> Option<Value> {
    let value = |statistic: &Statistic| {
        statistic.of(series.span(start, start + period, Some(unit))).map(|point| point.value)
    };
    value(&Statistic::SampleCount)?;
    let mut point = json!({ "Timestamp": start as f64 / 1000.0, "Unit": unit });
    for (name, statistic) in simple {
        point[*name] = json!(value(statistic));
    }
    if !extended.is_empty() {
        let values = extended
            .iter()
            .filter_map(|(name, statistic)| Some(((*name).to_owned(), json!(value(statistic)?))));
        point["ExtendedStatistics"] = Value::Object(values.collect());
    }
    Some(point)
}

/// GetMetricData: metrics, no expressions.
pub(super) fn data(body: &Map<String, Value>, state: &CloudWatchState) -> Answer {
    let mut members = Members::new(body);
    for name in ["MetricDataQueries", "StartTime", "EndTime"] {
        members.require(name);
    }
    let queries = members.each("MetricDataQueries", 0, MOST_QUERIES, Query::read);
    let times = (members.time("StartTime"), members.time("EndTime"));
    let order = members.text("ScanBy", Text::one_of(&["TimestampDescending", "TimestampAscending"]));
    let most = members.number("MaxDatapoints", 1, MOST_DATA_POINTS).unwrap_or(MOST_DATA_POINTS);
    let token = members.text("NextToken", Text::ANY);
    members.finish()?;
    if token.is_some() {
        let message = "there is no next page: every answer is whole";
        return Err(ApiError::new("InvalidNextToken", message));
    }
    let ascending = order == Some("TimestampAscending");
    let mut results = Vec::new();
    let mut count = 0;
    for query in queries.iter().filter(|query| query.returned) {
        let (starts, values) = query.points(state, times, ascending)?;
        count += values.len();
        results.push(json!({
            "Id": query.id, "Label": query.label.unwrap_or(query.metric.name.as_str()),
            "Timestamps": starts, "Values": values, "StatusCode": "Complete",
        }));
    }
    if i64::try_from(count).is_ok_and(|count| count > most) {
        let message =
            format!("the answer would have {count} data points, {most} are allowed: take a longer Period");
        return Err(ApiError::new("InvalidParameterCombinationException", message));
    }
    Ok(json!({ "MetricDataResults": results, "Messages": [] }))
}

struct Query<'a> {
    id: &'a str,
    label: Option<&'a str>,
    returned: bool,
    expression: bool,
    metric: MetricId,
    statistic: &'a str,
    period: i64,
    unit: Option<&'a str>,
}

impl<'a> Query<'a> {
    fn read(item: &mut Members<'a>) -> Query<'a> {
        let id = item.required_text("Id", Text::length(1, 255).and(&QUERY_ID));
        let label = item.text("Label", Text::ANY);
        let returned = item.flag("ReturnData").unwrap_or(true);
        let expression = item.has("Expression");
        let read = item.nested("MetricStat", |stat| {
            stat.require("Metric");
            let metric = stat.nested("Metric", metric).unwrap_or_default();
            let statistic = stat.required_text("Stat", Text::ANY);
            stat.require("Period");
            let period = stat.number("Period", 1, i64::from(u32::MAX)).unwrap_or(60);
            (metric, statistic, period, stat.text("Unit", Text::one_of(UNITS)))
        });
        let (metric, statistic, period, unit) = read.unwrap_or_default();
        Query { id, label, returned, expression, metric, statistic, period, unit }
    }

    fn points(
        &self,
        state: &CloudWatchState,
        times: (Option<SystemTime>, Option<SystemTime>),
        ascending: bool,
    ) -> Result<(Vec<f64>, Vec<f64>), ApiError> {
        if self.expression || self.statistic.is_empty() {
            let message =
                format!("the query {} must have a MetricStat; expressions are not evaluated here", self.id);
            return Err(ApiError::validation(message));
        }
        let statistic = Statistic::parse(self.statistic).ok_or_else(|| unknown(self.statistic))?;
        let span = Span::new(times, self.period)?;
        let series = state.metrics.get(&self.metric);
        let point = |start: u64| {
            let samples = series?.span(start, start + span.period, self.unit);
            Some((start as f64 / 1000.0, statistic.of(samples)?.value))
        };
        let mut points: Vec<(f64, f64)> = span.starts().filter_map(point).collect();
        if !ascending {
            points.reverse();
        }
        Ok(points.into_iter().unzip())
    }
}

/// ListMetrics.
pub(super) fn list(body: &Map<String, Value>, state: &CloudWatchState, context: &Context) -> Answer {
    /// `RecentlyActive` has this one value: three hours.
    const RECENT_MS: u64 = 3 * 60 * 60 * 1000;
    /// Metrics of one answer.
    const SIZE: i64 = 500;
    let mut members = Members::new(body);
    let namespace = members.text("Namespace", NAMESPACE_RULE);
    let name = members.text("MetricName", Text::length(1, 255));
    let filters = members.each("Dimensions", 0, 10, |filter| {
        let name = filter.required_text("Name", Text::length(1, 255));
        (name, filter.text("Value", Text::length(1, 1024)))
    });
    let recent = members.text("RecentlyActive", Text::one_of(&["PT3H"])).is_some();
    let token = members.text("NextToken", Text::ANY);
    members.finish()?;
    let oldest = epoch_ms(context.now).saturating_sub(RECENT_MS);
    let shown = |(metric, series): &(&MetricId, &Series)| {
        namespace.is_none_or(|namespace| metric.namespace == namespace)
            && name.is_none_or(|name| metric.name == name)
            && filters.iter().all(|(name, value)| {
                metric.dimensions.get(*name).is_some_and(|found| value.is_none_or(|value| value == found))
            })
            && (!recent || series.last_at().is_some_and(|last| last >= oldest))
    };
    let found: Vec<&MetricId> = state.metrics.iter().filter(shown).map(|(metric, _)| metric).collect();
    let (found, next) = page(found, |metric| json!(metric).to_string(), SIZE, token)?;
    let items: Vec<Value> = found
        .into_iter()
        .map(|metric| {
            let pairs = metric.dimensions.iter().map(|(name, value)| json!({ "Name": name, "Value": value }));
            let dimensions: Vec<Value> = pairs.collect();
            json!({ "Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions })
        })
        .collect();
    Ok(json!({ "Metrics": items, "NextToken": next }))
}

fn metric(members: &mut Members<'_>) -> MetricId {
    MetricId {
        namespace: members.text("Namespace", NAMESPACE_RULE).unwrap_or_default().to_owned(),
        name: members.text("MetricName", Text::length(1, 255)).unwrap_or_default().to_owned(),
        dimensions: dimensions(members, 30)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    }
}

fn percentile(name: &str) -> Result<Statistic, ApiError> {
    Statistic::parse(name)
        .filter(|statistic| matches!(statistic, Statistic::Percentile(_)))
        .ok_or_else(|| unknown(name))
}

fn unknown(statistic: &str) -> ApiError {
    let message = format!(
        "the statistic {statistic} is not known here: SampleCount, Average, Sum, Minimum, Maximum and p0 to p100 are"
    );
    ApiError::new("InvalidParameterValueException", message)
}

/// Periods from one time to another, in milliseconds since 1970.
struct Span {
    start: u64,
    end: u64,
    period: u64,
}

impl Span {
    /// The start is moved back to a whole period.
    fn new(times: (Option<SystemTime>, Option<SystemTime>), period: i64) -> Result<Span, ApiError> {
        let invalid = |message: &str| ApiError::new("InvalidParameterValueException", message);
        let (Some(start), Some(end)) = times else {
            return Err(invalid("StartTime and EndTime must be given"));
        };
        if start >= end {
            return Err(invalid("StartTime must be before EndTime"));
        }
        if !matches!(period, 1 | 5 | 10 | 20 | 30) && period % 60 != 0 {
            return Err(invalid("Period must be 1, 5, 10, 20, 30 or a multiple of 60 seconds"));
        }
        let period = period.unsigned_abs() * 1000;
        let (start, end) = (epoch_ms(start), epoch_ms(end));
        Ok(Span { start: start - start % period, end, period })
    }

    fn starts(&self) -> impl Iterator<Item = u64> + use<> {
        let step = usize::try_from(self.period).unwrap_or(usize::MAX);
        (self.start..self.end).step_by(step)
    }
}
