//! The Message Gateway Service (`ssmmessages`): the control channel, over a websocket.
//!
//! An agent asks for a token (`POST /v1/control-channel/{instance}`, answered 201 with XML), opens a
//! websocket on the same path, and shows the token in its first frame, the only one that is text. All that
//! follows are binary [`Frame`]s. Source: amazon-ssm-agent `agent/session/service`, `…/communicator`,
//! `…/contracts`, `agent/messageservice/interactor/mgsinteractor`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};

use super::caller;
use super::error::ApiError;
use super::shared::Shared;
use super::signature::header;
use super::switches::ChannelPolicy;
use super::wire::{self, Answer};
use super::xml;
use ssm_wire::frame::MAX_FRAME_BYTES;

mod channel;
pub(super) mod links;

use channel::Channel;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The namespace of the XML answers.
const NAMESPACE: &str = "http://ssmmessages.amazonaws.com/doc/2017-10-31/";

/// How long an agent may take to show its token, and a frame to leave.
const FRAME_TIMEOUT: Duration = Duration::from_secs(15);

/// Close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("connection closed on request of a switch")]
pub(super) struct Hangup;

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
        ChannelPolicy::Hangup => {
            tracing::info!(who = instance, what, outcome = "hang up (switch)");
            return Err(Hangup);
        }
        ChannelPolicy::Denied => {
            Err(ApiError::new("AccessDeniedException", "refused on request of a switch"))
        }
        ChannelPolicy::Error => {
            let message = "failed on request of a switch".to_owned();
            Err(ApiError { status: 500, code: "InternalServerError", message })
        }
        ChannelPolicy::Open => admit(&shared, &parts, &body, instance),
    };
    let outcome = outcome.and_then(|()| match method {
        Method::POST => Ok(token_answer(&shared, instance)),
        Method::GET => upgrade_answer(&shared, &parts, upgrade, instance),
        _ => Err(ApiError::new("UnknownOperationException", "use POST for a token, GET for the websocket")),
    });
    Ok(match outcome {
        Ok(answer) => {
            tracing::info!(who = instance, what, outcome = answer.status().as_u16());
            answer
        }
        Err(error) => {
            tracing::info!(who = instance, what, outcome = format!("refused: {error}"));
            error_answer(&error)
        }
    })
}

fn admit(shared: &Shared, parts: &Parts, body: &[u8], instance: &str) -> Result<(), ApiError> {
    let signer = caller::instance(shared, parts, body, "ssmmessages")?;
    caller::same(&signer, instance)?;
    match shared.read_of(instance, |state| state.ssm.instances.contains_key(instance)) {
        true => Ok(()),
        false => Err(super::ssm::agent::unknown_instance(instance)),
    }
}

/// The error document of this service: agents look for the element `<AccessDeniedException>` in it, and what
/// concerns credentials is said with 403.
fn error_answer(error: &ApiError) -> Answer {
    let denied = ["AccessDenied", "Token", "Signature", "Client", "InstanceId"];
    let status = if denied.iter().any(|word| error.code.contains(word)) { 403 } else { error.status };
    let document = xml::document(error.code, None, |xml| xml::element(xml, "Message", &error.message));
    wire::answer(status, "application/xml", document)
}

fn token_answer(shared: &Shared, instance: &str) -> Answer {
    let token = shared.links.issue_token(instance, SystemTime::now());
    let document = xml::document("CreateControlChannelResponse", Some(NAMESPACE), |xml| {
        xml::element(xml, "TokenValue", &token)?;
        xml::element(xml, "MessageSchemaVersion", "1.0")
    });
    wire::answer(201, "application/xml", document)
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
            Err(error) => {
                tracing::info!(
                    who = instance,
                    what = "control-channel",
                    outcome = format!("no upgrade: {error}")
                );
            }
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
        tracing::info!(who = instance, what = "control-channel", outcome = format!("closed: {why}"));
        close(&mut socket, CloseCode::Policy, "control channel not opened").await;
        return;
    }
    let (serial, orders) = shared.links.enter(instance);
    shared.update_of(instance, |state| state.ssm.reconnected(instance, SystemTime::now()));
    tracing::info!(who = instance, what = "control-channel", outcome = "open");
    let why = Channel { shared: &shared, instance, socket }.run(orders).await;
    shared.links.leave(instance, serial);
    shared.wake();
    tracing::info!(who = instance, what = "control-channel", outcome = format!("closed: {why}"));
}

/// Waits for the OpenControlChannel frame and checks its token.
async fn open(shared: &Shared, socket: &mut Socket, instance: &str) -> Result<(), String> {
    let first = timeout(FRAME_TIMEOUT, socket.next()).await.map_err(|_| "no first frame".to_owned())?;
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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn refusals_are_xml_with_the_code_as_element() {
        let answer = error_answer(&ApiError::new("AccessDeniedException", "not <you> & me"));
        assert_eq!(answer.status(), 403);
        assert_eq!(error_answer(&ApiError::validation("x")).status(), 400);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let expected =
            "<AccessDeniedException><Message>not &lt;you&gt; &amp; me</Message></AccessDeniedException>";
        assert_eq!(body, expected);
    }
}
