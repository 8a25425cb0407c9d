//! The policies of roles: inline ones with their documents, managed ones by their ARN.

use serde_json::{Map, Value, json};

use super::document::{self, Purpose};
use super::roles::percent_encoded;
use super::{Answer, IamState, listing, not_found, paging};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::model::IAM;

/// All inline policies of a role together, in characters that are not white space.
const LONGEST_INLINE: usize = 10_240;

/// The most managed policies of a role.
const MOST_ATTACHED: usize = 10;

/// PutRolePolicy: adds an inline policy or replaces it.
pub(super) fn put(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let role = members.required("RoleName");
    let name = members.required("PolicyName");
    let document = members.required("PolicyDocument");
    document::check(document, Purpose::Permissions)?;
    let role = state.role(role)?;
    let others = role.inline.iter().filter(|(other, _)| *other != name).map(|(_, document)| size(document));
    if others.sum::<usize>() + size(document) > LONGEST_INLINE {
        let message =
            format!("Maximum policy size of {LONGEST_INLINE} bytes exceeded for role {}", role.name);
        return Err(IAM.refuse("LimitExceeded", message));
    }
    role.inline.insert(name.to_owned(), document.to_owned());
    Ok(Value::Null)
}

fn size(document: &str) -> usize {
    document.chars().filter(|letter| !letter.is_whitespace()).count()
}

/// GetRolePolicy.
pub(super) fn get(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let role = members.required("RoleName");
    let name = members.required("PolicyName");
    let document = state.role(role)?.inline.get(name).ok_or_else(|| no_policy(name))?;
    Ok(json!({ "RoleName": role, "PolicyName": name, "PolicyDocument": percent_encoded(document) }))
}

/// DeleteRolePolicy.
pub(super) fn delete(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let role = members.required("RoleName");
    let name = members.required("PolicyName");
    state.role(role)?.inline.remove(name).ok_or_else(|| no_policy(name))?;
    Ok(Value::Null)
}

fn no_policy(name: &str) -> ApiError {
    not_found(format!("The role policy with name {name} cannot be found."))
}

/// ListRolePolicies.
pub(super) fn list(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let role = members.required("RoleName");
    let paging = paging(members);
    let names: Vec<&String> = state.role(role)?.inline.keys().collect();
    listing("PolicyNames", names, |name| (*name).clone(), |name| json!(name), paging)
}

/// AttachRolePolicy. AWS's own policies are not here, so any well-formed ARN of theirs will do.
pub(super) fn attach(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let (role, arn) = role_and_arn(body)?;
    let is_there = arn.contains("::aws:policy/") || state.policies.contains_key(arn);
    let role = state.role(role)?;
    if !is_there {
        return Err(not_found(format!("Policy {arn} does not exist or is not attachable.")));
    }
    if role.attached.len() >= MOST_ATTACHED && !role.attached.contains(arn) {
        return Err(
            IAM.refuse("LimitExceeded", format!("Cannot exceed quota for PoliciesPerRole: {MOST_ATTACHED}"))
        );
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
    let members = Members::new(body);
    let role = members.required("RoleName");
    let arn = members.required("PolicyArn");
    match is_policy_arn(arn) {
        true => Ok((role, arn)),
        false => Err(ApiError::new("InvalidInput", format!("ARN {arn} is not valid."))),
    }
}

/// Whether this is the ARN of a managed policy. The model has its length only; the service looks closer.
fn is_policy_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", owner, resource] = parts[..] else { return false };
    let digits = owner.len() == 12 && owner.bytes().all(|letter| letter.is_ascii_digit());
    let name = resource.strip_prefix("policy/").unwrap_or_default();
    partition.starts_with("aws")
        && (owner == "aws" || digits)
        && !name.is_empty()
        && name.bytes().all(|letter| letter.is_ascii_graphic())
}

/// ListAttachedRolePolicies.
pub(super) fn list_attached(body: &Map<String, Value>, state: &mut IamState, _: &Context) -> Answer {
    let members = Members::new(body);
    let role = members.required("RoleName");
    let prefix = members.text("PathPrefix").unwrap_or("/");
    let paging = paging(members);
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
