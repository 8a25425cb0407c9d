//! The output of commands in S3 and CloudWatch Logs, where SendCommand asks for it, laid out as the stock agent does.
//!
//! Written with the managed-instance role, before the step is reported, within a time limit: what could not be written is
//! said in the step's error output, and changes nothing else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::aws::AwsError;
use crate::aws::clock::epoch_milliseconds;
use crate::aws::endpoint::{self, Service};
use crate::aws::error::UNKNOWN;
use crate::aws::json::USER_AGENT;
use crate::aws::sign::sign_v4;
use crate::config::variable;
use crate::identity::token::Identity;
use http_client::{Client, host_of};
use ssm_wire::job::SendCommand;
use ssm_wire::report::{StepReport, Stored};

/// Of everything that is written of one step: its report waits for it.
const LIMIT: Duration = Duration::from_secs(10);
/// Of one call.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// PutLogEvents takes as many bytes, counting [`EVENT_BYTES`] more for each event, and as many events.
/// Source: API reference of CloudWatch Logs, PutLogEvents.
const BATCH_BYTES: usize = 1_048_576;
const BATCH_EVENTS: usize = 10_000;
const EVENT_BYTES: usize = 26;
/// A line that is longer becomes several events.
const LINE_BYTES: usize = 200_000;
/// Characters of a refusal that are shown.
const SHOWN: usize = 300;

/// Where the output of one command is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// `BUCKET`, and what the keys begin with there.
    bucket: Option<(String, String)>,
    /// The log group.
    group: Option<String>,
    command_id: String,
}

impl Destination {
    /// What `send` asks for; None where it is the reply alone. Without a group's name the group is that of the document
    /// (`/aws/ssm/AWSFIS-Run-CPU-Stress`).
    pub fn of(send: &SendCommand, command_id: &str) -> Option<Destination> {
        let bucket = (!send.output_s3_bucket.is_empty())
            .then(|| (send.output_s3_bucket.clone(), send.output_s3_prefix.clone()));
        let group = (send.cloud_watch_output_enabled == "true").then(|| {
            match send.cloud_watch_log_group_name.as_str() {
                "" => format!("/aws/ssm/{}", group_part(&send.document_name)),
                name => name.to_owned(),
            }
        });
        let asked = bucket.is_some() || group.is_some();
        asked.then(|| Destination { bucket, group, command_id: command_id.to_owned() })
    }
}

/// What a log group's name may have in it, of a document's name or ARN.
fn group_part(document: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
    document.chars().map(|c| if allowed(c) { c } else { '-' }).collect()
}

/// Writes the output of commands. Debug shows nothing of the environment, which holds secrets.
pub struct Writer {
    /// Speaks to S3.
    pub client: Client,
    /// Signs, and speaks to CloudWatch Logs.
    pub identity: Rc<Identity>,
    /// Where the task is.
    pub region: String,
    /// Of the region.
    pub partition: String,
    /// Endpoints are looked up in it.
    pub environment: BTreeMap<OsString, OsString>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes both streams of a step, as far as there is something in them, and notes in the step where they are and what
    /// could not be written.
    pub async fn write(&self, step: &mut StepReport, destination: &Destination) {
        let streams = [("stdout", &step.stdout), ("stderr", &step.stderr)];
        let streams: Vec<_> = streams.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
        let instance = self.identity.instance_id();
        let bucket = destination
            .bucket
            .as_ref()
            .map(|(bucket, prefix)| (bucket, key_prefix(prefix, &destination.command_id, &instance, step)));
        let mut problems = Vec::new();
        let writing = async {
            let to_bucket = async {
                let (bucket, prefix) = bucket.as_ref()?;
                for (name, bytes) in &streams {
                    let key = format!("{}/{name}", step_folder(prefix, step));
                    if let Err(reason) = self.put_object(bucket, &key, bytes).await {
                        return Some(format!("s3://{bucket}/{key}: {reason}"));
                    }
                }
                None
            };
            let to_group = async {
                let group = destination.group.as_ref()?;
                for (name, bytes) in &streams {
                    let stream = stream_name(&destination.command_id, &instance, &step.name, name);
                    if let Err(reason) = self.put_events(group, &stream, bytes).await {
                        return Some(format!("log group {group}: {reason}"));
                    }
                }
                None
            };
            let (bucket, group) = tokio::join!(to_bucket, to_group);
            problems.extend(bucket.into_iter().chain(group));
        };
        if tokio::time::timeout(LIMIT, writing).await.is_err() {
            problems.push(format!("not done within {} s", LIMIT.as_secs()));
        }
        step.stored = bucket.map(|(bucket, prefix)| Stored { bucket: bucket.clone(), prefix });
        for problem in problems {
            tracing::warn!(command = destination.command_id, problem, "output could not be written");
            let note = format!("note: the output could not be written to {problem}\n");
            step.stderr.extend_from_slice(note.as_bytes());
        }
    }

