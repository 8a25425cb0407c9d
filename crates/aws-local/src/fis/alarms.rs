//! Stop conditions: the alarms that end an experiment.

use super::definition::Definition;
use crate::cloudwatch::AlarmState;
use crate::store::State;

/// The state of an alarm; None if there is none.
pub(super) fn state_of(state: &State, alarm: &str) -> Option<AlarmState> {
    state.cloudwatch.alarm_state(alarm)
}

/// The name of an alarm that is in ALARM. One that has too little data stops nothing; nor does one that was
/// deleted on the way.
pub(super) fn triggered<'d>(state: &State, definition: &'d Definition) -> Option<&'d str> {
    let alarm = definition.alarms().find(|alarm| state_of(state, alarm) == Some(AlarmState::Alarm))?;
    Some(name(alarm))
}

/// The name in an alarm's ARN.
pub(super) fn name(alarm: &str) -> &str {
    alarm.split_once(":alarm:").map_or(alarm, |(_, name)| name)
}
