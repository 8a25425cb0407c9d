//! Calls that are made twice: what a client token stands for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::conflict;
use crate::error::ApiError;
use crate::wire::sha256_hex;

/// Client tokens by operation and token, and what came of the calls.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tokens(BTreeMap<String, Made>);

#[derive(Debug, Serialize, Deserialize)]
struct Made {
    /// A hash of the request.
    request: String,
    /// What it made.
    id: String,
}

impl Tokens {
    /// The id that an earlier call with this token made, if there was one.
    ///
    /// # Errors
    /// `ConflictException` if that call asked for something else.
    pub(super) fn made(
        &self,
        operation: &str,
        token: &str,
        request: &Map<String, Value>,
    ) -> Result<Option<&str>, ApiError> {
        match self.0.get(&format!("{operation} {token}")) {
            None => Ok(None),
            Some(made) if made.request == hash(request) => Ok(Some(&made.id)),
            Some(made) => Err(conflict(format!(
                "clientToken {token} was used for another request, which made {}. Take a new token for a new request.",
                made.id
            ))),
        }
    }

    /// Remembers what a call made.
    pub(super) fn remember(&mut self, operation: &str, token: &str, request: &Map<String, Value>, id: &str) {
        let made = Made { request: hash(request), id: id.to_owned() };
        self.0.insert(format!("{operation} {token}"), made);
    }
}

/// serde_json's maps are sorted, so the order of a request's members does not matter.
fn hash(request: &Map<String, Value>) -> String {
    sha256_hex(Value::Object(request.clone()).to_string().as_bytes())
}
