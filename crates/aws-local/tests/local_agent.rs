//! The agent side of the local AWS, over real sockets, with a little agent written here from the protocol:
//! its own signing, its own websocket, its own idea of every message. It shares the frame codec (which has
//! golden tests of its own) and nothing else with what it tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop here")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_local::log::{Line, TARGET};
use aws_local::ssm::state::{Activation, Command, Invocation, Status};
use aws_local::world::World;
use aws_local::{Handle, Options, Server};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{self, Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;
use uuid::Uuid;

mod local_agent {
    pub(crate) mod agent;
}
use local_agent::agent::{Agent, Credentials, http};

/// What the local AWS says.
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        let Line { who, what, outcome } = Line::of(event);
        self.0.lock().unwrap().push(format!("{who} {what} {outcome}"));
    }
}

/// A server of a test's own.
struct Local {
    address: SocketAddr,
    handle: Handle,
    log: Arc<Mutex<Vec<String>>>,
    /// The server runs on the thread of its test, which is all that this speaks for.
    _logging: DefaultGuard,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Local {
    async fn start() -> Local {
        Local::with(Options::default()).await
    }

    async fn with(options: Options) -> Local {
        let log = Arc::new(Mutex::new(Vec::new()));
        let ours = Targets::new().with_target(TARGET, LevelFilter::INFO);
        let logging = registry().with(Lines(log.clone()).with_filter(ours)).set_default();
        let options = Options { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..options };
        let server = Server::bind(options).await.unwrap();
        let (address, handle) = (server.address(), server.handle());
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            server.run(stopped).await.unwrap();
        });
        Local { address, handle, log, _logging: logging, stop, served }
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
    }

    async fn switch(&self, switches: Value) {
        let (status, answer) = self.test("switches", switches).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn test(&self, call: &str, body: Value) -> (u16, Value) {
        let path = format!("/_taskfault/{call}");
        let answer = http(
            self.address,
            "POST",
            &path,
            &[("content-type", "application/json")],
            body.to_string().into_bytes(),
        )
        .await;
        (answer.status, answer.json())
    }

    /// An activation that is good for `limit` registrations.
    fn activation(&self, limit: u32, life: Duration) -> Activation {
        let activation = Activation {
            id: Uuid::new_v4().to_string(),
            code: Uuid::new_v4().simple().to_string(),
            iam_role: "role".to_owned(),
            description: None,
            default_instance_name: Some("sidecar".to_owned()),
            registration_limit: limit,
            registrations: 0,
            created: SystemTime::now(),
            expires: SystemTime::now() + life,
            tags: BTreeMap::from([("ECS_TASK_ARN".to_owned(), "arn".to_owned())]),
        };
        let copy = activation.clone();
        self.handle.state(|state| state.ssm.activations.insert(copy.id.clone(), copy));
        activation
    }

    /// An agent that is registered, has credentials and has said that it is there.
    async fn agent(&self) -> Agent {
        let mut agent = Agent::new(self.address);
        let activation = self.activation(1, Duration::from_secs(60));
        agent.register(&activation.id, &activation.code).await.unwrap();
        agent.request_token().await.unwrap();
        agent.ping().await.unwrap();
        agent
    }

    /// A document with two steps on one instance.
    fn submit(&self, instance: &str) -> Uuid {
        let command = command(instance);
        let id = command.id;
        self.handle.state(|state| state.ssm.submit(command, SystemTime::now()));
        id
    }

    fn cancel(&self, id: Uuid) {
        self.handle.state(|state| state.ssm.cancel(id, &[], SystemTime::now()));
    }

    fn invocation(&self, id: Uuid) -> Invocation {
        self.handle.state(|state| invocation(state, id).clone())
    }

    async fn until(&self, id: Uuid, status: Status) {
        self.handle.until(|state| invocation(state, id).status == status).await;
    }

    fn logged(&self, text: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line.contains(text))
    }
}

fn invocation(state: &World, id: Uuid) -> &Invocation {
    &state.ssm.commands.iter().find(|command| command.id == id).unwrap().invocations[0]
}

