//! What a composite alarm looks at: the states of other alarms, joined by its rule.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::AlarmState;
use super::alarm_rule::AlarmRule;
use crate::wire::date_text;

/// The part of PutCompositeAlarm that decides, and what is only told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Composite {
    pub(super) alarm_rule: AlarmRule,
    /// Whose state keeps the actions from being invoked. None is invoked here.
    pub(super) suppressor: Option<Suppressor>,
}

/// `ActionsSuppressor` and its periods, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Suppressor {
    pub(super) alarm: String,
    pub(super) wait: u32,
    pub(super) extension: u32,
}

/// What the rule knows of another alarm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child<'a> {
    pub(super) arn: &'a str,
    pub(super) state: AlarmState,
    /// When its state last changed.
    pub(super) transitioned: SystemTime,
}

impl Composite {
    /// ALARM or OK: a rule holds or it does not. `find` knows alarms by name and ARN.
    pub(super) fn state<'a>(&self, find: &dyn Fn(&str) -> Option<Child<'a>>) -> AlarmState {
        let state = |name: &str| find(name).map(|child| child.state);
        if self.alarm_rule.holds(&state) { AlarmState::Alarm } else { AlarmState::Ok }
    }

    /// Its members in DescribeAlarms; null where it has none.
    pub(super) fn members(&self) -> Value {
        let suppressor = self.suppressor.as_ref();
        json!({
            "AlarmRule": self.alarm_rule.text(),
            "ActionsSuppressor": suppressor.map(|it| &it.alarm),
            "ActionsSuppressorWaitPeriod": suppressor.map(|it| it.wait),
            "ActionsSuppressorExtensionPeriod": suppressor.map(|it| it.extension),
        })
    }

    /// Why an alarm with this rule is in its state, in the service's manner, and the same as data. `made` says what has
    /// just been done with it, if something has: `created`, `updated`.
    pub(super) fn reason<'a>(
        &self,
        arn: &str,
        find: &dyn Fn(&str) -> Option<Child<'a>>,
        made: Option<&str>,
        now: SystemTime,
    ) -> (String, String) {
        let children: Vec<Child<'a>> = self.alarm_rule.alarms().into_iter().filter_map(find).collect();
        let last = children.iter().max_by_key(|child| child.transitioned);
        let reason = match (last, made) {
            (Some(child), None) => {
                format!(
                    "{} transitioned to {} at {}",
                    child.arn,
                    child.state.as_str(),
                    day(child.transitioned)
                )
            }
            (_, made) => format!(
                "{arn} was {} and its alarm rule evaluates to {} at {}",
                made.unwrap_or("evaluated"),
                self.state(find).as_str(),
                day(now)
            ),
        };
        let triggering = children.iter().filter(|child| child.state == AlarmState::Alarm);
        let triggering: Vec<_> = triggering
            .map(|child| {
                let state =
                    json!({ "value": child.state.as_str(), "timestamp": date_text(child.transitioned) });
                json!({ "arn": child.arn, "state": state })
            })
            .collect();
        (reason, json!({ "triggeringAlarms": triggering }).to_string())
    }
}

/// `Friday 27 November, 2026 22:14:13 UTC`.
fn day(at: SystemTime) -> String {
    let format =
        format_description!("[weekday] [day] [month repr:long], [year] [hour]:[minute]:[second] UTC");
    OffsetDateTime::from(at).format(format).unwrap_or_else(|_| date_text(at))
}
