//! Identity and Access Management, as far as experiments ask for it: roles, their inline policies, managed policies
//! with their versions, and the sessions of assumed roles. Permissions are kept and told, not enforced; trust is
//! looked at by FIS and by AssumeRole. The Query protocol, XML answers; members and error codes are those of the service's API model (version 2010-05-08).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Context;
use super::error::ApiError;
use super::members::Members;
use super::model::IAM;
use super::query;
use super::ssm::page;
use crate::tags::Tags;

mod document;
mod managed;
mod policies;
mod roles;
mod sessions;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use sessions::assume;
pub(crate) use state::{IamState, Session};

type Answer = Result<Value, ApiError>;

type Operation = fn(&Map<String, Value>, &mut IamState, &Context) -> Answer;

/// Answers one call of the Query protocol with a status and an XML text; None if the action is not known.
pub(crate) fn call(
    parameters: &BTreeMap<String, String>,
    state: &mut IamState,
    context: &Context,
) -> Option<(u16, String)> {
    let action = parameters.get("Action")?;
    let (model, operation) = (IAM.operation(action)?, operation(action)?);
    let outcome = query::decode(parameters, model)
        .and_then(|body| {
            model.check(&body)?;
            operation(&body, state, context)
        })
        .map_err(as_iam_error);
    Some(query::answer(model, &outcome))
}

fn operation(action: &str) -> Option<Operation> {
    Some(match action {
        "AttachRolePolicy" => policies::attach,
        "CreatePolicy" => managed::create,
        "CreatePolicyVersion" => managed::create_version,
        "CreateRole" => roles::create,
        "DeletePolicy" => managed::delete,
        "DeletePolicyVersion" => managed::delete_version,
        "DeleteRole" => roles::delete,
        "DeleteRolePolicy" => policies::delete,
        "DetachRolePolicy" => policies::detach,
        "GetPolicy" => managed::get,
        "GetPolicyVersion" => managed::get_version,
        "GetRole" => roles::get,
        "GetRolePolicy" => policies::get,
        "ListAttachedRolePolicies" => policies::list_attached,
        "ListPolicies" => managed::list,
        "ListPolicyVersions" => managed::list_versions,
        "ListRolePolicies" => policies::list,
        "ListRoleTags" => roles::list_tags,
        "ListRoles" => roles::list,
        "PutRolePolicy" => policies::put,
        "SetDefaultPolicyVersion" => managed::set_default,
        "TagRole" => roles::tag,
        "UntagRole" => roles::untag,
        "UpdateAssumeRolePolicy" => roles::update_trust,
        "UpdateRole" => roles::update,
        _ => return None,
    })
}

/// The model's errors are named otherwise by this service than by those of the JSON protocols.
fn as_iam_error(error: ApiError) -> ApiError {
    let code = match error.code {
        "ValidationException" | "SerializationException" | "InvalidNextToken" => "ValidationError",
        other => other,
    };
    ApiError { code, ..error }
}

/// Tags as the API lists them; null, which is no member, where there are none.
fn tag_list(tags: &Tags) -> Value {
    match tags.is_empty() {
        true => Value::Null,
        false => tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect(),
    }
}

fn not_found(message: String) -> ApiError {
    IAM.refuse("NoSuchEntity", message)
}

/// A page of a listing under `name`, as this service tells where it ends. The page's size and start are the
/// members `MaxItems` and `Marker`.
fn listing<T>(
    name: &str,
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    item: impl Fn(&T) -> Value,
    (size, marker): (usize, Option<&str>),
) -> Answer {
    let (shown, next) = page::page(items, key, size, marker)?;
    let items: Vec<Value> = shown.iter().map(item).collect();
    let mut answer = Map::new();
    answer.insert(name.to_owned(), Value::from(items));
    answer.insert("IsTruncated".to_owned(), Value::from(next.is_some()));
    answer.insert("Marker".to_owned(), Value::from(next));
    Ok(Value::Object(answer))
}

/// The members `MaxItems` and `Marker`.
fn paging(members: Members<'_>) -> (usize, Option<&str>) {
    (members.count("MaxItems").unwrap_or(100), members.text("Marker"))
}