fn command(instance: &str) -> Command {
    let document = json!({
        "schemaVersion": "2.2",
        "parameters": { "commands": { "type": "StringList" }, "Count": { "type": "Integer" } },
        "mainSteps": [
            { "action": "aws:runShellScript", "name": "first", "inputs": {} },
            { "action": "aws:runShellScript", "name": "second", "inputs": {} },
        ],
    });
    Command {
        id: Uuid::new_v4(),
        document_name: "Two-Steps".to_owned(),
        document_version: "1".to_owned(),
        document,
        parameters: BTreeMap::from([
            ("commands".to_owned(), vec!["echo 1".to_owned(), "echo 2".to_owned()]),
            ("Count".to_owned(), vec!["5".to_owned()]),
        ]),
        comment: String::new(),
        instance_ids: vec![instance.to_owned()],
        targets: Vec::new(),
        timeout: Duration::from_secs(600),
        execution_timeout: Duration::from_secs(3600),
        max_concurrency: "50".to_owned(),
        max_errors: "0".to_owned(),
        requested: SystemTime::now(),
        output_s3_bucket: String::new(),
        output_s3_prefix: String::new(),
        cloudwatch_log_group: String::new(),
        cloudwatch_enabled: false,
        cancel_requested: false,
        invocations: vec![Invocation::pending(instance, "sidecar")],
    }
}

fn step(status: &str, code: i32, output: &str) -> Value {
    json!({
        "status": status, "code": code, "name": "aws:runShellScript", "output": output,
        "startDateTime": "2026-11-23T02:59:54.893Z", "endDateTime": "2026-11-23T02:59:54.914Z",
        "outputS3BucketName": "", "outputS3KeyPrefix": "", "stepName": "",
        "standardOutput": output, "standardError": "",
    })
}

fn reply(status: &str, steps: Value) -> Value {
    json!({
        "additionalInfo": { "agent": { "lang": "en-US", "name": "amazon-ssm-agent", "os": "linux", "osver": "1",
            "ver": "3.3.0.0" }, "dateTime": "2026-11-23T02:59:54.917Z", "runId": "", "runtimeStatusCounts": null },
        "documentStatus": status, "documentTraceOutput": "", "runtimeStatus": steps,
    })
}

