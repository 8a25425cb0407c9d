//! CloudWatch, as far as stop conditions need it: metrics, and alarms that are evaluated for real.

use std::collections::BTreeMap;

use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Context;
use super::error::ApiError;
use super::shared::Shared;
use super::store::State;
use super::wire::Answer;

/// Alarms and the metrics they look at.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CloudWatchState {}

/// The state of an alarm (`StateValue`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmState {
    Ok,
    Alarm,
    InsufficientData,
}

impl CloudWatchState {
    /// The state of the alarm with this ARN; None if there is no such alarm.
    pub fn alarm_state(&self, _arn: &str) -> Option<AlarmState> {
        None
    }
}

/// Lets time pass: evaluates alarms that are due. True if anything changed.
pub fn advance(_state: &mut State, _context: &Context) -> bool {
    false
}

/// Performs one client operation of the JSON 1.0 protocol; None if it is not one.
pub fn call(
    _operation: &str,
    _body: &Map<String, Value>,
    _state: &mut State,
    _context: &Context,
) -> Option<Result<Value, ApiError>> {
    None
}

/// Answers one call of the Query protocol with a status and an XML text; None if the action is not known.
pub fn query(
    _parameters: &BTreeMap<String, String>,
    _state: &mut State,
    _context: &Context,
) -> Option<(u16, String)> {
    None
}

/// The operation of a request of the Smithy RPC v2 CBOR protocol, if it is one of CloudWatch.
pub(super) fn cbor_operation(parts: &Parts) -> Option<&str> {
    parts.uri.path().strip_prefix("/service/GraniteServiceVersion20100801/operation/")
}

/// Answers one call of the Smithy RPC v2 CBOR protocol.
pub(super) fn answer_cbor(_shared: &Shared, _operation: &str, _body: &[u8]) -> Answer {
    super::wire::answer(400, "application/cbor", Vec::new())
}
