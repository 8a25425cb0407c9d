//! The safety lever as data.

use serde::{Deserialize, Serialize};

/// The safety lever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SafetyLever {
    pub engaged: bool,
    /// Why, in the words of who moved it.
    pub reason: String,
}
