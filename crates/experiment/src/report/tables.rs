//! The tables of the page: effects, tasks, faults asked against achieved, notes, experiments, figures by second.

use maud::{Markup, html};

use super::markup::{clock, count, date, lasting, milliseconds};
use crate::effect::{self, Effect, Phase};
use record::{Action, Command, Experiment, Note, Record, Resolved, Second, Step, Task, Times, short};

/// Words where there is nothing to tell.
const NONE: &str = "–";

/// A section of the page with its heading.
pub(super) fn section(id: &str, title: &str, content: Markup) -> Markup {
    html! { section aria-labelledby=(id) { h2 id=(id) { (title) } (content) } }
}

/// A table with its heading; nothing if it has no rows.
fn table(id: &str, title: &str, columns: &[&str], rows: &[Vec<Markup>]) -> Markup {
    if rows.is_empty() { Markup::default() } else { section(id, title, bare(columns, rows)) }
}

/// A table that a phone can scroll sideways.
pub(super) fn bare(columns: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table {
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (column, cell) in columns.iter().zip(row) {
                                // Phones show a row as a card, with the column's name before each cell.
                                td data-label=(column) { div { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A cell of text.
pub(super) fn text(words: impl AsRef<str>) -> Markup {
    html! { (words.as_ref()) }
}

/// A status, coloured by whether it is good.
pub(super) fn badge(status: &str) -> Markup {
    let kind = match status {
        "completed" | "Success" => "good",
        "failed" | "Failed" | "TimedOut" | "ExecutionTimedOut" | "DeliveryTimedOut" => "bad",
        _ => "neutral",
    };
    html! { span class={ "badge " (kind) } { (status) } }
}

pub(super) fn name(experiment: &Experiment) -> Markup {
    text(if experiment.description.is_empty() { &experiment.id } else { &experiment.description })
}

fn time(value: Option<f64>) -> Markup {
    text(value.map_or(NONE.to_owned(), milliseconds))
}

/// What clients saw before, during and after each experiment.
pub(super) fn effects(record: &Record) -> Markup {
    if record.load.is_none() {
        return outcomes(record);
    }
    let effects = effect::effects(record);
    if effects.is_empty() {
        return Markup::default();
    }
    let content = html! {
        @for (experiment, effect) in &effects {
            @if effects.len() > 1 { h3 { (name(experiment)) } }
            (bare(&PHASES, &phases(effect)))
        }
        p class="more" {
            "P50, P95 and P99 of the answers of success; n is how many they are. During: until the fault was over, or, \
            where it takes no time, until the service was as before."
        }
    };
    section("effects", "What clients saw", content)
}

const PHASES: [&str; 8] = ["", "Lasted", "Requests", "Failed", "P50", "P95", "P99", "P95 of failures"];

fn phases(effect: &Effect) -> Vec<Vec<Markup>> {
    let named = [("before", &effect.before), ("during", &effect.during), ("after", &effect.after)];
    let row = |(name, phase): (&str, &Phase)| {
        let answered = |share: f64| percentile(&phase.answered, share);
        let failed = match phase.failed {
            0 => text("0"),
            some => html! { (count(some)) " (" (format!("{:.1}", phase.failed_percent())) " %)" },
        };
        vec![
            html! { b { (name) } },
            text(lasting(phase.to - phase.from)),
            text(count(phase.sent)),
            failed,
            answered(0.50),
            answered(0.95),
            answered(0.99),
            percentile(&phase.gave_up, 0.95),
        ]
    };
    named.into_iter().filter(|(_, phase)| phase.sent > 0).map(row).collect()
}

/// A percentile and how many requests it is of.
fn percentile(times: &Times, share: f64) -> Markup {
    match times.percentile_ms(share) {
        Some(ms) => html! { (milliseconds(ms)) " " span class="n" { "n\u{a0}" (count(times.count())) } },
        None => text(NONE),
    }
}

/// The life of each task: whether it was a target, why it stopped, what took its place, what it used.
pub(super) fn tasks(record: &Record) -> Markup {
    let row = |task: &Task| {
        let targets = record
            .experiments
            .iter()
            .filter(|experiment| experiment.targets.iter().any(|target| target.chosen.contains(&task.arn)));
        let when = |at: Option<f64>| at.map_or(NONE.to_owned(), |at| clock(at - record.from));
        let next = record.tasks.iter().find(|next| next.replaces.as_deref() == Some(task.arn.as_str()));
        vec![
            html! { code class="short" { (short(&task.arn)) } },
            text(task.group.trim_start_matches("service:")),
            html! { @for experiment in targets { div { (name(experiment)) } } },
            text(when(Some(task.started))),
            text(when(task.stopping.or(task.stopped))),
            text(&task.reason),
            html! { @if let Some(next) = next { code class="short" { (short(&next.arn)) } } },
            text(cpu(record, &task.arn)),
        ]
    };
    let rows: Vec<_> = record.tasks.iter().take(MOST_TASKS).map(row).collect();
    let columns =
        ["Task", "Service", "Target of", "Ran from", "Until", "Why it stopped", "Replaced by", "CPU"];
    table("tasks", "Tasks", &columns, &rows)
}

/// The most tasks that the page lists; report.json has all.
const MOST_TASKS: usize = 200;

/// Mean and highest second of the CPU that a task used.
fn cpu(record: &Record, task: &str) -> String {
    let samples = record.cpu.iter().filter(|cpu| cpu.task == task).flat_map(|cpu| &cpu.samples);
    let percents: Vec<f64> = samples.map(|sample| sample.percent).collect();
    let most = percents.iter().copied().fold(0.0, f64::max);
    match percents.len() {
        0 => NONE.to_owned(),
        count => format!("mean {:.0} %, most {most:.0} %", percents.iter().sum::<f64>() / count as f64),
    }
}

/// Without a load there is only the outcome.
fn outcomes(record: &Record) -> Markup {
    let row = |experiment: &Experiment| {
        let lasted = experiment.started.zip(experiment.ended).map(|(from, to)| lasting(to - from));
        vec![name(experiment), badge(&experiment.status), text(lasted.unwrap_or_default())]
    };
    let rows: Vec<_> = record.experiments.iter().map(row).collect();
    table("effects", "Outcome", &["Experiment", "Outcome", "Lasted"], &rows)
}

/// What every fault was asked, and what it achieved.
pub(super) fn faults(record: &Record) -> Markup {
    let mut rows = Vec::new();
    for command in &record.commands {
        // Steps that prepare something have nothing to say; one that failed has.
        let is_shown = |step: &&Step| step.asked.is_some() || step.status == "Failed";
        let steps: Vec<&Step> = command.steps.iter().filter(is_shown).collect();
        if steps.is_empty() {
            rows.push(fault(command, &Step::default(), record));
        }
        rows.extend(steps.into_iter().map(|step| fault(command, step, record)));
    }
    let columns = ["At", "Fault", "Task", "Command", "Asked", "Achieved", "Remarks"];
    table("faults", "Asked and achieved", &columns, &rows)
}

fn fault(command: &Command, step: &Step, record: &Record) -> Vec<Markup> {
    let remarks = html! {
        @for remark in &step.remarks { div { (remark) } }
        @if !step.output.is_empty() {
            details { summary { "output" } pre { (step.output.trim_end()) } }
        }
    };
    vec![
        text(clock(command.requested - record.from)),
        text(command.document.trim_start_matches("AWSFIS-Run-")),
        html! { code class="short" { (command.task.as_deref().map_or(NONE, short)) } },
        badge(&command.status),
        text(step.asked.as_deref().unwrap_or(NONE)),
        text(step.achieved.as_deref().unwrap_or(NONE)),
        remarks,
    ]
}

/// Notes in plain words.
pub(super) fn notes(record: &Record) -> Markup {
    if record.notes.is_empty() {
        return Markup::default();
    }
    let list = html! {
        ul class="notes" {
            @for Note { at, about, text, .. } in &record.notes {
                li {
                    span class="when" { (clock(at - record.from)) } " "
                    @if !about.is_empty() { code { (about) } " " }
                    (text)
                }
            }
        }
    };
    section("notes", "Worth knowing", list)
}

/// Each experiment with its targets and actions.
pub(super) fn experiments(record: &Record) -> Markup {
    if record.experiments.is_empty() {
        return Markup::default();
    }
    let all = html! { @for one in &record.experiments { (experiment(one, record)) } };
    section("experiments", "Experiments", all)
}

fn experiment(experiment: &Experiment, record: &Record) -> Markup {
    let targets: Vec<_> = experiment.targets.iter().map(target).collect();
    let actions: Vec<_> = experiment.actions.iter().map(|it| action(it, record)).collect();
    html! {
        details class="block" {
            summary {
                (name(experiment)) " " code { (experiment.id) } " " (badge(&experiment.status))
            }
            p {
                "Template " code { (experiment.template) }
                @if let Some(at) = experiment.started { ", started " (date(at)) }
                ". " (experiment.reason)
            }
            (bare(&["Target", "Selection", "Picked"], &targets))
            (bare(&["Action", "Kind", "Status", "When", "Parameters", "Reason"], &actions))
        }
    }
}

fn target(target: &Resolved) -> Vec<Markup> {
    let chosen = html! { @for arn in &target.chosen { div { code { (arn) } } } };
    vec![text(&target.name), text(&target.selection), chosen]
}

fn action(action: &Action, record: &Record) -> Vec<Markup> {
    let parameters: Vec<String> =
        action.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let when = |at: Option<f64>| at.map_or(NONE.to_owned(), |at| clock(at - record.from));
    vec![
        text(&action.name),
        text(&action.action_id),
        badge(&action.status),
        text(format!("{} to {}", when(action.started), when(action.ended))),
        text(parameters.join(", ")),
        text(&action.reason),
    ]
}

/// The most seconds that the page lists; report.json has all.
const MOST_SECONDS: usize = 900;

/// What the charts show, as figures.
pub(super) fn seconds(record: &Record) -> Markup {
    let Some(load) = &record.load else { return Markup::default() };
    let rows: Vec<_> = load.seconds.iter().take(MOST_SECONDS).map(|it| second(it, record)).collect();
    let columns =
        ["At", "Sent", "Answered", "Failed", "P50", "P95", "P99", "P95 of failures", "Generator late by"];
    let figures = html! {
        details class="block figures" {
            summary { (count(load.seconds.len() as u64)) " seconds" }
            (bare(&columns, &rows))
        }
    };
    section("seconds", "Figures by second", figures)
}

fn second(second: &Second, record: &Record) -> Vec<Markup> {
    let errors: Vec<String> = second.errors.iter().map(|(kind, number)| format!("{kind} {number}")).collect();
    let [p50, p95, p99] = second.answered_ms();
    vec![
        text(clock(second.at - record.from)),
        html! { (second.sent) },
        html! { (second.ok) },
        text(errors.join(", ")),
        time(p50),
        time(p95),
        time(p99),
        time(second.failed_times.percentile_ms(0.95)),
        text(milliseconds(second.lag_ms)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    #[test]
    fn asked_stands_beside_achieved() {
        let html = faults(&sample::record()).into_string();
        assert!(html.contains("80 % of each of 1 CPU for 20 s"), "{html}");
        assert!(html.contains("mean 79.6 %, 1 s windows 74.0 to 80.4 %"), "{html}");
        assert_eq!(html.matches("<tr>").count(), 3, "a head and two faults: {html}");
    }

    #[test]
    fn a_command_that_never_ran_has_its_row() {
        let mut record = sample::record();
        record.commands[0].steps.clear();
        record.commands[0].status = "DeliveryTimedOut".into();
        let html = faults(&record).into_string();
        assert!(html.contains("badge bad\">DeliveryTimedOut"), "{html}");
    }

    #[test]
    fn every_percentile_has_its_n_and_failures_stand_apart() {
        let html = effects(&sample::record()).into_string();
        assert!(html.contains("n\u{a0}300</span>"), "ten seconds before the stress: {html}");
        assert!(html.contains("24 (") && html.contains("1.0 s <span class=\"n\">n\u{a0}24</span>"), "{html}");
        assert_eq!(html.matches("<tr>").count(), 2 * 4, "{html}");
    }

    #[test]
    fn a_task_says_why_it_stopped_and_what_took_its_place() {
        let html = tasks(&sample::record()).into_string();
        for words in ["Essential container in task exited", "cccccccc", "dddddddd", "mean 22 %", "most 97 %"]
        {
            assert!(html.contains(words), "{words}: {html}");
        }
        assert_eq!(
            html.matches("CPU stress on a part of the tasks").count(),
            1,
            "one was its target: {html}"
        );
    }

    #[test]
    fn without_a_load_the_outcome_remains() {
        let record = Record { load: None, ..sample::record() };
        let html = effects(&record).into_string();
        assert!(html.contains("Outcome") && html.contains("20.5 s"), "{html}");
        assert!(seconds(&record).0.is_empty());
    }
}
