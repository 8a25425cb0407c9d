//! GetMetricStatistics, GetMetricData and ListMetrics. Their periods are seconds of the clock on the wall: the
//! time stamps they are asked for are, too.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::metrics::{MetricId, Sample, Series, Statistic};
use super::page::page;
use super::queries::{self, Line, Range, Results, metric, unknown};
use super::{Answer, CloudWatchState, at_most, whole};
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
        for start in span.starts(series) {
            // Each sample is looked at once, whatever the number of units.
            let mut by_unit: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
            for sample in series.span(start, start + span.period, unit) {
                by_unit.entry(&sample.unit).or_default().push(sample);
            }
            points.extend(
                by_unit
                    .into_iter()
                    .filter_map(|(unit, samples)| datapoint(samples, (start, unit), &simple, &extended)),
            );
        }
    }
    Ok(json!({ "Label": label, "Datapoints": points }))
}

/// The samples of one unit in the period that begins at `start`.
fn datapoint(
    mut samples: Vec<&Sample>,
    (start, unit): (u64, &str),
    simple: &[(&str, Statistic)],
    extended: &[(&str, Statistic)],
) -> Option<Value> {
    if !extended.is_empty() {
        // Once for all percentiles: they sort by the same.
        samples.sort_by(|one, other| one.minimum.total_cmp(&other.minimum));
    }
    let value = |statistic: &Statistic| statistic.of(samples.iter().copied()).map(|point| point.value);
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

/// GetMetricData: metrics, and expressions over them.
pub(super) fn data(body: &Map<String, Value>, state: &CloudWatchState) -> Answer {
    let members = Members::new(body);
    at_most(MOST_QUERIES, "MetricDataQueries", members.each("MetricDataQueries").count())?;
    let queries = queries::read(members.each("MetricDataQueries"))?;
    let times = (members.time("StartTime"), members.time("EndTime"));
    let most = members.number("MaxDatapoints").unwrap_or(MOST_DATA_POINTS);
    let rule = if most < 1 { Rule::MinValue(1) } else { Rule::MaxValue(MOST_DATA_POINTS) };
    if !(1..=MOST_DATA_POINTS).contains(&most) {
        return Err(Violation::new("MaxDatapoints", most, rule).into());
    }
    let from = members.text("NextToken").map_or(Ok(Place::default()), Place::parse)?;
    let mut span = None;
    for query in queries.iter().filter(|query| query.returned) {
        span = Some(Span::new(times, query.period(&queries))?);
    }
    let Some(Span { asked, .. }) = span else {
        return Ok(json!({ "MetricDataResults": [], "Messages": [], "NextToken": null }));
    };
    let range = Range { start: asked.0, end: asked.1, aligned: true, second: 1000.0 };
    let mut results = Results::new(&queries, &state.metrics, range);
    let mut pages =
        Pages { from, left: usize::try_from(most).unwrap_or(usize::MAX), told: Vec::new(), next: None };
    let ascending = members.text("ScanBy") == Some("TimestampAscending");
    for (index, query) in queries.iter().enumerate().filter(|(index, it)| it.returned && *index >= from.query)
    {
        for (part, line) in results.of(query)?.into_iter().enumerate() {
            pages.add(Place { query: index, part, point: 0 }, &query.id, line, ascending);
            if pages.next.is_some() {
                break;
            }
        }
        if pages.next.is_some() {
            break;
        }
    }
    let next = pages.next.map(Place::token);
    Ok(json!({ "MetricDataResults": pages.told, "Messages": [], "NextToken": next }))
}

/// A place in the answer: where a page begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    query: usize,
    /// Of the lines of an array.
    part: usize,
    /// So many of the points of this line went before.
    point: usize,
}

impl Place {
    /// A token of ours.
    fn parse(token: &str) -> Result<Place, ApiError> {
        let numbers: Option<Vec<usize>> = token.split('-').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some([query, part, point]) => Ok(Place { query: *query, part: *part, point: *point }),
            _ => Err(ApiError::new("InvalidNextToken", "the NextToken is none of this service")),
        }
    }

    fn token(self) -> String {
        format!("{}-{}-{}", self.query, self.part, self.point)
    }
}

/// One page of an answer, as it grows.
struct Pages {
    from: Place,
    left: usize,
    told: Vec<Value>,
    next: Option<Place>,
}

impl Pages {
    fn add(&mut self, place: Place, id: &str, line: Line, ascending: bool) {
        let same = (place.query, place.part) == (self.from.query, self.from.part);
        if place < self.from && !same {
            return;
        }
        let done = if same { self.from.point } else { 0 };
        let mut points: Vec<(u64, f64)> = line.points.into_iter().collect();
        if !ascending {
            points.reverse();
        }
        let shown: Vec<(u64, f64)> = points.iter().skip(done).take(self.left).copied().collect();
        self.left -= shown.len();
        let more = done + shown.len() < points.len();
        let mut result = json!({
            "Id": id, "Label": line.label,
            "Timestamps": shown.iter().map(|(at, _)| *at as f64 / 1000.0).collect::<Vec<_>>(),
            "Values": shown.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
            "StatusCode": if more { "PartialData" } else { "Complete" },
        });
        if line.several_units {
            let value = format!("Multiple units returned for the metric query {id}; Unit chooses one");
            result["Messages"] = json!([{ "Code": "MultipleUnits", "Value": value }]);
        }
        self.told.push(result);
        if more {
            self.next = Some(Place { point: done + shown.len(), ..place });
        }
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
    let items: Vec<Value> = found.into_iter().map(MetricId::item).collect();
    Ok(json!({ "Metrics": items, "NextToken": next }))
}

fn percentile(name: &str) -> Result<Statistic, ApiError> {
    Statistic::parse(name)
        .filter(|statistic| matches!(statistic, Statistic::Percentile(_)))
        .ok_or_else(|| unknown(name))
}

/// Periods from one time to another, in milliseconds since 1970.
struct Span {
    start: u64,
    end: u64,
    period: u64,
    /// The two times as they were given.
    asked: (u64, u64),
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
        Ok(Span { start: start - start % period, end, period, asked: (start, end) })
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