#[tokio::test]
async fn registration_checks_code_limit_and_expiry() {
    let local = Local::start().await;
    let mut agent = Agent::new(local.address);
    let good = local.activation(1, Duration::from_secs(60));
    let old = local.activation(1, Duration::ZERO);
    let wrong = "x".repeat(32);
    assert_eq!(agent.register(&good.id, &wrong).await.unwrap_err(), "InvalidActivation");
    assert_eq!(
        agent.register(&Uuid::new_v4().to_string(), &good.code).await.unwrap_err(),
        "InvalidActivation"
    );
    assert_eq!(agent.register(&old.id, &old.code).await.unwrap_err(), "ActivationExpired");
    agent.register(&good.id, &good.code).await.unwrap();
    assert_eq!(agent.id.len(), 20);
    assert!(agent.id.starts_with("mi-") && agent.id[3..].bytes().all(|b| b"0123456789abcdef".contains(&b)));
    let first = agent.id.clone();
    assert_eq!(agent.register(&good.id, &good.code).await.unwrap_err(), "RegistrationLimitExceeded");
    local.handle.state(|state| {
        assert_eq!(state.ssm.instances.len(), 1);
        assert_eq!(state.ssm.activations[&good.id].registrations, 1);
        assert_eq!(state.ssm.instances[&first].tags["ECS_TASK_ARN"], "arn");
        assert_eq!(state.ssm.instances[&first].ping_status(SystemTime::now()), "Inactive");
    });
    assert!(!local.log.lock().unwrap().iter().any(|line| line.contains(&good.code) || line.contains(&wrong)));
    local.end().await;
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_and_uses_nothing_up() {
    let local = Local::start().await;
    let agent = Agent::new(local.address);
    let activation = local.activation(1, Duration::from_secs(60));
    for (key, kind, code) in [
        ("QUJD", "Rsa", "ValidationException"),
        (&"QUJD".repeat(98), "Rsa", "InvalidPublicKey"),
        (&"?".repeat(392), "Rsa", "InvalidPublicKey"),
        (agent.public_key(), "Ed25519", "InvalidPublicKey"),
    ] {
        let body = json!({ "ActivationId": activation.id, "ActivationCode": activation.code, "Fingerprint": "f",
            "PublicKey": key, "PublicKeyType": kind });
        assert_eq!(agent.anonymous("RegisterManagedInstance", body).await.unwrap_err(), code);
    }
    local.handle.state(|state| assert_eq!(state.ssm.activations[&activation.id].registrations, 0));
    local.end().await;
}

#[tokio::test]
async fn role_tokens_need_the_registered_key_and_fingerprint() {
    let local = Local::start().await;
    let mut agent = local.agent().await;
    let first = agent.credentials.clone().unwrap();
    assert!(first.key.starts_with("ASIA"));
    let (own, stranger) = (agent.swap_key(), "00000000-0000-0000-0000-000000000000");
    assert_eq!(agent.request_token().await.unwrap_err(), "InvalidSignatureException");
    agent.set_key(own);
    let fingerprint = std::mem::replace(&mut agent.fingerprint, stranger.to_owned());
    assert_eq!(agent.request_token().await.unwrap_err(), "MachineFingerprintDoesNotMatch");
    agent.fingerprint = fingerprint;
    let id = std::mem::replace(&mut agent.id, "mi-00000000000000000".to_owned());
    assert_eq!(agent.request_token().await.unwrap_err(), "InvalidInstanceId");
    agent.id = id;
    agent.request_token().await.unwrap();
    assert_ne!(agent.credentials.unwrap().key, first.key);
    assert!(!local.log.lock().unwrap().iter().any(|line| line.contains(&first.session)));
    local.end().await;
}

#[tokio::test]
async fn calls_need_credentials_that_are_issued_right_and_not_expired() {
    let local = Local::start().await;
    let mut agent = local.agent().await;
    let good = agent.credentials.clone().unwrap();
    let id = agent.id.clone();
    let now = SystemTime::now();
    local.handle.state(|state| assert_eq!(state.ssm.instances[&id].ping_status(now), "Online"));
    for (credentials, code) in [
        (Credentials { key: "AKIDNOBODY".to_owned(), ..good.clone() }, "UnrecognizedClientException"),
        (Credentials { session: "other".to_owned(), ..good.clone() }, "UnrecognizedClientException"),
        (Credentials { secret: "other".to_owned(), ..good.clone() }, "InvalidSignatureException"),
    ] {
        agent.credentials = Some(credentials);
        assert_eq!(agent.ping().await.unwrap_err(), code);
    }
    agent.credentials = None;
    assert_eq!(agent.ping().await.unwrap_err(), "MissingAuthenticationTokenException");
    local.switch(json!({ "token_lifetime_seconds": 0 })).await;
    agent.request_token().await.unwrap();
    assert_eq!(agent.ping().await.unwrap_err(), "ExpiredTokenException");
    assert_eq!(agent.control_channel_token().await.unwrap_err().0, 403);
    local.end().await;
}

#[tokio::test]
async fn credentials_are_good_for_their_own_instance_only() {
    let local = Local::start().await;
    let mut agent = local.agent().await;
    let other = local.agent().await;
    let own = std::mem::replace(&mut agent.id, other.id.clone());
    assert_eq!(agent.ping().await.unwrap_err(), "AccessDeniedException");
    let (status, body) = agent.control_channel_token().await.unwrap_err();
    assert_eq!(status, 403);
    assert!(body.contains("<AccessDeniedException>"), "{body}");
    agent.id = own;
    let theirs = format!("aws.ssm.{}.{}", Uuid::new_v4(), other.id);
    let acknowledge = agent.mds("AcknowledgeMessage", json!({ "MessageId": theirs })).await;
    assert_eq!(acknowledge.unwrap_err(), "AccessDeniedException");
    local.end().await;
}

#[tokio::test]
async fn a_heartbeat_is_checked_and_remembered() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let beat = |member: &str, value: Value| {
        let mut body = agent.information();
        body[member] = value;
        agent.ssm("UpdateInstanceInformation", body)
    };
    assert_eq!(beat("AgentVersion", json!("three")).await.unwrap_err(), "InvalidInstanceInformationValue");
    assert_eq!(beat("PlatformType", json!("Plan9")).await.unwrap_err(), "InvalidInstanceInformationValue");
    assert_eq!(beat("IPAddress", json!("")).await.unwrap_err(), "ValidationException");
    assert_eq!(beat("ComputerName", json!("x".repeat(256))).await.unwrap_err(), "ValidationException");
    assert_eq!(beat("InstanceId", json!(null)).await.unwrap_err(), "ValidationException");
    beat("ComputerName", json!("box")).await.unwrap();
    // The short first heartbeat of the stock agent takes nothing away.
    let short = json!({ "AgentName": "amazon-ssm-agent", "AgentVersion": "3.3.0.0", "InstanceId": agent.id,
        "PlatformType": "Linux" });
    agent.ssm("UpdateInstanceInformation", short).await.unwrap();
    local.handle.state(|state| assert_eq!(state.ssm.instances[&agent.id].information["ComputerName"], "box"));
    local.handle.state(|state| state.ssm.deregister(&agent.id));
    assert_eq!(beat("ComputerName", json!("box")).await.unwrap_err(), "UnrecognizedClientException");
    local.end().await;
}

