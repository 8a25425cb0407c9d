//! What a run came to, for other programs: JUnit's XML for the CI server, Markdown for its summary page, JSON.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use maud::html;
use serde_json::{Value, json};

use super::options::Outcome;
use crate::effect::{Effect, Phase, Recovery};
use crate::report::{self, milliseconds};
use record::{Check, Experiment, Record};

/// One run that has ended.
#[derive(Debug)]
pub(super) struct Results<'a> {
    pub(super) record: &'a Record,
    pub(super) experiment: &'a Experiment,
    pub(super) effect: &'a Effect,
    pub(super) outcome: Outcome,
    /// report.html, where one was written.
    pub(super) page: Option<&'a Path>,
}

impl Results<'_> {
    fn name(&self) -> &str {
        match self.experiment.description.as_str() {
            "" => &self.experiment.id,
            description => description,
        }
    }

    /// That it completed comes first: the thresholds of one that did not say little.
    fn all_checks(&self) -> Vec<Check> {
        let completed = Check {
            name: "completed".to_owned(),
            asked: "the experiment completes".to_owned(),
            found: format!("{}: {}", self.experiment.status, self.experiment.reason),
            passed: self.experiment.status == "completed",
        };
        [completed].into_iter().chain(self.record.checks.iter().cloned()).collect()
    }

    fn seconds(&self) -> f64 {
        let end = self.experiment.ended.unwrap_or(self.record.to);
        (end - self.experiment.started.unwrap_or(end)).max(0.0)
    }

    /// A test suite of the experiment, with a test case for its end and for each threshold.
    pub(super) fn junit(&self) -> String {
        let checks = self.all_checks();
        let failures = checks.iter().filter(|check| !check.passed).count();
        let seconds = format!("{:.3}", self.seconds());
        // maud escapes; names of elements that it does not know are fine for it.
        let suite = html! {
            testsuites {
                testsuite name=(format!("taskfault: {}", self.name())) tests=(checks.len()) failures=(failures)
                    errors="0" time=(seconds) {
                    @for check in &checks {
                        testcase classname="taskfault" name=(check.asked) time=(seconds) {
                            @if !check.passed { failure message=(check.found) {} }
                            system-out { (check.found) }
                        }
                    }
                }
            }
        };
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", xml(&suite.into_string()))
    }

    /// The verdict and two tables, in Markdown.
    pub(super) fn summary(&self) -> String {
        let mark = |passed: bool| if passed { "passed" } else { "**failed**" };
        let mut text = format!(
            "## taskfault: {}\n\n**{}** ({}), {:.1} s\n\n| | asked | found |\n|---|---|---|\n",
            cell(self.name()),
            if self.outcome == Outcome::Completed { "passed" } else { "failed" },
            cell(&self.experiment.status),
            self.seconds(),
        );
        for check in self.all_checks() {
            text +=
                &format!("| {} | {} | {} |\n", mark(check.passed), cell(&check.asked), cell(&check.found));
        }
        if self.record.load.is_some() {
            text += "\n| | requests | failed | P50 | P95 | P99 | n |\n|---|---|---|---|---|---|---|\n";
            for (name, phase) in self.phases().iter().filter(|(_, phase)| phase.sent > 0) {
                let time = |share| phase.answered.percentile_ms(share).map_or("–".to_owned(), milliseconds);
                text += &format!(
                    "| {name} | {} | {} | {} | {} | {} | {} |\n",
                    phase.sent,
                    phase.failed,
                    time(0.50),
                    time(0.95),
                    time(0.99),
                    phase.answered.count()
                );
            }
            text += &format!("\nRecovery: {}.\n", report::recovery_words(self.effect));
        }
        for note in &self.record.notes {
            text += &format!("- {}\n", cell(&note.text));
        }
        text
    }

    fn phases(&self) -> [(&'static str, &Phase); 3] {
        [("before", &self.effect.before), ("during", &self.effect.during), ("after", &self.effect.after)]
    }

    /// The same as data.
    pub(super) fn json(&self) -> Value {
        let phase = |phase: &Phase| {
            let time = |share| phase.answered.percentile_ms(share);
            json!({
                "seconds": phase.to - phase.from, "sent": phase.sent, "failed": phase.failed,
                "answered": phase.answered.count(), "p50_ms": time(0.50), "p95_ms": time(0.95), "p99_ms": time(0.99),
                "failures_p95_ms": phase.gave_up.percentile_ms(0.95),
            })
        };
        let clients = self.record.load.as_ref().map(|_| {
            self.phases().map(|(name, it)| (name.to_owned(), phase(it))).into_iter().collect::<Value>()
        });
        let recovery = match self.effect.recovery {
            Recovery::Unharmed => json!(0.0),
            Recovery::After(seconds) => json!(seconds),
            Recovery::NotSeen => Value::Null,
        };
        json!({
            "experiment": self.experiment.id,
            "description": self.experiment.description,
            "status": self.experiment.status,
            "reason": self.experiment.reason,
            "passed": self.outcome == Outcome::Completed,
            "exit_code": self.outcome as u8,
            "checks": self.record.checks,
            "clients": clients,
            "first_failure_seconds": self.effect.first_failure,
            "replacement_seconds": self.effect.replaced,
            "recovered": self.effect.recovery != Recovery::NotSeen,
            "recovery_seconds": recovery,
            "targets": self.experiment.targets,
            "notes": self.record.notes,
            "report": self.page.map(|page| page.display().to_string()),
        })
    }
}

