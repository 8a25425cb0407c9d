//! The experiment that runs, or the last one: its targets, its actions over time, asked against achieved, notes. Then
//! those before it, and their reports.

use experiment::report::picture;
use maud::{Markup, html};
use record::{Command, Experiment, Note, Record, short};

use super::badge;
use crate::moments::{lasting, moment};
use crate::view::{View, is_open, name};

/// Earlier experiments that are listed.
const MOST_EARLIER: usize = 20;

pub(super) fn shown(view: &View) -> Markup {
    let record = &view.record;
    let open: Vec<&Experiment> = record.experiments.iter().filter(|it| is_open(it)).collect();
    let current = if open.is_empty() { record.experiments.iter().rev().take(1).collect() } else { open };
    let is_current = |experiment: &&Experiment| current.iter().any(|it| it.id == experiment.id);
    let earlier: Vec<&Experiment> = record.experiments.iter().rev().filter(|it| !is_current(it)).collect();
    html! {
        @for experiment in &current { (one(experiment, view)) }
        @if current.is_empty() { p { "No experiment has run yet. Start one below, or with " code { "aws fis start-experiment" } "." } }
        @if !earlier.is_empty() {
            h3 { "Earlier experiments" }
            ul class="plain rows" { @for experiment in earlier.iter().take(MOST_EARLIER) { li { (line(experiment, view)) } } }
        }
    }
}

fn line(experiment: &Experiment, view: &View) -> Markup {
    html! {
        (badge(&experiment.status)) " " b { (name(experiment)) } " "
        @if view.rehearsals.contains(&experiment.id) { "(rehearsal) " }
        @if let Some(started) = experiment.started {
            (moment(started)) ", "
            (lasting(experiment.ended.unwrap_or(view.now) - started)) " "
        }
        (report_link(experiment))
    }
}

fn report_link(experiment: &Experiment) -> Markup {
    let query =
        form_urlencoded::Serializer::new(String::new()).append_pair("experiment", &experiment.id).finish();
    html! {
        a href={ "/_taskfault/live/report.html?" (query) } download aria-label={ "Report of " (name(experiment)) } { "Report" }
    }
}

fn one(experiment: &Experiment, view: &View) -> Markup {
    let record = &view.record;
    let end = experiment.ended.unwrap_or(f64::INFINITY);
    let begin = experiment.started.unwrap_or(0.0);
    let own = |command: &&Command| (begin..=end).contains(&command.requested) && chosen(experiment, command);
    let commands: Vec<&Command> = record.commands.iter().filter(own).collect();
    html! {
        h3 { (name(experiment)) " " (badge(&experiment.status)) }
        p {
            code { (experiment.id) } " of " code { (experiment.template) }
            @if view.rehearsals.contains(&experiment.id) { ", a rehearsal: targets are chosen, actions are skipped" }
            @if !is_open(experiment) { ": " (experiment.reason) " " (report_link(experiment)) }
        }
        h4 { "Targets" }
        ul class="plain" {
            @for target in &experiment.targets {
                li {
                    b { (target.name) } ": " code { (target.selection) } " chose " (target.chosen.len()) " "
                    @for arn in &target.chosen { code title=(arn) { (short(arn)) } " " }
                }
            }
        }
        (picture::timeline(&only(record, experiment, &commands), begin, experiment.ended.unwrap_or(view.now)))
        @if !commands.is_empty() {
            h4 { "Asked and achieved" }
            ul class="plain rows" { @for command in &commands { li { (told(command)) } } }
        }
        (notes(record, experiment))
    }
}

/// Whether a command went to a task that the experiment has chosen.
fn chosen(experiment: &Experiment, command: &Command) -> bool {
    let mut all = experiment.targets.iter().flat_map(|target| &target.chosen);
    command.task.as_ref().is_some_and(|task| all.any(|arn| arn == task))
}

fn told(command: &Command) -> Markup {
    html! {
        b { (command.document.trim_start_matches("AWSFIS-Run-")) } " on "
        code { (short(command.task.as_deref().unwrap_or(&command.instance))) } " " (badge(&command.status))
        @for step in &command.steps {
            @if let Some(asked) = &step.asked { div { span class="muted" { "asked " } (asked) } }
            @if let Some(achieved) = &step.achieved { div { span class="muted" { "achieved " } (achieved) } }
            @for remark in &step.remarks { div class="muted" { (remark) } }
        }
        @if command.steps.is_empty() { div class="muted" { "nothing is reported yet" } }
    }
}

fn notes(record: &Record, experiment: &Experiment) -> Markup {
    let about = |note: &&Note| {
        note.about == experiment.id || experiment.actions.iter().any(|action| action.name == note.about)
    };
    let end = experiment.ended.map_or(f64::INFINITY, |ended| ended + 1.0);
    let own: Vec<&Note> = record
        .notes
        .iter()
        .filter(about)
        .filter(|note| note.at >= experiment.started.unwrap_or(0.0) - 1.0 && note.at <= end)
        .collect();
    html! {
        @if !own.is_empty() {
            h4 { "Notes" }
            ul class="plain rows" { @for note in own { li { (moment(note.at)) " " (note.text) } } }
        }
    }
}

/// The part of a record that is about one experiment.
fn only(record: &Record, experiment: &Experiment, commands: &[&Command]) -> Record {
    Record {
        from: record.from,
        to: record.to,
        experiments: vec![experiment.clone()],
        commands: commands.iter().copied().cloned().collect(),
        ..Record::default()
    }
}
