//! One alarm: what it watches, its state, and how its state changes with time.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::alarm_state::AlarmState;
use super::evaluation::{Comparison, Missing, Rule, decide, range};
use super::metrics::{MetricId, Point, Series, Statistic};
use crate::Context;
use crate::tags::Tags;
use crate::wire::{date_text, epoch_ms};

/// A metric alarm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Alarm {
    pub name: String,
    pub arn: String,
    pub(super) settings: Settings,
    pub(super) tags: Tags,
    /// When it was made or last changed by PutMetricAlarm.
    pub(super) configured: SystemTime,
    pub state: AlarmState,
    pub reason: String,
    /// `StateReasonData`: a JSON text, or nothing.
    pub(super) reason_data: Option<String>,
    /// When its state or its reason was last set.
    pub(super) updated: SystemTime,
    /// When its state last changed.
    pub(super) transitioned: SystemTime,
    /// Every change of its state, oldest first. It goes with the alarm; the service keeps it for 30 days.
    pub history: Vec<StateChange>,
    /// When PutMetricAlarm made or changed it, oldest first.
    pub(super) configurations: Vec<SystemTime>,
    /// The number of the last evaluation, counted in evaluation intervals since 1970.
    evaluated: Option<u64>,
    /// It is not evaluated before this, so that a state that was set by hand can be seen.
    held_until: Option<SystemTime>,
}

/// One change of the state of an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateChange {
    pub at: SystemTime,
    pub from: AlarmState,
    pub to: AlarmState,
    pub reason: String,
}

/// What PutMetricAlarm says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) description: Option<String>,
    pub(super) actions_enabled: bool,
    /// Actions are kept and told; nothing is invoked.
    pub(super) ok_actions: Vec<String>,
    pub(super) alarm_actions: Vec<String>,
    pub(super) insufficient_data_actions: Vec<String>,
    pub(super) metric: MetricId,
    pub(super) statistic: Statistic,
    pub(super) unit: Option<String>,
    /// Seconds, as asked for; [`Context::speed`] divides them.
    pub(super) period: u32,
    pub(super) evaluation_periods: u32,
    pub(super) datapoints_to_alarm: Option<u32>,
    pub(super) threshold: f64,
    pub(super) comparison: Comparison,
    pub(super) treat_missing_data: Option<Missing>,
    /// `EvaluateLowSampleCountPercentile`: `evaluate` or `ignore`.
    pub(super) low_sample_count: Option<String>,
}

/// A state that was set by hand holds at least so long, however short the periods are.
const SET_STATE_HOLDS: Duration = Duration::from_secs(1);

/// So many changes of state are kept of an alarm.
const KEPT_CHANGES: usize = 1000;

impl Settings {
    fn rule(&self) -> Rule {
        let periods = self.evaluation_periods as usize;
        Rule {
            to_alarm: self.datapoints_to_alarm.map_or(periods, |wanted| wanted as usize),
            periods,
            missing: self.treat_missing_data.unwrap_or(Missing::Unknown),
        }
    }

    /// How often it is evaluated, in seconds: every minute, with a period below a minute every ten seconds.
    /// Periods are multiples of it.
    fn interval(&self) -> u32 {
        if self.period < 60 { 10 } else { 60 }
    }

    fn interval_ms(&self, speed: f64) -> u64 {
        shortened_ms(self.interval(), speed)
    }

    /// The data points of the evaluation range that ends at `end`, newest first, each with its start.
    fn points(&self, series: Option<&Series>, end: u64, speed: f64) -> Vec<(u64, Option<Point>)> {
        // Made of whole intervals, so that roundings do not add up.
        let period = self.interval_ms(speed) * u64::from(self.period / self.interval());
        let point = |back: usize| {
            let end = end.saturating_sub(period * back as u64);
            let start = end.saturating_sub(period);
            let samples = series.map(|series| series.span(start, end, self.unit.as_deref()));
            (start, samples.and_then(|samples| self.statistic.of(samples)))
        };
        (0..range(self.evaluation_periods as usize)).map(point).collect()
    }
}

/// Some seconds in milliseconds, divided by the speed; at least one.
pub(super) fn shortened_ms(seconds: u32, speed: f64) -> u64 {
    crate::whole(f64::from(seconds) * 1000.0 / speed).max(1)
}

impl Alarm {
    /// How long it needs to see something: the periods that must breach, as long as they are here.
    pub(crate) fn shortest_delay(&self, speed: f64) -> Duration {
        let Settings { period, evaluation_periods, datapoints_to_alarm, .. } = &self.settings;
        let periods = datapoints_to_alarm.unwrap_or(*evaluation_periods);
        Duration::try_from_secs_f64(f64::from(*period) * f64::from(periods) / speed).unwrap_or(Duration::MAX)
    }

    /// A new alarm: nothing is known yet, and it is evaluated at the next occasion.
    pub(super) fn new(name: &str, settings: Settings, tags: Tags, context: &Context) -> Alarm {
        let Context { now, region, account, .. } = context;
        Alarm {
            name: name.to_owned(),
            arn: format!("arn:aws:cloudwatch:{region}:{account}:alarm:{name}"),
            settings,
            tags,
            configured: *now,
            state: AlarmState::InsufficientData,
            reason: "Unchecked: Initial alarm creation".to_owned(),
            reason_data: None,
            updated: *now,
            transitioned: *now,
            history: Vec::new(),
            configurations: vec![*now],
            evaluated: None,
            held_until: None,
        }
    }

