//! Alarms: what each saw last against its threshold, and how its state changed.

use maud::{Markup, html};

use super::badge;
use crate::moments::moment;
use crate::view::{Alarm, View};

/// Changes of state that are shown of an alarm.
const MOST_CHANGES: usize = 10;

pub(super) fn shown(view: &View) -> Markup {
    html! {
        @if view.alarms.is_empty() {
            p { "There is no alarm. A stop condition needs one: " code { "aws cloudwatch put-metric-alarm" } "." }
        }
        ul class="plain rows" { @for alarm in &view.alarms { li { (one(alarm, view)) } } }
    }
}

fn one(alarm: &Alarm, view: &View) -> Markup {
    let changes = view.record.alarms.iter().rev().filter(|change| change.alarm == alarm.name);
    let changes: Vec<_> = changes.take(MOST_CHANGES).collect();
    html! {
        b { (alarm.name) } " " (badge(&alarm.state))
        @match (alarm.value, alarm.threshold) {
            (Some(value), Some(threshold)) => {
                div { "saw " b { (value) } ", threshold " b { (threshold) } }
            },
            (None, Some(_)) => div { "has seen no value that changed its state" },
            // A composite alarm looks at states.
            _ => {},
        }
        div class="muted" { (alarm.rule) }
        details id={ "alarm-" (alarm.name) } {
            summary { "History" }
            p class="muted" { (alarm.reason) }
            ul class="plain" {
                @for change in &changes {
                    li { (moment(change.at)) " " (change.from) " → " (change.to) }
                }
                @if changes.is_empty() { li { "Its state has never changed." } }
            }
        }
    }
}
