//! A little agent, for tests: speaks the protocol from its description, with its own signing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials as Keys;
use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA256};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame as BodyFrame};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use ssm_wire::frame::Frame;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use uuid::Uuid;

/// Long enough for a slow machine; a test that gets here has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A role token.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    pub key: String,
    pub secret: String,
    pub session: String,
}

/// An HTTP answer. Status 0: the connection ended without one.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The answer of a JSON 1.1 call, or the code of its error.
    fn result(&self) -> Result<Value, String> {
        match self.status {
            200 => Ok(self.json()),
            _ => Err(self.json()["__type"].as_str().unwrap().to_owned()),
        }
    }
}

/// One request on a connection of its own.
pub(crate) async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Answer {
    request(address, method, path, headers, Full::new(Bytes::from(body))).await
}

async fn request<B>(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: B,
) -> Answer
where
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", address.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match tokio::time::timeout(TIMEOUT, sender.send_request(request.body(body).unwrap())).await.unwrap() {
        Ok(answer) => {
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Answer { status: parts.status.as_u16(), headers: parts.headers, body }
        }
        Err(_) => Answer { status: 0, headers: http::HeaderMap::new(), body: Bytes::new() },
    }
}

/// A managed instance.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub address: SocketAddr,
    pub id: String,
    pub fingerprint: String,
    pub credentials: Option<Credentials>,
    /// What it signs for.
    pub region: &'static str,
    key: Arc<KeyPair>,
    public_key: String,
}

impl Agent {
    pub(crate) fn new(address: SocketAddr) -> Agent {
        let key = Arc::new(KeyPair::generate(KeySize::Rsa2048).unwrap());
        let public_key = encoded_public_key(&key);
        let fingerprint = Uuid::new_v4().to_string();
        Agent {
            address,
            id: String::new(),
            fingerprint,
            credentials: None,
            region: "us-east-1",
            key,
            public_key,
        }
    }

    pub(crate) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// Takes another key pair; returns the one before.
    pub(crate) fn set_key(&mut self, key: Arc<KeyPair>) -> Arc<KeyPair> {
        self.public_key = encoded_public_key(&key);
        std::mem::replace(&mut self.key, key)
    }

