//! One alarm: its settings, its state, and how its state changes with time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::alarm_state::AlarmState;
use super::composite::{Child, Composite};
use super::metrics::{MetricId, Series};
use super::threshold::Threshold;
use crate::Context;
use crate::tags::Tags;
use crate::wire::epoch_ms;

/// A metric alarm, or a composite one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Alarm {
    pub name: String,
    pub arn: String,
    pub(super) settings: Settings,
    pub(super) tags: Tags,
    /// When it was made or last changed by PutMetricAlarm or PutCompositeAlarm.
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
    /// When it was made or changed, oldest first.
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

/// What PutMetricAlarm or PutCompositeAlarm says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) description: Option<String>,
    pub(super) actions_enabled: bool,
    /// Actions are kept and told; nothing is invoked.
    pub(super) ok_actions: Vec<String>,
    pub(super) alarm_actions: Vec<String>,
    pub(super) insufficient_data_actions: Vec<String>,
    #[serde(flatten)]
    pub(super) kind: Kind,
}

/// What an alarm looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Kind {
    /// Other alarms.
    Composite(Composite),
    /// Metrics.
    Metric(Threshold),
}

/// A state that was set by hand holds at least so long, however short the periods are.
const SET_STATE_HOLDS: Duration = Duration::from_secs(1);

/// So many changes of state are kept of an alarm.
const KEPT_CHANGES: usize = 1000;

/// An alarm by its name or its ARN.
pub(super) fn named<'a>(alarms: &'a BTreeMap<String, Alarm>, name: &str) -> Option<&'a Alarm> {
    alarms.get(name).or_else(|| alarms.values().find(|alarm| alarm.arn == name))
}

impl Kind {
    /// `AlarmType`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Kind::Composite(_) => "CompositeAlarm",
            Kind::Metric(_) => "MetricAlarm",
        }
    }
}

impl Alarm {
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

    /// The rule of a composite alarm.
    pub(super) fn composite(&self) -> Option<&Composite> {
        match &self.settings.kind {
            Kind::Composite(composite) => Some(composite),
            Kind::Metric(_) => None,
        }
    }

    /// The alarms in its rule; none of a metric alarm.
    pub(super) fn children<'a>(
        &'a self,
        alarms: &'a BTreeMap<String, Alarm>,
    ) -> impl Iterator<Item = &'a Alarm> {
        let names = self.composite().map(|composite| composite.alarm_rule.alarms());
        names.into_iter().flatten().filter_map(|name| named(alarms, name))
    }

    fn as_child(&self) -> Child<'_> {
        Child { arn: &self.arn, state: self.state, transitioned: self.transitioned }
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
        if let Kind::Metric(threshold) = &self.settings.kind {
            self.evaluated = Some(epoch_ms(context.now) / threshold.interval_ms(context.speed));
        }
        self.held_until = Some(context.now + SET_STATE_HOLDS);
    }

    fn is_held(&self, now: SystemTime) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Evaluates a metric alarm, if that is due, over the whole periods that are behind. True if its state changed.
    pub(super) fn advance(&mut self, metrics: &BTreeMap<MetricId, Series>, context: &Context) -> bool {
        let Kind::Metric(threshold) = &self.settings.kind else { return false };
        let interval = threshold.interval_ms(context.speed);
        let number = epoch_ms(context.now) / interval;
        if self.evaluated == Some(number) || self.is_held(context.now) {
            return false;
        }
        self.evaluated = Some(number);
        self.held_until = None;
        let decision = threshold.decide(metrics, number * interval, self.state, (context.now, context.speed));
        let Some(decision) = decision else { return false };
        self.enter(decision.state, decision.reason, Some(decision.data), context.now);
        true
    }

    /// Evaluates a composite alarm by the states of the others. True if its state changed.
    pub(super) fn follow(&mut self, others: &BTreeMap<String, Alarm>, now: SystemTime) -> bool {
        let Kind::Composite(composite) = &self.settings.kind else { return false };
        if self.is_held(now) {
            return false;
        }
        let verb = if self.configurations.len() > 1 { "updated" } else { "created" };
        let made = self.evaluated.is_none().then_some(verb);
        let find = |name: &str| named(others, name).map(Alarm::as_child);
        let state = composite.state(&find);
        let decided =
            (state != self.state || made.is_some()).then(|| composite.reason(&self.arn, &find, made, now));
        self.evaluated = Some(0);
        self.held_until = None;
        let Some((reason, data)) = decided else { return false };
        let changes = state != self.state;
        self.enter(state, reason, Some(data), now);
        changes
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
}
