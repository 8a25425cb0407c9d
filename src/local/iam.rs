//! Identity and Access Management, as far as the walk-through of an experiment asks for it: the roles and their
//! inline policies. They are kept and told, not enforced. The Query protocol, XML answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Context;
use super::store::State;

/// What is known of roles.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct IamState {}

/// Answers one call of the Query protocol with a status and an XML text; None if the action is not known.
pub fn call(
    _parameters: &BTreeMap<String, String>,
    _state: &mut State,
    _context: &Context,
) -> Option<(u16, String)> {
    None
}
