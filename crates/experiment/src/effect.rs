//! What an experiment did to its service: traffic before, during and after it, and the times to the first failure, to
//! a task's replacement and to recovery. Pure: a record in, figures out.
//!
//! A second is good if no request of it failed, P95 of its answers is at most twice that before the experiment and
//! 20 ms, and no task that ran before is missing. The service has recovered when five seconds in a row are good after
//! the fault is over (two at the end of a record).

use record::{Experiment, Record, Second, Times};

/// How much of the time before an experiment counts as before it, in seconds.
const BEFORE: f64 = 10.0;
/// Seconds after the recovery that count as after it, and in which failures are still the experiment's.
const AFTER: f64 = 15.0;
/// So long after the fault it is not looked for a recovery any more, in seconds.
const LONGEST: f64 = 600.0;
/// Good seconds in a row that make a recovery, and those that do at the end of a record.
const RECOVERED: f64 = 5.0;
const RECOVERED_AT_THE_END: f64 = 2.0;
/// Half a day: no experiment takes longer.
const MOST_SECONDS: usize = 43_200;
/// A second is good up to so many times P95 before, and so many milliseconds more: P95 of one second is one request.
const SLOWER: f64 = 2.0;
const SLACK_MS: f64 = 20.0;

/// Requests that were due in one part of the time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Phase {
    /// In seconds since 1970.
    pub from: f64,
    /// Likewise; not before `from`.
    pub to: f64,
    /// All requests.
    pub sent: u64,
    /// Those that failed, of whatever kind.
    pub failed: u64,
    /// Response times of the others.
    pub answered: Times,
    /// How long clients waited for those that failed.
    pub gave_up: Times,
}

impl Phase {
    fn of<'s>(from: f64, to: f64, seconds: impl Iterator<Item = &'s Second>) -> Phase {
        let mut phase = Phase { from, to: to.max(from), ..Phase::default() };
        for second in seconds {
            phase.sent += u64::from(second.sent);
            phase.failed += u64::from(second.failed());
            phase.answered.merge(&second.ok_times);
            phase.gave_up.merge(&second.failed_times);
        }
        phase
    }

    /// P95 of the answers, in milliseconds.
    pub fn p95_ms(&self) -> Option<f64> {
        self.answered.percentile_ms(0.95)
    }

    /// The share of requests that failed, in percent; 0 if none was sent.
    pub fn failed_percent(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { 100.0 * self.failed as f64 / self.sent as f64 }
    }
}

/// Whether and when the service was again as before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Recovery {
    /// Every second was good.
    Unharmed,
    /// So many seconds after the fault was over the last bad second had passed; 0 if that was before.
    After(f64),
    /// Not within the record.
    NotSeen,
}

/// What one experiment did.
#[derive(Debug, Clone, PartialEq)]
pub struct Effect {
    /// Ten seconds at most, without what the experiment before it did.
    pub before: Phase,
    /// From the start until the fault was over; until the recovery where the fault takes no time (a kill).
    pub during: Phase,
    /// Up to 15 seconds after both.
    pub after: Phase,
    /// From the start to the end of `after`.
    pub whole: Phase,
    /// P95 of the slowest second of `whole`, in milliseconds.
    pub worst_ms: Option<f64>,
    /// From the start to the first second with a failure, in seconds: 0 if that is the second of the start.
    pub first_failure: Option<f64>,
    /// From the start until the last task that stopped had its replacement running, in seconds.
    pub replaced: Option<f64>,
    /// How many tasks stopped, and how many of them have no replacement.
    pub stopped_tasks: usize,
    /// See `stopped_tasks`.
    pub not_replaced: usize,
    /// Whether it was again as before.
    pub recovery: Recovery,
}

/// The effect of each experiment that has started.
pub fn effects(record: &Record) -> Vec<(&Experiment, Effect)> {
    let started = record.experiments.iter().filter(|experiment| experiment.started.is_some());
    started.map(|experiment| (experiment, effect(record, experiment))).collect()
}

