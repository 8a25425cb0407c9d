//! What is asked of metrics: the `MetricDataQuery` of GetMetricData and of PutMetricAlarm, and what it comes to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::math::{Expression, Grid, Named, Points, Source, Value};
use super::metrics::{MetricId, Series, Statistic};
use super::{dimensions, whole};
use crate::error::ApiError;
use crate::members::Members;
use crate::model::check::Violation;

/// One query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct DataQuery {
    pub(super) id: String,
    pub(super) label: Option<String>,
    /// `ReturnData`.
    pub(super) returned: bool,
    pub(super) asked: Asked,
}

/// A metric, or an expression over other queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Asked {
    Metric(MetricStat),
    Expression {
        expression: Expression,
        /// Seconds; only of an expression without metrics.
        period: Option<u32>,
    },
}

/// A statistic of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MetricStat {
    pub(super) metric: MetricId,
    pub(super) statistic: Statistic,
    pub(super) unit: Option<String>,
    /// Seconds.
    pub(super) period: u32,
}

/// The period of an expression that is about no metric, in seconds.
const DEFAULT_PERIOD: u32 = 60;

/// So many points are gone through for one request: what takes about a second here. The service's bound is one on
/// metrics and time ranges.
const MOST_WORK: usize = 10_000_000;

/// Expressions that need others, one behind the other.
const LONGEST_CHAIN: usize = 50;

/// The queries of a request.
///
/// # Errors
/// One is not as it must be, two have one id, or an expression cannot be read or names an id that is not there.
pub(super) fn read<'a>(items: impl Iterator<Item = Members<'a>>) -> Result<Vec<DataQuery>, ApiError> {
    let queries: Vec<DataQuery> = items.map(DataQuery::read).collect::<Result<_, ApiError>>()?;
    for (number, query) in queries.iter().enumerate() {
        if queries[..number].iter().any(|other| other.id == query.id) {
            return Err(ApiError::validation(format!(
                "The values for parameter id in MetricDataQueries are not unique: {}",
                query.id
            )));
        }
        if let Asked::Expression { expression, .. } = &query.asked
            && let Some(unknown) =
                expression.ids().into_iter().find(|id| queries.iter().all(|it| it.id != *id))
        {
            return Err(in_expression(&query.id, &format!("Unresolved reference: {unknown}")));
        }
    }
    Ok(queries)
}

fn in_expression(id: &str, reason: &str) -> ApiError {
    ApiError::validation(format!("Error in expression '{id}': {reason}"))
}

impl DataQuery {
    fn read(item: Members<'_>) -> Result<DataQuery, ApiError> {
        let id = item.required("Id");
        // The model has no pattern for it, the service's guide does.
        let word = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
        if !id.starts_with(|first: char| first.is_ascii_lowercase()) || !id.bytes().all(word) {
            let rule = "Member must satisfy regular expression pattern: [a-z][a-zA-Z0-9_]*";
            return Err(Violation::other("Id", id, rule).into());
        }
        let asked = match (item.nested("MetricStat"), item.text("Expression")) {
            (Some(stat), None) => Asked::Metric(MetricStat::read(stat)?),
            (None, Some(text)) => {
                let expression = Expression::try_from(text.to_owned());
                let expression = expression.map_err(|reason| in_expression(id, &reason))?;
                Asked::Expression { expression, period: whole(item, "Period")? }
            }
            _ => {
                let message = format!("the query {id} must have one of MetricStat and Expression");
                return Err(ApiError::validation(message));
            }
        };
        let returned = item.flag("ReturnData").unwrap_or(true);
        Ok(DataQuery { id: id.to_owned(), label: item.text("Label").map(str::to_owned), returned, asked })
    }

    /// As DescribeAlarms tells it.
    pub(super) fn item(&self) -> Json {
        let mut item = json!({ "Id": self.id, "ReturnData": self.returned });
        if let Some(label) = &self.label {
            item["Label"] = json!(label);
        }
        match &self.asked {
            Asked::Expression { expression, period } => {
                item["Expression"] = json!(expression.text());
                if let Some(period) = period {
                    item["Period"] = json!(period);
                }
            }
            Asked::Metric(stat) => {
                item["MetricStat"] = json!({
                    "Metric": stat.metric.item(), "Period": stat.period, "Stat": stat.statistic.text(),
                });
                if let Some(unit) = &stat.unit {
                    item["MetricStat"]["Unit"] = json!(unit);
                }
            }
        }
        item
    }

