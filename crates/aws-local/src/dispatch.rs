//! `POST /`: finds the operation that a call is for, and who may make it.

use std::collections::BTreeMap;

use http::request::Parts;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::model::{CLOUDWATCH, ECS, LOGS, Model, SSM};
use super::shared::Shared;
use super::signature::header;
use super::store::State;
use super::wire::{self, Answer};
use super::{Context, agent, caller, cloudwatch, delivery, ecs, iam, logs, ssm, sts};

/// The service that agents poll has no public model.
const MDS: &str = "EC2WindowsMessageDeliveryService.";

/// Answers one call of the JSON 1.1 or the Query protocol.
pub(super) async fn answer(shared: &Shared, parts: &Parts, body: &[u8]) -> Answer {
    let form = header(parts, "content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-"));
    let target = header(parts, "x-amz-target").unwrap_or_default();
    if target.is_empty() && form {
        return query(shared, parts, body);
    }
    let mut who = "?".to_owned();
    let outcome = if let Some(operation) = SSM.targeted(target) {
        systems_manager(shared, operation, parts, body, &mut who)
    } else if let Some(operation) = target.strip_prefix(MDS) {
        delivery::call(shared, operation, parts, body, &mut who).await
    } else if let Some(operation) = ECS.targeted(target) {
        client_call(shared, operation, parts, body, &mut who, ecs::call)
    } else if let Some(operation) = LOGS.targeted(target) {
        client_call(shared, operation, parts, body, &mut who, logs::call)
    } else if let Some(operation) = CLOUDWATCH.targeted(target) {
        client_call(shared, operation, parts, body, &mut who, cloudwatch::call)
    } else {
        Err(unknown(target))
    };
    // The polls that bring nothing would drown everything else.
    let idle =
        target.ends_with(".GetMessages") && matches!(&outcome, Ok(value) if value["Messages"] == json!([]));
    if !idle {
        match &outcome {
            Ok(_) => shared.log.line(&who, target, "200"),
            Err(error) => shared.log.line(&who, target, format!("{} {error}", error.status)),
        }
    }
    match modelled(target) {
        Some(model) if std::ptr::eq(model, &CLOUDWATCH) => cloudwatch::json_answer(&outcome),
        model => wire::json_answer(model, &outcome),
    }
}

/// The model of the service that a target names.
fn modelled(target: &str) -> Option<&'static Model> {
    [&SSM, &ECS, &LOGS, &CLOUDWATCH].into_iter().find(|model| model.targeted(target).is_some())
}

fn unknown(target: &str) -> ApiError {
    ApiError::new("UnknownOperationException", format!("there is no operation {target:?} here"))
}

fn systems_manager(
    shared: &Shared,
    operation: &str,
    parts: &Parts,
    raw: &[u8],
    who: &mut String,
) -> Result<Value, ApiError> {
    if shared.use_switches(|switches| take_one(&mut switches.throttle_next)) {
        return Err(ApiError::new("ThrottlingException", "rate exceeded"));
    }
    let body = wire::object(raw)?;
    let context = shared.context();
    match operation {
        "RegisterManagedInstance" => shared.change(|state| {
            let answer = agent::register(&body, state, &context)?;
            *who = answer["InstanceId"].as_str().unwrap_or_default().to_owned();
            Ok(answer)
        }),
        "RequestManagedInstanceRoleToken" => {
            *who = caller::key_holder(shared, parts, raw)?;
            let switches = shared.switches();
            let answer =
                shared.change(|state| agent::request_role_token(who, &body, state, &switches, &context))?;
            shared.use_switches(|switches| switches.update_key_pair = false);
            Ok(answer)
        }
        "UpdateManagedInstancePublicKey" => {
            *who = caller::key_holder(shared, parts, raw)?;
            shared.change(|state| agent::update_public_key(who, &body, state))
        }
        "UpdateInstanceInformation" => {
            *who = caller::instance(shared, parts, raw, "ssm")?;
            caller::same(who, wire::text(&body, "InstanceId")?)?;
            shared.change(|state| agent::update_information(&body, state, &context))
        }
        _ => {
            *who = caller::client(shared, parts, raw)?;
            if let Some(answer) = background(operation, &body) {
                return Ok(answer);
            }
            shared.change(|state| {
                state.sweep(context.now);
                ssm::call(operation, &body, state, &context).unwrap_or_else(|| Err(unknown(operation)))
            })
        }
    }
}

/// What the services that only clients speak to have in common: an operation over the state, None if it is
/// not one.
type Operation = fn(&str, &Map<String, Value>, &mut State, &Context) -> Option<Result<Value, ApiError>>;

fn client_call(
    shared: &Shared,
    operation: &str,
    parts: &Parts,
    raw: &[u8],
    who: &mut String,
    service: Operation,
) -> Result<Value, ApiError> {
    let body = wire::object(&wire::inflated(parts, raw)?)?;
    let context = shared.context();
    *who = caller::client(shared, parts, raw)?;
    shared
        .change(|state| service(operation, &body, state, &context).unwrap_or_else(|| Err(unknown(operation))))
}

fn take_one(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

/// What stock agents ask for besides commands. There are no associations, no inventory and no parameters
/// here: the answers say so.
fn background(operation: &str, body: &Map<String, Value>) -> Option<Value> {
    match operation {
        "ListInstanceAssociations" | "ListAssociations" => Some(json!({ "Associations": [] })),
        "GetParameters" => {
            let names = body.get("Names").cloned().unwrap_or_else(|| json!([]));
            Some(json!({ "Parameters": [], "InvalidParameters": names }))
        }
        "UpdateInstanceAssociationStatus" | "PutInventory" | "PutComplianceItems" => Some(json!({})),
        _ => None,
    }
}

fn query(shared: &Shared, parts: &Parts, body: &[u8]) -> Answer {
    let body = match wire::inflated(parts, body) {
        Ok(body) => body,
        Err(error) => return wire::json_answer(None, &Err(error)),
    };
    let form = String::from_utf8_lossy(&body);
    let decoded = wire::pairs(&form).map(|(key, value)| (wire::form_decoded(key), wire::form_decoded(value)));
    let parameters: BTreeMap<String, String> = decoded.collect();
    let action = parameters.get("Action").map_or("", String::as_str);
    let context = shared.context();
    let known = sts::call(&parameters, &context).or_else(|| {
        shared.change(|state| {
            let roles = iam::call(&parameters, state, &context);
            roles.or_else(|| cloudwatch::query(&parameters, state, &context))
        })
    });
    let (status, xml) = known.unwrap_or_else(|| (400, invalid_action(action)));
    shared.log.line("client", &format!("Action={action}"), status);
    wire::answer(status, "text/xml", xml)
}

/// The error document of the Query protocol. Only letters of the action are repeated: it is XML.
fn invalid_action(action: &str) -> String {
    let action: String = action.chars().filter(char::is_ascii_alphanumeric).collect();
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidAction</Code>\
         <Message>There is no action {action} here</Message></Error></ErrorResponse>"
    )
}
