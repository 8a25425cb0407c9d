//! The Message Gateway Service (`ssmmessages`): the control channel, over a websocket.
//!
//! An agent asks for a token (`POST /v1/control-channel/{instance}`, answered 201 with XML), opens a
//! websocket on the same path, and shows the token in its first frame, the only one that is text. All that
//! follows are binary [`Frame`]s. Source: amazon-ssm-agent `agent/session/service`, `…/communicator`,
//! `…/contracts`, `agent/messageservice/interactor/mgsinteractor`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{self, Message};
use uuid::Uuid;

use super::error::ApiError;
use super::server::{Hangup, Shared, lock};
use super::signature::header;
use super::store::{Ack, Offer, Reply, Topic};
use super::switches::Door;
use super::wire::{self, Answer, epoch_ms};
use super::{caller, delivery, random};
use crate::channel::frame::{Frame, MAX_FRAME_BYTES};

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// How long an agent may take to show its token, and a frame to leave.
const HURRY: Duration = Duration::from_secs(15);
/// We ping after this much silence; stock agents ping every 54 s on their own.
const PING_AFTER: Duration = Duration::from_secs(60);
/// A connection without any sign of life is over.
const DEAD_AFTER: Duration = Duration::from_secs(180);
/// A token must be shown within this time.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// Messages put on a channel in one go.
const BATCH: usize = 100;

/// The open control channels, and the tokens for those about to open.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: Mutex<BTreeMap<String, Link>>,
    tokens: Mutex<BTreeMap<String, (String, SystemTime)>>,
}

#[derive(Debug)]
struct Link {
    serial: Uuid,
    orders: mpsc::UnboundedSender<Order>,
}

/// What the rest of the server may ask of a control channel.
#[derive(Debug)]
pub(super) enum Order {
    /// Cut it, without a goodbye.
    Drop,
    /// Send these bytes as a binary message, whatever they are.
    Binary(Vec<u8>),
    /// Send this as a text message.
    Text(String),
}

impl Links {
    /// Whether an instance has its control channel open.
    pub(super) fn open(&self, instance: &str) -> bool {
        lock(&self.open).contains_key(instance)
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.open).len()
    }

    /// Cuts every channel; how many there were.
    pub(super) fn drop_all(&self) -> usize {
        let open = std::mem::take(&mut *lock(&self.open));
        open.values().filter(|link| link.orders.send(Order::Drop).is_ok()).count()
    }

    /// Hands an order to the channel of an instance; false if it has none.
    pub(super) fn order(&self, instance: &str, order: Order) -> bool {
        lock(&self.open).get(instance).is_some_and(|link| link.orders.send(order).is_ok())
    }

    /// Enters a channel. One that was open before sees its orders end, and closes.
    fn enter(&self, instance: &str) -> (Uuid, mpsc::UnboundedReceiver<Order>) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let serial = Uuid::new_v4();
        lock(&self.open).insert(instance.to_owned(), Link { serial, orders });
        (serial, receiver)
    }

    /// Strikes a channel off, unless another one has taken its place.
    fn leave(&self, instance: &str, serial: Uuid) {
        let mut open = lock(&self.open);
        if open.get(instance).is_some_and(|link| link.serial == serial) {
            open.remove(instance);
        }
    }

    fn issue_token(&self, instance: &str, now: SystemTime) -> String {
        let token = random::token();
        let mut tokens = lock(&self.tokens);
        tokens.retain(|_, (_, end)| *end > now);
        tokens.insert(token.clone(), (instance.to_owned(), now + TOKEN_LIFE));
        token
    }

    /// Whether the token is this instance's; it is good once.
    fn redeem(&self, instance: &str, token: &str, now: SystemTime) -> bool {
        let mut tokens = lock(&self.tokens);
        let good = tokens.get(token).is_some_and(|(whose, end)| whose == instance && *end > now);
        if good {
            tokens.remove(token);
        }
        good
    }
}

/// Answers a request on `/v1/control-channel/{instance}`: a token for POST, a websocket for GET.
pub(super) async fn answer(
    shared: Arc<Shared>,
    mut request: Request<Incoming>,
    instance: &str,
) -> Result<Answer, Hangup> {
    let method = request.method().clone();
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let body = wire::read_body(body).await.unwrap_or_default();
    let what = format!("{method} control-channel");
    let outcome = match shared.switches().channel {
        Door::Hangup => {
            shared.log.line(instance, &what, "hang up (switch)");
            return Err(Hangup);
        }
        Door::Denied => Err(ApiError::new("AccessDeniedException", "refused on request of a switch")),
        Door::Error => {
            let message = "failed on request of a switch".to_owned();
            Err(ApiError { status: 500, code: "InternalServerError", message })
        }
        Door::Open => admit(&shared, &parts, &body, instance),
    };
    let outcome = outcome.and_then(|()| match method {
        Method::POST => Ok(token_answer(&shared, instance)),
        Method::GET => upgrade_answer(&shared, &parts, upgrade, instance),
        _ => Err(ApiError::new("UnknownOperationException", "use POST for a token, GET for the websocket")),
    });
    Ok(match outcome {
        Ok(answer) => {
            shared.log.line(instance, &what, answer.status().as_u16());
            answer
        }
        Err(error) => {
            shared.log.line(instance, &what, format!("refused: {error}"));
            error_answer(&error)
        }
    })
}

