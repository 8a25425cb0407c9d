//! A picture on the page: its title, both of its formats, what it says in words, and its legend.

use std::fmt::Write;

use super::chart::{Format, Window};
use super::markup::escaped;
use super::paint::Paint;
use record::Record;

/// One picture in both formats, with its title, its legend and what it says in words.
pub(super) struct Figure<'a> {
    pub id: &'a str,
    pub title: &'a str,
    /// What the picture shows, for those who do not see it.
    pub words: String,
    /// HTML.
    pub legend: String,
}

impl Figure<'_> {
    /// `draw` makes the picture in one format.
    pub(super) fn with(&self, draw: impl Fn(Format) -> Option<String>) -> String {
        let mut out = format!(
            "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>\n<figure>\n",
            escaped(self.title),
            id = self.id
        );
        for (format, class) in Format::ALL {
            let Some(svg) = draw(format) else { continue };
            let id = format!("{}-{class}", self.id);
            let opening = format!(
                "<svg class=\"{class}\" role=\"img\" aria-labelledby=\"{id}-title {id}-words\"><title \
                 id=\"{id}-title\">{}</title><desc id=\"{id}-words\">{}</desc>",
                escaped(self.title),
                escaped(&self.words)
            );
            out.push_str(&reopened(&svg, &opening));
        }
        let _ = write!(out, "<figcaption>{}</figcaption>\n</figure>\n</section>\n", self.legend);
        out
    }
}

/// An SVG element with another opening tag; it keeps the size of its picture as its viewBox.
fn reopened(svg: &str, opening: &str) -> String {
    let Some((old, content)) = svg.split_once('>') else { return String::new() };
    let view = old.split_once("viewBox=\"").and_then(|(_, rest)| rest.split_once('"'));
    let view = view.map_or("0 0 1 1", |(view, _)| view);
    opening.replacen("<svg ", &format!("<svg viewBox=\"{view}\" "), 1) + content
}

/// What the colours are, and what the numbers above the shaded windows stand for.
pub(super) fn legend(entries: &[(Paint, &str)], windows: &[Window], record: &Record) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for (paint, words) in entries {
        let _ = write!(
            out,
            "<li><span class=\"swatch\" style=\"background:var(--{})\"></span>{}</li>",
            paint.name(),
            escaped(words)
        );
    }
    let actions: Vec<_> = record.experiments.iter().flat_map(|experiment| &experiment.actions).collect();
    for window in windows {
        let action = actions.get(window.number - 1).map_or("", |action| action.name.as_str());
        let _ = write!(
            out,
            "<li><span class=\"swatch window\"></span><b>{}</b>&nbsp;{}</li>",
            window.number,
            escaped(action)
        );
    }
    out + "</ul>"
}
