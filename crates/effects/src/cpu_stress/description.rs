//! The words of a CPU stress: what was asked, what that means here, and what was achieved. Pure.

use std::fmt::Write;
use std::time::Duration;

use outcome::{Achieved, Asked, figures, rounded};

use crate::amount::{from_float, many, short};
use crate::fault::FaultSummary;
use crate::load::record::Record;
use crate::task::MAX_PERCENT_VARIABLE;
use crate::task::limits::{CpuLimit, CpuLimits, LimitSource};
use faults::cpu_stress::CpuStress;

/// Threads for each CPU at most: more make no more load, only more to schedule and to stop.
const THREADS_PER_CPU: u32 = 8;

/// Achieved values in one row of the report.
const VALUES_PER_ROW: usize = 10;

/// Missing this many points, on average, is worth a line of its own.
const WORTH_SAYING_POINTS: f64 = 1.0;

/// What a CPU stress means on this machine.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CpuMeaning {
    /// Threads to start, at least 1.
    pub(super) threads: u32,
    /// Share of a core for each.
    pub(super) share: f64,
    /// The CPUs that 100 % stands for.
    pub(super) whole: f64,
    /// The CPUs to keep busy, whether they can be had or not.
    asked_cpus: f64,
    /// "of …", for the line of what was asked.
    of: String,
    /// The bound that makes the asked share impossible, if one does.
    impossible: Option<CpuLimit>,
}

impl CpuMeaning {
    /// Workers by number load a core each, as FIS means it. 0 workers load what this process may use: one
    /// thread per CPU, or under a limit as few threads as can reach it, sharing it evenly.
    pub(super) fn of(stress: &CpuStress, limits: &CpuLimits) -> Self {
        let share = f64::from(stress.percent) / 100.0;
        let most = limits.all_cores();
        if stress.workers > 0 {
            let whole = f64::from(stress.workers);
            let of = match stress.workers {
                1 => "1 CPU".to_string(),
                workers => format!("each of {workers} CPUs"),
            };
            let impossible = (whole * share > most.cpus + 1e-9).then_some(most);
            // The same load from fewer threads, as far as they can bear it.
            let threads = stress.workers.min(limits.affinity.saturating_mul(THREADS_PER_CPU));
            let asked_cpus = whole * share;
            let share = match threads < stress.workers {
                true => (asked_cpus / f64::from(threads)).min(1.0),
                false => share,
            };
            return CpuMeaning { threads, share, whole, asked_cpus, of, impossible };
        }
        let threads = u32::try_from(from_float(most.cpus.ceil())).unwrap_or(u32::MAX).max(1);
        let of = match (&most.source, threads) {
            (LimitSource::Affinity, 1) => "the only CPU".to_string(),
            (LimitSource::Affinity, threads) => format!("each of all {threads} CPUs"),
            (source, _) => format!("the limit of {} vCPU ({source})", short(most.cpus)),
        };
        let asked_cpus = share * most.cpus;
        let share = asked_cpus / f64::from(threads);
        CpuMeaning { threads, share, whole: most.cpus, asked_cpus, of, impossible: None }
    }

    /// Whether it is no more than this percentage of what the task has: many workers at a small share each are all of
    /// it.
    ///
    /// # Errors
    /// What is asked and what is allowed, in words.
    pub(super) fn check(&self, most_percent: u64, limits: &CpuLimits) -> Result<(), String> {
        let most = limits.all_cores();
        let allowed = most_percent as f64 / 100.0 * most.cpus;
        if self.asked_cpus <= allowed + 1e-9 {
            return Ok(());
        }
        Err(format!(
            "it would keep {} CPUs busy, which is more than {most_percent} % of {}, and {MAX_PERCENT_VARIABLE} in this task \
             is {most_percent}; ask for fewer workers, or for 0, whose percentage is of all",
            short(self.asked_cpus),
            short(most.cpus)
        ))
    }

