//! A stage for the tests of this folder: a state with the built-in documents, a clock that only moves when told,
//! tasks whose sidecars have registered, and answers of their agents.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::call::Call;
use super::request::perform;
use super::{Experiment, advance};
use crate::error::ApiError;
use crate::model::FIS;
use crate::ssm::state::{Instance, Status};
use crate::tags::TASK_ARN_TAG;
use crate::world::World;
use crate::{Context, documents};

/// See the module.
#[derive(Debug)]
pub(super) struct Fixture {
    pub(super) state: World,
    pub(super) context: Context,
    calls: u32,
}

impl Fixture {
    /// So many tasks of the cluster `demo`; 2026-01-01 00:00:00 UTC.
    pub(super) fn new(tasks: usize) -> Fixture {
        let now = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let documents = documents::built_in(now).into_iter().map(|one| (one.name.clone(), one));
        let mut state = World::default();
        state.ssm.documents = documents.collect();
        let context = Context { now, region: "eu-west-1".into(), account: "000000000000".into(), speed: 1.0 };
        state.iam.ensure_experiment_role(&context);
        let mut fixture = Fixture { state, context, calls: 0 };
        for number in 1..=tasks {
            fixture.register(number);
        }
        fixture
    }

    /// The ARN of a task.
    pub(super) fn arn(number: usize) -> String {
        format!("arn:aws:ecs:eu-west-1:000000000000:task/demo/{number}")
    }

    fn register(&mut self, number: usize) {
        let id = format!("mi-{number:017x}");
        let information = json!({ "PlatformType": "Linux", "AgentVersion": "3.3.0.0" });
        let instance = Instance {
            id: id.clone(),
            activation_id: "00000000-0000-4000-8000-000000000000".into(),
            iam_role: "role".into(),
            name: None,
            registered: self.context.now,
            public_key: Vec::new(),
            fingerprint: String::new(),
            tags: [(TASK_ARN_TAG.to_owned(), Fixture::arn(number))].into(),
            information: information.as_object().expect("an object").clone(),
            last_ping: Some(self.context.now),
        };
        self.state.ssm.instances.insert(id, instance);
    }

    /// One call of the API, with the members of its path, query and body.
    pub(super) fn call(&mut self, operation: &str, members: Value) -> Result<Value, ApiError> {
        let model = FIS.operation(operation).expect("a known operation");
        let call = Call::new(model, object(members))?;
        let (fis, services) = self.state.fis_and_services();
        perform(operation).expect("an operation").perform(&call, fis, &services, &self.context)
    }

    /// Creates a template with these members over a CPU stress on everything; returns its id.
    pub(super) fn template(&mut self, changes: Value) -> String {
        let made = self.try_template(changes).expect("a template in order");
        made["experimentTemplate"]["id"].as_str().expect("an id").to_owned()
    }

    /// As [`Fixture::template`], whatever comes of it.
    pub(super) fn try_template(&mut self, changes: Value) -> Result<Value, ApiError> {
        self.calls += 1;
        let mut body = json!({
            "clientToken": format!("token-{}", self.calls),
            "description": "a test",
            "roleArn": "arn:aws:iam::000000000000:role/taskfault-local-experiment",
            "stopConditions": [{ "source": "none" }],
            "targets": { "tasks": {
                "resourceType": "aws:ecs:task", "selectionMode": "ALL", "parameters": { "cluster": "demo" },
            } },
            "actions": { "stress": {
                "actionId": "aws:ecs:task-cpu-stress",
                "parameters": { "duration": "PT5M" }, "targets": { "Tasks": "tasks" },
            } },
        });
        for (name, value) in object(changes) {
            body[name] = value;
        }
        self.call("CreateExperimentTemplate", body)
    }

    /// Starts an experiment and lets it take its first step.
    pub(super) fn start(&mut self, template: &str) -> String {
        self.start_with(template, json!({}))
    }

    /// As [`Fixture::start`], with more members.
    pub(super) fn start_with(&mut self, template: &str, more: Value) -> String {
        self.calls += 1;
        let mut body =
            json!({ "clientToken": format!("token-{}", self.calls), "experimentTemplateId": template });
        for (name, value) in object(more) {
            body[name] = value;
        }
        let made = self.call("StartExperiment", body).expect("it starts");
        assert_eq!(made["experiment"]["state"]["status"], "initiating");
        self.pass(0);
        made["experiment"]["id"].as_str().expect("an id").to_owned()
    }

    /// Moves the clock, in seconds, and lets time in.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.context.now += Duration::from_secs(seconds);
        self.state.ssm.sweep(self.context.now);
        self.state.advance_automations(&self.context);
        let (fis, mut services) = self.state.fis_and_services();
        advance(fis, &mut services, &self.context);
    }

    /// What an agent makes of every command that is in one of these statuses.
    pub(super) fn agents(&mut self, from: &[Status], to: Status) -> usize {
        let mut count = 0;
        // They have taken what was on its way to them.
        self.state.ssm.outgoing.clear();
        for invocation in
            self.state.ssm.commands.iter_mut().flat_map(|command| command.invocations.iter_mut())
        {
            if from.contains(&invocation.status) {
                invocation.status = to;
                count += 1;
            }
        }
        count
    }

    /// The statuses of all commands, in the order of sending.
    pub(super) fn commands(&self) -> Vec<Status> {
        self.state.ssm.commands.iter().map(|command| command.invocations[0].status).collect()
    }

    /// An experiment.
    pub(super) fn experiment(&self, id: &str) -> &Experiment {
        self.state.fis.experiment(id).expect("an experiment")
    }

    /// Its status, its reason, and the statuses of its actions by name.
    pub(super) fn status(&self, id: &str) -> (&'static str, String, Vec<(String, &'static str)>) {
        let experiment = self.experiment(id);
        let actions = experiment.actions.iter().map(|(name, run)| (name.clone(), run.status.as_str()));
        (experiment.status.as_str(), experiment.reason.clone(), actions.collect())
    }

    /// Whether a note of an experiment holds these words.
    pub(super) fn notes(&self, id: &str, words: &str) -> bool {
        self.experiment(id).notes.iter().any(|note| note.text.contains(words))
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}
