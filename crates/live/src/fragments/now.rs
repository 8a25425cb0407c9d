//! The top: how many tasks of each service run, and what the experiment does.

use maud::{Markup, html};
use record::Experiment;

use super::badge;
use crate::moments::{moment, time_of_day};
use crate::view::{View, is_open, name};

pub(super) fn shown(view: &View) -> Markup {
    let running: Vec<&Experiment> = view.record.experiments.iter().filter(|it| is_open(it)).collect();
    html! {
        ul class="services" {
            @for service in &view.services {
                li {
                    b { (service.name) } " in " (service.cluster) ": "
                    span class=(if service.running < service.desired as usize { "few" } else { "enough" }) {
                        b { (service.running) } " of " (service.desired) " running"
                    }
                    @if service.pending > 0 { ", " (service.pending) " pending" }
                }
            }
            @if view.services.is_empty() {
                @let online = view.tasks.iter().filter(|task| task.sidecar.as_ref().is_some_and(|it| it.1 == "Online"));
                li { "No service runs here. Sidecars Online: " b { (online.count()) } }
            }
        }
        ul class="running" {
            @for experiment in &running { (open(experiment, view)) }
            @if running.is_empty() { li { span { (last(view)) } } }
        }
    }
}

fn open(experiment: &Experiment, view: &View) -> Markup {
    html! {
        li {
            span { (badge(&experiment.status)) " " b { (name(experiment)) } }
            @if view.rehearsals.contains(&experiment.id) { " (rehearsal: actions are skipped)" }
            @if let Some(end) = view.ends.get(&experiment.id) {
                // The script counts down: what is sent changes only when the end does.
                span class="countdown" { "ends about " b data-until=(end) { "at " (time_of_day(*end)) } }
            }
            button type="button" class="stop" id={ "stop-" (experiment.id) } data-stop=(experiment.id)
                data-name=(name(experiment)) data-needs-token { "Stop" }
        }
    }
}

fn last(view: &View) -> Markup {
    let ended = view.record.experiments.iter().filter_map(|it| Some((it, it.ended?)));
    match ended.max_by(|one, other| one.1.total_cmp(&other.1)) {
        Some((experiment, at)) => html! {
            "No experiment runs. The last one, " b { (name(experiment)) } ", is " (badge(&experiment.status))
            " since " (moment(at)) "."
        },
        None => html! { "No experiment has run yet." },
    }
}
