//! The Message Delivery Service (`ec2messages`): the long poll, the channel of agents that cannot have a
//! websocket. Shapes from amazon-ssm-agent `agent/runcommand/mds/service.go` and its bundled `ssmmds` model.

use std::time::{Duration, SystemTime};

use http::request::Parts;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::caller;
use super::error::ApiError;
use super::shared::Shared;
use super::signature::header;
use super::wire::{date_text, object, sha256_hex, text};
use crate::ssm::state::{Offer, Reply, Topic};

/// Messages of one poll.
const POLL_MESSAGES: usize = 10;

/// Performs one operation; `who` becomes the instance as soon as it is known.
///
/// # Errors
/// The caller's credentials are not right, a member is missing, or the operation does not exist.
pub(super) async fn call(
    shared: &Shared,
    operation: &str,
    parts: &Parts,
    raw: &[u8],
    who: &mut String,
) -> Result<Value, ApiError> {
    let body = object(raw)?;
    *who = caller::instance(shared, parts, raw, "ec2messages")?;
    match operation {
        "GetMessages" => {
            caller::same(who, text(&body, "Destination")?)?;
            get_messages(shared, who, &body).await
        }
        "GetEndpoint" => {
            caller::same(who, text(&body, "Destination")?)?;
            // By the way the caller came: a task on the stage does not reach the address outside of it.
            let host = header(parts, "host").map_or_else(|| shared.address.to_string(), str::to_owned);
            Ok(json!({ "Endpoint": format!("http://{host}") }))
        }
        "AcknowledgeMessage" | "DeleteMessage" => {
            acknowledge(shared, own_message(who, &body)?, "200");
            Ok(json!({}))
        }
        "FailMessage" => {
            acknowledge(shared, own_message(who, &body)?, text(&body, "FailureType")?);
            Ok(json!({}))
        }
        "SendReply" => send_reply(shared, who, &body),
        _ => Err(ApiError::new("UnknownOperationException", format!("there is no operation {operation:?}"))),
    }
}

/// The message a call is about, if it is one of the caller's.
fn own_message<'a>(who: &str, body: &'a Map<String, Value>) -> Result<&'a str, ApiError> {
    let message = text(body, "MessageId")?;
    caller::same(who, instance_of(message))?;
    Ok(message)
}

/// Job ids end with their instance's.
fn instance_of(job: &str) -> &str {
    job.rsplit('.').next().unwrap_or_default()
}

fn acknowledge(shared: &Shared, job: &str, code: &str) {
    let switches = shared.switches();
    if !switches.withhold_delivery_acks {
        let later = Duration::from_secs(switches.redelivery_seconds);
        shared
            .update_of(instance_of(job), |state| state.ssm.acknowledge(job, code, later, SystemTime::now()));
    }
}

/// Waits until something is due, the poll is over, or the server stops. While the instance has a control
/// channel everything goes over that.
async fn get_messages(shared: &Shared, who: &str, body: &Map<String, Value>) -> Result<Value, ApiError> {
    let visibility = body.get("VisibilityTimeoutInSeconds").and_then(Value::as_u64).unwrap_or(10);
    let visibility = Duration::from_secs(visibility.clamp(1, 3600));
    let end = Instant::now() + Duration::from_secs(shared.switches().poll_seconds);
    let mut changes = shared.changes();
    let messages = loop {
        let offers = match shared.links.open(who) {
            true => Vec::new(),
            false => shared
                .read_of(who, |state| state.ssm.offers(who, POLL_MESSAGES, visibility, SystemTime::now())),
        };
        if !offers.is_empty() {
            break offers;
        }
        let due = shared
            .read_of(who, |state| state.ssm.next_due(who))
            .and_then(|due| due.duration_since(SystemTime::now()).ok());
        tokio::select! {
            _ = tokio::time::sleep_until(end) => break offers,
            () = shared.stopped() => break offers,
            _ = changes.changed() => {}
            () = tokio::time::sleep(due.unwrap_or(Duration::MAX)), if due.is_some() => {}
        }
    };
    let twice = if shared.switches().duplicate_jobs { 2 } else { 1 };
    let items: Vec<Value> = messages
        .iter()
        .flat_map(|offer| std::iter::repeat_n(offer, twice))
        .map(|offer| item(shared, who, offer))
        .collect();
    Ok(json!({
        "Destination": who,
        "MessagesRequestId": body.get("MessagesRequestId").cloned().unwrap_or_default(),
        "Messages": items,
    }))
}

fn item(shared: &Shared, who: &str, offer: &Offer) -> Value {
    let again = if offer.attempt > 1 { format!(", delivery {}", offer.attempt) } else { String::new() };
    tracing::info!(who, what = format!("> message {}", offer.job_id), outcome = format!("offered{again}"));
    let topic = match offer.topic {
        Topic::SendCommand => "aws.ssm.sendCommand",
        Topic::CancelCommand => "aws.ssm.cancelCommand",
    };
    let region = shared.regions(|regions| regions.of_instance(who).replace('-', "."));
    json!({
        "CreatedDate": date_text(offer.created),
        "Destination": who,
        "MessageId": offer.job_id,
        "Payload": offer.content,
        "PayloadDigest": sha256_hex(offer.content.as_bytes()),
        // The long poll carries regional topics, the control channel plain ones.
        "Topic": format!("{topic}.{region}.1"),
    })
}

/// A reply is also a sign that the agent has the message: it comes before AcknowledgeMessage.
fn send_reply(shared: &Shared, who: &str, body: &Map<String, Value>) -> Result<Value, ApiError> {
    let (message, reply_id) = (own_message(who, body)?, text(body, "ReplyId")?);
    let reply: Reply = serde_json::from_str(text(body, "Payload")?)
        .map_err(|error| ApiError::validation(format!("Payload is not a reply: {error}")))?;
    take_reply(shared, who, message, &reply);
    Ok(json!({ "Description": "", "MessageId": message, "ReplyId": reply_id, "ReplyStatus": "Success" }))
}

/// Takes a reply in, over whichever channel it came.
pub(super) fn take_reply(shared: &Shared, who: &str, job: &str, reply: &Reply) {
    acknowledge(shared, job, "200");
    let known = shared.update_of(who, |state| state.ssm.reply(job, reply, SystemTime::now()));
    let steps: Vec<&str> = reply.runtime_status.iter().flatten().map(|(name, _)| name.as_str()).collect();
    let outcome = if known { reply.document_status.as_str() } else { "noted (no command of that id)" };
    let outcome = format!("{outcome} [{}]", steps.join(", "));
    tracing::info!(who, what = format!("< reply {job}"), outcome);
}
