//! CloudWatch Logs, as far as experiments log: groups, streams, events.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Context;
use super::error::ApiError;
use super::store::State;

/// Log groups by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct LogsState {}

impl LogsState {
    /// Appends one event to a stream, which is made if it is not there. False if there is no such group.
    ///
    /// `group` is a name or an ARN (`arn:aws:logs:…:log-group:NAME` with or without `:*`).
    pub fn put(&mut self, _group: &str, _stream: &str, _at: SystemTime, _message: String) -> bool {
        false
    }
}

/// Performs one client operation; None if it is not one.
pub fn call(
    _operation: &str,
    _body: &Map<String, Value>,
    _state: &mut State,
    _context: &Context,
) -> Option<Result<Value, ApiError>> {
    None
}
