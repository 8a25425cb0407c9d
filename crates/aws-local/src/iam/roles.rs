//! Roles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::document::{self, Purpose};
use super::{Answer, IamState, Role, conflict, listing, paging, role_name};
use crate::Context;
use crate::random;
use crate::ssm::members::{Members, Pattern, Text};
use crate::store::Tags;
use crate::wire::epoch_seconds;

static PATH: Pattern = Pattern::new(r"(/)|(/[!-\x7e]+/)");
static PATH_PREFIX: Pattern = Pattern::new(r"/[!-\x7f]*");
static TAG_KEY: Pattern = Pattern::new(r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+");
static TAG_VALUE: Pattern = Pattern::new(r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*");

/// The longest trust policy (quota "role trust policy length"), in characters that are not white space.
const LONGEST_TRUST: usize = 2048;

/// A session may last an hour, unless the role says otherwise.
const SESSION_SECONDS: i64 = 3600;

/// CreateRole.
pub(super) fn create(body: &Map<String, Value>, state: &mut IamState, context: &Context) -> Answer {
    let mut members = Members::new(body);
    let name = role_name(&mut members);
    let path = members.text("Path", Text::length(1, 512).and(&PATH)).unwrap_or("/");
    let trust = members.required_text("AssumeRolePolicyDocument", Text::length(1, 131_072));
    let description = members.text("Description", Text::length(0, 1000));
    let seconds = members.number("MaxSessionDuration", SESSION_SECONDS, 43_200).unwrap_or(SESSION_SECONDS);
    let boundary = members.text("PermissionsBoundary", Text::length(20, 2048));
    let tags = tags(&mut members);
    members.finish()?;
    document::check(trust, Purpose::Trust)?;
    if trust.chars().filter(|letter| !letter.is_whitespace()).count() > LONGEST_TRUST {
        let message = format!("Cannot exceed quota for ACLSizePerRole: {LONGEST_TRUST}");
        return Err(conflict("LimitExceeded", message));
    }
    // Names differ by more than their case.
    if state.roles.keys().any(|taken| taken.eq_ignore_ascii_case(name)) {
        return Err(conflict("EntityAlreadyExists", format!("Role with name {name} already exists.")));
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

fn tags(members: &mut Members<'_>) -> Tags {
    let mut tags = Tags::new();
    let pairs = members.each("Tags", 0, 50, |tag| {
        let key = tag.required_text("Key", Text::length(1, 128).and(&TAG_KEY));
        (key, tag.required_text("Value", Text::length(0, 256).and(&TAG_VALUE)))
    });
    for (key, value) in pairs {
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            members.breaks("Tags", key, "Member must not contain the same key twice");
        }
    }
    tags
}

/// GetRole.
pub(super) fn get(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let mut members = Members::new(body);
    let name = role_name(&mut members);
    members.finish()?;
    Ok(json!({ "Role": item(state.role(name)?) }))
}

/// ListRoles.
pub(super) fn list(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let mut members = Members::new(body);
    let prefix = members.text("PathPrefix", Text::length(1, 512).and(&PATH_PREFIX)).unwrap_or("/");
    let paging = paging(&mut members);
    members.finish()?;
    let roles: Vec<&Role> = state.roles.values().filter(|role| role.path.starts_with(prefix)).collect();
    listing("Roles", roles, |role| role.name.clone(), |role| item(role), paging)
}

/// DeleteRole. A role that has policies stays.
pub(super) fn delete(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let mut members = Members::new(body);
    let name = role_name(&mut members);
    members.finish()?;
    let role = state.role(name)?;
    if !role.inline.is_empty() {
        return Err(conflict("DeleteConflict", "Cannot delete entity, must delete policies first."));
    }
    if !role.attached.is_empty() {
        return Err(conflict("DeleteConflict", "Cannot delete entity, must detach all policies first."));
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

/// Documents come percent-encoded (RFC 3986) in answers; clients decode them.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
