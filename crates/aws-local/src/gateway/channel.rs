//! One open control channel: jobs out, acknowledgements and replies in.

use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use uuid::Uuid;

use super::links::Order;
use super::{FRAME_TIMEOUT, Socket, close};
use crate::delivery;
use crate::shared::Shared;
use crate::ssm::state::{Ack, Offer, Reply, Topic};
use crate::wire::epoch_ms;
use ssm_wire::frame::Frame;

/// We ping after this much silence; stock agents ping every 54 s on their own.
const PING_AFTER: Duration = Duration::from_secs(60);
/// A connection without any sign of life is over.
const DEAD_AFTER: Duration = Duration::from_secs(180);
/// Messages put on a channel in one go.
const BATCH: usize = 100;

/// One open control channel.
pub(super) struct Channel<'a> {
    pub(super) shared: &'a Shared,
    pub(super) instance: &'a str,
    pub(super) socket: Socket,
}

impl Channel<'_> {
    /// Serves it to its end; says in words what that was.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> String {
        match self.serve(&mut orders).await {
            Ok(reason) => {
                close(&mut self.socket, CloseCode::Away, reason).await;
                reason.to_owned()
            }
            Err(why) => why.to_string(),
        }
    }

    /// Ok: we close it, and why. Err: it is broken already, or is to be cut.
    async fn serve(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Result<&'static str, tungstenite::Error> {
        let mut changes = self.shared.changes();
        let mut heard = Instant::now();
        let mut ping_at = heard + PING_AFTER;
        loop {
            if !self.shared.read_of(self.instance, |state| state.ssm.instances.contains_key(self.instance)) {
                return Ok("the instance is deregistered");
            }
            self.deliver().await?;
            let due = self.shared.read_of(self.instance, |state| state.ssm.next_due(self.instance));
            let due = due.and_then(|due| due.duration_since(SystemTime::now()).ok());
            tokio::select! {
                message = self.socket.next() => {
                    let Some(message) = message else { return Err(tungstenite::Error::ConnectionClosed) };
                    heard = Instant::now();
                    ping_at = heard + PING_AFTER;
                    self.receive(message?).await?;
                }
                order = orders.recv() => match order {
                    None => return Ok("replaced by a newer connection"),
                    Some(Order::Drop) => return Err(std::io::Error::other("cut on request").into()),
                    Some(Order::Binary(bytes)) => self.send(Message::Binary(bytes.into())).await?,
                    Some(Order::Text(text)) => self.send(Message::Text(text.into())).await?,
                },
                _ = changes.changed() => {}
                () = tokio::time::sleep(due.unwrap_or(Duration::MAX)), if due.is_some() => {}
                () = tokio::time::sleep_until(heard + DEAD_AFTER) => return Ok("no sign of life"),
                () = tokio::time::sleep_until(ping_at) => {
                    ping_at += PING_AFTER;
                    self.send(Message::Ping("taskfault-local".into())).await?;
                }
                () = self.shared.stopped() => return Ok("the server stops"),
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        let stuck = || tungstenite::Error::Io(std::io::ErrorKind::TimedOut.into());
        timeout(FRAME_TIMEOUT, self.socket.send(message)).await.map_err(|_| stuck())?
    }

    async fn send_frame(&mut self, kind: &str, payload: &Value) -> Result<(), tungstenite::Error> {
        let now = epoch_ms(SystemTime::now());
        match Frame::new(kind, Uuid::new_v4(), now, payload.to_string().into_bytes()).encode() {
            Ok(bytes) => self.send(Message::Binary(bytes.into())).await,
            Err(error) => {
                self.log(&format!("> {kind}"), error);
                Ok(())
            }
        }
    }

    /// Puts everything that is due on the wire.
    async fn deliver(&mut self) -> Result<(), tungstenite::Error> {
        let switches = self.shared.switches();
        let hold = Duration::from_secs(switches.redelivery_seconds.max(1));
        let offers = self
            .shared
            .read_of(self.instance, |state| state.ssm.offers(self.instance, BATCH, hold, SystemTime::now()));
        for offer in offers {
            let copies = if switches.duplicate_jobs { 2 } else { 1 };
            for _ in 0..copies {
                self.send_frame("agent_job", &job_payload(&offer)).await?;
            }
            let outcome =
                if offer.attempt > 1 { format!("delivery {}", offer.attempt) } else { "sent".into() };
            self.log(&format!("> agent_job {}", offer.job_id), outcome);
        }
        Ok(())
    }

    /// Takes one message in. What is not a frame is logged and dropped, as agents do on their side.
    async fn receive(&mut self, message: Message) -> Result<(), tungstenite::Error> {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => {
                self.log("< text frame", format!("dropped, {} bytes", text.len()));
                return Ok(());
            }
            // Answered by the websocket itself.
            _ => return Ok(()),
        };
        let frame = match Frame::decode(&bytes) {
            Ok(frame) => frame,
            Err(error) => {
                self.log("< bad frame", format!("dropped: {error}"));
                return Ok(());
            }
        };
        let payload: Value = match serde_json::from_slice(&frame.payload) {
            Ok(payload) => payload,
            Err(error) => {
                self.log(&format!("< {}", frame.message_type), format!("dropped: payload: {error}"));
                return Ok(());
            }
        };
        match frame.message_type.as_str() {
            "agent_job_ack" => self.job_ack(&payload),
            "agent_job_reply" => self.job_reply(&payload, frame.id).await?,
            other => self.log(&format!("< {other}"), "ignored"),
        }
        Ok(())
    }

    /// `agent_job_ack`: the code is a string on the wire.
    fn job_ack(&self, payload: &Value) {
        let (job, code) = (payload["jobId"].as_str().unwrap_or_default(), &payload["statusCode"]);
        let what = format!("< agent_job_ack {job}");
        let Some(code) = code.as_str().filter(|_| self.owns(job)) else {
            return self.log(&what, "dropped: no status code, or a job of another instance");
        };
        let switches = self.shared.switches();
        if switches.withhold_delivery_acks {
            return self.log(&what, format!("{code}, overlooked (switch)"));
        }
        let later = Duration::from_secs(switches.redelivery_seconds);
        let ack = self
            .shared
            .update_of(self.instance, |state| state.ssm.acknowledge(job, code, later, SystemTime::now()));
        let meaning = match ack {
            Ack::Accepted => "accepted",
            Ack::Later => "will be sent again",
            Ack::Refused => "failed",
            Ack::Unknown => "nothing waits for it",
        };
        self.log(&what, format!("{code}, {meaning}"));
    }

    /// `agent_job_reply`: taken in, then acknowledged by its frame's id; a repeated one just as well.
    async fn job_reply(&mut self, payload: &Value, id: Uuid) -> Result<(), tungstenite::Error> {
        let job = payload["jobId"].as_str().unwrap_or_default();
        let content = serde_json::from_str::<Reply>(payload["content"].as_str().unwrap_or_default());
        match content {
            Ok(reply) if self.owns(job) => delivery::take_reply(self.shared, self.instance, job, &reply),
            Ok(_) => self.log(&format!("< reply {job}"), "ignored: not a job of this instance"),
            Err(error) => {
                self.log(&format!("< reply {job}"), format!("dropped: content: {error}"));
                return Ok(());
            }
        }
        if self.shared.switches().withhold_reply_acks {
            self.log(&format!("> reply_ack {job}"), "withheld (switch)");
            return Ok(());
        }
        // What is acknowledged survives a kill; without an acknowledgement it comes again.
        if let Err(error) = self.shared.save() {
            self.log(&format!("> reply_ack {job}"), format!("withheld: {error}"));
            return Ok(());
        }
        let ack = json!({ "jobId": job, "acknowledgedMessageId": id.to_string() });
        self.send_frame("agent_job_reply_ack", &ack).await
    }

    fn owns(&self, job: &str) -> bool {
        job.rsplit('.').next() == Some(self.instance)
    }

    fn log(&self, what: &str, outcome: impl std::fmt::Display) {
        tracing::info!(who = self.instance, what, outcome = %outcome);
    }
}

/// Keys with these capitals (`agent/session/contracts/model.go`); topics without a region on this channel.
fn job_payload(offer: &Offer) -> Value {
    let topic = match offer.topic {
        Topic::SendCommand => "aws.ssm.sendCommand",
        Topic::CancelCommand => "aws.ssm.cancelCommand",
    };
    json!({ "Content": offer.content, "JobId": offer.job_id, "Topic": topic, "SchemaVersion": 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and topic as amazon-ssm-agent reads them (`agent/session/contracts/model.go`).
    #[test]
    fn a_job_has_the_keys_that_agents_read() {
        let offer = |topic| Offer {
            job_id: "aws.ssm.1.mi-1".to_owned(),
            topic,
            content: "{\"a\":1}".to_owned(),
            created: SystemTime::UNIX_EPOCH,
            attempt: 1,
        };
        assert_eq!(
            job_payload(&offer(Topic::SendCommand)).to_string(),
            r#"{"Content":"{\"a\":1}","JobId":"aws.ssm.1.mi-1","SchemaVersion":1,"Topic":"aws.ssm.sendCommand"}"#
        );
        assert_eq!(job_payload(&offer(Topic::CancelCommand))["Topic"], "aws.ssm.cancelCommand");
    }
}
