//! Fault Injection Service: templates, experiments, and the engine that runs them.

use http::request::Parts;
use serde::{Deserialize, Serialize};

use super::Context;
use super::shared::Shared;
use super::store::State;
use super::wire::Answer;

/// Templates, experiments and the safety lever.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FisState {}

/// Lets time pass: starts, polls and ends actions. True if anything changed.
pub fn advance(_state: &mut State, _context: &Context) -> bool {
    false
}

/// Answers a request of the service's rest-json protocol; None if its path is none of ours.
pub(super) fn answer(_shared: &Shared, _parts: &Parts, _body: &[u8]) -> Option<Answer> {
    None
}
