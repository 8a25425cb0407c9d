//! The page: what happened in one look, then the pictures, then the tables.

use maud::{Markup, PreEscaped, html};

use super::chart::{Chart, Scale, line, plain, steps};
use super::extent::{Mark, Span, Window};
use super::figure::{Figure, legend};
use super::figures::{self, Point};
use super::markup::{clock, count, date, finished, lasting, milliseconds};
use super::paint::Paint;
use super::{STYLE, running, tables, timeline, usage, verdict};
use crate::effect::{self, Effect};
use record::{Experiment, Record, Second};

/// The whole page.
pub(super) fn page(record: &Record) -> String {
    let span = Span { from: record.from, to: record.to, zero: record.from };
    let windows = figures::windows(record);
    let title = title(record);
    finished(html! {
        (PreEscaped("<!doctype html>\n"))
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (head(record, &title))
                    (verdict::shown(record))
                    (tables::effects(record))
                    (traffic(record, span, &windows, Whole))
                    @for close in closes(record) { (traffic(record, close.span, &windows, Close(&close))) }
                    (running::shown(record, span, &windows, false))
                    (usage::cpu(record, span, &windows, false))
                    (usage::memory(record, span, &windows, false))
                    (life(record, span, false))
                    (tables::tasks(record))
                    (tables::faults(record))
                    (tables::notes(record))
                    (tables::experiments(record))
                    (tables::seconds(record))
                }
                "\n"
                footer {
                    "Written by taskfault-local " (env!("CARGO_PKG_VERSION")) ". The same as data: report.json. \
                    Times are minutes and seconds since the record began."
                }
            }
        }
    })
}

fn title(record: &Record) -> String {
    match record.experiments.as_slice() {
        [] => "No experiment".to_owned(),
        [one] if !one.description.is_empty() => one.description.clone(),
        [one] => format!("Experiment {}", one.id),
        many => format!("{} experiments", many.len()),
    }
}

fn head(record: &Record, title: &str) -> Markup {
    let mut facts = vec![
        date(record.from),
        lasting(record.to - record.from),
        format!("local AWS {}, account {}", record.region, record.account),
    ];
    if record.speed > 1.0 {
        facts.push(format!("durations {} times shorter than asked", record.speed));
    }
    if let Some(load) = &record.load {
        // What others send has no rate.
        let rate =
            if load.rate > 0.0 { format!(", {} requests per second", load.rate) } else { String::new() };
        facts.push(format!("load: {}{rate}", load.what));
    }
    html! {
        header {
            p class="kind" { "taskfault report" }
            h1 { (title) }
            ul class="facts" { @for fact in &facts { li { (fact) } } }
        }
    }
}

/// Which part of the record a picture of the traffic shows.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Whole,
    /// What a page shows while it goes on.
    Live,
    Close(&'a CloseUp),
}
use Part::{Close, Live, Whole};

/// The span of one experiment, with what was before and after it.
pub(super) struct CloseUp {
    number: usize,
    title: String,
    span: Span,
}

/// Of each experiment that fills less than two thirds of the record.
fn closes(record: &Record) -> Vec<CloseUp> {
    let whole = record.to - record.from;
    let close = |(number, (experiment, effect)): (usize, (&Experiment, Effect))| {
        let (before, end) = (effect.before.from.max(record.from), effect.after.to.max(effect.during.to));
        let end = end.max(experiment.ended.unwrap_or(record.to)).min(record.to);
        let span = Span { from: before.min(end), to: end, zero: record.from };
        let title = if experiment.description.is_empty() { &experiment.id } else { &experiment.description };
        (span.length() < whole * 2.0 / 3.0).then(|| CloseUp { number, title: title.clone(), span })
    };
    (1..).zip(effect::effects(record)).filter_map(close).take(MOST_CLOSE_UPS).collect()
}

/// More experiments than these have no pictures of their own.
const MOST_CLOSE_UPS: usize = 12;

impl Part<'_> {
    fn id(self, id: &str) -> String {
        match self {
            Whole | Live => id.to_owned(),
            Close(close) => format!("{id}-{}", close.number),
        }
    }

    fn title(self, title: &str) -> String {
        match self {
            Whole | Live => title.to_owned(),
            Close(close) => format!("{title}: {}", close.title),
        }
    }
}