    /// `2 threads at 80.0 % of a core each`.
    pub(super) fn describe(&self) -> String {
        let threads = many(u64::from(self.threads), "thread");
        format!("{threads} at {:.1} % of a core each", 100.0 * self.share)
    }

    fn percent(&self, cpus: f64) -> f64 {
        100.0 * cpus / self.whole
    }
}

/// The whole report.
pub(super) fn summary(
    asked: &CpuStress,
    duration: Duration,
    meaning: &CpuMeaning,
    record: &Record,
    throttled: Option<u64>,
) -> FaultSummary {
    let achieved = achieved(meaning, record, throttled);
    let asked_for = asked_for(asked, duration, meaning);
    let text = format!("cpu-stress: asked {}\nachieved: {}\n", asked_for.text, achieved.text);
    let rows = rows(&achieved);
    let mut summary = FaultSummary { text, asked: asked_for, achieved, ..FaultSummary::default() };
    summary.text.push_str(&rows);
    note_missed(&mut summary, asked, meaning, record, throttled);
    summary
}

fn asked_for(asked: &CpuStress, duration: Duration, meaning: &CpuMeaning) -> Asked {
    let text = format!(
        "{} % of {} for {} s ({}, {:.1} % of a core each)",
        asked.percent,
        meaning.of,
        short(duration.as_secs_f64()),
        many(u64::from(meaning.threads), "thread"),
        100.0 * meaning.share,
    );
    let figures = figures([
        ("percent", asked.percent.into()),
        ("threads", meaning.threads.into()),
        ("whole_cpus", rounded(meaning.whole, 2).into()),
    ]);
    Asked { text, seconds: duration.as_secs_f64(), figures }
}

fn achieved(meaning: &CpuMeaning, record: &Record, throttled: Option<u64>) -> Achieved {
    let mean = meaning.percent(record.mean_cpus());
    let mut figures = figures([("mean_percent", rounded(mean, 1).into())]);
    let windows = match record.extremes_cpus() {
        Some((low, high)) => {
            let (low, high) = (meaning.percent(low), meaning.percent(high));
            figures.insert("lowest_percent".into(), rounded(low, 1).into());
            figures.insert("highest_percent".into(), rounded(high, 1).into());
            format!("1 s windows {low:.1} to {high:.1} %")
        }
        None => "no whole 1 s window".to_owned(),
    };
    if let Some(periods) = throttled {
        figures.insert("throttled_periods".into(), periods.into());
    }
    let per_second = record.intervals().iter().map(|value| rounded(meaning.percent(value.cpus()), 1));
    Achieved {
        text: format!("mean {mean:.1} %, {windows}"),
        per_second: per_second.collect(),
        seconds_each: Some(record.interval_seconds()),
        figures,
    }
}

/// The achieved share second by second.
fn rows(achieved: &Achieved) -> String {
    let seconds = achieved.seconds_each.unwrap_or(1);
    let unit = if seconds == 1 { "second".to_string() } else { format!("{seconds} s") };
    let mut text = format!("achieved per {unit}, %:\n");
    for (row, values) in achieved.per_second.chunks(VALUES_PER_ROW).enumerate() {
        let from = row as u64 * VALUES_PER_ROW as u64 * seconds;
        let _ = write!(text, "{from:>6} s:");
        for value in values {
            let _ = write!(text, " {value:>5.1}");
        }
        text.push('\n');
    }
    text
}

