//! CPU and memory of each task, with what it may use.

use maud::{Markup, html};

use super::chart::{Chart, Level, Scale, Series, Shape, line};
use super::extent::{Span, Window};
use super::figure::{Figure, legend};
use super::figures;
use super::paint::{LINES, Paint};
use record::{Record, short};

/// One task's values: its ARN, its limit, and (end, value).
struct Line<'a> {
    task: &'a str,
    limit: Option<f64>,
    points: Vec<(f64, f64)>,
}

/// CPU of each task; nothing if none was measured.
pub(super) fn cpu(record: &Record, span: Span, windows: &[Window], live: bool) -> Markup {
    let lines: Vec<Line<'_>> = record
        .cpu
        .iter()
        .map(|cpu| Line {
            task: &cpu.task,
            limit: cpu.limit_percent,
            points: cpu.samples.iter().map(|it| (it.at, it.percent)).collect(),
        })
        .collect();
    let most = most(&lines, 10.0);
    let words = format!("Percent of one core, application and sidecar together; at most {most:.0} %.");
    let more = "Percent of one core, all processes of a task together, measured from outside.";
    let limits = lines.iter().filter_map(|line| line.limit);
    let scale = Scale::Linear(limits.fold(most, f64::max) * 1.1);
    let about = About { id: "cpu", title: "CPU of each task", words, more, scale, label: percent };
    drawn(&lines, about, record, (span, windows), live)
}

/// Memory of each task; nothing if none was measured.
pub(super) fn memory(record: &Record, span: Span, windows: &[Window], live: bool) -> Markup {
    let lines: Vec<Line<'_>> = record
        .memory
        .iter()
        .map(|memory| Line {
            task: &memory.task,
            limit: memory.limit_mib,
            points: memory.samples.iter().map(|it| (it.at, it.mib)).collect(),
        })
        .collect();
    let words = format!("MiB, application and sidecar together; at most {:.0} MiB.", most(&lines, 0.0));
    let more = "What all processes of a task hold (RSS), measured from outside.";
    let values = lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let scale = Scale::for_times(values.chain(lines.iter().filter_map(|line| line.limit)));
    let about = About { id: "memory", title: "Memory of each task", words, more, scale, label: mib };
    drawn(&lines, about, record, (span, windows), live)
}

struct About {
    id: &'static str,
    title: &'static str,
    words: String,
    more: &'static str,
    scale: Scale,
    label: fn(f64) -> String,
}

fn drawn(
    lines: &[Line<'_>],
    about: About,
    record: &Record,
    (span, windows): (Span, &[Window]),
    live: bool,
) -> Markup {
    if lines.is_empty() {
        return Markup::default();
    }
    let targets: Vec<&String> =
        record.experiments.iter().flat_map(|it| &it.targets).flat_map(|target| &target.chosen).collect();
    let is_target = |line: &Line<'_>| targets.iter().any(|target| *target == line.task);
    let named = |line: &Line<'_>| {
        let chosen = if is_target(line) { ", a target" } else { "" };
        format!("task {}{chosen}", short(line.task))
    };
    let (own, others) = parted(lines, is_target);
    let series = |(index, one): (usize, &&Line<'_>)| {
        let points = one.points.iter().map(|(end, value)| (end - 1.0, 0.0, *value));
        Series { name: named(one), ..line(Paint::Line(index), 1.0, points) }
    };
    // The band first, so that lines are drawn upon it.
    let series: Vec<Series> = band(&others).into_iter().chain(own.iter().enumerate().map(series)).collect();
    let mut limits: Vec<f64> = lines.iter().filter_map(|line| line.limit).collect();
    limits.sort_by(f64::total_cmp);
    limits.dedup();
    let levels: Vec<Level> = limits
        .iter()
        .map(|limit| Level { value: *limit, name: format!("limit {}", (about.label)(*limit)) })
        .collect();
    let chart = Chart {
        span,
        windows,
        marks: &figures::marks(record),
        scale: about.scale,
        label: about.label,
        series: &series,
        levels: &levels,
    };
    let mut entries: Vec<(Paint, &str)> =
        series.iter().map(|series| (series.paint, series.name.as_str())).collect();
    entries.extend(levels.iter().map(|level| (Paint::Limit, level.name.as_str())));
    let figure = Figure {
        id: about.id,
        title: about.title,
        words: about.words,
        legend: html! { (legend(&entries, windows, record)) p class="more" { (about.more) } },
        live,
    };
    figure.with(|format| Some(chart.draw(format)))
}