    /// PutObject, in the bucket's own region where that is another one.
    async fn put_object(&self, bucket: &str, key: &str, bytes: &[u8]) -> Result<(), String> {
        let answer = self.put_in(&self.region, bucket, key, bytes).await?;
        if answer.status().is_success() {
            return Ok(());
        }
        let elsewhere = answer.headers().get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
        let answer = match elsewhere.filter(|region| *region != self.region) {
            Some(region) => self.put_in(region, bucket, key, bytes).await?,
            None => answer,
        };
        if answer.status().is_success() { Ok(()) } else { Err(refusal(&answer)) }
    }

    async fn put_in(
        &self,
        region: &str,
        bucket: &str,
        key: &str,
        bytes: &[u8],
    ) -> Result<Response<Bytes>, String> {
        let get = |name: &str| variable(&self.environment, name);
        let endpoint = endpoint::resolve(Service::S3, region, &self.partition, get);
        let endpoint = endpoint.map_err(|error| error.to_string())?;
        let credentials = self.identity.credentials().ok_or("there are no credentials yet")?;
        let uri: Uri = format!("{endpoint}{}/{}", escaped(bucket), escaped(key))
            .parse()
            .map_err(|_| "the key is no path of a URL".to_owned())?;
        let mut request = Request::put(&uri)
            .header(header::HOST, host_of(&uri))
            .header(header::CONTENT_LENGTH, bytes.len())
            // As the stock agent asks for it: the bucket may be another account's.
            .header("x-amz-acl", "bucket-owner-full-control")
            .body(Bytes::copy_from_slice(bytes))
            .map_err(|error| error.to_string())?;
        let now = self.identity.client().clock().now();
        sign_v4(&mut request, &credentials, region, Service::S3.name(), now)
            .map_err(|error| error.to_string())?;
        request.headers_mut().insert(header::USER_AGENT, header::HeaderValue::from_static(USER_AGENT));
        self.client.send(request.map(Full::new), CALL_LIMIT).await.map_err(|error| error.to_string())
    }

    /// Puts lines as events, into a group that is made if there is none.
    async fn put_events(&self, group: &str, stream: &str, bytes: &[u8]) -> Result<(), String> {
        let names = json!({"logGroupName": group, "logStreamName": stream});
        match self.call("CreateLogStream", &names).await {
            Err(error) if error.code() == "ResourceNotFoundException" => {
                let made = self.call("CreateLogGroup", &json!({"logGroupName": group})).await;
                allow_existing(made)?;
                allow_existing(self.call("CreateLogStream", &names).await)?;
            }
            other => allow_existing(other)?,
        }
        let now = epoch_milliseconds(self.identity.client().clock().now());
        for batch in batches(&String::from_utf8_lossy(bytes), now) {
            let mut body = names.clone();
            body["logEvents"] = batch;
            self.call("PutLogEvents", &body).await.map_err(|error| hint(&error))?;
        }
        Ok(())
    }

