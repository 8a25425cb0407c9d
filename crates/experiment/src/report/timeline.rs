//! The timeline: a row for each experiment, action, command, alarm and task, with bars for what it did when.

use maud::{Markup, html};

use super::axis::{self, BELOW, Plane, width_of};
use super::extent::{Format, Span};
use super::figure::Picture;
use super::markup::cut;
use super::paint::Paint;
use record::{AlarmChange, Command, Record, Task, short};

/// More rows would be unreadable; a note says how many are left out.
const MOST_ROWS: usize = 60;

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub name: String,
    /// How deep it belongs under the rows above it.
    pub level: i32,
    pub bars: Vec<Bar>,
    /// Stands behind the last bar.
    pub word: String,
}

/// Something that lasted, or at least happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    pub paint: Paint,
    pub from: f64,
    pub to: f64,
}

/// All rows of a record; `numbers` gives each action, in order, the number of its window.
pub(super) fn rows(record: &Record) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut number = 0;
    for experiment in &record.experiments {
        let started = experiment.started.unwrap_or(record.to);
        let bar = bar(Paint::Experiment, started, experiment.ended, record);
        let name = if experiment.description.is_empty() { &experiment.id } else { &experiment.description };
        rows.push(Row { name: name.clone(), level: 0, bars: vec![bar], word: experiment.status.clone() });
        for action in &experiment.actions {
            number += 1;
            let bars = action.started.map(|started| self::bar(Paint::Action, started, action.ended, record));
            rows.push(Row {
                name: format!("{number}  {}", action.name),
                level: 1,
                bars: bars.into_iter().collect(),
                word: action.status.clone(),
            });
        }
        rows.extend(record.commands.iter().filter(|it| within(it, started, experiment.ended)).map(
            |command| Row {
                name: command_name(command),
                level: 2,
                bars: vec![self::bar(Paint::Command, command.requested, command.ended, record)],
                word: command.status.clone(),
            },
        ));
    }
    rows.extend(alarms(record));
    rows.extend(record.tasks.iter().map(|task| life(task, record)));
    rows
}

fn within(command: &Command, started: f64, ended: Option<f64>) -> bool {
    command.requested >= started && ended.is_none_or(|ended| command.requested <= ended)
}

fn command_name(command: &Command) -> String {
    let document = command.document.trim_start_matches("AWSFIS-Run-");
    format!("{document} → {}", short(command.task.as_deref().unwrap_or(&command.instance)))
}

fn bar(paint: Paint, from: f64, to: Option<f64>, record: &Record) -> Bar {
    Bar { paint, from, to: to.unwrap_or(record.to) }
}

/// One row for each alarm, with a bar for each state it was in.
fn alarms(record: &Record) -> Vec<Row> {
    let mut names: Vec<&str> = Vec::new();
    for change in &record.alarms {
        if !names.contains(&change.alarm.as_str()) {
            names.push(&change.alarm);
        }
    }
    let row = |name: &str| {
        let changes: Vec<&AlarmChange> = record.alarms.iter().filter(|it| it.alarm == name).collect();
        let mut bars = Vec::new();
        let (mut since, mut state) = (record.from, changes.first().map_or("", |first| first.from.as_str()));
        for change in &changes {
            bars.push(Bar { paint: alarm_paint(state), from: since, to: change.at });
            (since, state) = (change.at, change.to.as_str());
        }
        bars.push(Bar { paint: alarm_paint(state), from: since, to: record.to });
        Row { name: format!("alarm {name}"), level: 0, bars, word: String::new() }
    };
    names.into_iter().map(row).collect()
}

fn alarm_paint(state: &str) -> Paint {
    match state {
        "OK" => Paint::AlarmOk,
        "ALARM" => Paint::Alarm,
        _ => Paint::AlarmUnknown,
    }
}

fn life(task: &Task, record: &Record) -> Row {
    let stopped = task.stopped.unwrap_or(record.to);
    let stopping = task.stopping.unwrap_or(stopped);
    let mut bars = vec![Bar { paint: Paint::Task, from: task.started, to: stopping }];
    if stopping < stopped {
        bars.push(Bar { paint: Paint::Stopping, from: stopping, to: stopped });
    }
    let word = match (&task.replaces, task.stopped.or(task.stopping)) {
        (_, Some(_)) => "stopped".to_owned(),
        (Some(gone), None) => format!("replaces {}", short(gone)),
        (None, None) => String::new(),
    };
    Row { name: format!("task {}", short(&task.arn)), level: 0, bars, word }
}

