//! PutMetricData.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::metrics::{MetricId, OLDEST_MS, Sample};
use super::threshold::shortened_ms;
use super::{Answer, CloudWatchState, at_most, dimensions};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::wire::epoch_ms;

/// The most metrics of a request, and the most values of one of them, as the service's guide has them.
const MOST_METRICS: usize = 1000;
const MOST_VALUES: usize = 150;

/// How far in the future a time stamp may lie.
const NEWEST: Duration = Duration::from_secs(2 * 60 * 60);

/// PutMetricData.
///
/// Unlike the service it takes namespaces that begin with `AWS/` too: whoever tries an alarm on such a metric
/// here has to put its values, because nothing else does.
pub(super) fn put(body: &Map<String, Value>, state: &mut CloudWatchState, context: &Context) -> Answer {
    let members = Members::new(body);
    let namespace = members.required("Namespace");
    let of_entities = members.each("EntityMetricData").flat_map(|entity| entity.each("MetricData"));
    let data: Vec<Datum<'_>> = members.each("MetricData").chain(of_entities).map(read).collect();
    for (index, datum) in data.iter().enumerate() {
        datum.fits_together(index + 1)?;
        at_most(MOST_VALUES, "Values", datum.values.len())?;
        at_most(MOST_VALUES, "Counts", datum.counts.len())?;
    }
    if data.len() > MOST_METRICS {
        let message = format!("the collection MetricData must not have more than {MOST_METRICS} items");
        return Err(invalid(message));
    }
    let samples: Vec<Vec<Sample>> =
        data.iter().map(|datum| datum.samples(context)).collect::<Result<_, _>>()?;
    let now_ms = epoch_ms(context.now);
    let mut by_metric: BTreeMap<MetricId, Vec<Sample>> = BTreeMap::new();
    for (datum, samples) in data.iter().zip(samples) {
        by_metric.entry(datum.metric(namespace)).or_default().extend(samples);
    }
    for (metric, samples) in by_metric {
        state.metrics.entry(metric).or_default().insert(samples, now_ms);
    }
    Ok(Value::Null)
}

/// One item of `MetricData`, its members read one by one.
struct Datum<'a> {
    metric: &'a str,
    dimensions: Vec<(&'a str, &'a str)>,
    at: Option<SystemTime>,
    value: Option<f64>,
    values: Vec<f64>,
    counts: Vec<f64>,
    has_counts: bool,
    set: Option<[Option<f64>; 4]>,
    unit: &'a str,
    resolution: i64,
}

fn read(item: Members<'_>) -> Datum<'_> {
    Datum {
        metric: item.required("MetricName"),
        dimensions: dimensions(item).collect(),
        at: item.time("Timestamp"),
        value: item.decimal("Value"),
        values: item.decimals("Values"),
        counts: item.decimals("Counts"),
        has_counts: item.has("Counts"),
        set: item
            .nested("StatisticValues")
            .map(|set| ["SampleCount", "Sum", "Minimum", "Maximum"].map(|name| set.decimal(name))),
        unit: item.text("Unit").unwrap_or("None"),
        resolution: item.number("StorageResolution").unwrap_or(60),
    }
}

impl Datum<'_> {
    /// The service tells members apart by their place, `number` from 1.
    fn fits_together(&self, number: usize) -> Result<(), ApiError> {
        let member = format!("MetricData.member.{number}");
        if self.value.is_some() && !self.values.is_empty() {
            let message = format!(
                "The parameters {member}.Value and {member}.Values are mutually exclusive and you have specified both."
            );
            return Err(ApiError::new("InvalidParameterCombinationException", message));
        }
        if self.has_counts && self.counts.len() != self.values.len() {
            let message =
                format!("The parameters {member}.Values and {member}.Counts must be of the same size.");
            return Err(invalid(message));
        }
        Ok(())
    }

    fn metric(&self, namespace: &str) -> MetricId {
        let dimensions =
            self.dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        MetricId {
            namespace: namespace.to_owned(),
            name: self.metric.to_owned(),
            dimensions: dimensions.collect(),
        }
    }

    fn samples(&self, context: &Context) -> Result<Vec<Sample>, ApiError> {
        let metric = self.metric;
        let at = self.at_ms(context)?;
        let samples = match (self.value, self.values.is_empty(), self.set) {
            (Some(value), true, None) => vec![Sample::of(at, self.unit, value, 1.0)],
            (None, false, None) => self.counted(at)?,
            (None, true, Some([Some(count), Some(sum), Some(minimum), Some(maximum)])) => {
                if count <= 0.0 || minimum > maximum {
                    let message =
                        format!("{metric}: StatisticValues need a SampleCount above 0 and Minimum ≤ Maximum");
                    return Err(invalid(message));
                }
                vec![Sample { at, unit: self.unit.to_owned(), count, sum, minimum, maximum }]
            }
            (None, true, _) => {
                let message = format!("{metric}: one of Value, Values and StatisticValues must be given");
                return Err(ApiError::new("MissingRequiredParameterException", message));
            }
            _ => {
                let message = format!("{metric}: only one of Value, Values and StatisticValues may be given");
                return Err(ApiError::new("InvalidParameterCombinationException", message));
            }
        };
        // The range of values that the service takes, -2^360 to 2^360.
        let limit = 2_f64.powi(360);
        let within = |number: f64| (-limit..=limit).contains(&number);
        match samples
            .iter()
            .all(|sample| within(sample.minimum) && within(sample.maximum) && within(sample.sum))
        {
            true => Ok(samples),
            false => Err(invalid(format!("{metric}: values must lie between -2^360 and 2^360"))),
        }
    }

    fn counted(&self, at: u64) -> Result<Vec<Sample>, ApiError> {
        let metric = self.metric;
        if self.counts.iter().any(|count| *count < 0.0) {
            return Err(invalid(format!("{metric}: Counts must not be negative")));
        }
        let counts = self.counts.iter().copied().chain(std::iter::repeat(1.0));
        let pairs = self.values.iter().zip(counts).filter(|(_, count)| *count > 0.0);
        Ok(pairs.map(|(value, count)| Sample::of(at, self.unit, *value, count)).collect())
    }

    /// When the sample counts: the start of its minute, which is as much shorter as periods are. A metric of
    /// high resolution keeps its time; the service would round it to its second.
    fn at_ms(&self, context: &Context) -> Result<u64, ApiError> {
        let unit = match self.resolution {
            1 => 1,
            60 => shortened_ms(60, context.speed),
            other => {
                let message = format!("{}: StorageResolution is {other}: it must be 1 or 60", self.metric);
                return Err(invalid(message));
            }
        };
        let at = self.at.unwrap_or(context.now);
        let at_ms = epoch_ms(at);
        if at_ms + OLDEST_MS < epoch_ms(context.now) || at > context.now + NEWEST {
            let message = format!(
                "{}: the Timestamp must lie between two weeks ago and two hours from now",
                self.metric
            );
            return Err(invalid(message));
        }
        Ok(at_ms - at_ms % unit)
    }
}

fn invalid(message: String) -> ApiError {
    ApiError::new("InvalidParameterValueException", message)
}