pub(super) fn traffic(record: &Record, span: Span, windows: &[Window], part: Part<'_>) -> Markup {
    let Some(load) = &record.load else { return Markup::default() };
    let seconds: Vec<&Second> =
        load.seconds.iter().filter(|it| it.end() > span.from && it.at < span.to).collect();
    if seconds.is_empty() {
        return Markup::default();
    }
    let touches = |window: &&Window| window.to >= span.from && window.from <= span.to;
    let windows: Vec<Window> = windows.iter().filter(touches).cloned().collect();
    let (points, each) = figures::points(&seconds);
    let marks = figures::marks(record);
    let view = View {
        record,
        seconds: &seconds,
        points: &points,
        width: each as f64,
        span,
        windows: &windows,
        marks: &marks,
        part,
    };
    html! { (requests(&view)) (times(&view)) }
}

/// A part of the traffic, as points to draw.
struct View<'a> {
    record: &'a Record,
    seconds: &'a [&'a Second],
    points: &'a [Point],
    /// Seconds in a point.
    width: f64,
    span: Span,
    windows: &'a [Window],
    marks: &'a [Mark],
    part: Part<'a>,
}

fn requests(view: &View<'_>) -> Markup {
    let &View { record, seconds, points, width, span, windows, marks, part } = view;
    let (failed, sent) = Second::failed_of_sent(seconds.iter().copied());
    let series = [
        steps(Paint::Answered, width, points.iter().map(|p| (p.at, 0.0, p.ok))),
        steps(
            Paint::Failed,
            width,
            points.iter().filter(|p| p.failed > 0.0).map(|p| (p.at, p.ok, p.ok + p.failed)),
        ),
    ];
    let most = points.iter().map(|p| p.ok + p.failed).fold(1.0, f64::max);
    let chart = Chart {
        span,
        windows,
        marks,
        scale: Scale::Linear(most * 1.08),
        label: plain,
        series: &series,
        levels: &[],
    };
    let figure = Figure {
        id: &part.id("requests"),
        title: &part.title("Requests per second"),
        words: format!("{} requests were sent, {} failed.", count(sent), count(failed)),
        legend: html! {
            (legend(&[(Paint::Answered, "answered"), (Paint::Failed, "failed")], windows, record))
            (kinds(seconds))
        },
        live: matches!(part, Live),
    };
    figure.with(|format| Some(chart.draw(format)))
}

/// How many requests failed in which way.
fn kinds(seconds: &[&Second]) -> Markup {
    let mut kinds = std::collections::BTreeMap::<&str, u64>::new();
    for second in seconds {
        for (kind, number) in &second.errors {
            *kinds.entry(kind).or_default() += u64::from(*number);
        }
    }
    if kinds.is_empty() {
        return Markup::default();
    }
    let parts: Vec<String> =
        kinds.iter().map(|(kind, number)| format!("{kind} {}", count(*number))).collect();
    html! { p class="more" { "Failed: " (parts.join(", ")) "." } }
}

fn times(view: &View<'_>) -> Markup {
    let &View { record, points, width, span, windows, marks, part, .. } = view;
    let of = |time: fn(&Point) -> Option<f64>| {
        points.iter().filter_map(move |point| Some((point.at, 0.0, time(point)?)))
    };
    let series = [
        line(Paint::P99, width, of(|point| point.p99)),
        line(Paint::P95, width, of(|point| point.p95)),
        line(Paint::P50, width, of(|point| point.p50)),
    ];
    let all = points.iter().flat_map(|point| [point.p50, point.p95, point.p99]).flatten();
    let scale = Scale::for_times(all);
    let chart = Chart { span, windows, marks, scale, label: milliseconds, series: &series, levels: &[] };
    let worst = points.iter().filter_map(|point| point.p95).fold(0.0, f64::max);
    let more = html! {
        p class="more" {
            "Of answers of success, counted from the moment a request was due."
            @if matches!(scale, Scale::Logarithmic(..)) { " The scale is logarithmic." }
            @if width > 1.0 { " Each point is the worst of " (width) " seconds." }
        }
    };
    let entries = [(Paint::P50, "P50"), (Paint::P95, "P95"), (Paint::P99, "P99")];
    let figure = Figure {
        id: &part.id("times"),
        title: &part.title("Response times"),
        words: format!("P50, P95 and P99. P95 of the worst second: {}.", milliseconds(worst)),
        legend: html! { (legend(&entries, windows, record)) (more) },
        live: matches!(part, Live),
    };
    figure.with(|format| Some(chart.draw(format)))
}

