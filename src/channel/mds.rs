//! The long poll of the message delivery service (`ec2messages`): the fallback channel.
//!
//! Source: amazon-ssm-agent `agent/runcommand/mds/service.go`, `mdsinteractor.go`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::link::{Link, Polling};
use super::outbox::Outbox;
use super::reply::Reply;
use super::{Inbox, Origin};
use crate::aws::AwsError;
use crate::aws::backoff::{Backoff, jitter};
use crate::aws::endpoint::Service;
use crate::identity::token::Identity;
use ssm_wire::job::{Delivery, JobId, Topic, Verdict};

/// A poll that got no answer within this time was an empty one.
const POLL_TIMEOUT: Duration = Duration::from_secs(20);
/// A poll that came back sooner than [`QUICK`] is followed by a pause, so that a service which does not hold
/// the poll is not asked in a loop.
const QUICK: Duration = Duration::from_secs(1);
const QUICK_PAUSE: Duration = Duration::from_secs(2);
const QUICK_JITTER: Duration = Duration::from_millis(500);
/// When a job is acknowledged, each after the one before; then once in each turn of the poll.
const ACKNOWLEDGE_AFTER: [Duration; 3] = [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(2)];
/// A message that we do not acknowledge within this time is offered again.
const VISIBILITY_SECONDS: u32 = 10;

/// The long poll of one instance.
#[derive(Debug)]
pub struct Poll {
    /// Signs the calls.
    pub identity: Rc<Identity>,
    /// Says when to poll.
    pub link: Rc<Link>,
    /// Jobs that were taken and whose acknowledgement has had no answer yet.
    unacknowledged: RefCell<Vec<JobId>>,
    /// Jobs whose first reply the service has taken, until their acknowledgement is answered.
    begun: RefCell<HashSet<JobId>>,
}

/// An answer's messages, each as it came: one that is odd must not take the others with it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Messages {
    messages: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    message_id: String,
    payload: Option<String>,
    topic: Option<String>,
}

impl Poll {
    /// The long poll of `identity`, while `link` wants it.
    pub fn new(identity: Rc<Identity>, link: Rc<Link>) -> Poll {
        Poll { identity, link, unacknowledged: RefCell::default(), begun: RefCell::default() }
    }