#[tokio::test]
async fn a_key_pair_is_changed_on_request() {
    let local = Local::start().await;
    let mut agent = local.agent().await;
    local.switch(json!({ "update_key_pair": true })).await;
    assert!(agent.request_token().await.unwrap());
    let old = agent.rotate_key().await.unwrap();
    assert!(!agent.request_token().await.unwrap(), "the switch turns itself off");
    let new = agent.set_key(old);
    assert_eq!(agent.request_token().await.unwrap_err(), "InvalidSignatureException");
    agent.set_key(new);
    assert_eq!(agent.send_public_key().await.unwrap_err(), "PublicKeyAlreadyRegistered");
    local.end().await;
}

#[tokio::test]
async fn a_command_goes_over_the_control_channel_and_comes_back() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    let id = local.submit(&agent.id);
    let job = channel.job().await;
    assert_eq!(job.id, format!("aws.ssm.{id}.{}", agent.id));
    assert_eq!(job.topic, "aws.ssm.sendCommand");
    assert_eq!(job.content["Parameters"], json!({ "commands": ["echo 1", "echo 2"], "Count": 5 }));
    assert_eq!(job.content["CommandId"], id.to_string());
    assert_eq!(job.content["CloudWatchOutputEnabled"], "false");
    assert_eq!(job.content["DocumentContent"]["mainSteps"][1]["name"], "second");
    channel.acknowledge(&job, "200").await;
    local.until(id, Status::InProgress).await;
    channel.reply(&job, &reply("InProgress", Value::Null)).await;
    // The order in which replies of the stock agent arrive is not the order of the steps.
    channel.reply(&job, &reply("InProgress", json!({ "second": step("Success", 0, "2") }))).await;
    channel.reply(&job, &reply("Success", json!({}))).await;
    channel.reply(&job, &reply("InProgress", json!({ "first": step("Success", 0, "1") }))).await;
    let invocation = local.invocation(id);
    assert_eq!(invocation.status, Status::Success);
    let names: Vec<_> = invocation.plugins.iter().map(|plugin| (&*plugin.name, &*plugin.stdout)).collect();
    assert_eq!(names, [("first", "1"), ("second", "2")]);
    local.end().await;
}

#[tokio::test]
async fn a_cancel_is_a_job_of_its_own() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    let id = local.submit(&agent.id);
    let job = channel.job().await;
    channel.acknowledge(&job, "200").await;
    local.until(id, Status::InProgress).await;
    local.cancel(id);
    let cancel = channel.job().await;
    assert_eq!(cancel.topic, "aws.ssm.cancelCommand");
    assert_eq!(cancel.content, json!({ "CancelMessageId": job.id }));
    assert_ne!(cancel.id, job.id);
    channel.acknowledge(&cancel, "200").await;
    channel.reply(&cancel, &reply("InProgress", Value::Null)).await;
    assert_eq!(local.invocation(id).status, Status::Cancelling);
    let killed = json!({ "first": step("Cancelled", 137, "") });
    channel.reply(&job, &reply("InProgress", killed)).await;
    channel.reply(&job, &reply("Cancelled", json!({}))).await;
    assert_eq!(local.invocation(id).status, Status::Cancelled);
    assert_eq!(local.invocation(id).plugins[0].response_code, 137);
    local.end().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_with_the_same_id() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    let id = local.submit(&agent.id);
    let job = channel.job().await;
    let (status, dropped) = local.test("drop-sockets", json!({})).await;
    assert_eq!((status, dropped), (200, json!({ "dropped": 1 })));
    assert!(channel.is_over().await);
    let mut channel = agent.open_channel().await.unwrap();
    let again = channel.job().await;
    assert_eq!(again.id, job.id);
    channel.acknowledge(&again, "51405").await;
    channel.reply(&job, &reply("Success", json!({ "first": step("Success", 0, "") }))).await;
    local.until(id, Status::Success).await;
    local.end().await;
}

