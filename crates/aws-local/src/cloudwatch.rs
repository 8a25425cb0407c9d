//! CloudWatch, as far as stop conditions need it: metrics, and alarms that are evaluated for real.
//!
//! One implementation over JSON values, for the three protocols that clients speak: JSON 1.0 (today's AWS CLI
//! and boto3), Query (older ones) and Smithy RPC v2 CBOR (other SDKs). Members, limits and error codes are those
//! of the service's API model (version 2010-08-01).

use std::collections::BTreeMap;
use std::time::SystemTime;

use http::HeaderValue;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Context;
use super::error::ApiError;
use super::query;
use super::shared::Shared;
use super::ssm::members::{Members, Pattern, Text};
use super::ssm::page;
use super::store::State;
use super::wire;

mod alarm;
mod alarms;
mod cbor;
mod evaluation;
mod metrics;
mod model;
mod put_alarm;
mod put_data;
mod read;
#[cfg(test)]
mod tests;

pub use alarm::{Alarm, StateChange};
pub use metrics::MetricId;
use metrics::{Sample, Series, pairs};

type Answer = Result<Value, ApiError>;

/// Alarms and the metrics they look at.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CloudWatchState {
    /// By name.
    #[serde(default)]
    pub alarms: BTreeMap<String, Alarm>,
    #[serde(default, with = "pairs")]
    metrics: BTreeMap<MetricId, Series>,
}

/// The state of an alarm (`StateValue`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlarmState {
    Ok,
    Alarm,
    InsufficientData,
}

impl AlarmState {
    const NAMES: &'static [&'static str] = &["OK", "ALARM", "INSUFFICIENT_DATA"];

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            AlarmState::Ok => "OK",
            AlarmState::Alarm => "ALARM",
            AlarmState::InsufficientData => "INSUFFICIENT_DATA",
        }
    }

    fn parse(text: &str) -> Option<AlarmState> {
        [AlarmState::Ok, AlarmState::Alarm, AlarmState::InsufficientData]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

impl CloudWatchState {
    /// The state of the alarm with this ARN; None if there is no such alarm.
    pub fn alarm_state(&self, arn: &str) -> Option<AlarmState> {
        self.alarms.values().find(|alarm| alarm.arn == arn).map(|alarm| alarm.state)
    }

    /// Puts one value of a metric of ours, at its exact time (high resolution). `unit` is a `StandardUnit`:
    /// `Count`, `Percent`, `Milliseconds`, …
    pub fn put(
        &mut self,
        namespace: &str,
        metric: &str,
        dimensions: &[(&str, &str)],
        at: SystemTime,
        value: f64,
        unit: &str,
    ) {
        let dimensions = dimensions.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let id = MetricId {
            namespace: namespace.to_owned(),
            name: metric.to_owned(),
            dimensions: dimensions.collect(),
        };
        let at = wire::epoch_ms(at);
        self.metrics.entry(id).or_default().insert(Sample::of(at, unit, value, 1.0), at);
    }
}

/// Lets time pass: evaluates alarms that are due. True if anything changed.
pub fn advance(state: &mut State, context: &Context) -> bool {
    let CloudWatchState { alarms, metrics } = &mut state.cloudwatch;
    let mut changed = false;
    for alarm in alarms.values_mut() {
        let series = metrics.get(&alarm.settings.metric);
        changed |= alarm.advance(series, context);
    }
    changed
}

/// Performs one client operation of the JSON 1.0 protocol; None if it is not one.
pub fn call(
    operation: &str,
    body: &Map<String, Value>,
    state: &mut State,
    context: &Context,
) -> Option<Result<Value, ApiError>> {
    let state = &mut state.cloudwatch;
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
            let body = json!({ "__type": error.code, "message": error.message });
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
pub fn query(
    parameters: &BTreeMap<String, String>,
    state: &mut State,
    context: &Context,
) -> Option<(u16, String)> {
    let action = parameters.get("Action")?;
    let outcome = match query::decode(parameters, model::kind) {
        Ok(body) => call(action, &body, state, context)?,
        // Whether the action is one of ours is known only by asking it.
        Err(error) => call(action, &Map::new(), &mut State::default(), context).map(|_| Err(error))?,
    };
    let outcome = outcome.map_err(|error| ApiError { code: model::query_code(error.code), ..error });
    Some(query::answer(action, model::NAMESPACE, &outcome, model::kind))
}

/// The operation of a request of the Smithy RPC v2 CBOR protocol, if it is one of CloudWatch.
pub(super) fn cbor_operation(parts: &Parts) -> Option<&str> {
    parts.uri.path().strip_prefix("/service/GraniteServiceVersion20100801/operation/")
}

/// Answers one call of the Smithy RPC v2 CBOR protocol.
pub(super) fn answer_cbor(shared: &Shared, parts: &Parts, operation: &str, body: &[u8]) -> wire::Answer {
    const TYPE: &str = "application/cbor";
    let members = wire::inflated(parts, body).and_then(|body| cbor::decode(&body));
    let context = shared.context();
    let outcome = members.and_then(|members| {
        shared.change(|state| call(operation, &members, state, &context)).unwrap_or_else(|| {
            let message = format!("there is no operation {operation:?} here");
            Err(ApiError::new("UnknownOperationException", message))
        })
    });
    let line = match &outcome {
        Ok(_) => "200".to_owned(),
        Err(error) => format!("{} {error}", error.status),
    };
    shared.log.line("client", &format!("cbor {operation}"), line);
    let mut answer = match &outcome {
        Ok(Value::Null) => wire::answer(200, TYPE, cbor::encode(&json!({}))),
        Ok(value) => wire::answer(200, TYPE, cbor::encode(value)),
        Err(error) => {
            let body = json!({ "__type": error.code, "message": error.message });
            with_query_code(wire::answer(error.status, TYPE, cbor::encode(&body)), error)
        }
    };
    answer.headers_mut().insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    answer
}

fn with_query_code(mut answer: wire::Answer, error: &ApiError) -> wire::Answer {
    let side = if error.status < 500 { "Sender" } else { "Receiver" };
    let both = format!("{};{side}", model::query_code(error.code));
    if let Ok(value) = HeaderValue::try_from(both) {
        answer.headers_mut().insert("x-amzn-query-error", value);
    }
    answer
}

const ALARM_NAME: Text = Text::length(1, 255);

static NAMESPACE_PATTERN: Pattern = Pattern::new("[^:].*");
const NAMESPACE_RULE: Text = Text::length(1, 255).and(&NAMESPACE_PATTERN);

/// The member `Dimensions`: names and values.
fn dimensions<'a>(members: &mut Members<'a>, most: usize) -> Vec<(&'a str, &'a str)> {
    members.each("Dimensions", 0, most, |dimension| {
        let name = dimension.required_text("Name", Text::length(1, 255));
        (name, dimension.required_text("Value", Text::length(1, 1024)))
    })
}

/// [`page::page`] with a size as the members have it.
fn page<T>(
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    size: i64,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    page::page(items, key, usize::try_from(size).unwrap_or(1), token)
}
