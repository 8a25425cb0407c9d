//! A stage for the tests of this folder: a state with the built-in documents, a clock that only moves when
//! told, and instances that have registered.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::call;
use crate::Context;
use crate::documents;
use crate::ssm::state::{Instance, SsmState};

/// See the module.
#[derive(Debug)]
pub(super) struct Fixture {
    pub(super) state: SsmState,
    pub(super) context: Context,
}

impl Fixture {
    /// No instances; 2026-01-01 00:00:00 UTC.
    pub(super) fn new() -> Fixture {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let documents =
            documents::built_in(now).into_iter().map(|document| (document.name.clone(), document));
        Fixture {
            state: SsmState { documents: documents.collect(), ..SsmState::default() },
            context: Context { now, region: "eu-west-1".into(), account: "000000000000".into(), speed: 1.0 },
        }
    }

    /// Moves the clock, in seconds.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.context.now += Duration::from_secs(seconds);
    }

    /// Registers an online Linux instance and returns its id.
    pub(super) fn instance(&mut self, tags: &[(&str, &str)]) -> String {
        let id = format!("mi-{:017x}", self.state.instances.len() + 1);
        let information = json!({ "PlatformType": "Linux", "AgentVersion": "3.3.0.0" });
        self.state.instances.insert(
            id.clone(),
            Instance {
                id: id.clone(),
                activation_id: "00000000-0000-4000-8000-000000000000".into(),
                iam_role: "role".into(),
                name: None,
                registered: self.context.now,
                public_key: Vec::new(),
                fingerprint: String::new(),
                tags: tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
                information: information.as_object().expect("an object").clone(),
                last_ping: Some(self.context.now),
            },
        );
        id
    }

    /// The response of an operation that must succeed.
    pub(super) fn ok(&mut self, operation: &str, body: Value) -> Value {
        let body = body.as_object().expect("an object").clone();
        let answer = call(operation, &body, &mut self.state, &self.context).expect("a known operation");
        answer.unwrap_or_else(|error| panic!("{operation} {}: {error}", Value::from(body)))
    }

    /// The error code of an operation that must be refused.
    pub(super) fn refused(&mut self, operation: &str, body: Value) -> &'static str {
        let body = body.as_object().expect("an object").clone();
        let answer = call(operation, &body, &mut self.state, &self.context).expect("a known operation");
        answer.expect_err(operation).code
    }
}