/// Those with a line of their own, in their order, and the others. As long as there are colours all have one;
/// otherwise targets come first, then those that had the highest values.
fn parted<'a, 'b>(
    lines: &'a [Line<'b>],
    is_target: impl Fn(&Line<'b>) -> bool,
) -> (Vec<&'a Line<'b>>, Vec<&'a Line<'b>>) {
    let mut ranked: Vec<usize> = (0..lines.len()).collect();
    if lines.len() > LINES {
        let rank = |index: &usize| (is_target(&lines[*index]), most(&lines[*index..=*index], 0.0));
        ranked.sort_by(|one, other| {
            let (one, other) = (rank(one), rank(other));
            other.0.cmp(&one.0).then(other.1.total_cmp(&one.1))
        });
        ranked.truncate(LINES);
    }
    let (own, others): (Vec<usize>, Vec<usize>) = (0..lines.len()).partition(|index| ranked.contains(index));
    let of = |indices: Vec<usize>| indices.into_iter().map(|index| &lines[index]).collect();
    (of(own), of(others))
}

/// From the lowest to the highest of some tasks, second by second; nothing if there are none.
fn band(lines: &[&Line<'_>]) -> Option<Series> {
    let all = lines.iter().flat_map(|line| &line.points);
    let mut all: Vec<(f64, f64)> = all.map(|(end, value)| (end.floor(), *value)).collect();
    all.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let second = |values: &[(f64, f64)]| Some((values.first()?.0 - 1.0, values.first()?.1, values.last()?.1));
    let points = all.chunk_by(|one, other| one.0.total_cmp(&other.0).is_eq()).filter_map(second).collect();
    let name = format!("{} other tasks, lowest to highest", lines.len());
    let series = Series { name, paint: Paint::Others, shape: Shape::Band, points, width: 1.0 };
    (!lines.is_empty()).then_some(series)
}

fn most(lines: &[Line<'_>], least: f64) -> f64 {
    lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(least, f64::max)
}

fn percent(value: f64) -> String {
    format!("{value:.0} %")
}

fn mib(value: f64) -> String {
    if value < 10.0 { format!("{value:.1} MiB") } else { format!("{value:.0} MiB") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{TaskCpu, sample};

    #[test]
    fn of_fifty_tasks_the_targets_and_the_highest_have_a_line_and_the_others_a_band() {
        let mut record = sample::record();
        let first = record.cpu[0].clone();
        record.cpu = (0..50_u32)
            .map(|number| {
                let mut cpu = TaskCpu { task: format!("{}/{number:032}", "arn:task"), ..first.clone() };
                cpu.samples.iter_mut().for_each(|sample| sample.percent = f64::from(number));
                cpu
            })
            .collect();
        // The least busy of all is the target.
        record.experiments.truncate(1);
        record.experiments[0].targets.truncate(1);
        record.experiments[0].targets[0].chosen = vec![record.cpu[0].task.clone()];
        let span = Span { from: record.from, to: record.to, zero: record.from };
        let picture = cpu(&record, span, &[], true).into_string();
        let svg = picture.split("</svg>").next().unwrap();
        assert_eq!(svg.matches("<polyline").count(), LINES, "{svg}");
        assert_eq!(svg.matches("data-series=\"others\"").count(), 1, "{svg}");
        let legend = picture.split("<figcaption>").nth(1).unwrap();
        assert_eq!(legend.matches("<li>").count(), LINES + 2, "with the band and the limit: {legend}");
        assert!(legend.contains(", a target") && legend.contains("42 other tasks"), "{legend}");
        assert!(svg.contains("42 other tasks, lowest to highest: 1 % to 42 %"), "{svg}");
    }

    #[test]
    fn a_limit_is_a_line_and_a_target_is_marked() {
        let record = sample::record();
        let span = Span { from: record.from, to: record.to, zero: record.from };
        for (picture, limit) in [
            (cpu(&record, span, &[], true), "limit 100 %"),
            (memory(&record, span, &[], true), "limit 64 MiB"),
        ] {
            let picture = picture.into_string();
            assert!(picture.contains("data-series=\"limit\"") && picture.contains(limit), "{picture}");
            assert!(picture.contains("task aaaaaaaa, a target") && !picture.contains("cccccccc, a target"));
        }
        let mut without = record.clone();
        without.memory.iter_mut().for_each(|memory| memory.limit_mib = None);
        assert!(!memory(&without, span, &[], true).into_string().contains("limit"));
    }
}