#[tokio::test]
async fn a_job_that_is_not_acknowledged_for_a_while_comes_again() {
    let local = Local::start().await;
    local.switch(json!({ "redelivery_seconds": 1, "withhold_delivery_acks": true })).await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    let id = local.submit(&agent.id);
    let job = channel.job().await;
    channel.acknowledge(&job, "200").await;
    assert_eq!(channel.job().await.id, job.id);
    assert_eq!(local.invocation(id).status, Status::Pending);
    local.switch(json!({ "withhold_delivery_acks": false })).await;
    channel.acknowledge(&job, "200").await;
    local.until(id, Status::InProgress).await;
    local.end().await;
}

#[tokio::test]
async fn an_agent_that_is_full_gets_the_job_later() {
    let local = Local::start().await;
    local.switch(json!({ "redelivery_seconds": 1 })).await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    let id = local.submit(&agent.id);
    let job = channel.job().await;
    channel.acknowledge(&job, "51402").await;
    local.until(id, Status::Delayed).await;
    assert_eq!(channel.job().await.id, job.id);
    channel.acknowledge(&job, "51408").await;
    local.until(id, Status::Failed).await;
    local.end().await;
}

#[tokio::test]
async fn a_new_connection_replaces_the_old_one() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let mut old = agent.open_channel().await.unwrap();
    let mut new = agent.open_channel().await.unwrap();
    assert!(old.is_over().await);
    local.submit(&agent.id);
    new.job().await;
    local.end().await;
}

#[tokio::test]
async fn a_channel_opens_with_its_own_token_once() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let token = agent.control_channel_token().await.unwrap();
    let mut channel = agent.connect("nonsense").await.unwrap();
    assert!(channel.is_over().await);
    let mut good = agent.connect(&token).await.unwrap();
    let mut second = agent.connect(&token).await.unwrap();
    assert!(second.is_over().await);
    local.submit(&agent.id);
    good.job().await;
    local.end().await;
}

#[tokio::test]
async fn rubbish_from_an_agent_is_logged_and_dropped() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    let id = local.submit(&agent.id);
    let job = channel.job().await;
    channel.text("hello").await;
    channel.binary(vec![0xff; 119]).await;
    channel.frame("agent_job_ack", b"\xff\xfe").await;
    channel.frame("agent_telemetry", b"{}").await;
    channel.frame("agent_job_reply", br#"{"jobId": 5}"#).await;
    let theirs = json!({ "jobId": format!("aws.ssm.{id}.mi-00000000000000000"), "statusCode": "51408" });
    channel.frame("agent_job_ack", theirs.to_string().as_bytes()).await;
    channel.acknowledge(&job, "200").await;
    local.until(id, Status::InProgress).await;
    for said in ["text frame", "bad frame", "payload", "agent_telemetry", "content", "another instance"] {
        assert!(local.logged(said), "{said}");
    }
    local.end().await;
}

#[tokio::test]
async fn a_ping_is_answered() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    assert_eq!(channel.ping(b"keepalive").await, b"keepalive");
    local.end().await;
}

#[tokio::test]
async fn replies_without_acknowledgement_when_told_so() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    let id = local.submit(&agent.id);
    let job = channel.job().await;
    local.switch(json!({ "withhold_reply_acks": true })).await;
    let message = Uuid::new_v4();
    channel.send_reply(message, &job, &reply("Success", json!({}))).await;
    local.until(id, Status::Success).await;
    local.switch(json!({ "withhold_reply_acks": false })).await;
    // The first frame that comes answers the repetition, so nothing answered the first time.
    channel.send_reply(message, &job, &reply("Success", json!({}))).await;
    assert_eq!(channel.reply_ack().await, (job.id.clone(), message));
    assert!(local.logged("withheld"));
    local.end().await;
}

