//! What a record amounts to: traffic before, during and after each experiment, and points for the charts.

use super::extent::Window;
use record::Second;
use record::{Experiment, Record};

/// How much of the time before an experiment counts as before it, and how long after it something may still
/// be its effect, in seconds.
const BEFORE: f64 = 10.0;
const AFTERMATH: f64 = 15.0;
/// Seconds at the end of the aftermath that count as after it.
const AFTER: f64 = 5.0;
/// More points than this are drawn as fewer.
const MOST_POINTS: usize = 480;

/// What clients saw of one experiment. Response times in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Effect {
    /// P95 of a typical second (the median) before, during and after.
    pub before: Option<f64>,
    pub during: Option<f64>,
    pub after: Option<f64>,
    /// P95 of the worst second, from the start to the end of the aftermath.
    pub worst: Option<f64>,
    /// In the same time.
    pub sent: u64,
    pub failed: u64,
}

/// The effect of each experiment that has started.
pub(super) fn effects(record: &Record) -> Vec<(&Experiment, Effect)> {
    let Some(load) = &record.load else { return Vec::new() };
    let started: Vec<&Experiment> =
        record.experiments.iter().filter(|experiment| experiment.started.is_some()).collect();
    let mut effects = Vec::new();
    for experiment in &started {
        let from = experiment.started.unwrap_or(record.from);
        let to = experiment.ended.unwrap_or(record.to);
        // The next one spoils what comes after, the one before what comes before.
        let next = started.iter().filter_map(|it| it.started).filter(|at| *at > from);
        let until = next.fold(record.to, f64::min).min(to + AFTERMATH).max(to);
        let last = started.iter().filter_map(|it| it.ended).filter(|at| *at <= from);
        let since = last.fold(from - BEFORE, f64::max);
        let seconds = |from: f64, to: f64| -> Vec<&Second> {
            load.seconds.iter().filter(|second| second.at >= from && second.end() <= to).collect()
        };
        // The second in which it began too: a kill is over within it.
        let since_start =
            load.seconds.iter().filter(|second| second.at + 1.0 > from && second.at + 1.0 <= until);
        let whole: Vec<&Second> = since_start.collect();
        let (failed, sent) = Second::failed_of_sent(whole.iter().copied());
        let effect = Effect {
            before: typical(&seconds(since, from)),
            during: typical(&seconds(from, to.max(from + 2.0))),
            after: typical(&seconds((until - AFTER).max(to), until)),
            worst: whole.iter().filter_map(|second| second.p95_ms).max_by(f64::total_cmp),
            sent,
            failed,
        };
        effects.push((*experiment, effect));
    }
    effects
}

/// P95 of the median second.
fn typical(seconds: &[&Second]) -> Option<f64> {
    let mut all: Vec<f64> = seconds.iter().filter_map(|second| second.p95_ms).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
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
    /// Of the worst second.
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

/// Few enough points to draw, and how many seconds are in each.
pub(super) fn points(seconds: &[Second]) -> (Vec<Point>, usize) {
    let each = seconds.len().div_ceil(MOST_POINTS).max(1);
    (seconds.chunks(each).map(point).collect(), each)
}

fn point(seconds: &[Second]) -> Point {
    let mean = |count: fn(&Second) -> u32| {
        seconds.iter().map(|second| f64::from(count(second))).sum::<f64>() / seconds.len() as f64
    };
    let worst = |time: fn(&Second) -> Option<f64>| seconds.iter().filter_map(time).max_by(f64::total_cmp);
    Point {
        at: seconds.first().map_or(0.0, |second| second.at),
        ok: mean(|second| second.ok),
        failed: mean(Second::failed),
        p50: worst(|second| second.p50_ms),
        p95: worst(|second| second.p95_ms),
        p99: worst(|second| second.p99_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    #[test]
    fn an_effect_is_told_against_before_and_after() {
        let record = sample::record();
        let effects = effects(&record);
        let (stress, kill) = (&effects[0].1, &effects[1].1);
        let near = |value: Option<f64>, expected: f64| (value.unwrap() - expected).abs() < 8.0;
        assert!(
            near(stress.before, 28.0) && near(stress.during, 67.0) && near(stress.after, 28.0),
            "{stress:?}"
        );
        assert_eq!((stress.failed, kill.failed), (0, 24), "{kill:?}");
        assert!(near(kill.before, 28.0) && near(kill.worst, 1004.0) && near(kill.after, 28.0), "{kill:?}");
    }

    #[test]
    fn what_fails_in_the_second_of_the_start_counts() {
        let mut record = sample::record();
        record.experiments.truncate(1);
        (record.experiments[0].started, record.experiments[0].ended) = (Some(110.1), Some(110.3));
        (record.from, record.to) = (104.95, 121.0);
        let second = |index: u32| Second {
            at: 104.95 + f64::from(index),
            sent: 30,
            // Before it, as it begins, and after it.
            errors: [("refused".to_owned(), [9, 0, 0, 0, 0, 3, 1].get(index as usize).copied().unwrap_or(0))]
                .into(),
            ..Second::default()
        };
        record.load.as_mut().unwrap().seconds = (0..16).map(second).collect();
        let effect = &effects(&record)[0].1;
        assert_eq!((effect.failed, effect.sent), (4, 11 * 30));
    }

    #[test]
    fn without_load_there_is_no_effect_to_tell() {
        let record = Record { load: None, ..sample::record() };
        assert!(effects(&record).is_empty());
    }

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
        let (points, each) = points(&seconds);
        assert_eq!((points.len(), each), (480, 2));
        assert!((points[0].ok - 9.5).abs() < 1e-9 && (points[0].failed - 0.5).abs() < 1e-9);
        assert_eq!((points[1].at, points[1].p95, points[1].p50), (2.0, Some(3.0), None));
    }
}
