//! GetMetricStatistics, GetMetricData and ListMetrics. Their periods are seconds of the clock on the wall: the
//! time stamps they are asked for are, too.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::metrics::{MetricId, Series, Statistic, UNITS};
use super::page::page;
use super::{Answer, CloudWatchState, at_most, dimensions, whole};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::model::check::{Rule, Violation};
use crate::wire::epoch_ms;

/// The most data points of one answer of GetMetricStatistics, and of one of GetMetricData.
const MOST_POINTS: u64 = 1440;
const MOST_DATA_POINTS: i64 = 100_800;

/// The most queries of GetMetricData.
const MOST_QUERIES: usize = 500;

/// GetMetricStatistics. Units are told apart.
pub(super) fn statistics(body: &Map<String, Value>, state: &CloudWatchState) -> Answer {
    let members = Members::new(body);
    let metric = metric(members);
    let times = (members.time("StartTime"), members.time("EndTime"));
    let period = whole(members, "Period")?.unwrap_or(60);
    let simple = members.texts("Statistics");
    let extended = members.texts("ExtendedStatistics");
    let unit = members.text("Unit");
    if simple.is_empty() && extended.is_empty() {
        let message = "one of Statistics and ExtendedStatistics must be given";
        return Err(ApiError::new("MissingRequiredParameterException", message));
    }
    let extended: Vec<(&str, Statistic)> =
        extended.into_iter().map(|name| Ok((name, percentile(name)?))).collect::<Result<_, ApiError>>()?;
    let simple: Vec<(&str, Statistic)> =
        simple.into_iter().filter_map(|name| Some((name, Statistic::parse(name)?))).collect();
    let span = Span::new(times, period)?;
    let asked = span.periods();
    if asked > MOST_POINTS {
        let message = format!(
            "You have requested up to {asked} datapoints, which exceeds the limit of {MOST_POINTS}. You may reduce \
             the datapoints requested by increasing Period, or decreasing the time range."
        );
        return Err(ApiError::new("InvalidParameterCombinationException", message));
    }
    let label = metric.name.clone();
    let mut points = Vec::new();
    if let Some(series) = state.metrics.get(&metric) {
        let units = UNITS.iter().copied().filter(|known| unit.is_none_or(|wanted| wanted == *known));
        for unit in units {
            points.extend(
                span.starts(series)
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
    let members = Members::new(body);
    at_most(MOST_QUERIES, "MetricDataQueries", members.each("MetricDataQueries").count())?;
    let queries: Vec<Query<'_>> =
        members.each("MetricDataQueries").map(Query::read).collect::<Result<_, ApiError>>()?;
    let times = (members.time("StartTime"), members.time("EndTime"));
    let order = members.text("ScanBy");
    let most = members.number("MaxDatapoints").unwrap_or(MOST_DATA_POINTS);
    let rule = if most < 1 { Rule::MinValue(1) } else { Rule::MaxValue(MOST_DATA_POINTS) };
    if !(1..=MOST_DATA_POINTS).contains(&most) {
        return Err(Violation::new("MaxDatapoints", most, rule).into());
    }
    let (first, mut done) = members.text("NextToken").map_or(Ok((0, 0)), position)?;
    let ascending = order == Some("TimestampAscending");
    let returned: Vec<(&Query<'_>, Span)> = queries
        .iter()
        .filter(|query| query.returned)
        .map(|query| Ok((query, query.span(times)?)))
        .collect::<Result<_, ApiError>>()?;
    let mut left = usize::try_from(most).unwrap_or(usize::MAX);
    let mut results = Vec::new();
    let mut next = None;
    for (index, (query, span)) in returned.iter().enumerate().skip(first) {
        let points = query.points(state, span, ascending, done, left)?;
        left -= points.values.len();
        let status = if points.more { "PartialData" } else { "Complete" };
        let mut result = json!({
            "Id": query.id, "Label": query.label.map_or_else(|| query.name(&queries), str::to_owned),
            "Timestamps": points.starts, "Values": points.values, "StatusCode": status,
        });
        if points.several_units {
            let value =
                format!("Multiple units returned for the metric query {}; Unit chooses one", query.id);
            result["Messages"] = json!([{ "Code": "MultipleUnits", "Value": value }]);
        }
        results.push(result);
        if points.more {
            next = Some(format!("{index}-{}", done + points.starts.len()));
            break;
        }
        done = 0;
    }
    Ok(json!({ "MetricDataResults": results, "Messages": [], "NextToken": next }))
}

/// A token of ours: the query that goes on, and how many of its points went before.
fn position(token: &str) -> Result<(usize, usize), ApiError> {
    let parsed =
        token.split_once('-').and_then(|(query, point)| Some((query.parse().ok()?, point.parse().ok()?)));
    parsed.ok_or_else(|| ApiError::new("InvalidNextToken", "the NextToken is none of this service"))
}

/// Some of the points of a query.
struct Points {
    /// Seconds since 1970.
    starts: Vec<f64>,
    values: Vec<f64>,
    more: bool,
    several_units: bool,
}

struct Query<'a> {
    id: &'a str,
    label: Option<&'a str>,
    returned: bool,
    expression: bool,
    metric: MetricId,
    statistic: &'a str,
    period: u32,
    unit: Option<&'a str>,
}

impl<'a> Query<'a> {
    fn read(item: Members<'a>) -> Result<Query<'a>, ApiError> {
        let id = item.required("Id");
        // The model has no pattern for it, the service's guide does.
        let word = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
        if !id.starts_with(|first: char| first.is_ascii_lowercase()) || !id.bytes().all(word) {
            let rule = "Member must satisfy regular expression pattern: [a-z][a-zA-Z0-9_]*";
            return Err(Violation::other("Id", id, rule).into());
        }
        let label = item.text("Label");
        let returned = item.flag("ReturnData").unwrap_or(true);
        let expression = item.has("Expression");
        let (metric, statistic, period, unit) = match item.nested("MetricStat") {
            Some(stat) => {
                let metric = stat.nested("Metric").map(metric).unwrap_or_default();
                (metric, stat.required("Stat"), whole(stat, "Period")?.unwrap_or(60), stat.text("Unit"))
            }
            None => Default::default(),
        };
        Ok(Query { id, label, returned, expression, metric, statistic, period, unit })
    }

    fn span(&self, times: (Option<SystemTime>, Option<SystemTime>)) -> Result<Span, ApiError> {
        if self.expression || self.statistic.is_empty() {
            let message =
                format!("the query {} must have a MetricStat; expressions are not evaluated here", self.id);
            return Err(ApiError::validation(message));
        }
        Span::new(times, self.period)
    }

    /// What the service calls it: the metric, and what tells it from the other queries.
    fn name(&self, all: &[Query<'_>]) -> String {
        let mut name = self.metric.name.clone();
        let others = || all.iter().filter(|other| other.metric.name == self.metric.name);
        if others().any(|other| other.statistic != self.statistic) {
            name = format!("{name} {}", self.statistic);
        }
        if others().any(|other| other.period != self.period) {
            name = format!("{name} {}", self.period);
        }
        name
    }

    /// The points after the first `done` ones, `most` at most.
    fn points(
        &self,
        state: &CloudWatchState,
        span: &Span,
        ascending: bool,
        done: usize,
        most: usize,
    ) -> Result<Points, ApiError> {
        let statistic = Statistic::parse(self.statistic).ok_or_else(|| unknown(self.statistic))?;
        let mut found = Points { starts: Vec::new(), values: Vec::new(), more: false, several_units: false };
        let Some(series) = state.metrics.get(&self.metric) else { return Ok(found) };
        let mut starts: Vec<u64> = span.starts(series).collect();
        if !ascending {
            starts.reverse();
        }
        let mut skipped = 0;
        for start in starts {
            let samples = |unit| series.span(start, start + span.period, unit);
            // One unit's answer where there are several.
            let first = samples(self.unit).next().map(|sample| sample.unit.as_str());
            let Some(point) = statistic.of(samples(first)) else { continue };
            if skipped < done {
                skipped += 1;
                continue;
            }
            if found.values.len() == most {
                found.more = true;
                break;
            }
            found.several_units |= samples(self.unit).any(|sample| Some(sample.unit.as_str()) != first);
            found.starts.push(start as f64 / 1000.0);
            found.values.push(point.value);
        }
        Ok(found)
    }
}

/// ListMetrics.
pub(super) fn list(body: &Map<String, Value>, state: &CloudWatchState, context: &Context) -> Answer {
    /// `RecentlyActive` has this one value: three hours.
    const RECENT_MS: u64 = 3 * 60 * 60 * 1000;
    /// Metrics of one answer.
    const SIZE: usize = 500;
    let members = Members::new(body);
    let namespace = members.text("Namespace");
    let name = members.text("MetricName");
    let filters = members.each("Dimensions");
    let filters: Vec<_> = filters.map(|filter| (filter.required("Name"), filter.text("Value"))).collect();
    let recent = members.has("RecentlyActive");
    let token = members.text("NextToken");
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

fn metric(members: Members<'_>) -> MetricId {
    MetricId {
        namespace: members.text("Namespace").unwrap_or_default().to_owned(),
        name: members.text("MetricName").unwrap_or_default().to_owned(),
        dimensions: dimensions(members).map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
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
    fn new(times: (Option<SystemTime>, Option<SystemTime>), period: u32) -> Result<Span, ApiError> {
        let invalid = |message: &str| ApiError::new("InvalidParameterValueException", message);
        let (Some(start), Some(end)) = times else {
            return Err(invalid("StartTime and EndTime must be given"));
        };
        if start >= end {
            return Err(invalid("The parameter StartTime must be less than the parameter EndTime."));
        }
        if period == 0 || !matches!(period, 1 | 5 | 10 | 20 | 30) && !period.is_multiple_of(60) {
            return Err(invalid("Period must be 1, 5, 10, 20, 30 or a multiple of 60 seconds"));
        }
        let period = u64::from(period) * 1000;
        let (start, end) = (epoch_ms(start), epoch_ms(end));
        Ok(Span { start: start - start % period, end, period })
    }

    /// How many periods it has.
    fn periods(&self) -> u64 {
        (self.end - self.start).div_ceil(self.period)
    }

    /// The beginnings of those periods in which there are samples: a request may span a thousand years.
    fn starts<'a>(&self, series: &'a Series) -> impl Iterator<Item = u64> + use<'a> {
        series.periods(self.start, self.end, self.period)
    }
}