/// The effect of one experiment of a record; all of it is nothing if the experiment has not started.
pub fn effect(record: &Record, experiment: &Experiment) -> Effect {
    let from = experiment.started.unwrap_or(record.to);
    let fault = Fault::of(experiment, from, record.to);
    // The next experiment spoils what comes after, the one before what comes before.
    let others = || record.experiments.iter().filter(|other| other.id != experiment.id);
    let next = others().filter_map(|it| it.started).filter(|at| *at > from).fold(record.to, f64::min);
    let last = others().filter_map(|it| it.ended).filter(|at| *at <= from).fold(from - BEFORE, f64::max);
    // What happens when nobody looks any more is not the experiment's: the service may be on its way out.
    let seen = record.load.as_ref().and_then(|load| load.seconds.last()).map(Second::end);
    let seen = seen.filter(|end| *end > from).unwrap_or(record.to);
    let limit = next.min(fault.over + LONGEST).min(seen).max(from);
    let seconds = seconds(record, from, limit);
    let inside = |from: f64, to: f64| {
        let all = record.load.iter().flat_map(|load| &load.seconds);
        all.filter(move |second| second.at >= from && second.end() <= to)
    };
    let before = Phase::of(last, from, inside(last, from));
    let slow = before.p95_ms().map_or(f64::INFINITY, |p95| SLOWER * p95 + SLACK_MS);
    let tasks = Tasks::of(record, experiment, from);
    let is_bad = |second: &Second| {
        let [_, p95, _] = second.answered_ms();
        second.failed() > 0 || p95.is_some_and(|p95| p95 > slow) || tasks.missing_at(second.end())
    };
    let (recovery, well) = recovery(&seconds, fault.over, is_bad);
    let over = if fault.takes_no_time { well.unwrap_or(limit).max(fault.over) } else { fault.over };
    let until = limit.min(well.unwrap_or(limit).max(over) + AFTER);
    // The second in which it began too: a kill is over within it.
    let since_start = |to: f64| seconds.iter().filter(move |second| second.at < to);
    let after = over.max(well.unwrap_or(over));
    let (replaced, stopped_tasks, not_replaced) = tasks.replaced(from, until);
    Effect {
        during: Phase::of(from, over, since_start(over)),
        after: Phase::of(after, until, inside(after, until)),
        whole: Phase::of(from, until, since_start(until)),
        worst_ms: since_start(until).filter_map(|it| it.answered_ms()[1]).max_by(f64::total_cmp),
        first_failure: since_start(until).find(|it| it.failed() > 0).map(|it| (it.at - from).max(0.0)),
        before,
        replaced,
        stopped_tasks,
        not_replaced,
        recovery,
    }
}

/// The seconds of the load from the one of the start on, up to one that ends by `limit`; without a load, seconds in
/// which nothing was due.
fn seconds(record: &Record, from: f64, limit: f64) -> Vec<Second> {
    match &record.load {
        Some(load) => {
            let within = |second: &&Second| second.end() > from && second.end() <= limit.max(from + 1.0);
            load.seconds.iter().filter(within).cloned().collect()
        }
        None => {
            let all = (0_u32..).map(|index| Second { at: from + f64::from(index), ..Second::default() });
            all.take(MOST_SECONDS).take_while(|second| second.end() <= limit).collect()
        }
    }
}

/// When the fault itself was over.
#[derive(Debug, Clone, Copy)]
struct Fault {
    over: f64,
    /// None of its actions has a duration: it is over as soon as it has begun, and what counts is what follows.
    takes_no_time: bool,
}

