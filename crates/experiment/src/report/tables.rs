//! The tables of the page: effects, faults asked against achieved, notes, experiments, figures by second.

use std::fmt::Write;

use super::figures;
use super::markup::{clock, count, date, escaped, lasting, milliseconds};
use record::Second;
use record::{Command, Experiment, Note, Record, Step, short};

/// A table that a phone can scroll sideways. Cells are HTML.
fn table(id: &str, title: &str, columns: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = format!(
        "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>\n{}</section>\n",
        escaped(title),
        bare(columns, rows)
    );
    if rows.is_empty() {
        out.clear();
    }
    out
}

fn bare(columns: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>");
    for column in columns {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escaped(column));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (column, cell) in columns.iter().zip(row) {
            // Phones show a row as a card, with the column's name before each cell.
            let _ = write!(out, "<td data-label=\"{}\"><div>{cell}</div></td>", escaped(column));
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody>\n</table></div>\n"
}

/// A status, coloured by whether it is good.
fn badge(status: &str) -> String {
    let kind = match status {
        "completed" | "Success" => "good",
        "failed" | "Failed" | "TimedOut" | "ExecutionTimedOut" | "DeliveryTimedOut" => "bad",
        _ => "neutral",
    };
    format!("<span class=\"badge {kind}\">{}</span>", escaped(status))
}

fn name(experiment: &Experiment) -> String {
    let words = if experiment.description.is_empty() { &experiment.id } else { &experiment.description };
    escaped(words)
}

/// What clients saw of each experiment.
pub(super) fn effects(record: &Record) -> String {
    let time = |value: Option<f64>| value.map_or("–".to_owned(), milliseconds);
    let told = figures::effects(record);
    let rows: Vec<Vec<String>> = told
        .iter()
        .map(|(experiment, effect)| {
            vec![
                name(experiment),
                badge(&experiment.status),
                time(effect.before),
                time(effect.during),
                time(effect.worst),
                time(effect.after),
                format!("{} of {}", count(effect.failed), count(effect.sent)),
            ]
        })
        .collect();
    let columns = [
        "Experiment",
        "Outcome",
        "P95 before",
        "P95 during",
        "P95 worst second",
        "P95 after",
        "Requests failed",
    ];
    if rows.is_empty() { outcomes(record) } else { table("effects", "What clients saw", &columns, &rows) }
}

/// Without a load there is only the outcome.
fn outcomes(record: &Record) -> String {
    let row = |experiment: &Experiment| {
        let lasted = experiment.started.zip(experiment.ended).map(|(from, to)| lasting(to - from));
        vec![name(experiment), badge(&experiment.status), lasted.unwrap_or_default()]
    };
    let rows: Vec<_> = record.experiments.iter().map(row).collect();
    table("effects", "Outcome", &["Experiment", "Outcome", "Lasted"], &rows)
}

/// What every fault was asked, and what it achieved.
pub(super) fn faults(record: &Record) -> String {
    let mut rows = Vec::new();
    for command in &record.commands {
        // Steps that prepare something have nothing to say; one that failed has.
        let told = |step: &&Step| step.asked.is_some() || step.status == "Failed";
        let steps: Vec<&Step> = command.steps.iter().filter(told).collect();
        if steps.is_empty() {
            rows.push(fault(command, &Step::default(), record));
        }
        rows.extend(steps.into_iter().map(|step| fault(command, step, record)));
    }
    let columns = ["At", "Fault", "Task", "Command", "Asked", "Achieved", "Remarks"];
    table("faults", "Asked and achieved", &columns, &rows)
}

fn fault(command: &Command, step: &Step, record: &Record) -> Vec<String> {
    let task = command.task.as_deref().map_or("–".to_owned(), |task| escaped(short(task)));
    let none = "–".to_owned();
    let mut remarks = String::new();
    for remark in &step.remarks {
        let _ = write!(remarks, "<div>{}</div>", escaped(remark));
    }
    if !step.output.is_empty() {
        let _ = write!(
            remarks,
            "<details><summary>output</summary><pre>{}</pre></details>",
            escaped(step.output.trim_end())
        );
    }
    vec![
        clock(command.requested - record.from),
        escaped(command.document.trim_start_matches("AWSFIS-Run-")),
        format!("<code class=\"short\">{task}</code>"),
        badge(&command.status),
        step.asked.as_deref().map_or(none.clone(), escaped),
        step.achieved.as_deref().map_or(none, escaped),
        remarks,
    ]
}

/// Notes in plain words.
pub(super) fn notes(record: &Record) -> String {
    if record.notes.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section aria-labelledby=\"notes\">\n<h2 id=\"notes\">Worth knowing</h2>\n<ul class=\"notes\">\n",
    );
    for Note { at, about, text } in &record.notes {
        let about =
            if about.is_empty() { String::new() } else { format!("<code>{}</code> ", escaped(about)) };
        let when = clock(at - record.from);
        let _ = writeln!(out, "<li><span class=\"when\">{when}</span> {about}{}</li>", escaped(text));
    }
    out + "</ul>\n</section>\n"
}

