//! One list of what ECS, FIS and CloudWatch did, and what is worth knowing.

use maud::{Markup, html};

use crate::moments::moment;
use crate::view::{self, View};

/// Events that are listed.
const MOST: usize = 100;

pub(super) fn shown(view: &View) -> Markup {
    let events = view::events(view, MOST);
    html! {
        @if events.is_empty() { p { "Nothing has happened yet." } }
        ol class="plain rows events" {
            @for event in &events {
                li class=(if event.source == "note" { "note" } else { "" }) {
                    (moment(event.at)) " " span class="badge" { (event.source) } " "
                    @if !event.about.is_empty() { b { (event.about) } " " }
                    (event.text)
                }
            }
        }
    }
}

/// The latest event, for those who listen to the page.
pub(super) fn latest(view: &View) -> Markup {
    let events = view::events(view, 1);
    html! { @for event in &events { (event.about) ": " (event.text) } }
}
