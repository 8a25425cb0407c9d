//! The replies to one command, as JSON text (`SendReplyPayload`). Pure: time comes in as a parameter.
//!
//! In order: one when the command is accepted, one after each step, one at the end; or a single one when the
//! document could not be read. Key names and their order as observed (`runcommand/contracts/model.go`,
//! `contracts/aggregator.go`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use time::OffsetDateTime;

use super::output::{self, STREAM_BYTES};
use super::{DocumentStatus, StepReport, StepStatus};

/// The service drops a longer reply, so none is ever built. Bytes of JSON.
pub const REPLY_BYTES: usize = 120_000;
/// Names come from the document and have no limit there. The service allows 128 characters.
const NAME_BYTES: usize = 1000;

/// The agent that replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replier {
    /// The announced agent version, `n.n.n.n`.
    pub version: String,
    /// Over the long poll only: whether the control channel could be opened.
    pub able_to_open_control_channel: Option<bool>,
}

impl Replier {
    /// The command is accepted; nothing ran yet.
    pub fn accepted(&self, now: SystemTime) -> String {
        self.write(DocumentStatus::InProgress, None, Runtime::Unknown, "", now)
    }

    /// `steps` have finished, the last of them just now; the document goes on.
    pub fn progress(&self, steps: &[StepReport], now: SystemTime) -> String {
        let step = steps.last().map_or(Runtime::Nothing, Runtime::Step);
        self.write(DocumentStatus::InProgress, Some(counts(steps)), step, "", now)
    }

    /// All `steps` of the document have finished. Only a single step is repeated; several were told before.
    pub fn finished(&self, steps: &[StepReport], now: SystemTime) -> String {
        let step = match steps {
            [step] => Runtime::Step(step),
            _ => Runtime::Nothing,
        };
        self.write(DocumentStatus::of(steps), Some(counts(steps)), step, "", now)
    }

    /// The document could not be read. The stock agent leaves `trace` empty on the control channel and puts
    /// the reason there on the long poll.
    pub fn refused(&self, trace: &str, now: SystemTime) -> String {
        self.write(DocumentStatus::Failed, None, Runtime::Unknown, trace, now)
    }

    fn write(
        &self,
        status: DocumentStatus,
        counts: Option<BTreeMap<&'static str, usize>>,
        runtime: Runtime<'_>,
        trace: &str,
        now: SystemTime,
    ) -> String {
        let trace = output::text(&output::combined(trace.as_bytes(), b""));
        let mut limit = STREAM_BYTES;
        loop {
            let reply = Reply {
                additional_info: self.additional_info(counts.as_ref(), now),
                document_status: status.as_str(),
                document_trace_output: &trace,
                runtime_status: runtime.at_most(limit),
            };
            let json = serde_json::to_string(&reply).expect("maps with string keys always serialize");
            if json.len() <= REPLY_BYTES || limit == 0 {
                return json;
            }
            // JSON writes a control character as six bytes, so streams within their limits may not fit.
            limit = limit * 3 / 4;
        }
    }

    fn additional_info<'a>(
        &'a self,
        counts: Option<&'a BTreeMap<&'static str, usize>>,
        now: SystemTime,
    ) -> AdditionalInfo<'a> {
        AdditionalInfo {
            agent: Agent {
                lang: "en-US",
                name: "amazon-ssm-agent",
                os: "linux",
                osver: "1",
                ver: &self.version,
            },
            date_time: iso8601(now),
            run_id: "",
            runtime_status_counts: counts,
            able_to_open_mgs_connection: self.able_to_open_control_channel,
        }
    }
}

/// `created` of a frame, in the form of [`iso8601`]. The service writes it, so it may be any number: one that
/// is no date of the years to 9999 becomes the last that is.
pub fn iso8601_of_ms(created_ms: u64) -> String {
    const LAST_MS: u64 = 253_402_300_799_999;
    iso8601(SystemTime::UNIX_EPOCH + Duration::from_millis(created_ms.min(LAST_MS)))
}