/// XML has no control characters but white space, not even escaped ones.
fn xml(text: &str) -> String {
    text.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r'), "\u{fffd}")
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Writes all of a file.
pub(super) fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("writing {}: {error}", file.display()))
}

/// Appends to a file, which is made if it is not there: the summary of a CI job is that of all its steps.
pub(super) fn append(file: &Path, text: &str) -> Result<(), String> {
    let append = || OpenOptions::new().create(true).append(true).open(file)?.write_all(text.as_bytes());
    append().map_err(|error: io::Error| format!("writing {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::effect;
    use record::sample;

    fn with<T>(outcome: Outcome, look: impl Fn(&Results<'_>) -> T) -> T {
        let mut record = sample::record();
        record.experiments.remove(0);
        record.experiments[0].description = "Kill | <one> & \"all\"\u{1}".into();
        record.checks = vec![Check {
            name: "max-failed".into(),
            asked: "at most 1 % of the requests fail".into(),
            found: "4.21 %: 24 of 570".into(),
            passed: false,
        }];
        let effect = effect(&record, &record.experiments[0]);
        look(&Results {
            record: &record,
            experiment: &record.experiments[0],
            effect: &effect,
            outcome,
            page: None,
        })
    }

    #[test]
    fn junit_has_a_case_for_each_check_and_is_xml() {
        let text = with(Outcome::ThresholdMissed, |it| it.junit());
        assert!(text.contains("tests=\"2\" failures=\"1\""), "{text}");
        assert!(text.contains("<failure message=\"4.21 %: 24 of 570\"></failure>"), "{text}");
        assert!(text.contains("Kill | &lt;one&gt; &amp; &quot;all&quot;\u{fffd}"), "{text}");
    }

    #[test]
    fn the_summary_is_a_table_that_nothing_breaks() {
        let text = with(Outcome::ThresholdMissed, |it| it.summary());
        assert!(text.starts_with("## taskfault: Kill \\| &lt;one> & \"all\""), "{text}");
        assert!(
            text.contains("| **failed** | at most 1 % of the requests fail | 4.21 %: 24 of 570 |"),
            "{text}"
        );
        assert!(text.contains("| during | 120 | 24 | 22 ms | 30 ms |"), "{text}");
        assert!(text.contains("Recovery: recovered 3.7 s after the fault."), "{text}");
    }

    #[test]
    fn the_json_says_passed_and_the_exit_code() {
        let json = with(Outcome::ThresholdMissed, |it| it.json());
        assert_eq!((&json["passed"], &json["exit_code"]), (&json!(false), &json!(7)));
        assert_eq!(json["clients"]["during"]["answered"], 96);
        assert_eq!(json["checks"][0]["name"], "max-failed");
        assert!((json["recovery_seconds"].as_f64().unwrap() - 3.7).abs() < 0.01, "{json}");
        assert_eq!(with(Outcome::Completed, |it| it.json())["passed"], true);
    }

    #[test]
    fn a_summary_is_appended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("summary.md");
        append(&file, "one\n").unwrap();
        append(&file, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\n");
        assert!(append(folder.path(), "x").unwrap_err().contains("writing "));
    }
}
