//! The verdict on top of the page: what was asked, whether it held, and how soon what happened.

use maud::{Markup, html};

use super::markup::lasting;
use super::tables::{badge, bare, name, section, text};
use crate::effect::{self, Effect, Recovery};
use record::{Experiment, Record};

/// Words, and the class that colours them.
pub(super) fn verdict(record: &Record) -> (&'static str, &'static str) {
    let all_are = |status: &str| record.experiments.iter().all(|it| it.status == status);
    let any_is = |status: &str| record.experiments.iter().any(|it| it.status == status);
    match record.checks.iter().all(|check| check.passed) {
        _ if record.experiments.is_empty() => ("No experiment", "neutral"),
        false => ("Failed", "bad"),
        true if any_is("failed") => ("Failed", "bad"),
        true if any_is("stopped") => ("Stopped", "bad"),
        true if !all_are("completed") => ("Not over", "neutral"),
        true if record.checks.is_empty() => ("Completed", "neutral"),
        true => ("Passed", "good"),
    }
}

/// The section.
pub(super) fn shown(record: &Record) -> Markup {
    if record.experiments.is_empty() {
        return Markup::default();
    }
    let (words, class) = verdict(record);
    let rows: Vec<_> = effect::effects(record).iter().map(|(it, effect)| row(record, it, effect)).collect();
    let columns = ["Experiment", "Outcome", "First failure", "Task replaced", "Recovered", "Requests failed"];
    let content = html! {
        p class={ "verdict " (class) } { (words) }
        @if record.checks.is_empty() {
            p class="more" { "No threshold was asked: the options --max-failed, --max-p95, --recover-within and \
                --baseline of taskfault-local run ask for one." }
        } @else {
            ul class="checks" {
                @for check in &record.checks {
                    li {
                        span class={ "badge " (if check.passed { "good" } else { "bad" }) } {
                            (if check.passed { "passed" } else { "failed" })
                        }
                        div { (check.asked) div class="found" { (check.found) } }
                    }
                }
            }
        }
        (bare(&columns, &rows))
    };
    section("verdict", "Verdict", content)
}

fn row(record: &Record, experiment: &Experiment, effect: &Effect) -> Vec<Markup> {
    let failures = match (&record.load, effect.first_failure) {
        (None, _) => "no load".to_owned(),
        (_, None) => "none".to_owned(),
        (_, Some(seconds)) if seconds < 1.0 => "within 1 s".to_owned(),
        (_, Some(seconds)) => format!("after {}", lasting(seconds)),
    };
    let replaced = match (effect.replaced, effect.not_replaced, effect.stopped_tasks) {
        (_, _, 0) => "no task stopped".to_owned(),
        (Some(seconds), 0, _) => format!("after {}", lasting(seconds)),
        (_, without, all) => format!("not: {without} of {all} without a replacement"),
    };
    let recovered = match effect.recovery {
        Recovery::Unharmed => "no second was bad".to_owned(),
        Recovery::After(seconds) => format!("{} after the fault", lasting(seconds)),
        Recovery::NotSeen => "not seen".to_owned(),
    };
    let failed = match &record.load {
        None => "no load".to_owned(),
        Some(_) => format!("{} of {}", effect.whole.failed, effect.whole.sent),
    };
    vec![
        name(experiment),
        badge(&experiment.status),
        text(failures),
        text(replaced),
        text(recovered),
        text(failed),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Check, sample};

    fn check(passed: bool) -> Check {
        let words = |text: &str| text.to_owned();
        Check {
            name: words("max-failed"),
            asked: words("at most 1 % of the requests fail"),
            found: words("0.50 %"),
            passed,
        }
    }

    #[test]
    fn a_verdict_needs_a_question_and_holds_only_if_all_of_it_held() {
        let mut record = sample::record();
        assert_eq!(verdict(&record).0, "Completed");
        record.checks = vec![check(true)];
        assert_eq!(verdict(&record), ("Passed", "good"));
        record.checks.push(check(false));
        assert_eq!(verdict(&record), ("Failed", "bad"));
        record.checks.pop();
        record.experiments[1].status = "stopped".into();
        assert_eq!(verdict(&record), ("Stopped", "bad"));
        record.experiments[1].status = "running".into();
        assert_eq!(verdict(&record).0, "Not over");
        assert_eq!(verdict(&Record::default()).0, "No experiment");
    }

    #[test]
    fn the_times_are_told() {
        let mut record = sample::record();
        record.checks = vec![check(true)];
        let html = shown(&record).into_string();
        for words in [
            "at most 1 % of the requests fail",
            "after 1.0 s",
            "after 3.5 s",
            "3.7 s after the fault",
            "24 of ",
            "no task stopped",
        ] {
            assert!(html.contains(words), "{words}: {html}");
        }
    }
}
