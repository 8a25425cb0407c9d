//! A command to try things on, for the tests of this folder.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Command, Instance, Invocation, Offer, Reply, SsmState};

/// So many seconds after the command was requested.
pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_400_000 + seconds)
}

pub(super) fn instance(id: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        activation_id: String::new(),
        iam_role: "role".to_owned(),
        name: None,
        registered: at(0),
        public_key: Vec::new(),
        fingerprint: String::new(),
        tags: BTreeMap::new(),
        information: Map::new(),
        last_ping: None,
    }
}

/// Delivery 60 s, execution 600 s, three steps.
pub(super) fn command(instances: &[&str]) -> Command {
    Command {
        id: Uuid::from_u128(7),
        document_name: "Doc".to_owned(),
        document_version: "1".to_owned(),
        document: json!({
            "schemaVersion": "2.2",
            "parameters": {
                "List": { "type": "StringList" }, "Text": { "type": "String" }, "Flag": { "type": "Boolean" },
                "Number": { "type": "Integer" }, "Map": { "type": "StringMap" },
            },
            "mainSteps": [{ "name": "a" }, { "name": "b" }, { "name": "c" }],
        }),
        parameters: BTreeMap::new(),
        comment: String::new(),
        instance_ids: instances.iter().map(|id| (*id).to_owned()).collect(),
        targets: Vec::new(),
        timeout: Duration::from_secs(60),
        execution_timeout: Duration::from_secs(600),
        max_concurrency: "50".to_owned(),
        max_errors: "0".to_owned(),
        requested: at(0),
        output_s3_bucket: String::new(),
        output_s3_prefix: String::new(),
        cloudwatch_log_group: String::new(),
        cloudwatch_enabled: false,
        cancel_requested: false,
        invocations: instances.iter().map(|id| Invocation::pending(*id, "")).collect(),
    }
}

/// A state with that command in it.
pub(super) fn submitted(instances: &[&str]) -> SsmState {
    let mut state = SsmState::default();
    state.submit(command(instances), at(0));
    state
}

/// The messages that go out to `mi-1` at some second.
pub(super) fn offers(state: &mut SsmState, seconds: u64) -> Vec<Offer> {
    state.offers("mi-1", 10, Duration::from_secs(10), at(seconds))
}

/// The job of the command on an instance.
pub(super) fn job(instance: &str) -> String {
    super::job_id(Uuid::from_u128(7), instance)
}

pub(super) fn reply(status: &str, steps: Value) -> Reply {
    serde_json::from_value(
        json!({ "documentStatus": status, "documentTraceOutput": "", "runtimeStatus": steps }),
    )
    .expect("a reply")
}
