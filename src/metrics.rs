//! Metrics without an agent: what faults do, as lines in CloudWatch's embedded metric format, in the log.
//!
//! CloudWatch Logs makes metrics of them where the log driver sends the log there. Source of the format: CloudWatch user
//! guide, "Specification: Embedded metric format".

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use crate::aws::clock::epoch_milliseconds;
use crate::run::run_fault::{Ending, FaultOutcome};
use crate::telemetry::Lines;
use effects::task::metadata::TaskMetadata;
use outcome::Outcome;

/// The namespace of every metric.
pub const NAMESPACE: &str = "taskfault";
/// The dimensions, all of them on each metric.
const DIMENSIONS: [&str; 3] = ["cluster", "service", "fault"];
/// A dimension's value must not be empty.
const NO_SERVICE: &str = "-";
/// How often a fault that lives is said to: metrics have a value a minute.
const EVERY: Duration = Duration::from_secs(60);

/// Writes the metrics of one task.
#[derive(Debug, Clone)]
pub struct Metrics {
    lines: Lines,
    cluster: String,
    service: String,
    task: String,
}

/// The metrics of one fault of one command.
#[derive(Debug)]
pub struct FaultMetrics<'a> {
    metrics: &'a Metrics,
    fault: &'static str,
    command: &'a str,
    active: Cell<bool>,
}

impl Metrics {
    /// Those of `task`, written to `lines`.
    pub fn of(task: &TaskMetadata, lines: Lines) -> Metrics {
        let service = if task.service.is_empty() { NO_SERVICE } else { &task.service };
        let (cluster, id) = (task.arn.cluster.clone(), task.arn.task_id.clone());
        Metrics { lines, cluster, service: service.to_owned(), task: id }
    }

    /// Those of a fault that `command` asks for.
    pub fn of_fault<'a>(&'a self, fault: &'static str, command: &'a str) -> FaultMetrics<'a> {
        FaultMetrics { metrics: self, fault, command, active: Cell::new(false) }
    }
}

impl FaultMetrics<'_> {
    /// It is active from now on.
    pub fn started(&self) {
        self.active.set(true);
        self.write(&[("started", 1.0.into()), ("active", 1.0.into())]);
    }

    /// Waits for `running`, and says once a minute that its fault lives, then what it achieved.
    pub async fn follow(&self, running: impl Future<Output = FaultOutcome>) -> FaultOutcome {
        let mut running = pin!(running);
        loop {
            tokio::select! {
                biased;
                outcome = &mut running => {
                    self.ended(&outcome);
                    return outcome;
                }
                () = tokio::time::sleep(EVERY) => {
                    if self.active.get() {
                        self.write(&[("active", 1.0.into())]);
                    }
                }
            }
        }
    }

    fn ended(&self, ended: &FaultOutcome) {
        let failed = f64::from(u8::from(ended.ending == Ending::Failed));
        let mut values: Vec<(&str, Value)> =
            vec![("ended", 1.0.into()), ("active", 0.0.into()), ("failed", failed.into())];
        let Some(read) = Outcome::read(&ended.stdout) else { return self.write(&values) };
        values.push(("lived_seconds", read.lived_seconds.into()));
        let matched = read.matched.map(|matched| ("matched", matched.into()));
        let achieved = read.achieved.figures.iter().filter(|(_, value)| value.is_number());
        values.extend(matched);
        values.extend(achieved.map(|(name, value)| (name.as_str(), value.clone())));
        self.write(&values);
    }

    fn write(&self, values: &[(&str, Value)]) {
        let now = epoch_milliseconds(SystemTime::now());
        let Metrics { lines, cluster, service, task } = self.metrics;
        let dimensions = [("cluster", cluster.as_str()), ("service", service), ("fault", self.fault)];
        let more = [("task", task.as_str()), ("command", self.command)];
        lines.write(&line(now, &dimensions, &more, values).to_string());
    }
}

/// One line. `more` are members that are no metrics, to search for.
fn line(
    timestamp: u64,
    dimensions: &[(&str, &str)],
    more: &[(&str, &str)],
    values: &[(&str, Value)],
) -> Value {
    let metrics: Vec<Value> =
        values.iter().map(|(name, _)| json!({"Name": name, "Unit": unit(name)})).collect();
    let directive = json!({"Namespace": NAMESPACE, "Dimensions": [DIMENSIONS], "Metrics": metrics});
    let mut line = Map::new();
    line.insert("_aws".to_owned(), json!({"Timestamp": timestamp, "CloudWatchMetrics": [directive]}));
    let texts = dimensions.iter().chain(more).map(|(name, text)| ((*name).to_owned(), Value::from(*text)));
    line.extend(texts);
    line.extend(values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Value::Object(line)
}

/// The unit that a metric's name ends with.
fn unit(name: &str) -> &'static str {
    match name.rsplit('_').next() {
        Some("percent") => "Percent",
        Some("seconds") => "Seconds",
        Some("milliseconds") => "Milliseconds",
        Some("bytes") => "Bytes",
        _ => "Count",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_metrics_and_dimensions_and_has_them() {
        let line = line(
            1_795_402_785_123,
            &[("cluster", "c"), ("service", "s"), ("fault", "cpu-stress")],
            &[("task", "t"), ("command", "d")],
            &[("ended", 1.0.into()), ("mean_percent", 79.9.into())],
        );
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(line["_aws"]["Timestamp"], 1_795_402_785_123_u64);
        assert_eq!(directive["Namespace"], "taskfault");
        for dimension in directive["Dimensions"][0].as_array().unwrap() {
            assert!(line[dimension.as_str().unwrap()].is_string(), "{line}");
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert_eq!(metrics[1], json!({"Name": "mean_percent", "Unit": "Percent"}));
        assert!(metrics.iter().all(|metric| line[metric["Name"].as_str().unwrap()].is_number()));
    }

    #[test]
    fn units_are_those_of_the_names() {
        for (name, of) in [
            ("lived_seconds", "Seconds"),
            ("mean_percent", "Percent"),
            ("written_bytes", "Bytes"),
            ("started", "Count"),
            ("matched", "Count"),
            ("lost_packets", "Count"),
        ] {
            assert_eq!(unit(name), of, "{name}");
        }
    }
}