/// `yyyy-MM-ddTHH:mm:ss.SSSZ`, UTC.
pub fn iso8601(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

fn counts(steps: &[StepReport]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for step in steps {
        *counts.entry(step.status.as_str()).or_default() += 1;
    }
    counts
}

/// What stands under `runtimeStatus`.
#[derive(Clone, Copy)]
enum Runtime<'a> {
    /// `null`: no step has a status yet.
    Unknown,
    /// `{}`.
    Nothing,
    Step(&'a StepReport),
}

impl Runtime<'_> {
    fn at_most(&self, stream_bytes: usize) -> Option<RuntimeStatus> {
        match self {
            Runtime::Unknown => None,
            Runtime::Nothing => Some(RuntimeStatus(None)),
            Runtime::Step(step) => {
                let name = clip(&step.name).into_owned();
                Some(RuntimeStatus(Some((name, PluginStatus::of(step, stream_bytes)))))
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply<'a> {
    additional_info: AdditionalInfo<'a>,
    document_status: &'static str,
    document_trace_output: &'a str,
    runtime_status: Option<RuntimeStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AdditionalInfo<'a> {
    agent: Agent<'a>,
    date_time: String,
    run_id: &'static str,
    runtime_status_counts: Option<&'a BTreeMap<&'static str, usize>>,
    #[serde(rename = "ableToOpenMGSConnection", skip_serializing_if = "Option::is_none")]
    able_to_open_mgs_connection: Option<bool>,
}

#[derive(Serialize)]
struct Agent<'a> {
    lang: &'static str,
    name: &'static str,
    os: &'static str,
    osver: &'static str,
    ver: &'a str,
}

/// One step under its name, or none.
struct RuntimeStatus(Option<(String, PluginStatus)>);

impl Serialize for RuntimeStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(usize::from(self.0.is_some())))?;
        if let Some((name, status)) = &self.0 {
            map.serialize_entry(name, status)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PluginStatus {
    status: &'static str,
    code: i32,
    name: String,
    output: String,
    start_date_time: String,
    end_date_time: String,
    // These three are filled only when a bucket was given; the keys are always there.
    #[serde(rename = "outputS3BucketName")]
    output_s3_bucket_name: String,
    #[serde(rename = "outputS3KeyPrefix")]
    output_s3_key_prefix: String,
    step_name: String,
    standard_output: String,
    standard_error: String,
}

impl PluginStatus {
    fn of(step: &StepReport, stream_bytes: usize) -> PluginStatus {
        let combined = match &step.message {
            Some(message) => output::combined(message.as_bytes(), b""),
            None => output::combined(&step.stdout, &step.stderr),
        };
        let stored = step.stored.as_ref();
        PluginStatus {
            status: step.status.as_str(),
            // `aggregator.go`, prepareRuntimeStatus: a failure never has code 0.
            code: if step.status == StepStatus::Failed && step.code == 0 { 1 } else { step.code },
            name: clip(&step.action).into_owned(),
            output: output::text(&combined),
            start_date_time: iso8601(step.started),
            end_date_time: iso8601(step.ended),
            output_s3_bucket_name: stored.map(|stored| stored.bucket.clone()).unwrap_or_default(),
            output_s3_key_prefix: stored.map(|stored| stored.prefix.clone()).unwrap_or_default(),
            step_name: stored.map(|_| clip(&step.name).into_owned()).unwrap_or_default(),
            standard_output: output::text(&output::stream(&step.stdout, stream_bytes)),
            standard_error: output::text(&output::stream(&step.stderr, stream_bytes)),
        }
    }
}

/// The start of a name that is absurdly long, so that a reply with it still fits.
fn clip(name: &str) -> Cow<'_, str> {
    match name.char_indices().find(|(index, c)| index + c.len_utf8() > NAME_BYTES) {
        Some((end, _)) => Cow::Borrowed(&name[..end]),
        None => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::{Value, json};

    use super::*;

    fn step(name: &str, status: StepStatus, code: i32) -> StepReport {
        StepReport {
            name: name.to_owned(),
            action: "aws:runShellScript".to_owned(),
            status,
            code,
            stdout: b"mds\n".to_vec(),
            stderr: Vec::new(),
            message: None,
            stored: None,
            started: at(54_893),
            ended: at(54_914),
        }
    }

    /// Milliseconds after 2026-11-23T02:59:00Z.
    fn at(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_402_740_000 + ms)
    }

    fn replier() -> Replier {
        Replier { version: "3.3.0.0".to_owned(), able_to_open_control_channel: None }
    }

    fn parsed(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    /// The example of the protocol sheet §6.1, observed on a socket (control channel, one step), byte for byte.
    #[test]
    fn a_date_of_the_service_that_is_none_is_written_all_the_same() {
        assert_eq!(iso8601_of_ms(1_795_402_785_007), "2026-11-23T02:59:45.007Z");
        assert_eq!(iso8601_of_ms(253_402_300_800_000), "9999-12-31T23:59:59.999Z");
        assert_eq!(iso8601_of_ms(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_final_reply_reads_as_the_stock_agents() {
        let expected = concat!(
            r#"{"additionalInfo":{"agent":{"lang":"en-US","name":"amazon-ssm-agent","os":"linux","osver":"1","ver":"3.3.0.0"},"#,
            r#""dateTime":"2026-11-23T02:59:54.917Z","runId":"","runtimeStatusCounts":{"Success":1}},"#,
            r#""documentStatus":"Success","documentTraceOutput":"","#,
            r#""runtimeStatus":{"a":{"status":"Success","code":0,"name":"aws:runShellScript","output":"mds\n","#,
            r#""startDateTime":"2026-11-23T02:59:54.893Z","endDateTime":"2026-11-23T02:59:54.914Z","#,
            r#""outputS3BucketName":"","outputS3KeyPrefix":"","stepName":"","standardOutput":"mds\n","standardError":""}}}"#,
        );
        let reply = replier().finished(&[step("a", StepStatus::Success, 0)], at(54_917));
        assert_eq!(reply, expected);
    }

    /// Protocol sheet §6.2.
    #[test]
    fn the_four_replies_differ_as_they_should() {
        let steps = [step("a", StepStatus::Success, 0), step("b", StepStatus::Failed, 0)];
        let now = at(0);
        let accepted = parsed(&replier().accepted(now));
        assert_eq!(accepted["documentStatus"], "InProgress");
        assert_eq!(accepted["runtimeStatus"], Value::Null);
        assert_eq!(accepted["additionalInfo"]["runtimeStatusCounts"], Value::Null);
        assert!(accepted.as_object().unwrap().contains_key("runtimeStatus"));

        let progress = parsed(&replier().progress(&steps, now));
        assert_eq!(progress["documentStatus"], "InProgress");
        assert_eq!(progress["additionalInfo"]["runtimeStatusCounts"], json!({"Failed": 1, "Success": 1}));
        assert_eq!(progress["runtimeStatus"].as_object().unwrap().keys().collect::<Vec<_>>(), ["b"]);
        // §6.3: a failed step with code 0 is reported with code 1.
        assert_eq!(progress["runtimeStatus"]["b"]["code"], 1);

        let finished = parsed(&replier().finished(&steps, now));
        assert_eq!((&finished["documentStatus"], &finished["runtimeStatus"]), (&json!("Failed"), &json!({})));

        let refused = parsed(&replier().refused("because", now));
        assert_eq!(refused["documentStatus"], "Failed");
        assert_eq!(refused["documentTraceOutput"], "because");
        assert_eq!(refused["runtimeStatus"], Value::Null);
    }

    #[test]
    fn only_the_long_poll_says_whether_the_control_channel_opened() {
        let poll = Replier { able_to_open_control_channel: Some(false), ..replier() };
        let reply = parsed(&poll.accepted(at(0)));
        assert_eq!(reply["additionalInfo"]["ableToOpenMGSConnection"], false);
        assert!(!replier().accepted(at(0)).contains("ableToOpenMGSConnection"));
    }

    #[test]
    fn a_message_takes_the_place_of_the_combined_output() {
        let skipped = StepReport { message: Some("why".to_owned()), ..step("a", StepStatus::Skipped, 0) };
        let reply = parsed(&replier().finished(&[skipped], at(0)));
        assert_eq!(reply["runtimeStatus"]["a"]["output"], "why");
        assert_eq!(reply["documentStatus"], "Success");
    }

    #[test]
    fn the_worst_reply_there_can_be_fits() {
        let worst = StepReport {
            name: "\u{1}".repeat(100_000),
            action: "é".repeat(100_000),
            stdout: vec![1; 60_000],
            stderr: vec![0xff; 60_000],
            message: Some("\u{2}".repeat(100_000)),
            ..step("", StepStatus::Failed, 1)
        };
        let reply = replier().finished(std::slice::from_ref(&worst), at(0));
        assert!(reply.len() <= REPLY_BYTES, "{}", reply.len());
        let status = parsed(&reply);
        let (_, step) = status["runtimeStatus"].as_object().unwrap().iter().next().unwrap();
        assert!(step["standardOutput"].as_str().unwrap().ends_with("--output truncated--"));
        assert!(replier().refused(&"\u{1}".repeat(300_000), at(0)).len() <= REPLY_BYTES);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(48))]
        #[test]
        fn a_reply_is_always_json_that_fits(
            name in ".*",
            code: i32,
            stdout in proptest::collection::vec(proptest::num::u8::ANY, 0..70_000),
            stderr in proptest::collection::vec(0u8..32, 0..70_000),
        ) {
            let step = StepReport { name, stdout, stderr, ..step("", StepStatus::Failed, code) };
            let reply = replier().progress(&[step], at(0));
            proptest::prop_assert!(reply.len() <= REPLY_BYTES);
            proptest::prop_assert!(parsed(&reply)["runtimeStatus"].is_object());
        }
    }
}
