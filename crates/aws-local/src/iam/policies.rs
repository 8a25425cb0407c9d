//! The policies of roles: inline ones with their documents, managed ones by their ARN.

use serde_json::{Map, Value, json};

use super::document::{self, Purpose};
use super::roles::percent_encoded;
use super::{Answer, IamState, NAME, conflict, listing, not_found, paging, role_name};
use crate::Context;
use crate::error::ApiError;
use crate::ssm::members::{Members, Pattern, Text};

static POLICY_ARN: Pattern = Pattern::new(r"arn:aws[a-z-]*:iam::(aws|[0-9]{12}):policy/[!-\x7e]+");
static PATH_PREFIX: Pattern = Pattern::new(r"((/[A-Za-z0-9\.,\+@=_-]+)*)/");

/// All inline policies of a role together, in characters that are not white space.
const LONGEST_INLINE: usize = 10_240;

/// The most managed policies of a role.
const MOST_ATTACHED: usize = 10;

fn policy_name<'a>(members: &mut Members<'a>) -> &'a str {
    members.required_text("PolicyName", Text::length(1, 128).and(&NAME))
}

/// PutRolePolicy: adds an inline policy or replaces it.
pub(super) fn put(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let mut members = Members::new(body);
    let role = role_name(&mut members);
    let name = policy_name(&mut members);
    let document = members.required_text("PolicyDocument", Text::length(1, 131_072));
    members.finish()?;
    document::check(document, Purpose::Permissions)?;
    let role = state.role(role)?;
    let others = role.inline.iter().filter(|(other, _)| *other != name).map(|(_, document)| size(document));
    if others.sum::<usize>() + size(document) > LONGEST_INLINE {
        let message =
            format!("Maximum policy size of {LONGEST_INLINE} bytes exceeded for role {}", role.name);
        return Err(conflict("LimitExceeded", message));
    }
    role.inline.insert(name.to_owned(), document.to_owned());
    Ok(Value::Null)
}

fn size(document: &str) -> usize {
    document.chars().filter(|letter| !letter.is_whitespace()).count()
}

/// GetRolePolicy.
pub(super) fn get(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let mut members = Members::new(body);
    let role = role_name(&mut members);
    let name = policy_name(&mut members);
    members.finish()?;
    let document = state.role(role)?.inline.get(name).ok_or_else(|| no_policy(name))?;
    Ok(json!({ "RoleName": role, "PolicyName": name, "PolicyDocument": percent_encoded(document) }))
}

/// DeleteRolePolicy.
pub(super) fn delete(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let mut members = Members::new(body);
    let role = role_name(&mut members);
    let name = policy_name(&mut members);
    members.finish()?;
    state.role(role)?.inline.remove(name).ok_or_else(|| no_policy(name))?;
    Ok(Value::Null)
}

fn no_policy(name: &str) -> ApiError {
    not_found(format!("The role policy with name {name} cannot be found."))
}

/// ListRolePolicies.
pub(super) fn list(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let mut members = Members::new(body);
    let role = role_name(&mut members);
    let paging = paging(&mut members);
    members.finish()?;
    let names: Vec<&String> = state.role(role)?.inline.keys().collect();
    listing("PolicyNames", names, |name| (*name).clone(), |name| json!(name), paging)
}

/// AttachRolePolicy. There are no managed policies here, so any well-formed ARN will do.
pub(super) fn attach(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let (role, arn) = role_and_arn(body)?;
    let role = state.role(role)?;
    if role.attached.len() >= MOST_ATTACHED && !role.attached.contains(arn) {
        return Err(conflict(
            "LimitExceeded",
            format!("Cannot exceed quota for PoliciesPerRole: {MOST_ATTACHED}"),
        ));
    }
    role.attached.insert(arn.to_owned());
    Ok(Value::Null)
}

/// DetachRolePolicy.
pub(super) fn detach(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let (role, arn) = role_and_arn(body)?;
    match state.role(role)?.attached.remove(arn) {
        true => Ok(Value::Null),
        false => Err(not_found(format!("Policy {arn} was not found."))),
    }
}

fn role_and_arn(body: &Map<String, Value>) -> Result<(&str, &str), ApiError> {
    let mut members = Members::new(body);
    let role = role_name(&mut members);
    let arn = members.required_text("PolicyArn", Text::length(20, 2048));
    members.finish()?;
    match POLICY_ARN.matches(arn) {
        true => Ok((role, arn)),
        false => Err(ApiError::new("InvalidInput", format!("ARN {arn} is not valid."))),
    }
}

/// ListAttachedRolePolicies.
pub(super) fn list_attached(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let mut members = Members::new(body);
    let role = role_name(&mut members);
    let prefix = members.text("PathPrefix", Text::length(1, 512).and(&PATH_PREFIX)).unwrap_or("/");
    let paging = paging(&mut members);
    members.finish()?;
    let role = state.role(role)?;
    let arns: Vec<&String> = role.attached.iter().filter(|arn| path(arn).starts_with(prefix)).collect();
    let item =
        |arn: &&String| json!({ "PolicyName": arn.rsplit('/').next().unwrap_or_default(), "PolicyArn": arn });
    listing("AttachedPolicies", arns, |arn| (*arn).clone(), item, paging)
}

/// The path of a policy, with its name: `/service-role/Name`.
fn path(arn: &str) -> &str {
    arn.find('/').map_or("", |slash| &arn[slash..])
}