impl Fault {
    fn of(experiment: &Experiment, from: f64, now: f64) -> Fault {
        let lasting = |action: &&record::Action| action.parameters.contains_key("duration");
        let faults: Vec<_> = experiment
            .actions
            .iter()
            .filter(|action| action.action_id != "aws:fis:wait" && action.started.is_some())
            .collect();
        let takes_no_time = !faults.is_empty() && !faults.iter().any(lasting);
        let ends = faults.iter().filter_map(|action| match lasting(action) {
            true => Some(action.ended.unwrap_or(now)),
            false => action.started,
        });
        let over = match faults.is_empty() {
            true => experiment.ended.unwrap_or(now),
            false => ends.fold(from, f64::max),
        };
        Fault { over: over.min(now).max(from), takes_no_time }
    }
}

/// The recovery, and the moment from which on all was well; None if that was not seen.
fn recovery(seconds: &[Second], over: f64, is_bad: impl Fn(&Second) -> bool) -> (Recovery, Option<f64>) {
    let mut last_bad: Option<f64> = None;
    let mut good_for = 0.0;
    for second in seconds {
        if is_bad(second) {
            last_bad = Some(second.end());
        }
        good_for = second.end() - last_bad.unwrap_or(over).max(over);
        if good_for >= RECOVERED {
            break;
        }
    }
    match last_bad {
        _ if good_for < RECOVERED_AT_THE_END => (Recovery::NotSeen, None),
        None => (Recovery::Unharmed, Some(over)),
        Some(at) => (Recovery::After((at - over).max(0.0)), Some(at)),
    }
}

/// The tasks of the services that an experiment is about.
#[derive(Debug)]
struct Tasks<'a> {
    all: Vec<&'a record::Task>,
    /// How many of them ran when it started.
    running: usize,
}