/// The picture; None if there is nothing to show.
pub(super) fn draw(rows: &[Row], span: Span, format: Format) -> Option<Picture> {
    let shown = &rows[..rows.len().min(MOST_ROWS)];
    if shown.is_empty() {
        return None;
    }
    let (row_height, left) = match format {
        Format::Wide => (26, 264),
        // The name stands above the bar.
        Format::Medium | Format::Narrow => (38, 8),
    };
    let count = i32::try_from(shown.len()).unwrap_or(i32::MAX);
    let size = (format.width(), count * row_height + 6 + BELOW + 2);
    // Rows count from the top.
    let plane = Plane::new(size, left, 6, span, (f64::from(count), 0.0));
    let content = html! {
        (axis::time(&plane, span, format))
        @for (index, row) in (0_u32..).zip(shown) { (drawn(&plane, row, f64::from(index), span, format)) }
    };
    Some(Picture { size, content, values: Vec::new() })
}

fn drawn(plane: &Plane, row: &Row, top: f64, span: Span, format: Format) -> Markup {
    let (upper, lower, most) = match format {
        Format::Wide => (plane.y(top + 0.2), plane.y(top + 0.8), 40),
        Format::Medium | Format::Narrow => (plane.y(top + 0.5), plane.y(top + 0.9), 52),
    };
    let (left, name_at) = match format {
        Format::Wide => (0, plane.y(top + 0.5)),
        Format::Medium | Format::Narrow => (8, plane.y(top + 0.26)),
    };
    let shown = row.bars.iter().filter(|bar| bar.from <= span.to && bar.to >= span.from);
    let bars: Vec<_> = shown
        .map(|bar| {
            let (from, to) = (span.place(bar.from), span.place(bar.to));
            (bar.paint, plane.x(from), plane.x(to.max(from + span.length() / 200.0)))
        })
        .collect();
    let (_, from, to) = bars.last().copied().unwrap_or((Paint::Ink, plane.x(0.0), plane.x(0.0)));
    html! {
        (axis::text("behind", Paint::Ink, (left + 14 * row.level, name_at), &cut(&row.name, most)))
        @for (paint, from, to) in &bars {
            rect class="bar" data-series=(paint.name()) style=(paint.style()) x=(from) y=(upper)
                width=(to - from) height=(lower - upper) {}
        }
        (word(plane, &row.word, (from, to), (upper + lower) / 2))
    }
}

/// Behind the bar if there is room, else before it, else in it.
fn word(plane: &Plane, word: &str, (from, to): (i32, i32), y: i32) -> Markup {
    if word.is_empty() {
        return Markup::default();
    }
    let wide = width_of(word) + 8;
    if to + wide <= *plane.across().end() {
        axis::text("behind", Paint::Muted, (to + 6, y), word)
    } else if from - wide >= *plane.across().start() {
        axis::text("before", Paint::Muted, (from - 6, y), word)
    } else {
        axis::text("before", Paint::OnBar, (to - 6, y), word)
    }
}

/// How many rows [`draw`] leaves out.
pub(super) fn left_out(rows: &[Row]) -> usize {
    rows.len().saturating_sub(MOST_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    #[test]
    fn everything_has_its_row() {
        let record = sample::record();
        let rows = rows(&record);
        let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "CPU stress on a part of the tasks",
                "1  StressCpu",
                "CPU-Stress → aaaaaaaa",
                "Kill the application's process in one task",
                "2  KillProcess",
                "Kill-Process → bbbbbbbb",
                "alarm ECS Sample service task count alarm",
                "task aaaaaaaa",
                "task bbbbbbbb",
                "task cccccccc",
                "task dddddddd",
            ]
        );
        let alarm: Vec<_> = rows[6].bars.iter().map(|bar| bar.paint).collect();
        assert_eq!(alarm, [Paint::AlarmOk, Paint::Alarm, Paint::AlarmOk]);
        assert_eq!((rows[8].bars.len(), rows[8].word.as_str()), (2, "stopped"));
        assert_eq!(rows[10].word, "replaces bbbbbbbb");
    }

    #[test]
    fn the_longest_timeline_is_bounded() {
        let row = Row { name: "task".into(), level: 0, bars: Vec::new(), word: String::new() };
        let rows = vec![row; MOST_ROWS + 7];
        let span = Span { from: 0.0, to: 60.0, zero: 0.0 };
        let svg = draw(&rows, span, Format::Narrow).unwrap().content.into_string();
        assert_eq!((svg.matches(">task<").count(), left_out(&rows)), (MOST_ROWS, 7));
        assert!(draw(&[], span, Format::Wide).is_none());
    }
}
