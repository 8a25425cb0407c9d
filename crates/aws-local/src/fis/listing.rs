//! Pages of listings, and calls that are made twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::conflict;
use crate::error::ApiError;
use crate::members::Members;
use crate::ssm::page;
use crate::wire::sha256_hex;

/// The most items of a page, also where the caller says nothing. The service's own default is not documented.
const PAGE: usize = 100;

/// Reads `maxResults` and `nextToken`.
pub(super) fn asked(members: Members<'_>) -> (usize, Option<&str>) {
    (members.count("maxResults").unwrap_or(PAGE), members.text("nextToken"))
}

/// A page of the items as a response, under `name`. `key` is an item's identity within the listing.
pub(super) fn answer(
    name: &str,
    items: Vec<Value>,
    key: impl Fn(&Value) -> String,
    (size, token): (usize, Option<&str>),
) -> Result<Value, ApiError> {
    // This service has no error of its own for a token that is none.
    let page = page::page(items, key, size, token).map_err(|error| ApiError::validation(error.message));
    let (items, next) = page?;
    let mut response = json!({ name: items });
    if let Some(token) = next {
        response["nextToken"] = json!(token);
    }
    Ok(response)
}

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