    /// Replaces what it watches. Its state stays until the next evaluation, which comes at once.
    pub(super) fn configure(&mut self, settings: Settings, now: SystemTime) {
        self.settings = settings;
        self.configured = now;
        self.configurations.push(now);
        self.evaluated = None;
    }

    /// Sets its state by hand: it holds until the next evaluation, one second at least.
    pub(super) fn set_state(
        &mut self,
        state: AlarmState,
        reason: &str,
        data: Option<&str>,
        context: &Context,
    ) {
        self.enter(state, reason.to_owned(), data.map(str::to_owned), context.now);
        self.evaluated = Some(epoch_ms(context.now) / self.settings.interval_ms(context.speed));
        self.held_until = Some(context.now + SET_STATE_HOLDS);
    }

    /// Evaluates it, if that is due, over the whole periods that are behind. True if its state changed.
    pub(super) fn advance(&mut self, series: Option<&Series>, context: &Context) -> bool {
        let interval = self.settings.interval_ms(context.speed);
        let number = epoch_ms(context.now) / interval;
        if self.evaluated == Some(number) || self.held_until.is_some_and(|until| context.now < until) {
            return false;
        }
        self.evaluated = Some(number);
        self.held_until = None;
        let points = self.settings.points(series, number * interval, context.speed);
        let Settings { comparison, threshold, statistic, .. } = self.settings;
        let breaches = |point: &Point| comparison.breaches(point.value, threshold);
        let decided: Vec<Option<bool>> =
            points.iter().map(|(_, point)| point.as_ref().map(breaches)).collect();
        let rule = self.settings.rule();
        let used: Vec<(u64, Point)> =
            points.iter().filter_map(|&(start, point)| Some((start, point?))).take(rule.periods).collect();
        let too_few = self.settings.low_sample_count.as_deref() == Some("ignore")
            && used.iter().any(|(_, point)| statistic.too_few(point.count));
        match decide(&decided, rule) {
            Some(state) if state != self.state && !too_few => {
                let reason = self.reason_for(state, &used, rule);
                let data = self.reason_data_for(&used, context.now);
                self.enter(state, reason, Some(data), context.now);
                true
            }
            _ => false,
        }
    }

    fn enter(&mut self, state: AlarmState, reason: String, data: Option<String>, now: SystemTime) {
        if state != self.state {
            self.history.push(StateChange { at: now, from: self.state, to: state, reason: reason.clone() });
            let excess = self.history.len().saturating_sub(KEPT_CHANGES);
            self.history.drain(..excess);
            self.transitioned = now;
        }
        self.state = state;
        self.reason = reason;
        self.reason_data = data;
        self.updated = now;
    }

    /// In the service's manner, which people know from their mails.
    fn reason_for(&self, to: AlarmState, used: &[(u64, Point)], rule: Rule) -> String {
        let Settings { comparison, threshold, .. } = self.settings;
        let filled = rule.periods - used.len();
        if to == AlarmState::InsufficientData {
            return format!("Insufficient Data: {} unknown.", counted(filled, "datapoint", "was", "were"));
        }
        let treated = match rule.missing {
            Missing::Breaching => "Breaching",
            _ => "NonBreaching",
        };
        if used.is_empty() {
            let periods = if filled == 1 { "period" } else { "periods" };
            let missing = counted(filled, "missing datapoint", "was", "were");
            return format!(
                "Threshold Crossed: no datapoints were received for {filled} {periods} and {missing} treated as \
                 [{treated}]."
            );
        }
        let breaching = used.iter().filter(|(_, point)| comparison.breaches(point.value, threshold)).count();
        let (count, not, wanted) = match to {
            AlarmState::Alarm => (breaching, "", rule.to_alarm),
            _ => (used.len() - breaching, "not ", rule.periods - rule.to_alarm + 1),
        };
        let values: Vec<String> = used.iter().map(|(start, point)| value_text(*start, point.value)).collect();
        let verb = if count == 1 { "was" } else { "were" };
        let wanted_noun = if wanted == 1 { "datapoint" } else { "datapoints" };
        let mut reason = format!(
            "Threshold Crossed: {count} out of the last {} datapoints [{}] {verb} {not}{} the threshold \
             ({threshold:?}) (minimum {wanted} {wanted_noun} for {} -> {} transition)",
            used.len(),
            values.join(", "),
            comparison.as_text(),
            self.state.as_str(),
            to.as_str(),
        );
        if filled > 0 && matches!(rule.missing, Missing::Breaching | Missing::NotBreaching) {
            let missing = counted(filled, "missing datapoint", "was", "were");
            reason.push_str(&format!("; {missing} treated as [{treated}]"));
        }
        reason.push('.');
        reason
    }

    fn reason_data_for(&self, used: &[(u64, Point)], now: SystemTime) -> String {
        let Settings { statistic, period, threshold, .. } = self.settings;
        let values: Vec<f64> = used.iter().rev().map(|(_, point)| point.value).collect();
        json!({
            "version": "1.0", "queryDate": date_text(now), "statistic": statistic.text(), "period": period,
            "recentDatapoints": values, "threshold": threshold,
        })
        .to_string()
    }
}

fn counted(count: usize, noun: &str, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {noun} {one}"),
        _ => format!("{count} {noun}s {many}"),
    }
}

/// `99.5 (23/11/26 09:30:00)`.
fn value_text(start_ms: u64, value: f64) -> String {
    let date = date_text(SystemTime::UNIX_EPOCH + Duration::from_millis(start_ms));
    let part = |range: std::ops::Range<usize>| date.get(range).unwrap_or_default();
    format!("{value:?} ({}/{}/{} {})", part(8..10), part(5..7), part(2..4), part(11..19))
}
