//! The local AWS in this process, a sidecar beside it, and what each of them does when.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aws_local::log::{Line, TARGET};
use aws_local::{Handle, Options, Server};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{self, Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

use crate::machine;
use crate::process::Running;

/// What is waited for comes within this, or the part has failed. In the virtual machine a key alone takes
/// many seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line of the local AWS's log, and when it was said.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub at: Instant,
    pub what: String,
    pub outcome: String,
}

/// The local AWS.
pub(crate) struct Cloud {
    pub address: SocketAddr,
    handle: Handle,
    events: Receiver<Event>,
    client: BufReader<TcpStream>,
    _stop: oneshot::Sender<()>,
}

impl Cloud {
    pub(crate) fn start() -> Cloud {
        let (said, events) = channel();
        let (ready, started) = channel();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::spawn(move || serve(said, &ready, stopped));
        let (address, handle): (SocketAddr, Handle) = started.recv().unwrap();
        let client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        Cloud { address, handle, events, client: BufReader::new(client), _stop: stop }
    }

    /// The next event that is meant; None if it does not come.
    pub(crate) fn wait_within(&self, limit: Duration, meant: impl Fn(&Event) -> bool) -> Option<Event> {
        let end = Instant::now() + limit;
        loop {
            let event = self.events.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            if meant(&event) {
                return Some(event);
            }
        }
    }

    /// The next event that is meant.
    pub(crate) fn wait(&self, meant: impl Fn(&Event) -> bool) -> Event {
        self.wait_within(PATIENCE, meant).expect("the sidecar did not do it; its log may say why")
    }

    /// Waits for the answer to a call of Systems Manager.
    pub(crate) fn answered(&self, operation: &str) -> Event {
        self.wait(|event| event.what == format!("AmazonSSM.{operation}") && event.outcome == "200")
    }

    /// The instances that there are.
    pub(crate) fn instances(&self) -> Vec<String> {
        self.handle.state(|world| world.ssm.instances.keys().cloned().collect())
    }

    /// A call as a client makes it, on one connection.
    pub(crate) fn call(&mut self, operation: &str, body: &Value) -> Value {
        let body = body.to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: AmazonSSM.{operation}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=local/20261127/us-east-1/ssm/aws4_request, \
             SignedHeaders=host, Signature=00\r\n\
             content-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.client.get_mut().write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        let mut good = false;
        loop {
            let mut line = String::new();
            self.client.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            good |= line.starts_with("http/1.1 200");
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        self.client.read_exact(&mut answer).unwrap();
        assert!(good, "{operation}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    /// Sends a document to an instance; the command's id.
    pub(crate) fn send(&mut self, instance: &str, document: &str, parameters: &[(&str, &str)]) -> String {
        let parameters: serde_json::Map<String, Value> =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), json!([value]))).collect();
        let body = json!({ "DocumentName": document, "InstanceIds": [instance], "Parameters": parameters });
        self.call("SendCommand", &body)["Command"]["CommandId"].as_str().unwrap().to_owned()
    }

    pub(crate) fn cancel(&mut self, command: &str) {
        self.call("CancelCommand", &json!({ "CommandId": command }));
    }

    /// Waits for the last reply of a command.
    pub(crate) fn ended(&self, command: &str) -> Event {
        self.wait(|event| is_last_reply(event) && event.what.contains(command))
    }

    /// Forgets what has been said so far.
    pub(crate) fn forget(&self) {
        while self.events.try_recv().is_ok() {}
    }
}

/// Whether it is a reply after which none comes.
pub(crate) fn is_last_reply(event: &Event) -> bool {
    event.what.starts_with("< reply ") && !event.outcome.starts_with("InProgress")
}

/// What the local AWS says, as it says it.
struct Log(Sender<Event>);

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: layer::Context<'_, S>) {
        let Line { what, outcome, .. } = Line::of(event);
        let _ = self.0.send(Event { at: Instant::now(), what, outcome });
    }
}

type Ready = Sender<(SocketAddr, Handle)>;

fn serve(said: Sender<Event>, ready: &Ready, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ours = Targets::new().with_target(TARGET, LevelFilter::INFO);
    // The server runs on this thread.
    let _logging = registry().with(Log(said).with_filter(ours)).set_default();
    runtime.block_on(async {
        let options = Options { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Options::default() };
        let server = Server::bind(options).await.unwrap();
        ready.send((server.address(), server.handle())).unwrap();
        let _ = server.run(async { drop(stopped.await) }).await;
    });
}

/// A sidecar, killed when dropped.
pub(crate) struct Sidecar {
    pub process: Running,
    pub began: Instant,
    pub instance: String,
}

impl Sidecar {
    /// Starts one and returns at once.
    pub(crate) fn launch(cloud: &Cloud, state: &Path) -> Sidecar {
        let endpoint = format!("http://{}", cloud.address);
        let log = fs::File::options().create(true).append(true).open(state.with_extension("log")).unwrap();
        let mut command = Command::new(machine::taskfault());
        command.args(["sidecar", "--state-dir"]).arg(state).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (name, value) in [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("MANAGED_INSTANCE_ROLE_NAME", "local"),
            ("TASKFAULT_ALLOW_SHELL", "true"),
            ("ECS_CONTAINER_METADATA_URI_V4", &format!("{endpoint}/v4/cluster/service/{}", "0f".repeat(16))),
        ] {
            command.env(name, value);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let began = Instant::now();
        Sidecar { process: Running(command.spawn().unwrap()), began, instance: String::new() }
    }

    /// Starts one and returns when its control channel is open.
    pub(crate) fn start(cloud: &Cloud, state: &Path) -> Sidecar {
        cloud.forget();
        let mut sidecar = Sidecar::launch(cloud, state);
        sidecar.channel_opens(cloud);
        sidecar
    }

    /// Waits for the control channel.
    pub(crate) fn channel_opens(&mut self, cloud: &Cloud) -> Event {
        let open = cloud.wait(|event| event.what == "control-channel" && event.outcome == "open");
        self.instance = cloud.instances().pop().unwrap();
        open
    }
}