    async fn call(&self, operation: &str, body: &Value) -> Result<(), AwsError> {
        self.identity.send(CALL_LIMIT, Service::Logs, operation, body).await
    }
}

fn allow_existing(made: Result<(), AwsError>) -> Result<(), String> {
    match made {
        Err(error) if error.code() == "ResourceAlreadyExistsException" => Ok(()),
        other => other.map_err(|error| hint(&error)),
    }
}

/// The error, and which right is missing if that is the reason.
fn hint(error: &AwsError) -> String {
    match error {
        AwsError::Service { operation, code, .. } if code.starts_with("AccessDenied") => {
            format!("{error}; the managed-instance role needs logs:{operation}")
        }
        other => other.to_string(),
    }
}

/// What S3 says, which is XML.
fn refusal(answer: &Response<Bytes>) -> String {
    let body = String::from_utf8_lossy(answer.body());
    let document = roxmltree::Document::parse(&body).ok();
    let text = |name: &str| {
        let node = document.as_ref()?.descendants().find(|node| node.has_tag_name(name))?;
        node.text().map(|text| text.chars().take(SHOWN).collect::<String>())
    };
    let (code, message) = (text("Code"), text("Message"));
    let code = code.unwrap_or_else(|| UNKNOWN.to_owned());
    let what = format!("{code}: {} (HTTP {})", message.unwrap_or_default(), answer.status().as_u16());
    match code.as_str() {
        "AccessDenied" => {
            format!("{what}; the managed-instance role needs s3:PutObject and s3:PutObjectAcl there")
        }
        _ => what,
    }
}