#[tokio::test]
async fn jobs_twice_and_raw_frames_when_told_so() {
    let local = Local::start().await;
    local.switch(json!({ "duplicate_jobs": true })).await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    local.submit(&agent.id);
    assert_eq!(channel.job().await.id, channel.job().await.id);
    let raw = json!({ "instance_id": agent.id, "hex": "00ff10" });
    assert_eq!(local.test("send", raw).await.0, 200);
    assert_eq!(channel.raw().await, b"\x00\xff\x10");
    let text = json!({ "instance_id": agent.id, "text": "hi" });
    assert_eq!(local.test("send", text).await.0, 200);
    assert_eq!(channel.raw().await, b"hi");
    let nobody = json!({ "instance_id": "mi-0", "text": "hi" });
    assert_eq!(local.test("send", nobody).await.0, 400);
    local.end().await;
}

#[tokio::test]
async fn the_channel_is_refused_when_told_so() {
    let local = Local::start().await;
    let agent = local.agent().await;
    local.switch(json!({ "channel": "denied" })).await;
    let (status, body) = agent.control_channel_token().await.unwrap_err();
    assert_eq!(status, 403);
    assert!(body.contains("<AccessDeniedException>"), "{body}");
    local.switch(json!({ "channel": "error" })).await;
    assert_eq!(agent.control_channel_token().await.unwrap_err().0, 500);
    local.switch(json!({ "channel": "hangup" })).await;
    assert_eq!(agent.control_channel_token().await.unwrap_err().0, 0, "no answer at all");
    local.switch(json!({ "channel": "open" })).await;
    agent.open_channel().await.unwrap();
    local.end().await;
}

#[tokio::test]
async fn throttling_and_strangers_when_told_so() {
    let local = Local::start().await;
    let mut agent = local.agent().await;
    local.switch(json!({ "throttle_next": 2 })).await;
    assert_eq!(agent.ping().await.unwrap_err(), "ThrottlingException");
    assert_eq!(agent.request_token().await.unwrap_err(), "ThrottlingException");
    agent.ping().await.unwrap();
    local.switch(json!({ "fingerprint_mismatch": true })).await;
    assert_eq!(agent.request_token().await.unwrap_err(), "MachineFingerprintDoesNotMatch");
    local.end().await;
}

#[tokio::test]
async fn a_command_goes_over_the_long_poll_without_a_channel() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let polling = agent.clone();
    let poll = tokio::spawn(async move { polling.get_messages(10).await });
    let id = local.submit(&agent.id);
    let messages = poll.await.unwrap();
    assert_eq!(messages.len(), 1);
    let message = &messages[0];
    let job = format!("aws.ssm.{id}.{}", agent.id);
    assert_eq!(message["MessageId"], job);
    assert_eq!(message["Topic"], "aws.ssm.sendCommand.us.east.1.1");
    assert!(message["CreatedDate"].as_str().unwrap().len() >= 24);
    let payload: Value = serde_json::from_str(message["Payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload["DocumentName"], "Two-Steps");
    let send = |status: &str, steps: Value| {
        let payload = reply(status, steps).to_string();
        agent.mds(
            "SendReply",
            json!({ "MessageId": job, "ReplyId": Uuid::new_v4().to_string(), "Payload": payload }),
        )
    };
    send("InProgress", Value::Null).await.unwrap();
    agent.mds("AcknowledgeMessage", json!({ "MessageId": job })).await.unwrap();
    send("Failed", json!({ "first": step("Failed", 3, "no") })).await.unwrap();
    assert_eq!(local.invocation(id).status, Status::Failed);
    assert_eq!(local.invocation(id).plugins[0].response_code, 3);
    let error = agent.mds("SendReply", json!({ "MessageId": job, "ReplyId": "r", "Payload": "{" })).await;
    assert_eq!(error.unwrap_err(), "ValidationException");
    local.end().await;
}

#[tokio::test]
async fn a_message_is_invisible_for_a_while_and_then_comes_again() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let id = local.submit(&agent.id);
    let first = agent.get_messages(1).await;
    let again = agent.get_messages(1).await;
    assert_eq!(first[0]["MessageId"], again[0]["MessageId"]);
    agent
        .mds("FailMessage", json!({ "MessageId": again[0]["MessageId"], "FailureType": "NoHandlerExists" }))
        .await
        .unwrap();
    assert_eq!(local.invocation(id).status, Status::Failed);
    local.end().await;
}

