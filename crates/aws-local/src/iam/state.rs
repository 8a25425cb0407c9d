//! Roles as data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{document, not_found};
use crate::Context;
use crate::error::ApiError;
use crate::random;
use crate::tags::Tags;

/// A role for experiments on a local AWS where nobody has made one.
const EXPERIMENT_ROLE: &str = "taskfault-local-experiment";
const EXPERIMENT_TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"fis.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// A session may last an hour, unless the role says otherwise.
pub(super) const SESSION_SECONDS: i64 = 3600;

/// What is known of roles, by name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct IamState {
    #[serde(default)]
    pub(super) roles: BTreeMap<String, Role>,
    /// By ARN.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) policies: BTreeMap<String, Policy>,
    /// By access key id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) sessions: BTreeMap<String, Session>,
}

/// A managed policy of the account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) id: String,
    pub(super) arn: String,
    pub(super) description: Option<String>,
    pub(super) created: SystemTime,
    pub(super) updated: SystemTime,
    /// The number of the version that counts.
    pub(super) default: u32,
    /// The highest number that was given: none is given twice.
    pub(super) latest: u32,
    /// Oldest first.
    pub(super) versions: Vec<PolicyVersion>,
    pub(super) tags: Tags,
}

/// `v1` and so on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PolicyVersion {
    pub(super) number: u32,
    /// Exactly as given.
    pub(super) document: String,
    pub(super) created: SystemTime,
}

/// Credentials that AssumeRole gave out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    /// `UserId`: the role's id and the session's name.
    pub(crate) id: String,
    /// `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    pub(crate) arn: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: String,
    pub(crate) expires: SystemTime,
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

impl Role {
    /// One with nothing but its trust policy.
    pub(super) fn new(name: &str, path: &str, trust: &str, context: &Context) -> Role {
        Role {
            name: name.to_owned(),
            path: path.to_owned(),
            // `AROA` and 16 characters.
            id: random::access_key_id().replacen("ASIA", "AROA", 1),
            arn: format!("arn:aws:iam::{}:role{path}{name}", context.account),
            description: None,
            created: context.now,
            max_session_seconds: SESSION_SECONDS,
            permissions_boundary: None,
            trust: trust.to_owned(),
            inline: BTreeMap::new(),
            attached: BTreeSet::new(),
            tags: Tags::new(),
        }
    }
}

impl IamState {
    /// Makes the role that experiments can name from the first moment, if it is not there.
    pub(crate) fn ensure_experiment_role(&mut self, context: &Context) {
        if !self.roles.contains_key(EXPERIMENT_ROLE) {
            let role = Role::new(EXPERIMENT_ROLE, "/", EXPERIMENT_TRUST, context);
            self.roles.insert(role.name.clone(), role);
        }
    }

    /// The credentials that AssumeRole gave out, by access key id.
    pub(crate) fn sessions(&self) -> &BTreeMap<String, Session> {
        &self.sessions
    }

    /// To how many roles a policy is attached.
    pub(super) fn attachments(&self, arn: &str) -> usize {
        self.roles.values().filter(|role| role.attached.contains(arn)).count()
    }

    /// Whether a service may take the role with this ARN; None if there is no such role.
    pub(crate) fn trusts(&self, role_arn: &str, service: &str) -> Option<bool> {
        let role = self.roles.values().find(|role| role.arn == role_arn)?;
        Some(document::lets_assume(&role.trust, "Service", service))
    }

    /// The role with this name.
    pub(super) fn role(&mut self, name: &str) -> Result<&mut Role, ApiError> {
        self.roles
            .get_mut(name)
            .ok_or_else(|| not_found(format!("The role with name {name} cannot be found.")))
    }
}