/// Says what was missed, and what is known about why.
fn note_missed(
    summary: &mut FaultSummary,
    asked: &CpuStress,
    meaning: &CpuMeaning,
    record: &Record,
    throttled: Option<u64>,
) {
    if meaning.threads < asked.workers {
        let threads = many(u64::from(meaning.threads), "thread");
        summary.note(format!("{} workers asked; their load comes from {threads}", asked.workers));
    }
    if let Some(bound) = &meaning.impossible {
        let (asked, most) = (short(meaning.asked_cpus), short(bound.cpus));
        summary.note(format!("{asked} CPUs asked, but at most {most} to be had ({})", bound.source));
    }
    let missed = f64::from(asked.percent) - meaning.percent(record.mean_cpus());
    // A life without a whole window is all start-up; its mean says nothing.
    if missed >= WORTH_SAYING_POINTS && record.extremes_cpus().is_some() {
        let why = match throttled {
            Some(1..) => "the CPU quota throttled this cgroup",
            _ => "other work had the CPU",
        };
        summary.remark(format!("missed: {missed:.1} points on average; {why}"));
    }
    if let Some(periods @ 1..) = throttled {
        summary.remark(format!("throttled: {periods} periods of the CPU quota meanwhile"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::MOST_TEXT;

    fn limits(affinity: u32, cgroup: Option<f64>, task: Option<f64>) -> CpuLimits {
        let cgroup = cgroup
            .map(|cpus| CpuLimit { cpus, source: LimitSource::Cgroup("/sys/fs/cgroup/cpu.max".into()) });
        CpuLimits { affinity, cgroup, task, stat_file: None }
    }

    fn meaning(workers: u32, percent: u8, limits: &CpuLimits) -> CpuMeaning {
        CpuMeaning::of(&CpuStress { workers, percent }, limits)
    }

    /// A life of `seconds` in which `cpus` were kept busy.
    fn record(seconds: u64, cpus: f64) -> Record {
        let mut record = Record::new(Duration::from_secs(seconds));
        for second in 1..=seconds {
            let elapsed = Duration::from_secs(second);
            record.push(elapsed, elapsed.mul_f64(cpus));
        }
        record
    }

    fn text(
        workers: u32,
        percent: u8,
        limits: &CpuLimits,
        seconds: u64,
        cpus: f64,
        throttled: Option<u64>,
    ) -> String {
        told(workers, percent, limits, seconds, cpus, throttled).text
    }

    fn told(
        workers: u32,
        percent: u8,
        limits: &CpuLimits,
        seconds: u64,
        cpus: f64,
        throttled: Option<u64>,
    ) -> FaultSummary {
        let stress = CpuStress { workers, percent };
        let duration = Duration::from_secs(seconds);
        let meaning = CpuMeaning::of(&stress, limits);
        summary(&stress, duration, &meaning, &record(seconds, cpus), throttled)
    }

    #[test]
    fn workers_by_number_take_a_core_each() {
        let meaning = meaning(3, 40, &limits(2, None, None));
        assert_eq!((meaning.threads, meaning.share, meaning.whole), (3, 0.4, 3.0));
        assert_eq!(meaning.impossible, None, "1.2 of 2 CPUs can be had");
    }

    #[test]
    fn many_workers_at_a_small_share_are_more_than_a_small_share() {
        let limits = limits(2, None, Some(1.0));
        let check = |workers, percent, most| {
            CpuMeaning::of(&CpuStress { workers, percent }, &limits).check(most, &limits)
        };
        assert_eq!((check(0, 50, 50), check(1, 50, 50), check(5, 10, 50)), (Ok(()), Ok(()), Ok(())));
        let refused = check(4096, 1, 50).unwrap_err();
        assert!(
            refused.starts_with("it would keep 40.96 CPUs busy, which is more than 50 % of 1, "),
            "{refused}"
        );
        assert!(check(2, 50, 50).is_err(), "all of one CPU");
    }

    #[test]
    fn many_workers_are_few_threads_with_the_same_load() {
        let limits = limits(2, None, None);
        let few = meaning(1024, 1, &limits);
        assert_eq!((few.threads, few.share, few.whole), (16, 0.64, 1024.0));
        let all = meaning(4096, 1, &limits);
        assert_eq!((all.threads, all.share), (16, 1.0));
        let text = text(4096, 1, &limits, 4, 2.0, None);
        assert!(text.contains("note: 4096 workers asked; their load comes from 16 threads"), "{text}");
        assert!(text.contains("note: 40.96 CPUs asked, but at most 2 to be had"), "{text}");
    }

    #[test]
    fn no_workers_take_the_limit_or_every_cpu() {
        let shares = |limits: &CpuLimits| {
            let meaning = meaning(0, 80, limits);
            (meaning.threads, (meaning.share * 1000.0).round(), meaning.whole)
        };
        assert_eq!(shares(&limits(2, None, None)), (2, 800.0, 2.0));
        assert_eq!(shares(&limits(2, None, Some(0.5))), (1, 400.0, 0.5));
        assert_eq!(shares(&limits(4, Some(1.5), Some(2.0))), (2, 600.0, 1.5));
    }

    #[test]
    fn more_than_can_be_had_is_said() {
        let text = text(2, 100, &limits(2, Some(0.5), None), 4, 0.5, Some(40));
        assert!(
            text.contains("note: 2 CPUs asked, but at most 0.5 to be had (/sys/fs/cgroup/cpu.max)"),
            "{text}"
        );
        assert!(
            text.contains("missed: 75.0 points on average; the CPU quota throttled this cgroup"),
            "{text}"
        );
        assert!(text.contains("throttled: 40 periods"), "{text}");
    }

    #[test]
    fn a_plain_report_reads_like_this() {
        assert_eq!(
            text(2, 80, &limits(2, None, None), 12, 1.6, Some(0)),
            "cpu-stress: asked 80 % of each of 2 CPUs for 12 s (2 threads, 80.0 % of a core each)\n\
             achieved: mean 80.0 %, 1 s windows 80.0 to 80.0 %\n\
             achieved per second, %:\n     \
             0 s:  80.0  80.0  80.0  80.0  80.0  80.0  80.0  80.0  80.0  80.0\n    \
             10 s:  80.0  80.0\n"
        );
    }

    #[test]
    fn the_figures_are_those_of_the_text() {
        let told = told(2, 80, &limits(2, None, None), 3, 1.4, Some(7));
        let Achieved { per_second, seconds_each, figures, .. } = &told.achieved;
        assert_eq!((per_second.as_slice(), *seconds_each), (&[70.0, 70.0, 70.0][..], Some(1)));
        assert_eq!((&figures["mean_percent"], &figures["throttled_periods"]), (&70.0.into(), &7.into()));
        assert_eq!((told.asked.seconds, &told.asked.figures["percent"]), (3.0, &80.into()));
        assert_eq!(
            told.notes,
            [
                "missed: 10.0 points on average; the CPU quota throttled this cgroup",
                "throttled: 7 periods of the CPU quota meanwhile"
            ]
        );
    }

    #[test]
    fn the_share_of_a_limit_is_in_points_of_the_limit() {
        let text = text(0, 80, &limits(2, None, Some(0.5)), 3, 0.4, None);
        assert!(
            text.contains("asked 80 % of the limit of 0.5 vCPU (task metadata) for 3 s (1 thread, 40.0 %"),
            "{text}"
        );
        assert!(text.contains("mean 80.0 %"), "{text}");
        assert!(!text.contains("missed"), "{text}");
    }

    #[test]
    fn even_the_longest_report_fits_run_command() {
        let limits = limits(4096, Some(3999.99), None);
        for seconds in [1, 59, 60, 61, 600, 43_199, 43_200] {
            for workers in [0, 4096] {
                let text = text(workers, 100, &limits, seconds, 3.0, Some(u64::MAX));
                assert!(text.len() < MOST_TEXT, "{} bytes for {seconds} s:\n{text}", text.len());
            }
        }
    }

    #[test]
    fn a_life_of_no_time_is_no_accusation() {
        let stress = CpuStress { workers: 1, percent: 90 };
        let meaning = CpuMeaning::of(&stress, &limits(2, None, None));
        let mut record = Record::new(Duration::from_secs(9));
        record.close(Duration::from_millis(3), Duration::ZERO);
        let text = summary(&stress, Duration::from_secs(9), &meaning, &record, None).text;
        assert!(!text.contains("missed"), "{text}");
    }
}
