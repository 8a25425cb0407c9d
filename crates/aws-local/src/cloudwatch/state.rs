//! Alarms and metrics as data.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::alarm::Alarm;
use super::metrics::{MetricId, Sample, Series, pairs};
use crate::Context;
use crate::wire;

/// Alarms and the metrics they look at.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct CloudWatchState {
    /// By name.
    #[serde(default)]
    pub alarms: BTreeMap<String, Alarm>,
    #[serde(default, with = "pairs")]
    pub(super) metrics: BTreeMap<MetricId, Series>,
}

impl CloudWatchState {
    /// The alarm with this ARN.
    pub(crate) fn alarm(&self, arn: &str) -> Option<&Alarm> {
        self.alarms.values().find(|alarm| alarm.arn == arn)
    }

    /// Puts one value of a metric of ours, at its exact time (high resolution). `unit` is a `StandardUnit`:
    /// `Count`, `Percent`, `Milliseconds`, …
    pub(crate) fn put(
        &mut self,
        namespace: &str,
        metric: &str,
        dimensions: &[(&str, &str)],
        at: SystemTime,
        value: f64,
        unit: &str,
    ) {
        let dimensions = dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let id = MetricId {
            namespace: namespace.to_owned(),
            name: metric.to_owned(),
            dimensions: dimensions.collect(),
        };
        let at = wire::epoch_ms(at);
        self.metrics.entry(id).or_default().insert([Sample::of(at, unit, value, 1.0)], at);
    }
}

/// Lets time pass: evaluates alarms that are due. True if anything changed.
pub(crate) fn advance(state: &mut CloudWatchState, context: &Context) -> bool {
    let CloudWatchState { alarms, metrics } = state;
    let mut changed = false;
    for alarm in alarms.values_mut() {
        let series = metrics.get(&alarm.settings.metric);
        changed |= alarm.advance(series, context);
    }
    changed
}