/// Each experiment with its targets and actions.
pub(super) fn experiments(record: &Record) -> String {
    let mut out = String::new();
    for experiment in &record.experiments {
        let _ = write!(
            out,
            "<details class=\"block\"><summary>{} <code>{}</code> {}</summary>\n<p>Template <code>{}</code>{}. {}</p>\n",
            name(experiment),
            escaped(&experiment.id),
            badge(&experiment.status),
            escaped(&experiment.template),
            experiment.started.map_or(String::new(), |at| format!(", started {}", date(at))),
            escaped(&experiment.reason)
        );
        let targets: Vec<Vec<String>> = experiment
            .targets
            .iter()
            .map(|target| {
                let chosen: Vec<String> = target
                    .chosen
                    .iter()
                    .map(|arn| format!("<div><code>{}</code></div>", escaped(arn)))
                    .collect();
                vec![escaped(&target.name), escaped(&target.selection), chosen.concat()]
            })
            .collect();
        out.push_str(&bare(&["Target", "Selection", "Picked"], &targets));
        let actions: Vec<Vec<String>> = experiment
            .actions
            .iter()
            .map(|action| {
                let parameters: Vec<String> =
                    action.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let when = |at: Option<f64>| at.map_or("–".to_owned(), |at| clock(at - record.from));
                vec![
                    escaped(&action.name),
                    escaped(&action.action_id),
                    badge(&action.status),
                    format!("{} to {}", when(action.started), when(action.ended)),
                    escaped(&parameters.join(", ")),
                    escaped(&action.reason),
                ]
            })
            .collect();
        let columns = ["Action", "Kind", "Status", "When", "Parameters", "Reason"];
        out.push_str(&bare(&columns, &actions));
        out.push_str("</details>\n");
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "<section aria-labelledby=\"experiments\">\n<h2 id=\"experiments\">Experiments</h2>\n{out}</section>\n"
    )
}

/// The most seconds that the page lists; report.json has all.
const MOST_SECONDS: usize = 900;

/// What the charts show, as figures.
pub(super) fn seconds(record: &Record) -> String {
    let Some(load) = &record.load else { return String::new() };
    let time = |value: Option<f64>| value.map_or("–".to_owned(), milliseconds);
    let row = |second: &Second| {
        let errors: Vec<String> =
            second.errors.iter().map(|(kind, number)| format!("{kind} {number}")).collect();
        vec![
            clock(second.at - record.from),
            second.sent.to_string(),
            second.ok.to_string(),
            escaped(&errors.join(", ")),
            time(second.p50_ms),
            time(second.p95_ms),
            time(second.p99_ms),
            milliseconds(second.lag_ms),
        ]
    };
    let rows: Vec<_> = load.seconds.iter().take(MOST_SECONDS).map(row).collect();
    let columns = ["At", "Sent", "Answered", "Failed", "P50", "P95", "P99", "Generator late by"];
    format!(
        "<section aria-labelledby=\"seconds\">\n<h2 id=\"seconds\">Figures by second</h2>\n<details \
         class=\"block figures\"><summary>{} seconds</summary>\n{}</details>\n</section>\n",
        count(load.seconds.len() as u64),
        bare(&columns, &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    #[test]
    fn asked_stands_beside_achieved() {
        let html = faults(&sample::record());
        assert!(html.contains("80 % of each of 1 CPU for 20 s"), "{html}");
        assert!(html.contains("mean 79.6 %, 1 s windows 74.0 to 80.4 %"), "{html}");
        assert_eq!(html.matches("<tr>").count(), 3, "a head and two faults: {html}");
    }

    #[test]
    fn a_command_that_never_ran_has_its_row() {
        let mut record = sample::record();
        record.commands[0].steps.clear();
        record.commands[0].status = "DeliveryTimedOut".into();
        let html = faults(&record);
        assert!(html.contains("badge bad\">DeliveryTimedOut"), "{html}");
    }

    #[test]
    fn without_a_load_the_outcome_remains() {
        let record = Record { load: None, ..sample::record() };
        let html = effects(&record);
        assert!(html.contains("Outcome") && html.contains("20.5 s"), "{html}");
        assert!(seconds(&record).is_empty());
    }
}