    /// What the service calls it if it has no label: an expression by its id, a metric by its name and by what
    /// tells it from the other queries.
    fn name(&self, all: &[DataQuery]) -> String {
        let Asked::Metric(own) = &self.asked else { return self.id.clone() };
        let others = || {
            all.iter().filter_map(|other| match &other.asked {
                Asked::Metric(stat) if stat.metric.name == own.metric.name => Some(stat),
                _ => None,
            })
        };
        let mut name = own.metric.name.clone();
        if others().any(|other| other.statistic != own.statistic) {
            name = format!("{name} {}", own.statistic.text());
        }
        if others().any(|other| other.period != own.period) {
            name = format!("{name} {}", own.period);
        }
        name
    }

    fn label(&self, all: &[DataQuery]) -> String {
        self.label.clone().unwrap_or_else(|| self.name(all))
    }

    /// In seconds: its own, or the longest of those that it is made of.
    pub(super) fn period(&self, all: &[DataQuery]) -> u32 {
        match &self.asked {
            Asked::Metric(stat) => stat.period,
            Asked::Expression { period, .. } => {
                let parts = self.parts(all);
                let metrics = parts.into_iter().filter_map(|part| match &part.asked {
                    Asked::Metric(stat) => Some(stat.period),
                    Asked::Expression { .. } => None,
                });
                metrics.max().or(*period).unwrap_or(DEFAULT_PERIOD)
            }
        }
    }

    /// Every query that it needs, directly or not.
    fn parts<'a>(&'a self, all: &'a [DataQuery]) -> Vec<&'a DataQuery> {
        let mut found: Vec<&DataQuery> = vec![self];
        let mut next = 0;
        while let Some(query) = found.get(next).copied() {
            next += 1;
            let Asked::Expression { expression, .. } = &query.asked else { continue };
            let (ids, takes_all) = (expression.ids(), expression.takes_all());
            let needed = all.iter().filter(|other| {
                ids.contains(&other.id.as_str()) || takes_all && matches!(other.asked, Asked::Metric(_))
            });
            let new: Vec<&DataQuery> =
                needed.filter(|other| found.iter().all(|it| !std::ptr::eq(*it, *other))).collect();
            found.extend(new);
        }
        found
    }
}

impl MetricStat {
    fn read(stat: Members<'_>) -> Result<MetricStat, ApiError> {
        let name = stat.required("Stat");
        Ok(MetricStat {
            metric: stat.nested("Metric").map(metric).unwrap_or_default(),
            statistic: Statistic::parse(name).ok_or_else(|| unknown(name))?,
            period: whole(stat, "Period")?.unwrap_or(60),
            unit: stat.text("Unit").map(str::to_owned),
        })
    }
}

/// The metric that some members name.
pub(super) fn metric(members: Members<'_>) -> MetricId {
    MetricId {
        namespace: members.text("Namespace").unwrap_or_default().to_owned(),
        name: members.text("MetricName").unwrap_or_default().to_owned(),
        dimensions: dimensions(members).map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

/// The error for a statistic that is none.
pub(super) fn unknown(statistic: &str) -> ApiError {
    let message = format!(
        "the statistic {statistic} is not known here: SampleCount, Average, Sum, Minimum, Maximum and p0 to p100 are"
    );
    ApiError::new("InvalidParameterValueException", message)
}

/// From when to when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    /// Milliseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Whether the first period begins at a multiple of its length, and not at `start`.
    pub(super) aligned: bool,
    /// How many milliseconds a second of a period is: a thousand, or less where time is shortened.
    pub(super) second: f64,
}

impl Range {
    fn grid(self, seconds: u32) -> Grid {
        let period = crate::whole((f64::from(seconds) * self.second).round()).max(1);
        let start = if self.aligned { self.start - self.start % period } else { self.start };
        Grid { start, end: self.end, period, seconds }
    }
}

/// What one query comes to: one line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Points,
    /// One unit's values where there are several.
    pub(super) several_units: bool,
}

/// The results of queries that belong together.
#[derive(Debug)]
pub(super) struct Results<'a> {
    queries: &'a [DataQuery],
    metrics: &'a BTreeMap<MetricId, Series>,
    range: Range,
    known: BTreeMap<&'a str, Value>,
    several_units: Vec<&'a str>,
    under_way: Vec<&'a str>,
    left: usize,
}

