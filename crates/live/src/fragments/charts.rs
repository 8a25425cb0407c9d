//! The charts: those of the report, over the last minute or all of the time.

use experiment::report::picture;
use maud::{Markup, html};

use crate::view::{MINUTE, Span, View};

pub(super) fn shown(view: &View) -> Markup {
    let from = match view.span {
        Span::Minute => view.now - MINUTE,
        Span::All => view.record.from,
    };
    let pictures = picture::charts(&view.record, from, view.now);
    html! {
        @for picture in &pictures { (picture) }
        @if pictures.is_empty() {
            p { "There is nothing to draw yet: no load is told to this program, and no task runs here." }
        }
    }
}
