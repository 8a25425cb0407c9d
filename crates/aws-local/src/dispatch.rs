//! `POST /`: finds the operation that a call is for, and who may make it.

use std::collections::BTreeMap;

use http::request::Parts;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::model::{CLOUDWATCH, ECS, IAM, LOGS, Model, Operation as Modelled, SSM, STS, TAGGING};
use super::query::unknown_action;
use super::shared::Shared;
use super::signature::header;
use super::ssm::{self, agent};
use super::wire::{self, Answer};
use super::{Context, caller, cloudwatch, delivery, fis, iam, logs, sts};
use crate::world::World;

/// The service that agents poll has no public model.
const MDS: &str = "EC2WindowsMessageDeliveryService.";
/// What clients sign for who speak to CloudWatch.
const METRICS: &str = "monitoring";

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
        client_call(shared, operation, ("ecs", parts), body, &mut who, World::call_ecs)
    } else if let Some(operation) = LOGS.targeted(target) {
        client_call(shared, operation, ("logs", parts), body, &mut who, |world, operation, body, context| {
            logs::call(operation, body, &mut world.logs, context)
        })
    } else if let Some(operation) = TAGGING.targeted(target) {
        client_call(shared, operation, ("tagging", parts), body, &mut who, World::call_tagging)
    } else if let Some(operation) = CLOUDWATCH.targeted(target) {
        client_call(shared, operation, (METRICS, parts), body, &mut who, |world, operation, body, context| {
            cloudwatch::call(operation, body, &mut world.cloudwatch, context)
        })
    } else {
        Err(unknown(target))
    };
    // The polls that bring nothing would drown everything else.
    let idle =
        target.ends_with(".GetMessages") && matches!(&outcome, Ok(value) if value["Messages"] == json!([]));
    if !idle {
        tracing::info!(who, what = target, outcome = line(&outcome));
    }
    match modelled(target) {
        Some(model) if std::ptr::eq(model, &CLOUDWATCH) => cloudwatch::json_answer(&outcome),
        model => wire::json_answer(model, &outcome),
    }
}

/// The model of the service that a target names.
fn modelled(target: &str) -> Option<&'static Model> {
    [&SSM, &ECS, &LOGS, &CLOUDWATCH, &TAGGING].into_iter().find(|model| model.targeted(target).is_some())
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
        "RegisterManagedInstance" => {
            // Not signed: where the activation was made.
            let activation = body.get("ActivationId").and_then(Value::as_str).unwrap_or_default();
            let region = shared.regions(|regions| regions.of_activation(activation).to_owned());
            shared.perform(operation, &region, |world| {
                let answer = agent::register(&body, &mut world.ssm, &context)?;
                *who = answer["InstanceId"].as_str().unwrap_or_default().to_owned();
                Ok(answer)
            })
        }
        "RequestManagedInstanceRoleToken" => {
            *who = caller::key_holder(shared, parts, raw)?;
            let switches = shared.switches();
            let instance = who.clone();
            let answer = shared.update_of(&instance, |world| {
                agent::request_role_token(who, &body, &mut world.ssm, &switches, &context)
            })?;
            shared.use_switches(|switches| switches.update_key_pair = false);
            Ok(answer)
        }
        "UpdateManagedInstancePublicKey" => {
            *who = caller::key_holder(shared, parts, raw)?;
            shared.update_of(who, |world| agent::update_public_key(who, &body, &mut world.ssm))
        }
        "UpdateInstanceInformation" => {
            *who = caller::instance(shared, parts, raw, "ssm")?;
            caller::same(who, wire::text(&body, "InstanceId")?)?;
            shared.update_of(who, |world| agent::update_information(&body, &mut world.ssm, &context))
        }
        _ => {
            let client = caller::client(shared, parts, raw, "ssm")?;
            *who = client.name;
            if let Some(answer) = background(operation, &body) {
                return Ok(answer);
            }
            let context = shared.context_in(&client.region);
            shared.perform(operation, &client.region, |world| {
                world.ssm.sweep(context.now);
                ssm::call(operation, &body, &mut world.ssm, &context)
                    .unwrap_or_else(|| Err(unknown(operation)))
            })
        }
    }
}

/// What the services that only clients speak to have in common: an operation over the state, None if it is
/// not one.
type Operation = fn(&mut World, &str, &Map<String, Value>, &Context) -> Option<Result<Value, ApiError>>;