    /// Polls while the link wants it, for ever.
    pub async fn run(&self, inbox: &dyn Inbox, outbox: &Outbox) {
        let mut enabled = self.link.polling();
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            self.acknowledge_again(inbox).await;
            let polling = *enabled.borrow_and_update();
            match polling {
                Polling::Off => {
                    let waiting = !self.unacknowledged.borrow().is_empty();
                    tokio::select! {
                        changed = enabled.changed() => if changed.is_err() { return },
                        () = tokio::time::sleep(QUICK_PAUSE), if waiting => {}
                    }
                    continue;
                }
                Polling::Until(end) if Instant::now() >= end => {
                    tracing::info!("the control channel serves, long poll stopped");
                    self.link.polling_ended();
                    continue;
                }
                Polling::On | Polling::Until(_) => {}
            }
            let began = Instant::now();
            match self.receive().await {
                Ok(messages) => {
                    backoff.reset();
                    let none = messages.is_empty();
                    for message in messages {
                        self.handle(message, inbox, outbox).await;
                    }
                    if none && began.elapsed() < QUICK {
                        tokio::time::sleep(QUICK_PAUSE + jitter(QUICK_JITTER)).await;
                    }
                }
                Err(error) => {
                    let delay = QUICK_PAUSE + backoff.next_delay();
                    tracing::warn!(%error, next_s = delay.as_secs_f32(), "long poll failed");
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    async fn receive(&self) -> Result<Vec<Value>, AwsError> {
        let began = Instant::now();
        let body = json!({
            "Destination": self.identity.instance_id(),
            "MessagesRequestId": Uuid::new_v4().to_string(),
            "VisibilityTimeoutInSeconds": VISIBILITY_SECONDS,
        });
        match self.identity.call(POLL_TIMEOUT, Service::Ec2Messages, "GetMessages", &body).await {
            Ok(answer) => {
                let messages = serde_json::from_value::<Messages>(answer);
                messages.map(|answer| answer.messages.unwrap_or_default()).map_err(|error| {
                    AwsError::Unexpected { operation: "GetMessages".into(), reason: error.to_string() }
                })
            }
            Err(AwsError::Unreachable { .. }) if began.elapsed() >= POLL_TIMEOUT / 2 => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn handle(&self, message: Value, inbox: &dyn Inbox, outbox: &Outbox) {
        let named = message.get("MessageId").and_then(Value::as_str).unwrap_or_default().to_owned();
        let refuse = async |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, message = named, "refusing a message");
            if !named.is_empty() {
                self.fail(&named).await;
            }
        };
        let Message { message_id, payload, topic: topic_text } = match serde_json::from_value(message) {
            Ok(message) => message,
            Err(error) => return refuse(&error).await,
        };
        let id = match JobId::try_from(message_id) {
            Ok(id) => id,
            Err(error) => return refuse(&error).await,
        };
        let topic_text = topic_text.unwrap_or_default();
        let Some(topic) = Topic::of(&topic_text) else {
            return refuse(&format_args!("topic {topic_text:?} is not known")).await;
        };
        let delivery = Delivery { id, topic: topic_text, content: payload.unwrap_or_default() };
        match inbox.offer(&delivery, Origin::Poll) {
            Verdict::Accepted { first } => {
                if topic == Topic::Send {
                    outbox.settled().await;
                }
                let first = Reply::new(&delivery.id, topic, first, Origin::Poll);
                match self.send_reply(&first).await {
                    Ok(()) => drop(self.begun.borrow_mut().insert(delivery.id.clone())),
                    Err(error) => tracing::warn!(job = %delivery.id, %error, "cannot send the first reply"),
                }
                self.take(&delivery.id, inbox).await;
            }
            // As the stock agent: the reply alone, no acknowledgement. It ends the command.
            Verdict::Unreadable { reply } => {
                outbox.push(Reply::new(&delivery.id, Topic::Send, reply, Origin::Poll).last());
            }
            // It may be one whose acknowledgement did not get through.
            Verdict::Duplicate => self.take(&delivery.id, inbox).await,
            // Not acknowledged, so it is offered again when there may be room.
            Verdict::Full | Verdict::Closing => {}
        }
    }

    /// Acknowledges a job, and starts it once the service knows. An acknowledgement without an answer is repeated: the
    /// service may have it, and would then wait for a job that nobody runs. Only a refusal means that it is not ours.
    /// One whose first reply was taken is answered even then.
    async fn take(&self, id: &JobId, inbox: &dyn Inbox) {
        for pause in ACKNOWLEDGE_AFTER {
            tokio::time::sleep(pause).await;
            if self.acknowledge(id, inbox).await {
                return;
            }
        }
        let mut unacknowledged = self.unacknowledged.borrow_mut();
        if !unacknowledged.contains(id) {
            unacknowledged.push(id.clone());
        }
    }

    /// Tries those again that could not be acknowledged.
    async fn acknowledge_again(&self, inbox: &dyn Inbox) {
        let again = self.unacknowledged.take();
        for (place, id) in again.iter().enumerate() {
            if !self.acknowledge(id, inbox).await {
                // The others have no better chance now.
                self.unacknowledged.borrow_mut().extend_from_slice(&again[place..]);
                return;
            }
        }
    }

    /// Whether it is known now what becomes of the job.
    async fn acknowledge(&self, id: &JobId, inbox: &dyn Inbox) -> bool {
        let (limit, body) = (http_client::CALL_TIMEOUT, json!({"MessageId": id.as_str()}));
        match self.identity.send(limit, Service::Ec2Messages, "AcknowledgeMessage", &body).await {
            Ok(()) => {
                self.begun.borrow_mut().remove(id);
                inbox.start(id);
            }
            Err(error) if error.is_transient() || self.is_refused_for_its_credentials(&error) => {
                tracing::warn!(job = %id, %error, "cannot acknowledge a job, trying again");
                return false;
            }
            // To the service it is in progress, and may not be offered again.
            Err(error) if self.begun.borrow_mut().remove(id) => {
                tracing::warn!(job = %id, %error, "the service does not give us this job, answering that it failed");
                inbox.refuse(
                    id,
                    &format!("the service took the first reply and refused the acknowledgement: {error}"),
                );
            }
            Err(error) => {
                tracing::warn!(job = %id, %error, "the service does not give us this job, leaving it to its next offer");
                inbox.withdraw(id);
            }
        }
        true
    }

    /// New credentials are under way then, and the job is still ours.
    fn is_refused_for_its_credentials(&self, error: &AwsError) -> bool {
        self.identity.is_refusal(error.code())
    }

    async fn fail(&self, message_id: &str) {
        let body = json!({"MessageId": message_id, "FailureType": "InternalHandlerException"});
        let limit = http_client::CALL_TIMEOUT;
        if let Err(error) = self.identity.send(limit, Service::Ec2Messages, "FailMessage", &body).await {
            tracing::warn!(message_id, %error, "cannot refuse a message");
        }
    }

    /// Sends one reply. The long poll's replies say in addition whether the control channel could be opened.
    ///
    /// # Errors
    /// The service's; the reply is not lost, the outbox tries again.
    pub async fn send_reply(&self, reply: &Reply) -> Result<(), AwsError> {
        let mut payload: Value = serde_json::from_str(&reply.content).unwrap_or_default();
        if let Some(info) = payload.get_mut("additionalInfo").and_then(Value::as_object_mut) {
            info.insert("ableToOpenMGSConnection".to_owned(), self.link.gateway_is_open().into());
        }
        let body = json!({
            "MessageId": reply.job.as_str(),
            "Payload": payload.to_string(),
            "ReplyId": reply.id.to_string(),
        });
        self.identity.send(http_client::CALL_TIMEOUT, Service::Ec2Messages, "SendReply", &body).await
    }
}

/// Reads bytes as the answer to a long poll.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<Messages>(bytes) else { return };
    for message in answer.messages.unwrap_or_default() {
        let Ok(Message { message_id, payload, topic }) = serde_json::from_value(message) else { continue };
        let Ok(id) = JobId::try_from(message_id) else { continue };
        let (topic, content) = (topic.unwrap_or_default(), payload.unwrap_or_default());
        let _ = ssm_wire::job::Job::parse(&Delivery { id, topic, content });
    }
}