#[tokio::test]
async fn the_long_poll_is_empty_while_a_channel_is_open() {
    let local = Local::start().await;
    local.switch(json!({ "poll_seconds": 1 })).await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    let id = local.submit(&agent.id);
    channel.job().await;
    assert!(agent.get_messages(10).await.is_empty());
    local.switch(json!({ "poll_seconds": 15, "redelivery_seconds": 1 })).await;
    local.test("drop-sockets", json!({})).await;
    assert_eq!(agent.get_messages(10).await[0]["MessageId"], format!("aws.ssm.{id}.{}", agent.id));
    local.end().await;
}

#[tokio::test]
async fn a_deregistered_instance_loses_its_channel() {
    let local = Local::start().await;
    let mut agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    local.handle.state(|state| assert!(state.ssm.deregister(&agent.id)));
    assert!(channel.is_over().await);
    assert_eq!(agent.request_token().await.unwrap_err(), "InvalidInstanceId");
    local.end().await;
}

#[tokio::test]
async fn state_survives_a_restart_with_a_file_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let file = Some(folder.path().join("state.json"));
    let local = Local::with(Options { state_file: file.clone(), ..Options::default() }).await;
    let mut agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    let id = local.submit(&agent.id);
    let job = channel.job().await;
    local.end().await;
    assert!(channel.is_over().await);

    let local = Local::with(Options { state_file: file, ..Options::default() }).await;
    agent.address = local.address;
    agent.ping().await.unwrap();
    let mut channel = agent.open_channel().await.unwrap();
    assert_eq!(channel.job().await.id, job.id);
    channel.reply(&job, &reply("Success", json!({}))).await;
    local.until(id, Status::Success).await;
    local.end().await;

    let local = Local::start().await;
    agent.address = local.address;
    assert_eq!(agent.request_token().await.unwrap_err(), "InvalidInstanceId");
    assert_eq!(agent.ping().await.unwrap_err(), "UnrecognizedClientException");
    local.end().await;
}

#[tokio::test]
async fn any_address_is_a_running_task() {
    let local = Local::start().await;
    let get = async |path: &str| {
        let answer = http(local.address, "GET", path, &[], Vec::new()).await;
        (answer.status, answer.json())
    };
    let (status, task) = get("/v4/shop/basket/0123456789abcdef0123456789abcdef/task").await;
    assert_eq!(status, 200);
    let arn = "arn:aws:ecs:us-east-1:000000000000:task/shop/0123456789abcdef0123456789abcdef";
    assert_eq!(task["TaskARN"], arn);
    assert_eq!(task["AvailabilityZone"], "us-east-1b", "the same for the same task");
    assert_eq!((&task["ServiceName"], &task["KnownStatus"]), (&json!("basket"), &json!("RUNNING")));
    assert_eq!(task["FaultInjectionEnabled"], true);
    assert!(task.get("Limits").is_none());
    let (_, container) = get("/v4/shop/basket/0123456789abcdef0123456789abcdef").await;
    assert_eq!(container["Labels"]["com.amazonaws.ecs.task-arn"], arn);
    assert!(task["Containers"].as_array().unwrap().contains(&container));
    let managed = json!({ "aws:ecs:clusterName": "shop", "aws:ecs:serviceName": "basket" });
    assert_eq!(get("/v4/shop/basket/1/taskWithTags").await.1["TaskTags"], managed);
    let (status, credentials) = get("/v2/credentials/1").await;
    assert_eq!(status, 200);
    for member in ["RoleArn", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"] {
        assert!(credentials[member].is_string(), "{member}");
    }
    for path in
        ["/v4/shop/basket/%2e%2e/task", "/v4/shop/basket", "/v4/shop//1", "/v4/a/b/c/d", "/v2/credentials/"]
    {
        let (status, said) = get(path).await;
        assert!(status == 404 && said.is_string(), "{path}: {status} {said}");
    }
    local.end().await;
}

/// A call of Systems Manager by a client that signs for us-west-2.
async fn call_in_west(local: &Local, operation: &str, body: Value) -> Value {
    let target = format!("AmazonSSM.{operation}");
    let headers = [
        ("x-amz-target", target.as_str()),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20261127/us-west-2/ssm/aws4_request, \
          SignedHeaders=host, Signature=00",
        ),
    ];
    let answer = http(local.address, "POST", "/", &headers, body.to_string().into_bytes()).await;
    assert_eq!(answer.status, 200, "{operation}: {:?}", answer.body);
    answer.json()
}