pub(super) fn life(record: &Record, span: Span, live: bool) -> Markup {
    let rows = timeline::rows(record);
    if rows.is_empty() {
        return Markup::default();
    }
    let mut entries = vec![
        (Paint::Experiment, "experiment"),
        (Paint::Action, "action"),
        (Paint::Command, "command"),
        (Paint::Task, "task running"),
        (Paint::Stopping, "task stopping"),
    ];
    if !record.alarms.is_empty() {
        entries.extend([(Paint::AlarmOk, "alarm OK"), (Paint::Alarm, "ALARM")]);
        entries.push((Paint::AlarmUnknown, "insufficient data"));
    }
    let words = rows.iter().map(|row| {
        let when =
            row.bars.first().map_or(String::new(), |bar| format!(" from {}", clock(span.place(bar.from))));
        let until = row.bars.last().map_or(String::new(), |bar| format!(" to {}", clock(span.place(bar.to))));
        format!("{}{when}{until}{}{}", row.name, if row.word.is_empty() { "" } else { ": " }, row.word)
    });
    let figure = Figure {
        id: "timeline",
        title: "Timeline",
        words: words.collect::<Vec<_>>().join(". "),
        legend: html! {
            (legend(&entries, &[], record))
            @if timeline::left_out(&rows) > 0 {
                p class="more" { (timeline::left_out(&rows)) " more rows are left out." }
            }
        },
        live,
    };
    figure.with(|format| timeline::draw(&rows, span, format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    /// What a browser would fetch, were it there.
    #[test]
    fn the_page_stands_alone() {
        let page = page(&sample::record());
        for outside in ["http:", "https:", "src=", "href=", "@import", "url(", "<script", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn words_of_others_are_text() {
        let mut record = sample::record();
        record.experiments[0].description = "<script>alert(1)</script>".into();
        record.commands[0].steps[0].output = "</pre><img>".into();
        let page = page(&record);
        assert!(!page.contains("<script") && !page.contains("<img"));
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn every_series_is_drawn_in_both_formats() {
        let page = page(&sample::record());
        for series in [
            "answered",
            "failed",
            "p50",
            "p95",
            "p99",
            "line-1",
            "line-4",
            "experiment",
            "action",
            "command",
            "task",
            "stopping",
            "alarm",
            "alarm-ok",
            "window",
        ] {
            let found = page.matches(&format!("data-series=\"{series}\"")).count();
            assert!(found >= 2, "{series}: {found}");
        }
    }

    #[test]
    fn each_experiment_has_its_own_pictures_beside_the_whole() {
        let page = page(&sample::record());
        for id in ["requests", "requests-1", "requests-2", "times-2"] {
            assert_eq!(page.matches(&format!("<h2 id=\"{id}\">")).count(), 1, "{id}");
        }
        let mut one = sample::record();
        one.experiments.truncate(1);
        (one.from, one.to) = (one.from, one.from + 40.0);
        // Their clocks are the record's.
        let close = page.split("<h2 id=\"requests-2\">").nth(1).unwrap();
        assert!(close.split("</svg>").next().unwrap().contains(">0:40</text>"), "{close}");
        assert!(!super::page(&one).contains("requests-1"), "it fills the record");
    }

    #[test]
    fn an_empty_record_is_a_page_too() {
        let record = Record { from: 10.0, to: 10.0, ..Record::default() };
        let page = page(&record);
        assert!(page.contains("No experiment") && !page.contains("NaN"));
        assert_eq!(page.matches("<svg").count(), 0);
    }

    #[test]
    fn odd_values_do_not_break_it() {
        let mut record = sample::record();
        record.experiments[1].actions[0].ended = Some(f64::INFINITY);
        record.experiments[0].started = Some(0.0);
        record.tasks[0].started = -1e18;
        let load = record.load.as_mut().unwrap();
        load.seconds[3].p95_ms = Some(1e12);
        load.seconds.truncate(5);
        let page = page(&record);
        assert!(
            page.matches("<svg").count() >= 8 && !page.contains("NaN") && !page.contains("inf,"),
            "{page}"
        );
    }
}
