//! The pictures of the report one by one, for a page that shows them while they change.
//!
//! Their style is [`STYLE`](super::STYLE). Each `svg` has its values in `data-values`: a list of places from the left,
//! in units of its `viewBox`, each with what stands there as words.

use maud::Markup;

use super::extent::{Span, Window};
use super::page::{self, Part};
use super::{figures, running, usage};
use record::Record;

/// Requests, response times, tasks that run, their CPU and memory between two moments; those there is nothing to tell of are
/// missing. Clocks count from the record's beginning.
pub fn charts(record: &Record, from: f64, to: f64) -> Vec<Markup> {
    let span = span(record, from, to);
    let windows: Vec<Window> = figures::windows(record)
        .into_iter()
        .filter(|window| window.to >= span.from && window.from <= span.to)
        .collect();
    let all = [
        page::traffic(record, span, &windows, Part::Live),
        running::shown(record, span, &windows, true),
        usage::cpu(record, span, &windows, true),
        usage::memory(record, span, &windows, true),
    ];
    all.into_iter().filter(|picture| !picture.0.is_empty()).collect()
}

/// Experiments, actions, commands, alarms and tasks as bars between two moments; empty if there are none.
pub fn timeline(record: &Record, from: f64, to: f64) -> Markup {
    page::life(record, span(record, from, to), true)
}

fn span(record: &Record, from: f64, to: f64) -> Span {
    Span { from, to: to.max(from), zero: record.from.min(from) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    #[test]
    fn a_part_shows_its_own_values_and_spans() {
        let record = sample::record();
        let all = |from: f64, to: f64| -> String {
            charts(&record, record.from + from, record.from + to)
                .into_iter()
                .map(Markup::into_string)
                .collect()
        };
        let end = all(55.0, 75.0);
        assert!(!end.contains("class=\"shade\"") && end.contains("&quot;0:56\\np99"), "{end}");
        let middle = all(5.0, 35.0);
        assert!(middle.contains("--window-1") && !middle.contains("--window-2)"), "{middle}");
        assert!(all(0.0, 75.0).contains("class=\"mark\""));
        assert!(charts(&Record::default(), 0.0, 1.0).is_empty());
    }
}