    /// Makes a new key pair; returns the one before.
    pub(crate) fn swap_key(&mut self) -> Arc<KeyPair> {
        self.set_key(Arc::new(KeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    pub(crate) async fn register(&mut self, id: &str, code: &str) -> Result<(), String> {
        let body = json!({ "ActivationId": id, "ActivationCode": code, "Fingerprint": self.fingerprint,
            "PublicKey": self.public_key, "PublicKeyType": "Rsa" });
        assert_eq!(self.public_key.len(), 392);
        let answer = self.anonymous("RegisterManagedInstance", body).await?;
        self.id = answer["InstanceId"].as_str().unwrap().to_owned();
        Ok(())
    }

    /// An unsigned call.
    pub(crate) async fn anonymous(&self, operation: &str, body: Value) -> Result<Value, String> {
        let target = format!("AmazonSSM.{operation}");
        let headers = [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.1")];
        http(self.address, "POST", "/", &headers, body.to_string().into_bytes()).await.result()
    }

    /// Takes new credentials; whether a new key pair was asked for.
    pub(crate) async fn request_token(&mut self) -> Result<bool, String> {
        let answer =
            self.rsa("RequestManagedInstanceRoleToken", json!({ "Fingerprint": self.fingerprint })).await?;
        let text = |member: &str| answer[member].as_str().unwrap().to_owned();
        assert!(answer["TokenExpirationDate"].is_number());
        self.credentials = Some(Credentials {
            key: text("AccessKeyId"),
            secret: text("SecretAccessKey"),
            session: text("SessionToken"),
        });
        Ok(answer["UpdateKeyPair"].as_bool().unwrap())
    }

    /// Registers a new key, signed with the old one, which is returned.
    pub(crate) async fn rotate_key(&mut self) -> Result<Arc<KeyPair>, String> {
        let old = self.swap_key();
        let new = self.public_key.clone();
        let new_key = self.set_key(old);
        let body = json!({ "NewPublicKey": new, "NewPublicKeyType": "Rsa" });
        self.rsa("UpdateManagedInstancePublicKey", body).await?;
        Ok(self.set_key(new_key))
    }

    /// Registers the key that it has.
    pub(crate) async fn send_public_key(&self) -> Result<Value, String> {
        let body = json!({ "NewPublicKey": self.public_key, "NewPublicKeyType": "Rsa" });
        self.rsa("UpdateManagedInstancePublicKey", body).await
    }

    /// A call signed with the key of the instance, in chunks and without a length, as the stock agent does it.
    async fn rsa(&self, operation: &str, body: Value) -> Result<Value, String> {
        let (host, body) = (self.address.to_string(), body.to_string());
        let now = OffsetDateTime::from(SystemTime::now());
        let date = now.format(format_description!("[year][month][day]T[hour][minute][second]Z")).unwrap();
        let target = format!("AmazonSSM.{operation}");
        let kind = "application/x-amz-json-1.1";
        let names = "content-type;host;x-amz-date;x-amz-target";
        let headers = format!("content-type:{kind}\nhost:{host}\nx-amz-date:{date}\nx-amz-target:{target}\n");
        let canonical = format!("POST\n/\n\n{headers}\n{names}\n{}", sha256(body.as_bytes()));
        let scope = format!("{}/{}/ssm/aws4_request", &date[..8], self.region);
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PSS_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.id,
            STANDARD.encode(signature)
        );
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", kind),
            ("host", &host),
            ("x-amz-content-sha256", &sha256(body.as_bytes())),
            ("x-amz-date", &date),
            ("x-amz-target", &target),
        ];
        let (first, second) = body.split_at(3);
        let chunks = [first.to_owned(), second.to_owned()].map(|part| Ok(BodyFrame::data(Bytes::from(part))));
        let body = StreamBody::new(futures_util::stream::iter(chunks));
        request(self.address, "POST", "/", &headers, body).await.result()
    }

    /// A full heartbeat.
    pub(crate) fn information(&self) -> Value {
        json!({ "AgentName": "amazon-ssm-agent", "AgentStatus": "Active", "AgentVersion": "3.3.0.0",
            "AvailabilityZone": "", "AvailabilityZoneId": "", "ComputerName": "vm", "IPAddress": "127.0.0.1",
            "InstanceId": self.id, "PlatformName": "Debian GNU/Linux", "PlatformType": "Linux",
            "PlatformVersion": "12", "SSMConnectionChannel": "" })
    }

    pub(crate) async fn ping(&self) -> Result<Value, String> {
        self.ssm("UpdateInstanceInformation", self.information()).await
    }

    pub(crate) async fn ssm(&self, operation: &str, body: Value) -> Result<Value, String> {
        self.signed("ssm", &format!("AmazonSSM.{operation}"), body).await
    }

    pub(crate) async fn mds(&self, operation: &str, body: Value) -> Result<Value, String> {
        self.signed("ec2messages", &format!("EC2WindowsMessageDeliveryService.{operation}"), body).await
    }

    /// One poll.
    pub(crate) async fn get_messages(&self, visibility_seconds: u32) -> Vec<Value> {
        let body = json!({ "Destination": self.id, "MessagesRequestId": Uuid::new_v4().to_string(),
            "VisibilityTimeoutInSeconds": visibility_seconds });
        let answer = self.mds("GetMessages", body).await.unwrap();
        assert_eq!(answer["Destination"], self.id);
        answer["Messages"].as_array().unwrap().clone()
    }

    async fn signed(&self, service: &str, target: &str, body: Value) -> Result<Value, String> {
        let body = body.to_string();
        let fixed = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let headers = self.headers(service, "POST", "/", &fixed, body.as_bytes());
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        http(self.address, "POST", "/", &headers, body.into_bytes()).await.result()
    }

    /// The headers of a request, signed with the role token, or as they are without one.
    fn headers(
        &self,
        service: &str,
        method: &str,
        path: &str,
        fixed: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> =
            fixed.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let Some(credentials) = &self.credentials else { return headers };
        let identity =
            Keys::new(&credentials.key, &credentials.secret, Some(credentials.session.clone()), None, "test")
                .into();
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let uri = format!("http://{}{path}", self.address);
        let signable =
            SignableRequest::new(method, uri, fixed.iter().copied(), SignableBody::Bytes(body)).unwrap();
        let (signed, _) = sign(signable, &parameters).unwrap().into_parts();
        let (signed, _) = signed.into_parts();
        headers.extend(signed.iter().map(|header| (header.name().to_owned(), header.value().to_owned())));
        headers
    }

    /// The token of CreateControlChannel, or the status and the body.
    pub(crate) async fn control_channel_token(&self) -> Result<String, (u16, String)> {
        let body =
            json!({ "MessageSchemaVersion": "1.0", "RequestId": Uuid::new_v4().to_string() }).to_string();
        let path = format!("/v1/control-channel/{}", self.id);
        let fixed = [("content-type", "application/json")];
        let headers = self.headers("ssmmessages", "POST", &path, &fixed, body.as_bytes());
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let answer = http(self.address, "POST", &path, &headers, body.into_bytes()).await;
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        let token = body.split_once("<TokenValue>").and_then(|(_, rest)| rest.split_once("</TokenValue>"));
        match (answer.status, token) {
            (201, Some((token, _))) => Ok(token.to_owned()),
            _ => Err((answer.status, body)),
        }
    }

    pub(crate) async fn open_channel(&self) -> Result<Channel, (u16, String)> {
        let token = self.control_channel_token().await?;
        self.connect(&token).await.map_err(|error| (0, error))
    }

    /// The websocket and its first frame.
    pub(crate) async fn connect(&self, token: &str) -> Result<Channel, String> {
        let path = format!("/v1/control-channel/{}?role=subscribe&stream=input", self.id);
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        for (name, value) in self.headers("ssmmessages", "GET", &path, &[], b"") {
            let name = http::HeaderName::try_from(name).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (socket, _) =
            tokio_tungstenite::client_async(request, stream).await.map_err(|error| error.to_string())?;
        let mut channel = Channel { socket, waiting: VecDeque::new() };
        let open = json!({ "Cookie": null, "MessageSchemaVersion": "1.0", "RequestId": Uuid::new_v4().to_string(),
            "TokenValue": token, "AgentVersion": "3.3.0.0", "PlatformType": "linux" });
        channel.text(&open.to_string()).await;
        Ok(channel)
    }
}

/// A job as it arrived.
#[derive(Debug)]
pub(crate) struct Job {
    pub id: String,
    pub topic: String,
    pub content: Value,
    message: Uuid,
    created_ms: u64,
}

/// An open control channel.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: WebSocketStream<TcpStream>,
    /// Frames that came while another kind was waited for.
    waiting: VecDeque<Frame>,
}

impl Channel {
    pub(crate) async fn job(&mut self) -> Job {
        let frame = self.next("agent_job").await;
        let payload: Value = serde_json::from_slice(&frame.payload).unwrap();
        let text = |member: &str| payload[member].as_str().unwrap().to_owned();
        assert_eq!(payload["SchemaVersion"], 1);
        Job {
            id: text("JobId"),
            topic: text("Topic"),
            content: serde_json::from_str(&text("Content")).unwrap(),
            message: frame.id,
            created_ms: frame.created_ms,
        }
    }

    pub(crate) async fn acknowledge(&mut self, job: &Job, code: &str) {
        let ack = json!({ "jobId": job.id, "acknowledgedMessageId": job.message.to_string(),
            "createdDate": job.created_ms.to_string(), "statusCode": code, "errorMessage": "" });
        self.frame("agent_job_ack", ack.to_string().as_bytes()).await;
    }

    /// Sends a reply and waits until it is acknowledged.
    pub(crate) async fn reply(&mut self, job: &Job, content: &Value) {
        let id = Uuid::new_v4();
        self.send_reply(id, job, content).await;
        assert_eq!(self.reply_ack().await, (job.id.clone(), id));
    }

    pub(crate) async fn send_reply(&mut self, id: Uuid, job: &Job, content: &Value) {
        let reply = json!({ "schemaVersion": 1, "jobId": job.id, "content": content.to_string(),
            "topic": job.topic });
        let frame = Frame::new("agent_job_reply", id, 1_795_400_000_000, reply.to_string().into_bytes());
        self.binary(frame.encode().unwrap()).await;
    }

    /// The job and the message that the next acknowledgement is for.
    pub(crate) async fn reply_ack(&mut self) -> (String, Uuid) {
        let ack: Value = serde_json::from_slice(&self.next("agent_job_reply_ack").await.payload).unwrap();
        let message = ack["acknowledgedMessageId"].as_str().unwrap().parse().unwrap();
        (ack["jobId"].as_str().unwrap().to_owned(), message)
    }

    pub(crate) async fn frame(&mut self, kind: &str, payload: &[u8]) {
        let frame = Frame::new(kind, Uuid::new_v4(), 1_795_400_000_000, payload.to_vec());
        self.binary(frame.encode().unwrap()).await;
    }

    pub(crate) async fn binary(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::Binary(bytes.into())).await.unwrap();
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.socket.send(Message::Text(text.into())).await.unwrap();
    }

    /// The bytes of the next message, whatever it is.
    pub(crate) async fn raw(&mut self) -> Vec<u8> {
        let message = tokio::time::timeout(TIMEOUT, self.socket.next()).await.unwrap();
        message.unwrap().unwrap().into_data().to_vec()
    }

    /// Sends a ping; what the pong carries.
    pub(crate) async fn ping(&mut self, payload: &'static [u8]) -> Vec<u8> {
        self.socket.send(Message::Ping(payload.into())).await.unwrap();
        match tokio::time::timeout(TIMEOUT, self.socket.next()).await.unwrap() {
            Some(Ok(Message::Pong(echoed))) => echoed.to_vec(),
            other => panic!("no pong: {other:?}"),
        }
    }

    /// Reads to the end of the connection; true if nothing but control frames came.
    pub(crate) async fn is_over(&mut self) -> bool {
        loop {
            match tokio::time::timeout(TIMEOUT, self.socket.next()).await.expect("the connection ends") {
                None | Some(Err(_)) => return true,
                Some(Ok(Message::Text(_) | Message::Binary(_))) => return false,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn next(&mut self, kind: &str) -> Frame {
        if let Some(at) = self.waiting.iter().position(|frame| frame.message_type == kind) {
            return self.waiting.remove(at).unwrap();
        }
        loop {
            let message = tokio::time::timeout(TIMEOUT, self.socket.next()).await.expect(kind);
            let Message::Binary(bytes) = message.expect(kind).expect(kind) else { continue };
            let frame = Frame::decode(&bytes).unwrap();
            if frame.message_type == kind {
                return frame;
            }
            self.waiting.push_back(frame);
        }
    }
}

/// Base64 of the PKIX SubjectPublicKeyInfo.
fn encoded_public_key(key: &KeyPair) -> String {
    STANDARD.encode(AsDer::as_der(key.public_key()).unwrap().as_ref())
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
