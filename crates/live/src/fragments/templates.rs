//! Templates: start one, rehearse it, see what it would come to.

use maud::{Markup, html};

use crate::view::{Template, View};

pub(super) fn shown(view: &View) -> Markup {
    html! {
        @if view.templates.is_empty() {
            p { "There is no template. Make one with " code { "aws fis create-experiment-template" } "." }
        }
        ul class="plain rows" { @for template in &view.templates { li { (one(template)) } } }
    }
}

fn one(template: &Template) -> Markup {
    let Template { id, description, actions, outlook } = template;
    let title = if description.is_empty() { id } else { description };
    html! {
        div class="template" {
            div {
                b { (title) } " " code { (id) }
                div class="muted" {
                    @for (index, (name, action)) in actions.iter().enumerate() {
                        @if index > 0 { ", " }
                        (name) " (" code { (action) } ")"
                    }
                }
            }
            div class="buttons" {
                button type="button" id={ "rehearse-" (id) } data-rehearse=(id) data-needs-token
                    aria-label={ "Rehearse " (title) } { "Rehearse" }
                button type="button" class="start" id={ "start-" (id) } data-start=(id) data-needs-token
                    aria-label={ "Start " (title) } { "Start" }
            }
        }
        @if !outlook.obstacles.is_empty() {
            p class="obstacles" { b { "It would fail now: " } }
            ul class="obstacles" { @for obstacle in &outlook.obstacles { li { (obstacle) } } }
        }
        @if !outlook.notes.is_empty() {
            details id={ "outlook-" (id) } {
                summary { "What it would come to now" }
                ul { @for note in &outlook.notes { li { (note) } } }
            }
        }
    }
}
