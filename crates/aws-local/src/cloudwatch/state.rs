//! Alarms and metrics as data.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::alarm::{Alarm, Kind};
use super::metrics::{MetricId, Sample, Series, Together, pairs};
use super::threshold::shortened_ms;
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

    /// How long an alarm needs to see something: its periods that must breach; of a composite alarm, the shortest
    /// of the alarms in its rule.
    pub(crate) fn shortest_delay(&self, alarm: &Alarm, speed: f64) -> Duration {
        let mut seen: Vec<&str> = Vec::new();
        let mut open = vec![alarm];
        let mut shortest = None;
        while let Some(alarm) = open.pop() {
            if seen.contains(&alarm.name.as_str()) {
                continue;
            }
            seen.push(&alarm.name);
            match &alarm.settings.kind {
                Kind::Metric(threshold) => {
                    let delay = threshold.shortest_delay(speed);
                    shortest = Some(shortest.map_or(delay, |other: Duration| other.min(delay)));
                }
                Kind::Composite(_) => open.extend(alarm.children(&self.alarms)),
            }
        }
        shortest.unwrap_or_default()
    }

    /// Puts one value of a metric of ours, at its exact time (high resolution). `unit` is a `StandardUnit`:
    /// `Count`, `Percent`, `Milliseconds`, …
    pub(crate) fn put(&mut self, metric: MetricId, at: SystemTime, value: f64, unit: &str) {
        let at = wire::epoch_ms(at);
        self.metrics.entry(metric).or_default().insert([Sample::of(at, unit, value, 1.0)], at);
    }

    /// Adds a value, `count` times, to the minute of a metric of ours (standard resolution). A minute is as much
    /// shorter as periods are.
    pub(crate) fn add(
        &mut self,
        metric: MetricId,
        (value, count): (f64, f64),
        unit: &str,
        how: Together,
        context: &Context,
    ) {
        let now = wire::epoch_ms(context.now);
        let at = now - now % shortened_ms(60, context.speed);
        self.metrics.entry(metric).or_default().add(Sample::of(at, unit, value, count), how);
    }
}

/// Lets time pass: evaluates alarms that are due. True if anything changed.
pub(crate) fn advance(state: &mut CloudWatchState, context: &Context) -> bool {
    let CloudWatchState { alarms, metrics } = state;
    let mut changed = false;
    for alarm in alarms.values_mut() {
        changed |= alarm.advance(metrics, context);
    }
    let composites: Vec<String> =
        alarms.values().filter(|alarm| alarm.composite().is_some()).map(|alarm| alarm.name.clone()).collect();
    // One may look at another; those that look at each other are left after as many rounds as there are.
    for _ in 0..composites.len() {
        let mut again = false;
        for name in &composites {
            let Some(mut alarm) = alarms.remove(name) else { continue };
            again |= alarm.follow(alarms, context.now);
            alarms.insert(name.clone(), alarm);
        }
        changed |= again;
        if !again {
            break;
        }
    }
    changed
}
