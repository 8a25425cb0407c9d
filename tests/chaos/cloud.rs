//! The local AWS of one lane, and what a client asks of it, on its own connection past the relay.

use std::net::SocketAddr;
use std::time::Duration;

use aws_local::{Options, Server, TaskLimits};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A job that nobody acknowledged is offered again after a second, an empty poll is held as long.
const SECOND: u64 = 1;
/// The local AWS serves clients that sign, with whatever keys.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=local/20261127/us-east-1/ssm/aws4_request, \
                      SignedHeaders=host;x-amz-target, Signature=0000";

/// A local AWS that runs on this thread.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub address: SocketAddr,
}

impl Cloud {
    /// Starts it; `polling` refuses control channels, so that everything goes by the long poll.
    pub(crate) async fn start(polling: bool) -> Cloud {
        let options = Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            // Below two CPUs no second thread races for the key.
            limits: TaskLimits { cpu: Some(1.0), memory_mib: Some(512) },
            ..Options::default()
        };
        let server = Server::bind(options).await.unwrap();
        let address = server.address();
        tokio::task::spawn_local(async move { server.run(std::future::pending()).await });
        let cloud = Cloud { address };
        let channel = if polling { "denied" } else { "open" };
        let switches = json!({ "channel": channel, "redelivery_seconds": SECOND, "poll_seconds": SECOND });
        cloud.post("/_taskfault/switches", "", &switches).await;
        cloud
    }

    /// Sends a document; the command's id.
    pub(crate) async fn send(&self, instance: &str, document: &str, parameters: Value) -> String {
        let body = json!({ "DocumentName": document, "InstanceIds": [instance], "Parameters": parameters });
        self.call("SendCommand", &body).await["Command"]["CommandId"].as_str().unwrap().to_owned()
    }

    /// Asks for the end of a command.
    pub(crate) async fn cancel(&self, command: &str) {
        self.call("CancelCommand", &json!({ "CommandId": command })).await;
    }

    /// The status of a command's one invocation.
    pub(crate) async fn status(&self, command: &str) -> String {
        let listed = self.call("ListCommandInvocations", &json!({ "CommandId": command })).await;
        listed["CommandInvocations"][0]["Status"].as_str().unwrap_or("Pending").to_owned()
    }

    /// The instances that are online.
    pub(crate) async fn online(&self) -> Vec<String> {
        let listed = self.call("DescribeInstanceInformation", &json!({})).await;
        let all = listed["InstanceInformationList"].as_array().cloned().unwrap_or_default();
        let online = all.iter().filter(|one| one["PingStatus"] == "Online");
        online.filter_map(|one| one["InstanceId"].as_str().map(str::to_owned)).collect()
    }

    async fn call(&self, operation: &str, body: &Value) -> Value {
        self.post("/", &format!("AmazonSSM.{operation}"), body).await
    }

    async fn post(&self, path: &str, target: &str, body: &Value) -> Value {
        let body = body.to_string();
        // Its own calls are JSON as anybody's.
        let kind = if target.is_empty() { "application/json" } else { "application/x-amz-json-1.1" };
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nx-amz-target: {target}\r\n\
             authorization: {SIGNED}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(Duration::from_secs(60), exchange).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{target}{path}: {answer}");
        serde_json::from_str(body).unwrap_or_default()
    }
}