fn admit(shared: &Shared, parts: &Parts, body: &[u8], instance: &str) -> Result<(), ApiError> {
    let signer = caller::instance(shared, parts, body, "ssmmessages")?;
    caller::same(&signer, instance)?;
    match shared.look(|state| state.instances.contains_key(instance)) {
        true => Ok(()),
        false => Err(super::agent::unknown_instance(instance)),
    }
}

/// The error document of this service: agents look for the element `<AccessDeniedException>` in it, and what
/// concerns credentials is said with 403.
fn error_answer(error: &ApiError) -> Answer {
    let denied = ["AccessDenied", "Token", "Signature", "Client", "InstanceId"];
    let status = if denied.iter().any(|word| error.code.contains(word)) { 403 } else { error.status };
    let (code, message) = (error.code, xml_text(&error.message));
    wire::answer(status, "application/xml", format!("<{code}><Message>{message}</Message></{code}>"))
}

fn xml_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn token_answer(shared: &Shared, instance: &str) -> Answer {
    let token = shared.links.issue_token(instance, SystemTime::now());
    let xml = format!(
        "<CreateControlChannelResponse xmlns=\"http://ssmmessages.amazonaws.com/doc/2017-10-31/\">\
         <TokenValue>{token}</TokenValue><MessageSchemaVersion>1.0</MessageSchemaVersion>\
         </CreateControlChannelResponse>"
    );
    wire::answer(201, "application/xml", xml)
}

/// The handshake of RFC 6455, the server's half; the channel itself runs in a task of its own.
fn upgrade_answer(
    shared: &Arc<Shared>,
    parts: &Parts,
    upgrade: OnUpgrade,
    instance: &str,
) -> Result<Answer, ApiError> {
    let has = |name: &str, token: &str| {
        let mut tokens = header(parts, name).unwrap_or_default().split(',');
        tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
    };
    let key = header(parts, "sec-websocket-key");
    let (true, true, true, Some(key)) =
        (has("connection", "upgrade"), has("upgrade", "websocket"), has("sec-websocket-version", "13"), key)
    else {
        return Err(ApiError::new(
            "ValidationException",
            "GET of a control channel must be a websocket upgrade",
        ));
    };
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
        .body(Full::default())
        .map_err(|error| ApiError::validation(format!("no websocket: {error}")))?;
    let (shared, instance) = (shared.clone(), instance.to_owned());
    tokio::spawn(async move {
        match upgrade.await {
            Ok(io) => serve(shared, io, &instance).await,
            Err(error) => shared.log.line(&instance, "control-channel", format!("no upgrade: {error}")),
        }
    });
    Ok(answer)
}

async fn serve(shared: Arc<Shared>, io: Upgraded, instance: &str) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES + 1024))
        .max_frame_size(Some(MAX_FRAME_BYTES + 1024));
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config)).await;
    if let Err(why) = open(&shared, &mut socket, instance).await {
        shared.log.line(instance, "control-channel", format!("closed: {why}"));
        close(&mut socket, CloseCode::Policy, "control channel not opened").await;
        return;
    }
    let (serial, orders) = shared.links.enter(instance);
    shared.change(|state| state.reconnected(instance, SystemTime::now()));
    shared.log.line(instance, "control-channel", "open");
    let why = Channel { shared: &shared, instance, socket }.run(orders).await;
    shared.links.leave(instance, serial);
    shared.wake();
    shared.log.line(instance, "control-channel", format!("closed: {why}"));
}

/// Waits for the OpenControlChannel frame and checks its token.
async fn open(shared: &Shared, socket: &mut Socket, instance: &str) -> Result<(), String> {
    let first = timeout(HURRY, socket.next()).await.map_err(|_| "no first frame".to_owned())?;
    let Some(Ok(Message::Text(text))) = first else { return Err("the first frame is not text".to_owned()) };
    let body: Value = serde_json::from_str(&text).map_err(|error| format!("the first frame: {error}"))?;
    let token = body["TokenValue"].as_str().unwrap_or_default();
    match shared.links.redeem(instance, token, SystemTime::now()) {
        true => Ok(()),
        false => Err("the token is not the one that was issued, or too old".to_owned()),
    }
}

async fn close(socket: &mut Socket, code: CloseCode, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    let _ = timeout(Duration::from_secs(1), socket.close(Some(frame))).await;
}

/// One open control channel.
struct Channel<'a> {
    shared: &'a Shared,
    instance: &'a str,
    socket: Socket,
}

impl Channel<'_> {
    /// Serves it to its end; says in words what that was.
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> String {
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
            if !self.shared.look(|state| state.instances.contains_key(self.instance)) {
                return Ok("the instance is deregistered");
            }
            self.deliver().await?;
            let due = self.shared.look(|state| state.next_due(self.instance));
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
                    Some(Order::Drop) => return Err(tungstenite::Error::AlreadyClosed),
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
        timeout(HURRY, self.socket.send(message)).await.map_err(|_| stuck())?
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
        let offers = self.shared.look(|state| state.offers(self.instance, BATCH, hold, SystemTime::now()));
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
        let ack = self.shared.change(|state| state.acknowledge(job, code, later, SystemTime::now()));
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
        let ack = json!({ "jobId": job, "acknowledgedMessageId": id.to_string() });
        self.send_frame("agent_job_reply_ack", &ack).await
    }

    fn owns(&self, job: &str) -> bool {
        job.rsplit('.').next() == Some(self.instance)
    }

    fn log(&self, what: &str, outcome: impl std::fmt::Display) {
        self.shared.log.line(self.instance, what, outcome);
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
