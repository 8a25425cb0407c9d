//! A local AWS on the far side and a sidecar on the near one, as a task in ECS has it: the metadata at one
//! address, the service at another.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ground::{FAR, Ground, Running};

/// The port of the service: a black hole on it is what the lifeline is for.
pub(crate) const SERVICE_PORT: u16 = 443;
const TASK: &str = "0123456789abcdef0123456789abcdef";
/// The emulated machine is slow, and a key is generated; what has not happened by then never will.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// Waits for an answer.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < TIME_LIMIT, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Both, until dropped.
pub(crate) struct Service<'a> {
    ground: &'a Ground,
    _aws: Running,
    pub sidecar: Running,
    instance: String,
    state_dir: String,
    /// The environment of the task, as `env` takes it.
    variables: Vec<String>,
}

impl<'a> Service<'a> {
    /// When it returns, the task's instance is Online.
    pub(crate) fn start(ground: &'a Ground) -> Service<'a> {
        let listen = format!("0.0.0.0:{SERVICE_PORT}");
        // Its log is for who looks for a mistake; the console is slow.
        let quiet = ["sh", "-c", "exec \"$@\" 2>/tmp/local-aws.log", "sh"];
        let mut aws =
            ground.start_far(&[&quiet, &["/mnt/taskfault-local", "--listen", &listen][..]].concat());
        assert!(aws.line().starts_with("http://"), "the local AWS did not start");
        let (service, metadata) = (FAR[0], FAR[1]);
        let variables = vec![
            format!("AWS_ENDPOINT_URL=http://{service}:{SERVICE_PORT}"),
            format!("ECS_CONTAINER_METADATA_URI_V4=http://{metadata}:{SERVICE_PORT}/v4/demo/web/{TASK}"),
            "AWS_ACCESS_KEY_ID=local".into(),
            "AWS_SECRET_ACCESS_KEY=local".into(),
            "MANAGED_INSTANCE_ROLE_NAME=local".into(),
        ];
        let state_dir = ground.state_dir.clone();
        let mut words = vec!["env"];
        words.extend(variables.iter().map(String::as_str));
        words.extend(["/mnt/taskfault", "sidecar", "--state-dir", &state_dir, "--log", "warn"]);
        let sidecar = ground.start(&words);
        let mut service =
            Service { ground, _aws: aws, sidecar, instance: String::new(), state_dir, variables };
        service.instance = eventually("the instance is Online", || {
            let listed = service.call("DescribeInstanceInformation", &json!({}));
            let instance = listed["InstanceInformationList"].get(0)?;
            (instance["PingStatus"] == "Online").then(|| instance["InstanceId"].as_str().unwrap().to_owned())
        });
        service
    }

    /// Calls Systems Manager from the far side, where no fault is.
    pub(crate) fn call(&self, operation: &str, body: &Value) -> Value {
        let said = self.post("/", &format!("AmazonSSM.{operation}"), &body.to_string());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{operation}: {error}: {said:?}"))
    }

    /// Cuts every control channel.
    pub(crate) fn drop_sockets(&self) {
        self.post("/_taskfault/drop-sockets", "", "{}");
    }

    fn post(&self, path: &str, target: &str, body: &str) -> String {
        self.ground.far(&["/mnt/suite", "probe", "post", path, target, body])
    }

    /// Sends a command; gives its id.
    pub(crate) fn send(&self, document: &str, parameters: &Value) -> String {
        let body =
            json!({"DocumentName": document, "InstanceIds": [self.instance], "Parameters": parameters});
        let sent = self.call("SendCommand", &body);
        sent["Command"]["CommandId"].as_str().unwrap_or_else(|| panic!("{sent}")).to_owned()
    }

    pub(crate) fn cancel(&self, command: &str) {
        self.call("CancelCommand", &json!({ "CommandId": command }));
    }

    /// Its status once it has ended.
    pub(crate) fn ended(&self, command: &str) -> String {
        eventually("the command ends", || {
            let listed = self.call("ListCommandInvocations", &json!({"CommandId": command}));
            let status = listed["CommandInvocations"][0]["Status"].as_str()?.to_owned();
            (!["Pending", "InProgress", "Delayed", "Cancelling"].contains(&status.as_str())).then_some(status)
        })
    }

    /// What `taskfault doctor` says in the task.
    pub(crate) fn doctor(&self) -> String {
        let mut words = vec!["env"];
        words.extend(self.variables.iter().map(String::as_str));
        // What is asked of it here is the network; processes of the machine itself it would not kill.
        words.extend(["/mnt/taskfault", "doctor", "network-latency", "--state-dir", &self.state_dir]);
        self.ground.near(&words)
    }

    /// The live faults, as `taskfault status` tells them: what was started, by command.
    pub(crate) fn live(&self) -> Vec<(String, String)> {
        let told = self.ground.near(&["/mnt/taskfault", "status", "--json", "--state-dir", &self.state_dir]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let commands = told["sidecar"]["commands"].as_array().cloned().unwrap_or_default();
        let text = |command: &Value, key: &str| Some(command[key].as_str()?.to_owned());
        commands.iter().filter_map(|one| Some((text(one, "command_id")?, text(one, "started")?))).collect()
    }
}

/// What a client of Systems Manager shows: the form of a signature, which is all that the local AWS looks at.
pub(crate) const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 \
    Credential=local/20261127/us-east-1/ssm/aws4_request, SignedHeaders=host, Signature=00\r\n";

/// `post PATH TARGET BODY`: one request to the service of this namespace; prints the body of the answer.
pub(crate) fn post(path: &str, target: &str, body: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", SERVICE_PORT)).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{SERVICE_PORT}\r\nConnection: close\r\nX-Amz-Target: {target}\r\n\
         {SIGNED}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    println!("{}", answer.split_once("\r\n\r\n").unwrap().1);
}
