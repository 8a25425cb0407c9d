//! CloudWatch, as far as stop conditions need it: metrics, and alarms that are evaluated for real.
//!
//! One implementation over JSON values, for the three protocols that clients speak: JSON 1.0 (today's AWS CLI
//! and boto3), Query (older ones) and Smithy RPC v2 CBOR (other SDKs). Members, limits and error codes are those
//! of the service's API model (version 2010-08-01).

use std::collections::BTreeMap;

use http::HeaderValue;
use http::request::Parts;
use serde_json::{Map, Value, json};

use super::Context;
use super::error::ApiError;
use super::members::Members;
use super::model::check::{Rule, Violation};
use super::model::{CLOUDWATCH, Operation};
use super::query;
use super::ssm::page;
use super::wire;

mod alarm;
mod alarm_rule;
mod alarm_state;
mod alarms;
mod cbor;
mod composite;
mod evaluation;
mod math;
mod metrics;
mod put_alarm;
mod put_composite;
mod put_data;
mod queries;
mod read;
mod state;
#[cfg(test)]
mod tests;
mod threshold;

pub(crate) use alarm_state::AlarmState;
pub(crate) use metrics::{MetricId, Together};
pub(crate) use state::{CloudWatchState, advance};

type Answer = Result<Value, ApiError>;

/// Expressions of metric math, and rules of composite alarms.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let _ = math::Expression::try_from(text.clone());
    let _ = alarm_rule::AlarmRule::try_from(text);
}

/// Performs one client operation of the JSON 1.0 protocol; None if it is not one.
pub(crate) fn call(
    operation: &str,
    body: &Map<String, Value>,
    state: &mut CloudWatchState,
    context: &Context,
) -> Option<Result<Value, ApiError>> {
    if let Err(error) = CLOUDWATCH.operation(operation)?.check(body) {
        return Some(Err(error));
    }
    Some(match operation {
        "DeleteAlarms" => alarms::delete(body, state),
        "DescribeAlarmHistory" => alarms::history(body, state),
        "DescribeAlarms" => alarms::describe(body, state),
        "DisableAlarmActions" => alarms::switch_actions(body, state, false),
        "EnableAlarmActions" => alarms::switch_actions(body, state, true),
        "GetMetricData" => read::data(body, state),
        "GetMetricStatistics" => read::statistics(body, state),
        "ListMetrics" => read::list(body, state, context),
        "ListTagsForResource" => alarms::tags(body, state),
        "PutCompositeAlarm" => put_composite::put(body, state, context),
        "PutMetricAlarm" => put_alarm::put(body, state, context),
        "PutMetricData" => put_data::put(body, state, context),
        "SetAlarmState" => alarms::set_state(body, state, context),
        _ => return None,
    })
}

/// An answer of the JSON 1.0 protocol. Errors say their code of the Query protocol in a header, too.
pub(super) fn json_answer(outcome: &Result<Value, ApiError>) -> wire::Answer {
    const TYPE: &str = "application/x-amz-json-1.0";
    match outcome {
        Ok(Value::Null) => wire::answer(200, TYPE, "{}"),
        Ok(value) => wire::answer(200, TYPE, without_nulls(value).to_string()),
        Err(error) => {
            let body = wire::error_body(Some(&CLOUDWATCH), error);
            with_query_code(wire::answer(error.status, TYPE, body.to_string()), error)
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    let mut value = value.clone();
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, member| !member.is_null());
    }
    value
}

/// Answers one call of the Query protocol with a status and an XML text; None if the action is not known.
pub(crate) fn query(
    parameters: &BTreeMap<String, String>,
    state: &mut CloudWatchState,
    context: &Context,
) -> Option<(u16, String)> {
    let operation = CLOUDWATCH.operation(parameters.get("Action")?)?;
    let outcome = query::decode(parameters, operation)
        .and_then(|body| {
            call(operation.name, &body, state, context).unwrap_or_else(|| Err(unknown(operation.name)))
        })
        .map_err(|error| ApiError { code: query_code(error.code), ..error });
    Some(query::answer(operation, &outcome))
}

/// The operation of a request of the Smithy RPC v2 CBOR protocol, if it is one of CloudWatch.
pub(super) fn cbor_operation(parts: &Parts) -> Option<&str> {
    parts.uri.path().strip_prefix("/service/")?.strip_prefix(CLOUDWATCH.target())?.strip_prefix("/operation/")
}

/// Reads the members of a request of the Smithy RPC v2 CBOR protocol.
///
/// # Errors
/// `SerializationException`.
pub(super) fn cbor_members(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    cbor::decode(body)
}

/// An answer of the Smithy RPC v2 CBOR protocol.
pub(super) fn cbor_answer(operation: &str, outcome: &Result<Value, ApiError>) -> wire::Answer {
    const TYPE: &str = "application/cbor";
    let output = CLOUDWATCH.operation(operation).and_then(Operation::output);
    let mut answer = match outcome {
        Ok(Value::Null) => wire::answer(200, TYPE, cbor::encode(&json!({}), output)),
        Ok(value) => wire::answer(200, TYPE, cbor::encode(value, output)),
        Err(error) => {
            let body = wire::error_body(Some(&CLOUDWATCH), error);
            with_query_code(wire::answer(error.status, TYPE, cbor::encode(&body, None)), error)
        }
    };
    answer.headers_mut().insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    answer
}

fn with_query_code(mut answer: wire::Answer, error: &ApiError) -> wire::Answer {
    let side = if error.status < 500 { "Sender" } else { "Receiver" };
    let both = format!("{};{side}", query_code(error.code));
    if let Ok(value) = HeaderValue::try_from(both) {
        answer.headers_mut().insert("x-amzn-query-error", value);
    }
    answer
}

/// The code of an error in the Query protocol, which clients of the other two are told as well (the model's
/// trait `awsQueryCompatible`): older scripts look for it.
fn query_code(code: &'static str) -> &'static str {
    CLOUDWATCH.query_code(code).unwrap_or(match code {
        // Of every service, so in no model.
        "ValidationException" => "ValidationError",
        "SerializationException" => "MalformedInput",
        "UnknownOperationException" => "InvalidAction",
        other => other,
    })
}

fn unknown(operation: &str) -> ApiError {
    ApiError::new("UnknownOperationException", format!("there is no operation {operation:?} here"))
}

/// Refuses a list that is longer than the service's guide allows, where its model says nothing.
fn at_most(most: usize, member: &str, count: usize) -> Result<(), ApiError> {
    match count > most {
        true => Err(Violation::new(member, format!("{count} items"), Rule::MaxLength(most)).into()),
        false => Ok(()),
    }
}

/// A number of seconds or of periods. The model has no upper end for them.
fn whole(members: Members<'_>, member: &str) -> Result<Option<u32>, ApiError> {
    let fits = |number: i64| {
        let rule = Rule::MaxValue(i64::from(u32::MAX));
        u32::try_from(number).map_err(|_| Violation::new(member, number, rule).into())
    };
    members.number(member).map(fits).transpose()
}

/// The member `Dimensions`: names and values.
fn dimensions<'a>(members: Members<'a>) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    members.each("Dimensions").map(|dimension| (dimension.required("Name"), dimension.required("Value")))
}
