//! What the charts show of a record: the windows of its actions, and its seconds as points.

use super::extent::{Mark, Window};
use record::{Record, Second, short};

/// More points than this are drawn as fewer.
const MOST_POINTS: usize = 480;

/// What happened to tasks and alarms, to be marked.
pub(super) fn marks(record: &Record) -> Vec<Mark> {
    let stopped = record.tasks.iter().filter_map(|task| {
        let words = format!("task {} stops: {}", short(&task.arn), task.reason);
        Some(Mark { at: task.stopping.or(task.stopped)?, words })
    });
    let replaced = record.tasks.iter().filter_map(|task| {
        let gone = short(task.replaces.as_deref()?);
        Some(Mark { at: task.started, words: format!("task {} runs in place of {gone}", short(&task.arn)) })
    });
    let alarms = record.alarms.iter().map(|change| Mark {
        at: change.at,
        words: format!("alarm {}: {} → {}", change.alarm, change.from, change.to),
    });
    stopped.chain(replaced).chain(alarms).collect()
}

/// The window of each action that has started, numbered as the timeline numbers all actions.
pub(super) fn windows(record: &Record) -> Vec<Window> {
    let actions = record.experiments.iter().flat_map(|experiment| &experiment.actions);
    let numbered = (1..).zip(actions);
    numbered
        .filter_map(|(number, action)| {
            Some(Window { number, from: action.started?, to: action.ended.unwrap_or(record.to) })
        })
        .collect()
}

/// Some seconds of traffic in one point of a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub at: f64,
    /// Per second.
    pub ok: f64,
    pub failed: f64,
    /// Of the answers of the worst second.
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

/// Few enough points to draw, and how many seconds are in each.
pub(super) fn points(seconds: &[&Second]) -> (Vec<Point>, usize) {
    let each = seconds.len().div_ceil(MOST_POINTS).max(1);
    (seconds.chunks(each).map(point).collect(), each)
}

fn point(seconds: &[&Second]) -> Point {
    let mean = |count: fn(&Second) -> u32| {
        seconds.iter().map(|second| f64::from(count(second))).sum::<f64>() / seconds.len() as f64
    };
    let answered: Vec<_> = seconds.iter().map(|second| second.answered_ms()).collect();
    let worst = |which: usize| answered.iter().filter_map(|times| times[which]).max_by(f64::total_cmp);
    Point {
        at: seconds.first().map_or(0.0, |second| second.at),
        ok: mean(|second| second.ok),
        failed: mean(Second::failed),
        p50: worst(0),
        p95: worst(1),
        p99: worst(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    #[test]
    fn windows_keep_the_numbers_of_their_actions() {
        let mut record = sample::record();
        record.experiments[0].actions[0].started = None;
        let numbers: Vec<_> = windows(&record).iter().map(|window| window.number).collect();
        assert_eq!(numbers, [2]);
    }

    #[test]
    fn many_seconds_become_few_points_and_keep_their_worst() {
        let second = |index: u32| Second {
            at: f64::from(index),
            sent: 10,
            ok: 10 - index % 2,
            errors: [("refused".to_owned(), index % 2)].into(),
            p95_ms: Some(f64::from(index % 7)),
            ..Second::default()
        };
        let seconds: Vec<_> = (0..960).map(second).collect();
        let (points, each) = points(&seconds.iter().collect::<Vec<_>>());
        assert_eq!((points.len(), each), (480, 2));
        assert!((points[0].ok - 9.5).abs() < 1e-9 && (points[0].failed - 0.5).abs() < 1e-9);
        assert_eq!((points[1].at, points[1].p95, points[1].p50), (2.0, Some(3.0), None));
    }
}
