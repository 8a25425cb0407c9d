//! Stop conditions: the alarms that end an experiment.

use super::definition::Definition;
use super::services::Services;
use crate::Context;

/// The name of an alarm that is in ALARM. One that has too little data stops nothing; nor does one that was
/// deleted on the way.
pub(super) fn triggered<'d>(
    services: &dyn Services,
    definition: &'d Definition,
    context: &Context,
) -> Option<&'d str> {
    let in_alarm = |arn: &&str| services.alarm(arn, context).is_some_and(|alarm| alarm.in_alarm);
    definition.alarms().find(in_alarm).map(name)
}

/// The name in an alarm's ARN.
pub(super) fn name(alarm: &str) -> &str {
    alarm.split_once(":alarm:").map_or(alarm, |(_, name)| name)
}
