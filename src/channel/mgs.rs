//! The control channel: a websocket to the message gateway service (`ssmmessages`).
//!
//! A token by POST, the upgrade, one text frame that opens the channel, then binary [`Frame`]s both ways.
//! Source: amazon-ssm-agent `agent/session/{service,communicator,controlchannel}`.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Uri, header};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use uuid::Uuid;

use super::link::Link;
use super::outbox::Outbox;
use super::reply::Reply;
use super::{Inbox, Origin};
use crate::aws::backoff::{Backoff, jitter};
use crate::aws::clock::{Clock, is_refusal};
use crate::aws::endpoint::Service;
use crate::aws::json::USER_AGENT;
use crate::aws::sign::sign_v4;
use crate::identity::token::Identity;
use http_client::{CALL_TIMEOUT, Client, Connection, chain, host_of};
use ssm_wire::frame::{Frame, MAX_FRAME_BYTES, digest_matches};
use ssm_wire::job::{AckCode, Delivery, JobId, Topic, Verdict};

/// The version of the stock agent whose protocol this is; the service chooses the channel by it. Our own
/// name and version go in the user agent.
pub const ANNOUNCED_VERSION: &str = "3.3.3572.0";

/// Source for these four: amazon-ssm-agent `agent/session/config/config.go`.
const PING_EVERY: Duration = Duration::from_secs(54);
const FIRST_DEADLINE: Duration = Duration::from_secs(114);
const PONG_DEADLINE: Duration = Duration::from_secs(60);
const RECONNECT_JITTER: Duration = Duration::from_millis(2500);
/// Our own: the stock agent's pauses grow to 40 minutes, and users have sat them out.
const RETRY_BASE: Duration = Duration::from_secs(2);
const RETRY_CAP: Duration = Duration::from_secs(60);
/// A channel that has lived for so long, or has carried a message to us, serves: what closes it then is no reason to
/// wait longer each time.
const PROVEN_LIFE: Duration = Duration::from_secs(30);
/// A message that cannot be written by then means that the connection is dead.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// The control channel of one instance.
#[derive(Debug)]
pub struct Gateway {
    /// Makes the POST that asks for a token, and has the TLS settings.
    pub client: Client,
    /// `https://ssmmessages.<region>.amazonaws.com`, or what stands in its place.
    pub endpoint: Uri,
    /// What calls are signed for.
    pub region: String,
    /// Signs the calls.
    pub identity: Rc<Identity>,
    /// Takes the jobs.
    pub inbox: Rc<dyn Inbox>,
    /// Hears of replies that the service acknowledged.
    pub outbox: Rc<Outbox>,
    /// Is told when the channel opens and closes.
    pub link: Rc<Link>,
}

/// Why the channel is not open.
#[derive(Debug, thiserror::Error)]
enum GatewayError {
    #[error("CreateControlChannel was answered HTTP {status}: {body}")]
    Refused {
        status: u16,
        /// Its beginning.
        body: String,
        /// The error codes that stand in it.
        codes: Vec<String>,
    },
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable { endpoint: String, reason: String },
    #[error("{0}")]
    Protocol(String),
}

