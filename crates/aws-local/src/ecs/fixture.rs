//! A control plane for the tests of this folder, with a clock that only moves when told and a container
//! instance that does what it is ordered when told.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{EcsState, LastStatus, Sidecar, Task, agent, call, schedule};
use crate::Context;
use crate::error::ApiError;

/// See the module.
#[derive(Debug)]
pub(super) struct Fixture {
    pub(super) state: EcsState,
    pub(super) sidecars: Vec<Sidecar>,
    pub(super) context: Context,
    /// Tasks that the container instance was told to stop and has not.
    stops: Vec<String>,
}

/// A definition with one container, as RegisterTaskDefinition takes it.
pub(super) fn definition(family: &str) -> Value {
    json!({
        "family": family,
        "containerDefinitions": [{ "name": "app", "image": "app", "memory": 64, "command": ["/bin/true"] }],
    })
}

impl Fixture {
    /// Nothing in it; 2026-01-01 00:00:00 UTC.
    pub(super) fn new() -> Fixture {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let mut state = EcsState::default();
        state.ensure_cluster("default");
        Fixture {
            state,
            sidecars: Vec::new(),
            context: Context { now, region: "eu-west-1".into(), account: "000000000000".into(), speed: 1.0 },
            stops: Vec::new(),
        }
    }

    pub(super) fn with_instance(mut self) -> Fixture {
        self.state.instances_since = Some(self.context.now);
        self
    }

    /// Moves the clock, in seconds.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.context.now += Duration::from_secs(seconds);
    }

    /// A service of one definition of the same name.
    pub(super) fn service(&mut self, name: &str, desired: u32) {
        self.ok("RegisterTaskDefinition", definition(name));
        let body = json!({ "serviceName": name, "taskDefinition": name, "desiredCount": desired });
        self.ok("CreateService", body);
    }

    /// Starts every task that is wanted.
    pub(super) fn start_all(&mut self) {
        let orders = agent::orders(&mut self.state, &self.context);
        self.stops.extend(orders.stop);
        for (task, _) in orders.start {
            self.start(&task);
        }
    }

    fn start(&mut self, task: &Task) {
        agent::attached(&mut self.state, &task.arn, Some(task.zone.subnet().first));
        for container in &task.containers {
            agent::container_started(&mut self.state, &task.arn, &container.name);
        }
        agent::started(&mut self.state, &task.arn, &self.context);
    }

    /// Ends every task that is to be stopped.
    pub(super) fn end_all(&mut self) {
        self.start_all();
        for arn in std::mem::take(&mut self.stops) {
            agent::stopping(&mut self.state, &arn, &self.context);
            agent::stopped(&mut self.state, &arn, &self.context);
        }
        self.settle();
    }

    /// The application of a task ends by itself.
    pub(super) fn crash(&mut self, id: &str, exit_code: i32) {
        let arn = self.state.tasks.values().find(|task| task.id == id).expect("a task").arn.clone();
        agent::container_ended(&mut self.state, &arn, "app", exit_code, &self.context);
        agent::stopped(&mut self.state, &arn, &self.context);
    }

    pub(super) fn settle(&mut self) {
        schedule::settle(&mut self.state, &self.context);
    }

    pub(super) fn running(&self) -> Vec<Task> {
        let all = self.state.tasks.values();
        all.filter(|task| task.last == LastStatus::Running).cloned().collect()
    }

    /// A managed instance of a task.
    pub(super) fn instance(&mut self, task_arn: &str) {
        let sidecar = Sidecar { task_arn: task_arn.to_owned(), registered: self.context.now };
        self.sidecars.push(sidecar);
    }

    fn call(&mut self, operation: &str, body: &Value) -> Result<Value, ApiError> {
        let body = body.as_object().expect("an object").clone();
        call(operation, &body, &mut self.state, &self.sidecars, &self.context).expect("a known operation")
    }

    /// The response of an operation that must succeed.
    pub(super) fn ok(&mut self, operation: &str, body: Value) -> Value {
        self.call(operation, &body).unwrap_or_else(|error| panic!("{operation} {body}: {error}"))
    }

    /// The error of an operation that must be refused.
    pub(super) fn error(&mut self, operation: &str, body: Value) -> ApiError {
        self.call(operation, &body).expect_err(operation)
    }

    /// Its code.
    pub(super) fn refused(&mut self, operation: &str, body: Value) -> &'static str {
        self.error(operation, body).code
    }
}