impl<'a> Tasks<'a> {
    /// Of the groups that its targets belong to; of all if none of its targets is a task.
    fn of(record: &'a Record, experiment: &Experiment, from: f64) -> Tasks<'a> {
        let chosen = |task: &&record::Task| experiment.targets.iter().any(|it| it.chosen.contains(&task.arn));
        let groups: Vec<&str> = record.tasks.iter().filter(chosen).map(|task| task.group.as_str()).collect();
        let of_it = |task: &&record::Task| groups.is_empty() || groups.contains(&task.group.as_str());
        let all: Vec<_> = record.tasks.iter().filter(of_it).collect();
        let running = all.iter().filter(|task| runs_at(task, from)).count();
        Tasks { all, running }
    }

    fn missing_at(&self, at: f64) -> bool {
        self.all.iter().filter(|task| runs_at(task, at)).count() < self.running
    }

    /// When the last replacement ran, since the start; how many tasks stopped and how many of them have none.
    fn replaced(&self, from: f64, until: f64) -> (Option<f64>, usize, usize) {
        let stopped = self.all.iter().filter(|task| {
            let at = task.stopping.or(task.stopped);
            task.started <= from && at.is_some_and(|at| (from..=until).contains(&at))
        });
        let (mut last, mut number, mut without) = (None, 0, 0);
        for gone in stopped {
            number += 1;
            match self.all.iter().find(|task| task.replaces.as_deref() == Some(gone.arn.as_str())) {
                Some(next) => last = Some(f64::max(last.unwrap_or(0.0), next.started - from)),
                None => without += 1,
            }
        }
        (last, number, without)
    }
}

fn runs_at(task: &record::Task, at: f64) -> bool {
    task.started <= at && task.stopping.or(task.stopped).is_none_or(|end| end > at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::sample;

    fn near(value: Option<f64>, expected: f64, by: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() <= by)
    }

    #[test]
    fn a_stress_is_told_against_before_and_after() {
        let record = sample::record();
        let effect = effect(&record, &record.experiments[0]);
        let (before, during, after) = (effect.before.p95_ms(), effect.during.p95_ms(), effect.after.p95_ms());
        assert!(near(before, 28.0, 3.0) && near(during, 66.0, 6.0) && near(after, 28.0, 3.0), "{effect:?}");
        assert_eq!((effect.before.answered.count(), effect.before.sent), (300, 300));
        assert_eq!((effect.whole.failed, effect.first_failure, effect.replaced), (0, None, None));
        // P95 of up to 73 ms is within twice 28 ms and 20 ms.
        assert_eq!(effect.recovery, Recovery::Unharmed);
    }

    #[test]
    fn a_kill_lasts_until_the_service_is_as_before() {
        let record = sample::record();
        let effect = effect(&record, &record.experiments[1]);
        assert_eq!((effect.whole.failed, effect.during.failed), (24, 24), "{effect:?}");
        assert!(near(effect.first_failure, 1.0, 0.01), "{effect:?}");
        assert!(near(effect.replaced, 3.5, 0.01), "{effect:?}");
        // The kill was at 40.3, the last failure in the second that ended at 44.
        assert!(
            matches!(effect.recovery, Recovery::After(after) if (after - 3.7).abs() < 0.01),
            "{effect:?}"
        );
        assert!(near(Some(effect.during.to - effect.during.from), 4.0, 0.01), "{effect:?}");
        assert!(near(effect.after.p95_ms(), 28.0, 3.0) && effect.after.failed == 0, "{effect:?}");
        assert!(
            near(effect.during.gave_up.percentile_ms(1.0), 1001.0, 1.0),
            "failures are apart: {effect:?}"
        );
        assert!(near(effect.during.p95_ms(), 28.0, 4.0), "and so are successes: {effect:?}");
    }

    #[test]
    fn what_fails_in_the_second_of_the_start_counts() {
        let mut record = sample::record();
        record.experiments.truncate(1);
        (record.experiments[0].started, record.experiments[0].ended) = (Some(110.1), Some(110.3));
        record.experiments[0].actions.clear();
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
        record.tasks.clear();
        let effect = effect(&record, &record.experiments[0]);
        assert_eq!((effect.whole.failed, effect.whole.sent), (4, 11 * 30));
        assert!(
            matches!(effect.recovery, Recovery::After(after) if (after - 1.65).abs() < 0.01),
            "{effect:?}"
        );
    }

    #[test]
    fn a_task_that_is_missing_is_no_recovery() {
        let mut record = sample::record();
        record.tasks.truncate(3);
        let effect = effect(&record, &record.experiments[1]);
        assert_eq!(effect.recovery, Recovery::NotSeen, "{effect:?}");
        assert_eq!((effect.stopped_tasks, effect.not_replaced, effect.replaced), (1, 1, None));
    }

    #[test]
    fn tasks_that_stop_when_nobody_looks_any_more_are_not_the_experiments() {
        let mut record = sample::record();
        let looked = record.load.as_ref().unwrap().seconds.last().unwrap().end();
        let before = effect(&record, &record.experiments[1]);
        for task in record.tasks.iter_mut().filter(|task| task.stopping.is_none()) {
            (task.stopping, task.stopped) = (Some(looked + 0.1), Some(looked + 0.2));
        }
        record.to = looked + 0.3;
        assert_eq!(effect(&record, &record.experiments[1]), before);
    }

    #[test]
    fn without_a_load_tasks_tell_of_the_recovery() {
        let record = Record { load: None, ..sample::record() };
        let effects = effects(&record);
        assert_eq!(effects[0].1.recovery, Recovery::Unharmed);
        assert!(matches!(effects[1].1.recovery, Recovery::After(after) if after > 2.0), "{effects:?}");
        assert_eq!((effects[1].1.whole.sent, effects[1].1.during.p95_ms()), (0, None));
    }

    #[test]
    fn odd_times_break_nothing() {
        let mut record = sample::record();
        record.experiments[0].started = Some(f64::INFINITY);
        record.experiments[1].started = Some(-1e18);
        record.experiments[1].actions[0].ended = Some(f64::NAN);
        assert_eq!(effects(&record).len(), 2);
    }
}