#[tokio::test]
async fn an_agent_lives_in_the_region_of_its_activation() {
    let local = Local::start().await;
    let activation = call_in_west(&local, "CreateActivation", json!({ "IamRole": "role" })).await;
    let text = |member: &str| activation[member].as_str().unwrap().to_owned();
    let mut agent = Agent::new(local.address);
    agent.register(&text("ActivationId"), &text("ActivationCode")).await.unwrap();
    assert_eq!(agent.request_token().await.unwrap_err(), "InvalidSignatureException");
    agent.region = "us-west-2";
    agent.request_token().await.unwrap();
    agent.ping().await.unwrap();
    let send = json!({
        "InstanceIds": [agent.id], "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["true"] },
    });
    // Over the long poll, whose topics name the region, and over the control channel.
    call_in_west(&local, "SendCommand", send.clone()).await;
    let message = agent.get_messages(10).await[0].clone();
    assert_eq!(message["Topic"], "aws.ssm.sendCommand.us.west.2.1");
    let mut channel = agent.open_channel().await.unwrap();
    call_in_west(&local, "SendCommand", send).await;
    let job = channel.job().await;
    channel.acknowledge(&job, "200").await;
    channel.reply(&job, &reply("Success", json!({}))).await;
    let listed = call_in_west(&local, "ListCommands", json!({})).await;
    let commands = listed["Commands"].as_array().unwrap();
    assert!(commands.iter().any(|command| command["Status"] == "Success"), "{commands:?}");
    assert!(local.handle.state(|state| state.ssm.instances.is_empty() && state.ssm.commands.is_empty()));
    local.end().await;
}

#[tokio::test]
async fn odd_requests_get_a_clear_error_and_the_server_lives() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let target =
        |name: &'static str| [("x-amz-target", name), ("content-type", "application/x-amz-json-1.1")];
    for (target, body, status, code) in [
        (target("AmazonSSM.NoSuch"), b"{}".to_vec(), 400, "MissingAuthenticationTokenException"),
        (target("DynamoDB_20120810.ListTables"), b"{}".to_vec(), 400, "UnknownOperationException"),
        (target("AmazonSSM.RegisterManagedInstance"), b"{".to_vec(), 400, "SerializationException"),
        (target("AmazonSSM.RegisterManagedInstance"), vec![0xff; 10], 400, "SerializationException"),
        (target("AmazonSSM.RegisterManagedInstance"), b"{}".to_vec(), 400, "ValidationException"),
        (target("AmazonSSM.SendCommand"), vec![b'['; 10_000_000], 413, "RequestEntityTooLargeException"),
        (target("AmazonSSM.RegisterManagedInstance"), vec![b'['; 100_000], 400, "SerializationException"),
    ] {
        let answer = http(local.address, "POST", "/", &target, body).await;
        assert_eq!((answer.status, answer.json()["__type"].as_str().unwrap()), (status, code));
        assert_eq!(answer.headers["content-type"], "application/x-amz-json-1.1");
    }
    assert_eq!(http(local.address, "GET", "/", &[], Vec::new()).await.status, 404);
    let health = http(local.address, "GET", "/_taskfault/health", &[], Vec::new()).await;
    assert_eq!(
        health.json(),
        json!({ "status": "ok", "region": "us-east-1", "instances": 1, "commands": 0, "channels": 0 })
    );
    assert_eq!(local.test("switches", json!({ "no_such": true })).await.0, 400);
    agent.ping().await.unwrap();
    local.end().await;
}

#[tokio::test]
async fn a_hundred_commands_reach_their_agent_once_each() {
    let local = Local::start().await;
    let agent = local.agent().await;
    let mut channel = agent.open_channel().await.unwrap();
    let mut waiting: std::collections::BTreeSet<String> =
        (0..100).map(|_| format!("aws.ssm.{}.{}", local.submit(&agent.id), agent.id)).collect();
    for _ in 0..100 {
        let job = channel.job().await;
        assert!(waiting.remove(&job.id), "{} came twice", job.id);
        channel.acknowledge(&job, "200").await;
    }
    local.handle.until(|state| state.ssm.outgoing[&agent.id].is_empty()).await;
    local.end().await;
}
