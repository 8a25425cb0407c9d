//! Tasks, running and stopped: what became of them, their sidecars, what runs in them, the end of their logs.

use maud::{Markup, html};
use record::short;

use super::badge;
use crate::moments::moment;
use crate::view::{Container, Task, View};

pub(super) fn shown(view: &View) -> Markup {
    let (stopped, here): (Vec<&Task>, Vec<&Task>) = view.tasks.iter().partition(|task| task.is_stopped());
    html! {
        ul class="tasks" { @for task in here { (one(task)) } }
        @if view.tasks.is_empty() { p { "No task has registered, and none was started." } }
        @if !stopped.is_empty() {
            h3 { "Stopped" }
            ul class="tasks" { @for task in stopped { (one(task)) } }
        }
    }
}

fn one(task: &Task) -> Markup {
    html! {
        li class=(if task.chosen { "task chosen" } else { "task" }) {
            h4 { code title=(task.arn) { (short_id(&task.id)) } " " (badge(&task.status)) }
            @if task.chosen { span class="badge busy" { "chosen by the experiment" } }
            dl {
                @if !task.service.is_empty() { dt { "Service" } dd { (task.service) } }
                @if let Some(address) = &task.address { dt { "Address" } dd { code { (address) } } }
                dt { "Since" } dd { (moment(task.created)) }
                dt { "Sidecar" }
                dd {
                    @match &task.sidecar {
                        Some((instance, status)) => { (badge(status)) " " code class="id" { (instance) } },
                        None => "none is registered",
                    }
                }
                @if !task.faults.is_empty() {
                    dt { "Live" }
                    dd {
                        ul class="plain" {
                            @for (document, since) in &task.faults {
                                li { b { (document.trim_start_matches("AWSFIS-Run-")) } " since " (moment(*since)) }
                            }
                        }
                    }
                }
                @if let Some((code, reason)) = &task.why {
                    dt { "Ended" }
                    dd { (reason) @if !code.is_empty() { " (" code { (code) } ")" } }
                }
                @if let Some(gone) = &task.replaces { dt { "Replaces" } dd { code { (short_id(gone)) } } }
                @if let Some(next) = &task.replaced_by { dt { "Replaced by" } dd { code { (short_id(next)) } } }
            }
            @for container in &task.containers { (container_of(task, container)) }
        }
    }
}

fn container_of(task: &Task, container: &Container) -> Markup {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("task", &task.id)
        .append_pair("container", &container.name)
        .finish();
    html! {
        details id={ "log-" (task.id) "-" (container.name) } data-log={ "/_taskfault/live/log?" (query) } {
            summary {
                (container.name) " "
                span class="muted" {
                    (container.status)
                    @if let Some(code) = container.exit_code { ", exit code " (code) }
                    @if !container.reason.is_empty() { ", " (container.reason) }
                }
            }
            p class="muted" { code { (container.image) } }
            pre tabindex="0" aria-label={ "The end of the log of " (container.name) } { "…" }
        }
    }
}

/// The first eight digits of an id, as the report has it.
fn short_id(id: &str) -> &str {
    short(id)
}
