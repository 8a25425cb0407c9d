//! The long poll of the message delivery service (`ec2messages`): the fallback channel.
//!
//! Source: amazon-ssm-agent `agent/runcommand/mds/service.go`, `mdsinteractor.go`.

use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::link::{Link, Polling};
use super::outbox::{Outbox, Reply};
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
/// A message that we do not acknowledge within this time is offered again.
const VISIBILITY_SECONDS: u32 = 10;

/// The long poll of one instance.
#[derive(Debug)]
pub struct Poll {
    /// Signs the calls.
    pub identity: Rc<Identity>,
    /// Says when to poll.
    pub link: Rc<Link>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Messages {
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    message_id: String,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    topic: String,
}

impl Poll {
    /// Polls while the link wants it, for ever.
    pub async fn run(&self, inbox: &dyn Inbox, outbox: &Outbox) {
        let mut wanted = self.link.polling();
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        loop {
            let polling = *wanted.borrow_and_update();
            match polling {
                Polling::Off => {
                    if wanted.changed().await.is_err() {
                        return;
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

    async fn call(&self, limit: Duration, operation: &str, body: Value) -> Result<Value, AwsError> {
        self.identity.call(limit, Service::Ec2Messages, operation, &body).await
    }

    async fn receive(&self) -> Result<Vec<Message>, AwsError> {
        let began = Instant::now();
        let body = json!({
            "Destination": self.identity.instance_id(),
            "MessagesRequestId": Uuid::new_v4().to_string(),
            "VisibilityTimeoutInSeconds": VISIBILITY_SECONDS,
        });
        match self.call(POLL_TIMEOUT, "GetMessages", body).await {
            Ok(answer) => {
                serde_json::from_value::<Messages>(answer).map(|answer| answer.messages).map_err(|error| {
                    AwsError::Unexpected { operation: "GetMessages".into(), reason: error.to_string() }
                })
            }
            Err(AwsError::Unreachable { .. }) if began.elapsed() >= POLL_TIMEOUT / 2 => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn handle(&self, message: Message, inbox: &dyn Inbox, outbox: &Outbox) {
        let id = match JobId::try_from(message.message_id.clone()) {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(%error, "refusing a message");
                return self.fail(&message.message_id).await;
            }
        };
        let Some(topic) = Topic::of(&message.topic) else {
            tracing::warn!(topic = message.topic, job = %id, "refusing a message of an unknown topic");
            return self.fail(&message.message_id).await;
        };
        let delivery = Delivery { id, topic: message.topic, content: message.payload };
        match inbox.offer(&delivery, Origin::Poll) {
            Verdict::Accepted { first } => {
                let first = Reply::new(&delivery.id, topic, first, Origin::Poll);
                if let Err(error) = self.send_reply(&first).await {
                    tracing::warn!(job = %delivery.id, %error, "cannot send the first reply");
                }
                match self.acknowledge(&delivery.id).await {
                    Ok(()) => inbox.start(&delivery.id),
                    Err(error) => {
                        tracing::warn!(job = %delivery.id, %error, "cannot acknowledge, leaving the job to its next offer");
                        inbox.withdraw(&delivery.id);
                    }
                }
            }
            // As the stock agent: the reply alone, no acknowledgement. It ends the command.
            Verdict::Unreadable { reply } => {
                outbox.push(Reply::new(&delivery.id, Topic::Send, reply, Origin::Poll));
            }
            Verdict::Duplicate => {
                if let Err(error) = self.acknowledge(&delivery.id).await {
                    tracing::warn!(job = %delivery.id, %error, "cannot acknowledge a repeated job");
                }
            }
            // Not acknowledged, so it is offered again when there may be room.
            Verdict::Full | Verdict::Closing => {}
        }
    }

    async fn acknowledge(&self, id: &JobId) -> Result<(), AwsError> {
        let limit = http_client::CALL_TIMEOUT;
        self.call(limit, "AcknowledgeMessage", json!({"MessageId": id.as_str()})).await.map(drop)
    }

    async fn fail(&self, message_id: &str) {
        let body = json!({"MessageId": message_id, "FailureType": "InternalHandlerException"});
        if let Err(error) = self.call(http_client::CALL_TIMEOUT, "FailMessage", body).await {
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
        self.call(http_client::CALL_TIMEOUT, "SendReply", body).await.map(drop)
    }
}
