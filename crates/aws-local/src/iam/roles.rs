//! Roles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::document::{self, Purpose};
use super::state::Role;
use super::{Answer, IamState, listing, paging};
use crate::Context;
use crate::members::Members;
use crate::model::IAM;
use crate::random;
use crate::wire::{self, epoch_seconds};

/// The longest trust policy (quota "role trust policy length"), in characters that are not white space.
const LONGEST_TRUST: usize = 2048;

/// A session may last an hour, unless the role says otherwise.
const SESSION_SECONDS: i64 = 3600;

/// CreateRole.
pub(super) fn create(body: &Map<String, Value>, state: &mut IamState, context: &Context) -> Answer {
    let members = Members::new(body);
    let name = members.required("RoleName");
    let path = members.text("Path").unwrap_or("/");
    let trust = members.required("AssumeRolePolicyDocument");
    let description = members.text("Description");
    let seconds = members.number("MaxSessionDuration").unwrap_or(SESSION_SECONDS);
    let boundary = members.text("PermissionsBoundary");
    let tags = members.tags()?;
    document::check(trust, Purpose::Trust)?;
    if trust.chars().filter(|letter| !letter.is_whitespace()).count() > LONGEST_TRUST {
        let message = format!("Cannot exceed quota for ACLSizePerRole: {LONGEST_TRUST}");
        return Err(IAM.refuse("LimitExceeded", message));
    }
    // Names differ by more than their case.
    if state.roles.keys().any(|taken| taken.eq_ignore_ascii_case(name)) {
        return Err(IAM.refuse("EntityAlreadyExists", format!("Role with name {name} already exists.")));
    }
    let role = Role {
        name: name.to_owned(),
        path: path.to_owned(),
        id: role_id(),
        arn: format!("arn:aws:iam::{}:role{path}{name}", context.account),
        description: description.map(str::to_owned),
        created: context.now,
        max_session_seconds: seconds,
        permissions_boundary: boundary.map(str::to_owned),
        trust: trust.to_owned(),
        inline: BTreeMap::new(),
        attached: BTreeSet::new(),
        tags,
    };
    let answer = json!({ "Role": item(&role) });
    state.roles.insert(name.to_owned(), role);
    Ok(answer)
}

/// `AROA` and 16 characters.
fn role_id() -> String {
    random::access_key_id().replacen("ASIA", "AROA", 1)
}

/// GetRole.
pub(super) fn get(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let name = members.required("RoleName");
    Ok(json!({ "Role": item(state.role(name)?) }))
}

/// ListRoles.
pub(super) fn list(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let prefix = members.text("PathPrefix").unwrap_or("/");
    let paging = paging(members);
    let roles: Vec<&Role> = state.roles.values().filter(|role| role.path.starts_with(prefix)).collect();
    listing("Roles", roles, |role| role.name.clone(), |role| item(role), paging)
}

/// DeleteRole. A role that has policies stays.
pub(super) fn delete(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let name = members.required("RoleName");
    let role = state.role(name)?;
    if !role.inline.is_empty() {
        return Err(IAM.refuse("DeleteConflict", "Cannot delete entity, must delete policies first."));
    }
    if !role.attached.is_empty() {
        return Err(IAM.refuse("DeleteConflict", "Cannot delete entity, must detach all policies first."));
    }
    state.roles.remove(name);
    Ok(Value::Null)
}

fn item(role: &Role) -> Value {
    let boundary = role.permissions_boundary.as_ref().map(|arn| {
        json!({ "PermissionsBoundaryType": "PermissionsBoundaryPolicy", "PermissionsBoundaryArn": arn })
    });
    let tags: Vec<Value> =
        role.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    json!({
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.id,
        "Arn": role.arn,
        "CreateDate": epoch_seconds(role.created),
        "AssumeRolePolicyDocument": percent_encoded(&role.trust),
        "Description": role.description,
        "MaxSessionDuration": role.max_session_seconds,
        "PermissionsBoundary": boundary,
        "Tags": tags,
    })
}

/// Documents come percent-encoded in answers; clients decode them.
pub(super) fn percent_encoded(document: &str) -> String {
    wire::percent_encoded(document.as_bytes())
}
