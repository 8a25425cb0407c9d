//! Roles as data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::not_found;
use crate::error::ApiError;
use crate::tags::Tags;

/// What is known of roles, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct IamState {
    #[serde(default)]
    pub(super) roles: BTreeMap<String, Role>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) description: Option<String>,
    pub(super) created: SystemTime,
    pub(super) max_session_seconds: i64,
    pub(super) permissions_boundary: Option<String>,
    /// Documents exactly as given.
    pub(super) trust: String,
    pub(super) inline: BTreeMap<String, String>,
    /// ARNs of managed policies.
    pub(super) attached: BTreeSet<String>,
    pub(super) tags: Tags,
}

impl IamState {
    /// The role with this name.
    pub(super) fn role(&mut self, name: &str) -> Result<&mut Role, ApiError> {
        self.roles
            .get_mut(name)
            .ok_or_else(|| not_found(format!("The role with name {name} cannot be found.")))
    }
}