/// `PREFIX/COMMAND/INSTANCE/ACTION`. Source: amazon-ssm-agent `docparser.go`, `fileutil.go` (BuildS3Path).
fn key_prefix(prefix: &str, command_id: &str, instance: &str, step: &StepReport) -> String {
    let parts = [prefix.trim_matches('/'), command_id, instance, &part(&step.action)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// The folder of a step below it: its name, or for documents of schema 1.x the id that their only property has.
fn step_folder(prefix: &str, step: &StepReport) -> String {
    match step.name == step.action {
        true => format!("{prefix}/0.{}", part(&step.name)),
        false => format!("{prefix}/{}", part(&step.name)),
    }
}

fn part(name: &str) -> String {
    name.replace(':', "")
}

/// `COMMAND/INSTANCE/STEP/stdout`, without what a stream's name may not have.
fn stream_name(command_id: &str, instance: &str, step: &str, name: &str) -> String {
    format!("{command_id}/{instance}/{step}/{name}").replace([':', '*'], "-")
}

/// A path with everything escaped but what URLs leave as it is, and the slash.
fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    path.bytes().fold(String::new(), |mut text, byte| {
        match plain(byte) {
            true => text.push(char::from(byte)),
            false => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

/// The lines as events, in as many lists as PutLogEvents needs. Empty lines are no events.
fn batches(text: &str, timestamp: u64) -> Vec<Value> {
    let (mut all, mut batch, mut size) = (Vec::new(), Vec::new(), 0);
    for line in text.lines().flat_map(pieces) {
        let bytes = line.len() + EVENT_BYTES;
        if batch.len() == BATCH_EVENTS || size + bytes > BATCH_BYTES {
            all.push(Value::Array(std::mem::take(&mut batch)));
            size = 0;
        }
        size += bytes;
        batch.push(json!({"timestamp": timestamp, "message": line}));
    }
    if !batch.is_empty() {
        all.push(Value::Array(batch));
    }
    all
}

/// A line in pieces of at most [`LINE_BYTES`].
fn pieces(mut line: &str) -> Vec<&str> {
    let mut all = Vec::new();
    while !line.is_empty() {
        let (piece, rest) = line.split_at(line.floor_char_boundary(LINE_BYTES));
        all.push(piece);
        line = rest;
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use ssm_wire::report::StepStatus;

    fn send(content: Value) -> SendCommand {
        let mut whole = json!({"DocumentContent": {}, "DocumentName": "AWSFIS-Run-CPU-Stress"});
        whole.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn step(name: &str, action: &str) -> StepReport {
        let mut step = StepReport::unstarted(name, action, SystemTime::UNIX_EPOCH);
        step.status = StepStatus::Success;
        step
    }

    #[test]
    fn output_goes_where_it_was_asked_for() {
        assert_eq!(Destination::of(&send(json!({"CloudWatchLogGroupName": "g"})), "c"), None);
        let to = Destination::of(&send(json!({"CloudWatchOutputEnabled": "true"})), "c").unwrap();
        assert_eq!(to.group.as_deref(), Some("/aws/ssm/AWSFIS-Run-CPU-Stress"));
        let asked = json!({"OutputS3BucketName": "b", "OutputS3KeyPrefix": "p",
            "CloudWatchOutputEnabled": "true", "CloudWatchLogGroupName": "g"});
        let to = Destination::of(&send(asked), "c").unwrap();
        assert_eq!((to.bucket, to.group), (Some(("b".into(), "p".into())), Some("g".into())));
        assert_eq!(group_part("arn:aws:ssm:eu-west-1::document/X"), "arn-aws-ssm-eu-west-1--document/X");
    }

    /// Protocol sheet §5.5.
    #[test]
    fn names_are_those_of_the_stock_agent() {
        let only = step("only", "aws:runShellScript");
        let prefix = key_prefix("/a/b/", "c1", "mi-1", &only);
        assert_eq!(prefix, "a/b/c1/mi-1/awsrunShellScript");
        assert_eq!(step_folder(&prefix, &only), "a/b/c1/mi-1/awsrunShellScript/only");
        let old = step("aws:runShellScript", "aws:runShellScript");
        let prefix = key_prefix("", "c1", "mi-1", &old);
        assert_eq!(step_folder(&prefix, &old), "c1/mi-1/awsrunShellScript/0.awsrunShellScript");
        assert_eq!(stream_name("c1", "mi-1", "aws:x*", "stdout"), "c1/mi-1/aws-x-/stdout");
        assert_eq!(escaped("a b/c+d/é"), "a%20b/c%2Bd/%C3%A9");
    }

    #[test]
    fn lines_become_events_in_batches_that_are_taken() {
        let of = |text: &str| batches(text, 7);
        assert_eq!(of(""), [] as [Value; 0]);
        assert_eq!(
            of("a\n\nb\n"),
            [json!([{"timestamp": 7, "message": "a"}, {"timestamp": 7, "message": "b"}])]
        );
        let many = of(&"x\n".repeat(BATCH_EVENTS + 1));
        assert_eq!(
            many.iter().map(|batch| batch.as_array().unwrap().len()).collect::<Vec<_>>(),
            [BATCH_EVENTS, 1]
        );
        let long = of(&"é".repeat(BATCH_BYTES));
        let sizes = long.iter().map(|batch| {
            let events = batch.as_array().unwrap();
            events.iter().map(|event| event["message"].as_str().unwrap().len() + EVENT_BYTES).sum::<usize>()
        });
        assert!(sizes.clone().all(|size| size <= BATCH_BYTES) && sizes.len() >= 2);
    }

    #[test]
    fn a_refusal_of_s3_is_said_with_the_right_that_is_missing() {
        let answer = |status: u16, body: &'static str| {
            refusal(&Response::builder().status(status).body(Bytes::from(body)).unwrap())
        };
        let text = answer(403, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>");
        assert!(
            text.starts_with("AccessDenied: Access Denied (HTTP 403); the managed-instance role needs"),
            "{text}"
        );
        assert!(answer(503, "<html>").starts_with("UnknownError: "), "{}", answer(503, "<html>"));
    }
}
