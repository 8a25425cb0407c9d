//! How many tasks ran at each moment.

use maud::{Markup, html};

use super::chart::{Chart, Scale, plain, steps};
use super::extent::{Span, Window};
use super::figure::{Figure, legend};
use super::figures;
use super::paint::Paint;
use record::Record;

/// More points than this are not drawn.
const MOST_POINTS: f64 = 480.0;

/// The picture; nothing if no task ever ran.
pub(super) fn shown(record: &Record, span: Span, windows: &[Window], live: bool) -> Markup {
    if record.tasks.is_empty() {
        return Markup::default();
    }
    let width = (span.length() / MOST_POINTS).ceil().max(1.0);
    let (counts, width) = counts(record, span, width);
    let most = counts.iter().map(|count| count.2).fold(1.0, f64::max);
    let least = counts.iter().map(|count| count.2).fold(f64::INFINITY, f64::min).min(most);
    let series = [steps(Paint::Running, width, counts.into_iter())];
    let marks = figures::marks(record);
    let chart = Chart {
        span,
        windows,
        marks: &marks,
        scale: Scale::Linear(most * 1.15),
        label: plain,
        series: &series,
        levels: &[],
    };
    let figure = Figure {
        id: "running",
        title: "Tasks that run",
        words: format!("At most {most}, at least {least}."),
        legend: html! { (legend(&[(Paint::Running, "running")], windows, record)) },
        live,
    };
    figure.with(|format| Some(chart.draw(format)))
}

/// The least number of tasks that ran in each piece of the span, and how long a piece is.
fn counts(record: &Record, span: Span, width: f64) -> (Vec<(f64, f64, f64)>, f64) {
    let runs = |at: f64| {
        let running = |task: &&record::Task| {
            task.started <= at && task.stopping.or(task.stopped).is_none_or(|ended| ended > at)
        };
        record.tasks.iter().filter(running).count() as f64
    };
    // Whole seconds of the clock, so that a piece has the same place whenever it is drawn.
    let first = (span.from / width).ceil() * width;
    let starts = (0..).map(|piece| first + f64::from(piece) * width).take_while(|at| *at + width <= span.to);
    let changes: Vec<f64> = record
        .tasks
        .iter()
        .flat_map(|task| [Some(task.started), task.stopping.or(task.stopped)])
        .flatten()
        .collect();
    let least = |at: f64| {
        let inside =
            changes.iter().filter(|change| (at..at + width).contains(*change)).map(|change| runs(*change));
        inside.fold(runs(at), f64::min)
    };
    (starts.map(|at| (at, 0.0, least(at))).collect(), width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    #[test]
    fn a_task_that_is_gone_is_missing_until_another_has_its_place() {
        let record = sample::record();
        let span = Span { from: record.from, to: record.to, zero: record.from };
        let (counts, _) = counts(&record, span, 1.0);
        let at = |second: f64| counts.iter().find(|it| it.0 >= record.from + second).unwrap().2;
        let task = &record.tasks[1];
        let gone = task.stopping.or(task.stopped).unwrap() - record.from;
        let next = record.tasks[3].started - record.from;
        assert_eq!([at(gone - 2.0), at(gone + 0.5), at(next + 1.0)], [3.0, 2.0, 3.0], "{gone} {next}");
        // A gap shorter than a piece is seen, too.
        let (coarse, _) = super::counts(&record, span, 30.0);
        assert!(coarse.iter().any(|it| it.2 < 3.0));
    }
}
