//! PutCompositeAlarm.

use serde_json::{Map, Value};

use super::alarm::{Kind, named};
use super::alarm_rule::AlarmRule;
use super::composite::{Composite, Suppressor};
use super::put_alarm::{keep, settings, tags};
use super::{Answer, CloudWatchState, whole};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;

/// PutCompositeAlarm: makes an alarm on other alarms, or replaces its rule and leaves its state.
pub(super) fn put(body: &Map<String, Value>, state: &mut CloudWatchState, context: &Context) -> Answer {
    let members = Members::new(body);
    let name = members.required("AlarmName");
    let tags = tags(members)?;
    let rule = AlarmRule::try_from(members.required("AlarmRule").to_owned()).map_err(ApiError::validation)?;
    let missing: Vec<&str> =
        rule.alarms().into_iter().filter(|alarm| named(&state.alarms, alarm).is_none()).collect();
    if !missing.is_empty() {
        // Recorded from the service.
        let missing = missing.join(", ");
        let message = format!(
            "Could not save the composite alarm as alarms [{missing}] in the alarm rule do not exist"
        );
        return Err(ApiError::validation(message));
    }
    let composite = Composite { alarm_rule: rule, suppressor: suppressor(members)? };
    let actions = ["OKActions", "AlarmActions", "InsufficientDataActions"].map(|name| members.texts(name));
    let kind = Kind::Composite(composite);
    let settings = settings(members.text("AlarmDescription"), members.flag("ActionsEnabled"), &actions, kind);
    keep(name, settings, tags, state, context)
}

fn suppressor(members: Members<'_>) -> Result<Option<Suppressor>, ApiError> {
    let periods =
        (whole(members, "ActionsSuppressorWaitPeriod")?, whole(members, "ActionsSuppressorExtensionPeriod")?);
    match (members.text("ActionsSuppressor"), periods) {
        (None, (None, None)) => Ok(None),
        (Some(alarm), (Some(wait), Some(extension))) => {
            Ok(Some(Suppressor { alarm: alarm.to_owned(), wait, extension }))
        }
        _ => Err(ApiError::validation(
            "ActionsSuppressor, ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod must be given together",
        )),
    }
}