fn client_call(
    shared: &Shared,
    operation: &str,
    (service, parts): (&str, &Parts),
    raw: &[u8],
    who: &mut String,
    perform: Operation,
) -> Result<Value, ApiError> {
    let client = caller::client(shared, parts, raw, service)?;
    *who = client.name;
    let body = wire::object(&wire::inflated(parts, raw)?)?;
    let context = shared.context_in(&client.region);
    shared.perform(operation, &client.region, |world| {
        perform(world, operation, &body, &context).unwrap_or_else(|| Err(unknown(operation)))
    })
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

fn query(shared: &Shared, parts: &Parts, raw: &[u8]) -> Answer {
    let body = match wire::inflated(parts, raw) {
        Ok(body) => body,
        Err(error) => return wire::json_answer(None, &Err(error)),
    };
    let parameters: BTreeMap<String, String> = wire::form(&body).collect();
    let action = parameters.get("Action").map_or("", String::as_str);
    let mut who = "?".to_owned();
    let (status, xml) = match queried(action) {
        None => (400, unknown_action(action)),
        Some((service, operation)) => match caller::client(shared, parts, raw, service) {
            Err(error) => super::query::answer(operation, &Err(unauthorized(error))),
            Ok(client) => {
                who = client.name;
                let region = client.region.as_str();
                let context = shared.context_in(region);
                let answer = match service {
                    "sts" => shared.change_iam(action, |iam| {
                        sts::call(&parameters, client.session.as_ref(), iam, &context)
                    }),
                    "iam" => shared.change_iam(action, |iam| iam::call(&parameters, iam, &context)),
                    _ => {
                        shared.update(|world| cloudwatch::query(&parameters, &mut world.cloudwatch, &context))
                    }
                };
                answer.unwrap_or_else(|| (400, unknown_action(action)))
            }
        },
    };
    tracing::info!(who, what = format!("Action={action}"), outcome = status);
    wire::answer(status, "text/xml", xml)
}

/// The service that has an action of the Query protocol, as clients sign for it.
fn queried(action: &str) -> Option<(&'static str, Modelled)> {
    let services = [("sts", &STS), ("iam", &IAM), (METRICS, &CLOUDWATCH)];
    services.into_iter().find_map(|(service, model)| Some((service, model.operation(action)?)))
}

/// A refused signature as the services say it that are not of the JSON 1.1 protocol: by HTTP 403.
fn forbidden(error: ApiError) -> ApiError {
    let of_signatures = matches!(
        error.code,
        "MissingAuthenticationTokenException"
            | "IncompleteSignatureException"
            | "InvalidSignatureException"
            | "UnrecognizedClientException"
            | "ExpiredTokenException"
    );
    ApiError { status: if of_signatures { 403 } else { error.status }, ..error }
}

/// The same with the codes of the Query protocol.
fn unauthorized(error: ApiError) -> ApiError {
    let code = match error.code {
        "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
        "IncompleteSignatureException" => "IncompleteSignature",
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "ExpiredTokenException" => "ExpiredToken",
        other => other,
    };
    ApiError { code, ..forbidden(error) }
}

/// Answers a request of FIS's rest-json protocol; None if its path is none of the service's.
pub(super) fn fis(shared: &Shared, parts: &Parts, body: &[u8]) -> Option<Answer> {
    let request = fis::Request::of(parts.method.as_str(), parts.uri.path())?;
    let mut who = "?".to_owned();
    let outcome = (|| {
        let client = caller::client(shared, parts, body, "fis").map_err(forbidden)?;
        who = client.name;
        let call = request.read(parts.uri.query().unwrap_or_default(), wire::object(body)?)?;
        let context = shared.context_in(&client.region);
        shared.perform(request.name(), &client.region, |world| {
            let (fis, services) = world.fis_and_services();
            request.perform(&call, fis, &services, &context)
        })
    })();
    tracing::info!(who, what = format!("FIS.{}", request.name()), outcome = line(&outcome));
    shared.regions(|regions| regions.each(|_, world| world.fis.flush_log()));
    Some(fis::answer(&outcome))
}

/// Answers one call of CloudWatch in the Smithy RPC v2 CBOR protocol.
pub(super) fn cbor(shared: &Shared, parts: &Parts, operation: &str, body: &[u8]) -> Answer {
    let mut who = "?".to_owned();
    let outcome = (|| {
        let client = caller::client(shared, parts, body, METRICS)?;
        who = client.name;
        let context = shared.context_in(&client.region);
        let members = cloudwatch::cbor_members(&wire::inflated(parts, body)?)?;
        let call = |world: &mut World| cloudwatch::call(operation, &members, &mut world.cloudwatch, &context);
        shared.perform(operation, &client.region, call).unwrap_or_else(|| Err(unknown(operation)))
    })();
    tracing::info!(who, what = format!("cbor {operation}"), outcome = line(&outcome));
    cloudwatch::cbor_answer(operation, &outcome)
}

/// An outcome in the log.
fn line(outcome: &Result<Value, ApiError>) -> String {
    match outcome {
        Ok(_) => "200".to_owned(),
        Err(error) => format!("{} {error}", error.status),
    }
}
