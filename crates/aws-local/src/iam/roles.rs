//! Roles.

use serde_json::{Map, Value, json};

use super::document::{self, Purpose};
use super::state::{Role, SESSION_SECONDS};
use super::{Answer, IamState, listing, paging, tag_list};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::model::IAM;
use crate::wire::{self, epoch_seconds};

/// The longest trust policy (quota "role trust policy length"), in characters that are not white space.
const LONGEST_TRUST: usize = 2048;

/// The most tags of a role.
const MOST_TAGS: usize = 50;

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
    check_trust(trust)?;
    // Names differ by more than their case.
    if state.roles.keys().any(|taken| taken.eq_ignore_ascii_case(name)) {
        return Err(IAM.refuse("EntityAlreadyExists", format!("Role with name {name} already exists.")));
    }
    let role = Role {
        description: description.map(str::to_owned),
        max_session_seconds: seconds,
        permissions_boundary: boundary.map(str::to_owned),
        tags,
        ..Role::new(name, path, trust, context)
    };
    let answer = json!({ "Role": item(&role, true) });
    state.roles.insert(name.to_owned(), role);
    Ok(answer)
}

fn check_trust(trust: &str) -> Result<(), ApiError> {
    document::check(trust, Purpose::Trust)?;
    if trust.chars().filter(|letter| !letter.is_whitespace()).count() > LONGEST_TRUST {
        let message = format!("Cannot exceed quota for ACLSizePerRole: {LONGEST_TRUST}");
        return Err(IAM.refuse("LimitExceeded", message));
    }
    Ok(())
}

/// GetRole.
pub(super) fn get(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let name = members.required("RoleName");
    let mut shown = item(state.role(name)?, true);
    // Nothing is enforced, so nobody knows when it was used.
    shown["RoleLastUsed"] = json!({});
    Ok(json!({ "Role": shown }))
}

/// UpdateAssumeRolePolicy.
pub(super) fn update_trust(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let (name, trust) = (members.required("RoleName"), members.required("PolicyDocument"));
    check_trust(trust)?;
    state.role(name)?.trust = trust.to_owned();
    Ok(Value::Null)
}

/// UpdateRole: a description that is not sent goes.
pub(super) fn update(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let role = state.role(members.required("RoleName"))?;
    role.description = members.text("Description").map(str::to_owned);
    role.max_session_seconds = members.number("MaxSessionDuration").unwrap_or(SESSION_SECONDS);
    Ok(json!({}))
}

/// TagRole: adds tags or replaces their values.
pub(super) fn tag(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let added = members.tags()?;
    let role = state.role(members.required("RoleName"))?;
    let more = added.keys().filter(|key| !role.tags.contains_key(*key)).count();
    if role.tags.len() + more > MOST_TAGS {
        return Err(IAM.refuse("LimitExceeded", format!("Cannot exceed quota for TagsPerRole: {MOST_TAGS}")));
    }
    role.tags.extend(added);
    Ok(Value::Null)
}

/// UntagRole.
pub(super) fn untag(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let keys = members.texts("TagKeys");
    state.role(members.required("RoleName"))?.tags.retain(|key, _| !keys.contains(&key.as_str()));
    Ok(Value::Null)
}

/// ListRoleTags.
pub(super) fn list_tags(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let tags: Vec<_> = state.role(members.required("RoleName"))?.tags.iter().collect();
    let item = |(key, value): &(&String, &String)| json!({ "Key": key, "Value": value });
    listing("Tags", tags, |(key, _)| (*key).clone(), item, paging(members))
}

/// ListRoles.
pub(super) fn list(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let prefix = members.text("PathPrefix").unwrap_or("/");
    let paging = paging(members);
    let roles: Vec<&Role> = state.roles.values().filter(|role| role.path.starts_with(prefix)).collect();
    listing("Roles", roles, |role| role.name.clone(), |role| item(role, false), paging)
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

/// A role; listings leave its tags out.
fn item(role: &Role, with_tags: bool) -> Value {
    let boundary = role.permissions_boundary.as_ref().map(|arn| {
        json!({ "PermissionsBoundaryType": "PermissionsBoundaryPolicy", "PermissionsBoundaryArn": arn })
    });
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
        "Tags": if with_tags { tag_list(&role.tags) } else { Value::Null },
    })
}

/// Documents come percent-encoded in answers; clients decode them.
pub(super) fn percent_encoded(document: &str) -> String {
    wire::percent_encoded(document.as_bytes())
}
