//! Stop conditions: the alarms that end an experiment.

use super::definition::{Action, Definition};
use super::document;
use super::services::Services;
use crate::Context;

/// The name of an alarm that is in ALARM. One that has too little data stops nothing; nor does one that was
/// deleted on the way.
pub(super) fn triggered<'d>(
    services: &dyn Services,
    definition: &'d Definition,
    context: &Context,
) -> Option<&'d str> {
    let in_alarm = |arn: &&str| services.alarm(arn, context).is_some_and(|alarm| alarm.state == "ALARM");
    definition.alarms().find(in_alarm).map(name)
}

/// The first alarm of `aws:cloudwatch:assert-alarm-state` that is in none of the states, in words; None if all are.
pub(super) fn amiss(services: &dyn Services, action: &Action, context: &Context) -> Option<String> {
    let listed = |name: &str| document::listed(action.parameters.get(name).map_or("", String::as_str));
    let states = listed("alarmStates");
    listed("alarmArns").into_iter().find_map(|arn| match services.alarm(arn, context) {
        None => Some(format!("There is no alarm {arn}.")),
        Some(alarm) if states.contains(&alarm.state) => None,
        Some(alarm) => Some(format!(
            "Alarm {} is in the state {}, not in {}.",
            name(arn),
            alarm.state,
            states.join(", ")
        )),
    })
}

/// The name in an alarm's ARN.
pub(super) fn name(alarm: &str) -> &str {
    alarm.split_once(":alarm:").map_or(alarm, |(_, name)| name)
}