impl<'a> Results<'a> {
    pub(super) fn new(
        queries: &'a [DataQuery],
        metrics: &'a BTreeMap<MetricId, Series>,
        range: Range,
    ) -> Results<'a> {
        Results {
            queries,
            metrics,
            range,
            known: BTreeMap::new(),
            several_units: Vec::new(),
            under_way: Vec::new(),
            left: MOST_WORK,
        }
    }

    /// The lines of a query: one, or as many as an array has.
    ///
    /// # Errors
    /// An expression has no result.
    pub(super) fn of(&mut self, query: &'a DataQuery) -> Result<Vec<Line>, ApiError> {
        let value = self.value(query).map_err(|reason| in_expression(&query.id, &reason))?;
        let label = query.label(self.queries);
        let several_units = self.several_units.contains(&query.id.as_str());
        Ok(match value {
            Value::Series(points) => vec![Line { label, points, several_units }],
            // The service draws a number as a line.
            Value::Number(number) => {
                let grid = self.range.grid(query.period(self.queries));
                let constant = super::math::constant(number, grid);
                vec![Line {
                    label,
                    points: constant.map_err(|reason| in_expression(&query.id, &reason))?,
                    several_units,
                }]
            }
            Value::Array(all) => {
                let line = |one: Named| {
                    let label = format!("{label} {}", one.name);
                    Line { label: label.trim_end().to_owned(), points: one.points, several_units }
                };
                all.into_iter().map(line).collect()
            }
            Value::Text(_) => {
                return Err(in_expression(&query.id, "The result is a String, not a time series"));
            }
        })
    }

    /// Whether a query comes to several lines.
    ///
    /// # Errors
    /// An expression has no result.
    pub(super) fn is_array(&mut self, query: &'a DataQuery) -> Result<bool, ApiError> {
        let value = self.value(query).map_err(|reason| in_expression(&query.id, &reason))?;
        Ok(matches!(value, Value::Array(_)))
    }

    fn value(&mut self, query: &'a DataQuery) -> Result<Value, String> {
        if let Some(value) = self.known.get(query.id.as_str()) {
            return Ok(value.clone());
        }
        if self.under_way.contains(&query.id.as_str()) || self.under_way.len() >= LONGEST_CHAIN {
            return Err(format!("{} needs itself, or too many others", query.id));
        }
        self.under_way.push(&query.id);
        let grid = self.range.grid(query.period(self.queries));
        let value = match &query.asked {
            Asked::Metric(stat) => self.series(&query.id, stat, grid).map(Value::Series),
            Asked::Expression { expression, .. } => expression.evaluate(self, grid),
        };
        self.under_way.pop();
        let value = value?;
        self.known.insert(&query.id, value.clone());
        Ok(value)
    }

    fn series(&mut self, id: &'a str, stat: &MetricStat, grid: Grid) -> Result<Points, String> {
        let Some(series) = self.metrics.get(&stat.metric) else { return Ok(Points::new()) };
        let mut found = Points::new();
        for start in series.periods(grid.start, grid.end, grid.period) {
            let samples = |unit| series.span(start, start + grid.period, unit);
            // One unit's answer where there are several.
            let first = samples(stat.unit.as_deref()).next().map(|sample| sample.unit.as_str());
            self.spend(samples(None).count())?;
            let Some(point) = stat.statistic.of(samples(first)) else { continue };
            let mixed = samples(stat.unit.as_deref()).any(|sample| Some(sample.unit.as_str()) != first);
            if mixed && !self.several_units.contains(&id) {
                self.several_units.push(id);
            }
            found.insert(start, point.value);
        }
        Ok(found)
    }
}

impl Source for Results<'_> {
    fn result(&mut self, id: &str) -> Result<Value, String> {
        let query = self.queries.iter().find(|query| query.id == id);
        self.value(query.ok_or_else(|| format!("Unresolved reference: {id}"))?)
    }

    fn metrics(&mut self, part: &str) -> Result<Vec<Named>, String> {
        let queries = self.queries;
        let metrics =
            queries.iter().filter(|it| matches!(it.asked, Asked::Metric(_)) && it.id.contains(part));
        let mut all = Vec::new();
        for query in metrics {
            if let Value::Series(points) = self.value(query)? {
                all.push(Named { name: query.label(queries), points });
            }
        }
        Ok(all)
    }

    fn spend(&mut self, points: usize) -> Result<(), String> {
        let left = self.left.checked_sub(points.max(1));
        self.left =
            left.ok_or("it goes through too many data points; ask for a shorter time, or longer periods")?;
        Ok(())
    }
}
