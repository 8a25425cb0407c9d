//! The Security Token Service, as far as clients ask for it.

use std::collections::BTreeMap;

/// Answers one call of the Query protocol with a status and an XML text; None if the action is not known.
pub fn call(_parameters: &BTreeMap<String, String>, _context: &super::Context) -> Option<(u16, String)> {
    None
}
