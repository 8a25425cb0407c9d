//! A picture on the page: its title, both of its formats, what it says in words, and its legend.

use maud::{Markup, html};

use super::extent::{Format, Window};
use super::paint::Paint;
use record::Record;

/// What an SVG element holds, and the size that it is drawn for.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    pub size: (i32, i32),
    pub content: Markup,
    /// Where each value is, from the left, and what it says; for a script that shows them.
    pub values: Vec<(i32, String)>,
}

/// One picture in both formats, with its title, its legend and what it says in words.
pub(super) struct Figure<'a> {
    pub id: &'a str,
    pub title: &'a str,
    /// What the picture shows, for those who do not see it.
    pub words: String,
    pub legend: Markup,
    /// Whether a script shows values under the pointer.
    pub live: bool,
}

impl Figure<'_> {
    /// `draw` makes the picture in one format.
    pub(super) fn with(&self, draw: impl Fn(Format) -> Option<Picture>) -> Markup {
        html! {
            section aria-labelledby=(self.id) {
                h2 id=(self.id) { (self.title) }
                figure {
                    @for (format, class) in if self.live { Format::LIVE } else { Format::ALL } {
                        @if let Some(picture) = draw(format) { (self.picture(&picture, class)) }
                    }
                    figcaption { (self.legend) }
                }
            }
        }
    }

    fn picture(&self, picture: &Picture, class: &str) -> Markup {
        let (width, height) = picture.size;
        let (title, words) = (format!("{}-{class}-title", self.id), format!("{}-{class}-words", self.id));
        let values = self.live.then(|| serde_json::json!(picture.values).to_string());
        html! {
            svg data-values=[values] viewBox={ "0 0 " (width) " " (height) } class=(class) role="img"
                aria-labelledby={ (title) " " (words) } {
                title id=(title) { (self.title) }
                desc id=(words) { (self.words) }
                (picture.content)
            }
        }
    }
}

/// What the colours are, and what the numbers above the shaded windows stand for.
pub(super) fn legend(entries: &[(Paint, &str)], windows: &[Window], record: &Record) -> Markup {
    let actions: Vec<_> = record.experiments.iter().flat_map(|experiment| &experiment.actions).collect();
    html! {
        ul class="legend" {
            @for (paint, words) in entries {
                li { span class="swatch" style=(paint.style()) {} (words) }
            }
            @for window in windows {
                @let action = actions.get(window.number - 1).map_or("", |action| action.name.as_str());
                li { span class="swatch window" style=(Paint::Window(window.number).style()) {} b { (window.number) } "\u{a0}" (action) }
            }
        }
    }
}