impl Gateway {
    /// Keeps the channel open, for ever.
    pub async fn run(&self) {
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
        loop {
            match self.open().await {
                Ok(socket) => {
                    let (opened, mut served) = (Instant::now(), false);
                    let reason = self.serve(socket, &mut served).await;
                    if served || opened.elapsed() >= PROVEN_LIFE {
                        backoff.reset();
                        self.link.gateway_closed();
                        tracing::warn!(reason, "control channel closed, opening it again");
                        tokio::time::sleep(jitter(RECONNECT_JITTER)).await;
                        continue;
                    }
                    // One that has carried nothing is as good as none.
                    self.link.gateway_failed();
                    let delay = RETRY_BASE / 4 + backoff.next_delay();
                    tracing::warn!(
                        reason,
                        next_s = delay.as_secs_f32(),
                        "control channel closed soon after it had opened, using the long poll meanwhile"
                    );
                    tokio::time::sleep(delay).await;
                }
                Err(error) => {
                    if let GatewayError::Refused { codes, .. } = &error {
                        codes.iter().for_each(|code| self.identity.note_refusal(code));
                    }
                    self.link.gateway_failed();
                    let delay = RETRY_BASE / 4 + backoff.next_delay();
                    tracing::warn!(
                        %error, next_s = delay.as_secs_f32(),
                        "control channel not open, using the long poll meanwhile"
                    );
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    async fn open(&self) -> Result<WebSocketStream<Connection>, GatewayError> {
        let refused = |error: &GatewayError| match error {
            GatewayError::Refused { codes, .. } => codes.iter().any(|code| is_refusal(code)),
            GatewayError::Unreachable { .. } | GatewayError::Protocol(_) => false,
        };
        let token = self.clock().corrected(async || self.create().await, refused).await?;
        let mut socket = tokio::time::timeout(CALL_TIMEOUT, self.upgrade())
            .await
            .map_err(|_| self.unreachable(format!("no upgrade within {} s", CALL_TIMEOUT.as_secs())))??;
        let opening = json!({
            "Cookie": null,
            "MessageSchemaVersion": "1.0",
            "RequestId": Uuid::new_v4().to_string(),
            "TokenValue": token,
            "AgentVersion": ANNOUNCED_VERSION,
            "PlatformType": "linux",
        });
        write(&mut socket, Message::text(opening.to_string())).await.map_err(GatewayError::Protocol)?;
        tracing::info!(endpoint = %self.endpoint, "control channel open");
        Ok(socket)
    }

    fn clock(&self) -> &Clock {
        self.identity.client().clock()
    }

    fn path(&self) -> String {
        format!("/v1/control-channel/{}", self.identity.instance_id())
    }

    fn unreachable(&self, reason: String) -> GatewayError {
        GatewayError::Unreachable { endpoint: self.endpoint.to_string(), reason }
    }

    /// The URL of the channel, for both calls: always http or https, which is what is signed.
    fn url(&self, query: &str) -> Result<Uri, GatewayError> {
        let mut parts = self.endpoint.clone().into_parts();
        let path = format!("{}{query}", self.path());
        parts.path_and_query = Some(path.parse().map_err(protocol)?);
        Uri::from_parts(parts).map_err(protocol)
    }

    fn sign<B: AsRef<[u8]>>(&self, request: &mut Request<B>) -> Result<(), GatewayError> {
        let credentials = self
            .identity
            .credentials()
            .ok_or_else(|| GatewayError::Protocol("there are no credentials yet".to_owned()))?;
        sign_v4(request, &credentials, &self.region, Service::SsmMessages.name(), self.clock().now())
            .map_err(protocol)
    }

    /// CreateControlChannel: success is 201 and nothing else; the token is in an XML body.
    async fn create(&self) -> Result<String, GatewayError> {
        let url = self.url("")?;
        let body = json!({"MessageSchemaVersion": "1.0", "RequestId": Uuid::new_v4().to_string()});
        let mut request = Request::post(&url)
            .header(header::HOST, host_of(&url))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.to_string()))
            .map_err(protocol)?;
        self.sign(&mut request)?;
        request.headers_mut().insert(header::USER_AGENT, header::HeaderValue::from_static(USER_AGENT));
        let answer = self
            .client
            .send(request.map(Full::new), CALL_TIMEOUT)
            .await
            .map_err(|error| self.unreachable(error.to_string()))?;
        self.clock().hear(answer.headers().get(header::DATE).and_then(|date| date.to_str().ok()));
        let body = String::from_utf8_lossy(answer.body());
        if answer.status() != http::StatusCode::CREATED {
            let (status, codes) = (answer.status().as_u16(), error_codes(&body));
            let body = body.chars().take(300).collect();
            return Err(GatewayError::Refused { status, body, codes });
        }
        token_of(&body)
    }

    async fn upgrade(&self) -> Result<WebSocketStream<Connection>, GatewayError> {
        let url = self.url("?role=subscribe&stream=input")?;
        let mut request =
            Request::get(&url).header(header::HOST, host_of(&url)).body(Bytes::new()).map_err(protocol)?;
        self.sign(&mut request)?;
        let headers = request.headers_mut();
        for (name, value) in [
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, &generate_key()),
            (header::USER_AGENT, USER_AGENT),
        ] {
            headers.insert(name, value.parse().map_err(protocol)?);
        }
        let stream = self.client.open(&url).await.map_err(|error| self.unreachable(error.to_string()))?;
        // One byte over the frame limit must still be read, so that the frame is refused and not the socket.
        let config = WebSocketConfig::default()
            .max_message_size(Some(2 * MAX_FRAME_BYTES))
            .max_frame_size(Some(2 * MAX_FRAME_BYTES));
        let mut request = request.map(drop);
        *request.uri_mut() = websocket_uri(url)?;
        match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, _answer)) => Ok(socket),
            Err(tungstenite::Error::Http(answer)) => {
                let status = answer.status().as_u16();
                let body = String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned();
                Err(GatewayError::Refused { status, codes: error_codes(&body), body })
            }
            Err(error) => Err(self.unreachable(chain(&error))),
        }
    }

    /// Reads and writes until the channel ends; returns why it did. `served` is set by the first message.
    async fn serve(&self, mut socket: WebSocketStream<Connection>, served: &mut bool) -> String {
        let (sender, mut outgoing) = mpsc::unbounded_channel();
        self.link.gateway_opened(sender);
        self.outbox.resend_all();
        let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut deadline = Instant::now() + FIRST_DEADLINE;
        loop {
            let written = tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => { *served |= self.handle(&bytes).await; Ok(()) }
                    Some(Ok(Message::Text(text))) => { *served |= self.handle(text.as_bytes()).await; Ok(()) }
                    Some(Ok(Message::Pong(_))) => { deadline = Instant::now() + PONG_DEADLINE; Ok(()) }
                    Some(Ok(Message::Close(_))) | None => return "closed by the service".to_owned(),
                    Some(Ok(_)) => Ok(()),
                    Some(Err(error)) => return chain(&error),
                },
                Some(message) = outgoing.recv() => write(&mut socket, message).await,
                _ = ping.tick() => write(&mut socket, Message::Ping(Bytes::from_static(b"keepalive"))).await,
                () = tokio::time::sleep_until(deadline) => {
                    return "the service does not answer pings".to_owned();
                }
            };
            if let Err(reason) = written {
                return reason;
            }
        }
    }

    /// One message of the service; whether it was one. A bad one is logged and dropped; the channel stays open.
    async fn handle(&self, bytes: &[u8]) -> bool {
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::warn!(%error, bytes = bytes.len(), "dropping a message that is no frame");
                return false;
            }
        };
        if !digest_matches(bytes, &frame) {
            tracing::warn!(message = %frame.id, "a message does not match its SHA-256; reading it all the same");
        }
        match frame.message_type.as_str() {
            "agent_job" => self.handle_job(&frame).await,
            "agent_job_reply_ack" => match serde_json::from_slice::<ReplyAck>(&frame.payload) {
                Ok(ack) => self.outbox.acknowledged(ack.acknowledged_message_id),
                Err(error) => tracing::warn!(%error, "dropping a reply acknowledgement that cannot be read"),
            },
            other => tracing::debug!(message_type = other, "dropping a message of a kind that is not ours"),
        }
        true
    }

    async fn handle_job(&self, frame: &Frame) {
        let payload = match serde_json::from_slice::<AgentJob>(&frame.payload) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::warn!(%error, "refusing a job that cannot be read");
                return self.acknowledge(frame, "", AckCode::AgentJobMessageParseError);
            }
        };
        let id = match JobId::try_from(payload.job_id.clone()) {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(%error, "refusing a job");
                return self.acknowledge(frame, &payload.job_id, AckCode::AgentJobMessageParseError);
            }
        };
        let topic = Topic::of(&payload.topic).unwrap_or(Topic::Send);
        let delivery = Delivery { id, topic: payload.topic, content: payload.content };
        let verdict = self.inbox.offer(&delivery, Origin::Gateway);
        if topic == Topic::Send {
            self.outbox.settled().await;
        }
        self.acknowledge(frame, delivery.id.as_str(), AckCode::from(&verdict));
        match verdict {
            Verdict::Accepted { first } => {
                // Sent once and not kept, as the stock agent does: the step replies contain more.
                let reply = Reply::new(&delivery.id, topic, first, Origin::Gateway);
                self.link.send_frame(&reply.frame(super::now_ms()));
                self.inbox.start(&delivery.id);
            }
            Verdict::Unreadable { reply } => {
                self.outbox.push(Reply::new(&delivery.id, Topic::Send, reply, Origin::Gateway).last());
            }
            Verdict::Duplicate | Verdict::Full | Verdict::Closing => {}
        }
    }

    fn acknowledge(&self, frame: &Frame, job: &str, code: AckCode) {
        let payload = json!({
            "jobId": job,
            "acknowledgedMessageId": frame.id.to_string(),
            "createdDate": ssm_wire::report::reply::iso8601_of_ms(frame.created_ms),
            "statusCode": code.code(),
            "errorMessage": code.name(),
        });
        let ack =
            Frame::new("agent_job_ack", Uuid::new_v4(), super::now_ms(), payload.to_string().into_bytes());
        self.link.send_frame(&ack);
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentJob {
    content: String,
    job_id: String,
    topic: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReplyAck {
    acknowledged_message_id: Uuid,
}

async fn write(socket: &mut WebSocketStream<Connection>, message: Message) -> Result<(), String> {
    match tokio::time::timeout(WRITE_TIMEOUT, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("nothing could be written for {} s", WRITE_TIMEOUT.as_secs())),
    }
}

/// The same URL with the websocket's scheme, which is all that differs from the signed one.
fn websocket_uri(url: Uri) -> Result<Uri, GatewayError> {
    let secure = url.scheme_str() == Some("https");
    let mut parts = url.into_parts();
    parts.scheme = Some(if secure { "wss" } else { "ws" }.parse().map_err(protocol)?);
    Uri::from_parts(parts).map_err(protocol)
}

fn protocol(error: impl std::error::Error) -> GatewayError {
    GatewayError::Protocol(chain(&error))
}

/// The longest answer that is parsed, in bytes: a token has less than two thousand. A parsed document takes up to
/// thirteen times as much memory.
const MOST_XML: usize = 64 * 1024;

/// The `TokenValue` of CreateControlChannel's answer, under whatever root element and namespace.
fn token_of(xml: &str) -> Result<String, GatewayError> {
    if xml.len() > MOST_XML {
        let why = format!(
            "CreateControlChannel's answer has {} bytes, of which {MOST_XML} are read at most",
            xml.len()
        );
        return Err(GatewayError::Protocol(why));
    }
    let document = roxmltree::Document::parse(xml).map_err(protocol)?;
    document
        .descendants()
        .find(|node| node.tag_name().name() == "TokenValue")
        .and_then(|node| node.text())
        .map(|text| text.trim().to_owned())
        .filter(|token| !token.is_empty())
        .ok_or_else(|| GatewayError::Protocol("CreateControlChannel's answer has no TokenValue".to_owned()))
}

/// What may be an error code in the body of a refusal. How AWS writes it here is known from the stock agent alone, which
/// searches for the element `<AccessDeniedException>`: so the names of all elements count, and the text of a `Code` or a
/// JSON `__type`.
fn error_codes(body: &str) -> Vec<String> {
    if body.len() > MOST_XML {
        return Vec::new();
    }
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(body) {
        let texts = ["__type", "code", "Code"].into_iter().filter_map(|name| json.get(name)?.as_str());
        return texts.filter_map(|text| text.rsplit('#').next()).map(str::to_owned).collect();
    }
    let Ok(document) = roxmltree::Document::parse(body) else { return Vec::new() };
    let elements = document.descendants().filter(roxmltree::Node::is_element);
    let codes = elements.flat_map(|node| {
        let name = node.tag_name().name();
        let text = node.text().filter(|_| name == "Code").map(str::trim);
        [Some(name), text].into_iter().flatten().map(str::to_owned)
    });
    codes.collect()
}

/// Reads bytes as everything that comes over the control channel, or in the answer that opens it.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = token_of(&text);
    let _ = error_codes(&text);
    let _ = serde_json::from_slice::<ReplyAck>(bytes);
    if let Ok(AgentJob { content, job_id, topic }) = serde_json::from_slice(bytes)
        && let Ok(id) = JobId::try_from(job_id)
    {
        let _ = ssm_wire::job::Job::parse(&Delivery { id, topic, content });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_a_refusal_are_found_in_any_form() {
        for body in [
            "<ExpiredTokenException><Message>no</Message></ExpiredTokenException>",
            "<ErrorResponse xmlns=\"urn:x\"><Error><Code>ExpiredTokenException</Code></Error></ErrorResponse>",
            "{\"__type\":\"com.amazon#ExpiredTokenException\",\"message\":\"no\"}",
        ] {
            assert!(error_codes(body).iter().any(|code| code == "ExpiredTokenException"), "{body}");
        }
        for body in ["", "ExpiredTokenException", "<Message>ExpiredTokenException</Message>", "[]"] {
            assert!(!error_codes(body).iter().any(|code| code == "ExpiredTokenException"), "{body}");
        }
    }

    #[test]
    fn the_token_is_found_under_any_root() {
        for xml in [
            "<CreateControlChannelResponse xmlns=\"urn:x\"><TokenValue>T+/=</TokenValue>\
             <MessageSchemaVersion>1.0</MessageSchemaVersion></CreateControlChannelResponse>",
            "<a:R xmlns:a=\"urn:y\"><a:TokenValue>\n T+/= </a:TokenValue></a:R>",
        ] {
            assert_eq!(token_of(xml).unwrap(), "T+/=");
        }
        for xml in ["", "{}", "<R/>", "<R><TokenValue/></R>"] {
            assert!(token_of(xml).is_err(), "{xml}");
        }
        let long = format!("<R>{}<TokenValue>T</TokenValue></R>", "<a/>".repeat(MOST_XML / 4));
        let said = token_of(&long).unwrap_err().to_string();
        assert!(said.contains("of which 65536 are read at most"), "{said}");
        assert_eq!(error_codes(&long), [""; 0]);
    }
}
