//! Pages of listings.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::members::Members;
use crate::ssm::page;

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
