//! What `run` asks of the service: thresholds on what its clients saw, and whether they held. Pure but for reading
//! the baseline.

use std::fs;
use std::path::Path;

use super::RunError;
use super::options::RunOptions;
use crate::effect::{Effect, Phase, Recovery, effects};
use crate::report::milliseconds;
use record::{Check, Record};

/// The thresholds of one run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gate {
    max_failed: Option<f64>,
    max_p95: Option<f64>,
    recover_within: Option<f64>,
    baseline: Option<Baseline>,
}

/// P95 during the experiment of an earlier run.
#[derive(Debug, Clone, PartialEq)]
struct Baseline {
    p95_ms: f64,
    count: u64,
    factor: f64,
}

impl Gate {
    /// The thresholds that the options ask for.
    ///
    /// # Errors
    /// The baseline cannot be read, or has no experiment with answers of success.
    pub(super) fn of(options: &RunOptions) -> Result<Gate, RunError> {
        let baseline = options.baseline.as_deref().map(|file| Baseline::read(file, options.max_slowdown));
        Ok(Gate {
            max_failed: options.max_failed,
            max_p95: options.max_p95,
            recover_within: options.recover_within,
            baseline: baseline.transpose()?,
        })
    }

    /// Each threshold with what was found.
    pub(super) fn checks(&self, effect: &Effect) -> Vec<Check> {
        let checks = [
            self.max_failed.map(|allowed| failed(effect, allowed)),
            self.max_p95.map(|limit| {
                let asked =
                    format!("P95 of the answers is at most {} during the experiment", milliseconds(limit));
                slow("max-p95", asked, &effect.during, limit)
            }),
            self.recover_within.map(|limit| recovered(effect, limit)),
            self.baseline.as_ref().map(|baseline| baseline.check(effect)),
        ];
        checks.into_iter().flatten().collect()
    }
}

/// From the start of the experiment to the end of its aftermath.
fn failed(effect: &Effect, allowed: f64) -> Check {
    let percent = effect.whole.failed_percent();
    Check {
        name: "max-failed".to_owned(),
        asked: format!("at most {allowed} % of the requests fail from the start of the experiment on"),
        found: format!("{percent:.2} %: {} of {}", effect.whole.failed, effect.whole.sent),
        passed: percent <= allowed,
    }
}

fn slow(name: &str, asked: String, phase: &Phase, limit_ms: f64) -> Check {
    let (found, passed) = match phase.p95_ms() {
        Some(p95) => (format!("{}, n {}", milliseconds(p95), phase.answered.count()), p95 <= limit_ms),
        None => (format!("none of {} requests got an answer of success", phase.sent), false),
    };
    Check { name: name.to_owned(), asked, found, passed }
}

fn recovered(effect: &Effect, limit: f64) -> Check {
    let (found, passed) = match effect.recovery {
        Recovery::Unharmed => ("no second was bad".to_owned(), true),
        Recovery::After(seconds) => (format!("after {seconds:.1} s"), seconds <= limit),
        Recovery::NotSeen => ("not as long as it was watched (--watch-after)".to_owned(), false),
    };
    let asked = format!("the service has recovered {limit} s after the fault at the latest");
    Check { name: "recover-within".to_owned(), asked, found, passed }
}

impl Baseline {
    fn read(file: &Path, factor: f64) -> Result<Baseline, RunError> {
        let wrong = |why: String| RunError::Broken(format!("--baseline {}: {why}", file.display()));
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let record: Record = serde_json::from_str(&text)
            .map_err(|error| wrong(format!("not a report.json of taskfault-local run: {error}")))?;
        let all = effects(&record);
        let [(_, effect)] = all.as_slice() else {
            return Err(wrong(format!("it has {} experiments, not one", all.len())));
        };
        let p95_ms = effect.during.p95_ms().ok_or_else(|| {
            wrong("it has no response times of answers: it needs a report of a run with --load".to_owned())
        })?;
        Ok(Baseline { p95_ms, count: effect.during.answered.count(), factor })
    }

    fn check(&self, effect: &Effect) -> Check {
        let limit = self.p95_ms * self.factor;
        let asked = format!(
            "P95 during the experiment is at most {} times that of the baseline, {} (n {}): {}",
            self.factor,
            milliseconds(self.p95_ms),
            self.count,
            milliseconds(limit)
        );
        slow("baseline", asked, &effect.during, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::effect;
    use record::{Load, sample};

    fn kill() -> Effect {
        let record = sample::record();
        effect(&record, &record.experiments[1])
    }

    fn gate() -> Gate {
        Gate { max_failed: None, max_p95: None, recover_within: None, baseline: None }
    }

    fn only(gate: &Gate, effect: &Effect) -> Check {
        let checks = gate.checks(effect);
        assert_eq!(checks.len(), 1, "{checks:?}");
        checks[0].clone()
    }

    #[test]
    fn each_threshold_holds_up_to_its_value() {
        let effect = kill();
        let share = effect.whole.failed_percent();
        let p95 = effect.during.p95_ms().unwrap();
        for (name, found, value, gate_at) in [
            (
                "max-failed",
                "24 of 5",
                share,
                (|value| Gate { max_failed: Some(value), ..gate() }) as fn(f64) -> Gate,
            ),
            ("max-p95", "30 ms, n 96", p95, |value| Gate { max_p95: Some(value), ..gate() }),
            ("recover-within", "after 3.7 s", 3.7001, |value| Gate { recover_within: Some(value), ..gate() }),
            ("baseline", "30 ms, n 96", p95, |value| {
                let baseline = Baseline { p95_ms: value / 2.0, count: 9, factor: 2.0 };
                Gate { baseline: Some(baseline), ..gate() }
            }),
        ] {
            let (holds, missed) = (only(&gate_at(value), &effect), only(&gate_at(value * 0.99), &effect));
            assert!(holds.passed && !missed.passed && holds.name == name, "{holds:?} {missed:?}");
            assert!(holds.found.contains(found), "{holds:?}");
        }
        assert!(gate().checks(&effect).is_empty());
    }

    #[test]
    fn what_was_not_seen_does_not_hold() {
        let mut record = sample::record();
        record.tasks.truncate(3);
        let effect = effect(&record, &record.experiments[1]);
        assert!(!only(&Gate { recover_within: Some(1e6), ..gate() }, &effect).passed);
        let nothing = Effect { during: Phase { sent: 30, ..Phase::default() }, ..effect };
        let check = only(&Gate { max_p95: Some(1e6), ..gate() }, &nothing);
        assert!(!check.passed && check.found.contains("none of 30"), "{check:?}");
    }

    #[test]
    fn a_baseline_is_a_report_of_one_experiment_under_load() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        let mut record = sample::record();
        let read = |record: &Record| {
            fs::write(&file, serde_json::to_string(record).unwrap()).unwrap();
            Baseline::read(&file, 2.0)
        };
        assert!(read(&record).unwrap_err().to_string().contains("2 experiments"));
        record.experiments.truncate(1);
        let baseline = read(&record).unwrap();
        assert!((baseline.p95_ms - 66.0).abs() < 8.0 && baseline.count == 630, "{baseline:?}");
        record.load = Some(Load::default());
        assert!(read(&record).unwrap_err().to_string().contains("--load"));
        fs::write(&file, "{").unwrap();
        let error = Baseline::read(&file, 2.0).unwrap_err().to_string();
        assert!(error.contains("report.json") && error.contains("not a report.json"), "{error}");
    }
}
