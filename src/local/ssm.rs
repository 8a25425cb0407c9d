//! The client side of Systems Manager.

use serde_json::{Map, Value};

use super::error::ApiError;
use super::store::State;

/// Performs one client operation of Systems Manager; None if it is not one.
pub fn call(
    _operation: &str,
    _body: &Map<String, Value>,
    _state: &mut State,
    _context: &super::Context,
) -> Option<Result<Value, ApiError>> {
    None
}
