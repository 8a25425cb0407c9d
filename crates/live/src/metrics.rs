//! What happens as text for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;

use aws_local::Handle;
use record::Record;

use crate::view::{Span, View};

/// All metrics, in the text format 0.0.4.
pub(crate) fn text(handle: &Handle) -> String {
    let view = View::of(handle, Span::Minute);
    // Counters count from the beginning.
    written(&view, &handle.record())
}

fn written(view: &View, record: &Record) -> String {
    let mut out = Text(String::new());
    out.family("taskfault_service_tasks", "gauge", "Tasks of a service by what they are.");
    for service in &view.services {
        let running = service.running as f64;
        let pending = service.pending as f64;
        for (state, count) in
            [("desired", f64::from(service.desired)), ("running", running), ("pending", pending)]
        {
            let labels =
                [("cluster", service.cluster.as_str()), ("service", &service.name), ("state", state)];
            out.sample("taskfault_service_tasks", &labels, count);
        }
    }
    out.family("taskfault_sidecars", "gauge", "Sidecars by PingStatus.");
    for status in ["Online", "ConnectionLost", "Inactive"] {
        let has = |it: &&crate::view::Task| it.sidecar.as_ref().is_some_and(|sidecar| sidecar.1 == status);
        out.sample("taskfault_sidecars", &[("status", status)], view.tasks.iter().filter(has).count() as f64);
    }
    out.family(
        "taskfault_task_cpu_percent",
        "gauge",
        "Percent of one core that a task used in its last second.",
    );
    for cpu in &view.record.cpu {
        if let Some(sample) = cpu.samples.last() {
            out.sample("taskfault_task_cpu_percent", &[("task", &cpu.task)], sample.percent);
        }
    }
    out.family("taskfault_task_memory_bytes", "gauge", "What the processes of a task hold.");
    for memory in &view.record.memory {
        if let Some(sample) = memory.samples.last() {
            out.sample(
                "taskfault_task_memory_bytes",
                &[("task", &memory.task)],
                sample.mib * 1024.0 * 1024.0,
            );
        }
    }
    traffic(&mut out, record);
    out.family("taskfault_experiments_total", "counter", "Experiments by status.");
    let mut statuses = BTreeMap::<&str, u32>::new();
    record.experiments.iter().for_each(|it| *statuses.entry(&it.status).or_default() += 1);
    for (status, count) in statuses {
        out.sample("taskfault_experiments_total", &[("status", status)], count.into());
    }
    out.family("taskfault_live_faults", "gauge", "Commands that run on a task.");
    for task in view.tasks.iter().filter(|task| !task.is_stopped()) {
        out.sample("taskfault_live_faults", &[("task", &task.arn)], task.faults.len() as f64);
    }
    out.family("taskfault_alarm_state", "gauge", "1 for the state that an alarm is in.");
    for alarm in &view.alarms {
        out.sample("taskfault_alarm_state", &[("alarm", &alarm.name), ("state", &alarm.state)], 1.0);
    }
    out.0
}

fn traffic(out: &mut Text, record: &Record) {
    let Some(load) = &record.load else { return };
    let (mut answered, mut failed) = (0_u64, BTreeMap::<&str, u64>::new());
    for second in &load.seconds {
        answered += u64::from(second.ok);
        second.errors.iter().for_each(|(kind, count)| *failed.entry(kind).or_default() += u64::from(*count));
    }
    out.family("taskfault_requests_answered_total", "counter", "Requests of the load that were answered.");
    out.sample("taskfault_requests_answered_total", &[], answered as f64);
    out.family("taskfault_requests_failed_total", "counter", "Requests of the load that failed, by kind.");
    for (kind, count) in failed {
        out.sample("taskfault_requests_failed_total", &[("kind", kind)], count as f64);
    }
    out.family("taskfault_response_seconds", "gauge", "Response times of the last second, by quantile.");
    if let Some(last) = load.seconds.last() {
        for (quantile, time) in [("0.5", last.p50_ms), ("0.95", last.p95_ms), ("0.99", last.p99_ms)] {
            if let Some(ms) = time {
                out.sample("taskfault_response_seconds", &[("quantile", quantile)], ms / 1000.0);
            }
        }
    }
}

/// Lines of the format.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, words: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {words}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// As the format has label values.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Alarm, Service};

    #[test]
    fn each_sample_stands_behind_its_type_and_words_cannot_break_out() {
        let record = record::sample::record();
        let view = View {
            services: vec![Service {
                cluster: "demo".into(),
                name: "web".into(),
                desired: 3,
                running: 2,
                ..Service::default()
            }],
            alarms: vec![Alarm { name: "a\"} 1\nb\\".into(), state: "OK".into(), ..Alarm::default() }],
            record: record.clone(),
            ..View::default()
        };
        let text = written(&view, &record);
        assert!(
            text.contains("taskfault_service_tasks{cluster=\"demo\",service=\"web\",state=\"running\"} 2\n")
        );
        assert!(text.contains("taskfault_requests_failed_total{kind=\"refused\"} 21\n"), "{text}");
        assert!(text.contains("alarm=\"a\\\"} 1\\nb\\\\\",state=\"OK\"} 1\n"), "{text}");
        let mut family = "";
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(rest) => family = rest.split(' ').next().unwrap(),
                None if !line.starts_with('#') => assert!(line.starts_with(family), "{line}"),
                None => {}
            }
        }
    }
}
