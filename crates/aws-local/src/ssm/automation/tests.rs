//! Runbooks on a whole local AWS, with a clock that only moves when told.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::ssm::automation::Scripts;
use crate::ssm::state::{Instance, Status};
use crate::world::World;
use crate::{Context, documents, ssm};

struct Fixture {
    world: World,
    context: Context,
}

impl Fixture {
    /// One Linux instance; 2026-01-01 00:00:00 UTC.
    fn new() -> Fixture {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let mut world = World::default();
        for document in documents::built_in(now) {
            world.ssm.documents.insert(document.name.clone(), document);
        }
        let information = json!({ "PlatformType": "Linux", "AgentVersion": "3.3.0.0" });
        let instance = Instance {
            id: INSTANCE.into(),
            activation_id: String::new(),
            iam_role: "role".into(),
            name: None,
            registered: now,
            public_key: Vec::new(),
            fingerprint: String::new(),
            tags: [("Stage".to_owned(), "test".to_owned())].into(),
            information: information.as_object().unwrap().clone(),
            last_ping: Some(now),
        };
        world.ssm.instances.insert(INSTANCE.into(), instance);
        let context = Context { now, region: "eu-west-1".into(), account: "000000000000".into(), speed: 1.0 };
        Fixture { world, context }
    }

    fn call(&mut self, operation: &str, body: Value) -> Result<Value, ApiError> {
        let body: Map<String, Value> = body.as_object().unwrap().clone();
        ssm::call(operation, &body, &mut self.world.ssm, &self.context).unwrap()
    }

    /// Creates a runbook of these steps, starts it with its parameters, and lets it take its first steps.
    fn run(&mut self, document: Value, parameters: Value) -> String {
        let id = self.try_run(document, parameters).unwrap();
        self.pass(0);
        id
    }

    fn try_run(&mut self, document: Value, parameters: Value) -> Result<String, ApiError> {
        let mut whole = json!({ "schemaVersion": "0.3" });
        whole.as_object_mut().unwrap().extend(document.as_object().unwrap().clone());
        let name = format!("runbook-{}", self.world.ssm.documents.len());
        let body = json!({ "Name": name, "DocumentType": "Automation", "Content": whole.to_string() });
        self.call("CreateDocument", body).unwrap();
        let mut start = json!({ "DocumentName": name });
        if parameters != json!({}) {
            start["Parameters"] = parameters;
        }
        let started = self.call("StartAutomationExecution", start)?;
        Ok(started["AutomationExecutionId"].as_str().unwrap().to_owned())
    }

    fn pass(&mut self, seconds: u64) {
        self.context.now += Duration::from_secs(seconds);
        let context = self.context.clone();
        self.world.let_time_pass(&context);
    }

    fn execution(&mut self, id: &str) -> Value {
        let found = self.call("GetAutomationExecution", json!({ "AutomationExecutionId": id })).unwrap();
        found["AutomationExecution"].clone()
    }

    /// The status of an execution, and those of its steps by name.
    fn status(&mut self, id: &str) -> (String, Vec<(String, String)>) {
        let execution = self.execution(id);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let steps = execution["StepExecutions"].as_array().unwrap().iter();
        let steps = steps.map(|step| (text(&step["StepName"]), text(&step["StepStatus"])));
        (text(&execution["AutomationExecutionStatus"]), steps.collect())
    }

    /// What the agent makes of every command that is under way.
    fn agent(&mut self, to: Status) {
        self.world.ssm.outgoing.clear();
        let now = self.context.now;
        for command in &mut self.world.ssm.commands {
            for invocation in command.invocations.iter_mut().filter(|it| !it.status.is_final()) {
                invocation.status = to;
                invocation.ended = Some(now);
            }
        }
    }

    fn commands(&self) -> Vec<Status> {
        self.world.ssm.commands.iter().map(|command| command.invocations[0].status).collect()
    }
}

const INSTANCE: &str = "mi-00000000000000001";

fn statuses(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, status)| ((*name).to_owned(), (*status).to_owned())).collect()
}

fn send(more: Value) -> Value {
    let mut step = json!({
        "name": "Send", "action": "aws:runCommand",
        "inputs": {
            "DocumentName": "AWS-RunShellScript", "InstanceIds": ["{{ Instances }}"],
            "Parameters": { "commands": "{{ Line }}" },
        },
    });
    step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    step
}

fn with_parameters(steps: Value) -> Value {
    json!({
        "parameters": {
            "Instances": { "type": "StringList", "default": [INSTANCE] },
            "Line": { "type": "String", "default": "true", "allowedPattern": "[a-z]+" },
        },
        "mainSteps": steps,
        "outputs": ["Send.CommandId"],
    })
}

#[test]
fn a_command_is_sent_waited_for_and_told() {
    let mut fixture = Fixture::new();
    let id = fixture.run(with_parameters(json!([send(json!({}))])), json!({ "Line": ["ls"] }));
    assert_eq!(fixture.status(&id), ("InProgress".into(), statuses(&[("Send", "InProgress")])));
    assert_eq!(fixture.world.ssm.commands[0].parameters["commands"], ["ls"]);
    fixture.agent(Status::Success);
    fixture.pass(1);
    let execution = fixture.execution(&id);
    assert_eq!(execution["AutomationExecutionStatus"], "Success");
    let command = fixture.world.ssm.commands[0].id.to_string();
    assert_eq!(execution["Outputs"]["Send.CommandId"], json!([command]));
    assert_eq!(execution["StepExecutions"][0]["Outputs"]["Status"], json!(["Success"]));
    assert_eq!(execution["ProgressCounters"]["SuccessSteps"], 1);
}

#[test]
fn a_failure_ends_it_goes_on_or_leads_elsewhere() {
    for (more, whole, after) in [
        (json!({}), "Failed", "Pending"),
        (json!({ "onFailure": "Continue" }), "Failed", "Success"),
        (json!({ "onFailure": "Continue", "isCritical": false }), "Success", "Success"),
        (json!({ "onFailure": "step:After" }), "Failed", "Success"),
        (json!({ "onFailure": "Continue", "isEnd": true }), "Failed", "Pending"),
    ] {
        let mut fixture = Fixture::new();
        let after_step = json!({
            "name": "After", "action": "aws:branch", "inputs": { "Choices": [] },
        });
        let id = fixture.run(with_parameters(json!([send(more.clone()), after_step])), json!({}));
        fixture.agent(Status::Failed);
        fixture.pass(1);
        let expected = statuses(&[("Send", "Failed"), ("After", after)]);
        assert_eq!(fixture.status(&id), (whole.into(), expected), "{more}");
    }
}

#[test]
fn a_step_is_tried_again_and_one_that_takes_too_long_is_ended() {
    let mut fixture = Fixture::new();
    let more = json!({ "maxAttempts": 2, "timeoutSeconds": 10 });
    let id = fixture.run(with_parameters(json!([send(more)])), json!({}));
    fixture.agent(Status::Failed);
    fixture.pass(1);
    assert_eq!(fixture.status(&id).0, "InProgress");
    assert_eq!(fixture.world.ssm.commands.len(), 2);
    fixture.pass(10);
    assert_eq!(fixture.status(&id), ("TimedOut".into(), statuses(&[("Send", "TimedOut")])));
    assert_eq!(fixture.commands()[1], Status::Cancelled, "its command is cancelled");
    let why = fixture.execution(&id)["FailureMessage"].as_str().unwrap().to_owned();
    assert!(why.contains("Step Send (aws:runCommand) failed") && why.contains("10 s"), "{why}");
}

#[test]
fn a_cancel_ends_the_command_and_runs_what_on_cancel_names() {
    let mut fixture = Fixture::new();
    let undo =
        json!({ "name": "Undo", "action": "aws:sleep", "inputs": { "Duration": "PT5S" }, "isEnd": true });
    let never = json!({ "name": "Never", "action": "aws:sleep", "inputs": { "Duration": "PT5S" } });
    let steps = json!([send(json!({ "onCancel": "step:Undo" })), never, undo]);
    let id = fixture.run(with_parameters(steps), json!({}));
    fixture.agent(Status::InProgress);
    fixture.call("StopAutomationExecution", json!({ "AutomationExecutionId": id })).unwrap();
    fixture.pass(1);
    assert_eq!(fixture.status(&id).0, "Cancelling");
    assert_eq!(fixture.commands(), [Status::Cancelling]);
    fixture.agent(Status::Cancelled);
    fixture.pass(1);
    let expected = statuses(&[("Send", "Cancelled"), ("Never", "Pending"), ("Undo", "InProgress")]);
    assert_eq!(fixture.status(&id), ("Cancelling".into(), expected));
    fixture.pass(5);
    let expected = statuses(&[("Send", "Cancelled"), ("Never", "Pending"), ("Undo", "Success")]);
    assert_eq!(fixture.status(&id), ("Cancelled".into(), expected));
    let again = fixture.call("StopAutomationExecution", json!({ "AutomationExecutionId": id }));
    assert_eq!(again.unwrap_err().code, "InvalidAutomationStatusUpdateException");
}

#[test]
fn a_branch_chooses_a_variable_is_set_and_an_api_answers() {
    let mut fixture = Fixture::new();
    let document = json!({
        "variables": { "Found": { "type": "StringList", "default": [] } },
        "mainSteps": [
            {
                "name": "Find", "action": "aws:executeAwsApi",
                "inputs": {
                    "Service": "ssm", "Api": "describe_instance_information",
                    "Filters": [{ "Key": "tag:Stage", "Values": ["test"] }],
                },
                "outputs": [
                    { "Name": "Ids", "Selector": "$.InstanceInformationList[*].InstanceId", "Type": "StringList" },
                    { "Name": "Status", "Selector": "$.InstanceInformationList[0].PingStatus", "Type": "String" },
                ],
            },
            {
                "name": "Keep", "action": "aws:updateVariable",
                "inputs": { "Name": "variable:Found", "Value": "{{ Find.Ids }}" },
            },
            {
                "name": "Choose", "action": "aws:branch",
                "inputs": {
                    "Choices": [{ "NextStep": "Send", "Variable": "{{ Find.Status }}", "StringEquals": "Online" }],
                    "Default": "Nobody",
                },
            },
            { "name": "Nobody", "action": "aws:sleep", "inputs": { "Duration": "PT1S" }, "isEnd": true },
            {
                "name": "Send", "action": "aws:runCommand",
                "inputs": {
                    "DocumentName": "AWS-RunShellScript", "InstanceIds": "{{ variable:Found }}",
                    "Parameters": { "commands": ["true"] },
                },
            },
            {
                "name": "Check", "action": "aws:assertAwsResourceProperty",
                "inputs": {
                    "Service": "ssm", "Api": "ListCommands", "CommandId": "{{ Send.CommandId }}",
                    "PropertySelector": "$.Commands[0].Status", "DesiredValues": ["Success"],
                },
            },
        ],
    });
    let id = fixture.run(document, json!({}));
    assert_eq!(fixture.world.ssm.commands[0].instance_ids, [INSTANCE]);
    fixture.agent(Status::Success);
    fixture.pass(1);
    let (whole, steps) = fixture.status(&id);
    assert_eq!(whole, "Success", "{steps:?} {}", fixture.execution(&id));
    assert_eq!(steps[3], ("Nobody".into(), "Pending".into()));
    assert_eq!(fixture.execution(&id)["Variables"]["Found"], json!([INSTANCE]));
}

#[test]
fn a_property_is_waited_for() {
    let mut fixture = Fixture::new();
    let wait = json!({
        "name": "Wait", "action": "aws:waitForAwsResourceProperty", "timeoutSeconds": 60,
        "inputs": {
            "Service": "ssm", "Api": "ListCommands", "PropertySelector": "$.Commands[0].Status",
            "DesiredValues": ["Success", "Failed"],
        },
    });
    let id = fixture.run(json!({ "mainSteps": [wait] }), json!({}));
    fixture.pass(2);
    assert_eq!(fixture.status(&id).0, "InProgress");
    let body = json!({
        "InstanceIds": [INSTANCE], "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["true"] },
    });
    fixture.call("SendCommand", body).unwrap();
    fixture.agent(Status::Failed);
    fixture.pass(2);
    assert_eq!(fixture.status(&id).0, "Success");
}

#[test]
fn a_circle_ends() {
    let mut fixture = Fixture::new();
    let round =
        json!({ "name": "Round", "action": "aws:branch", "inputs": { "Choices": [] }, "nextStep": "Round" });
    let id = fixture.run(json!({ "mainSteps": [round] }), json!({}));
    for _ in 0..30 {
        fixture.pass(1);
    }
    assert_eq!(fixture.status(&id).0, "Failed");
    assert!(fixture.execution(&id)["FailureMessage"].as_str().unwrap().contains("1000 steps"));
}

#[test]
fn a_script_gets_its_input_and_gives_a_result_where_scripts_are_run() {
    let script = json!({
        "name": "Pick", "action": "aws:executeScript",
        "inputs": {
            "Runtime": "python3.11", "Handler": "pick",
            "Script": "import sys\ndef pick(events, context):\n    print('said')\n    return {'chosen': sorted(events['from'])[:2]}\n",
            "InputPayload": { "from": "{{ Names }}" },
        },
        "outputs": [{ "Name": "Chosen", "Selector": "$.Payload.chosen", "Type": "StringList" }],
    });
    let parameters = json!({ "Names": { "type": "StringList", "default": ["c", "b", "a"] } });
    let document = json!({ "parameters": parameters, "mainSteps": [script] });
    let mut fixture = Fixture::new();
    let id = fixture.run(document.clone(), json!({}));
    let why = fixture.execution(&id)["FailureMessage"].as_str().unwrap().to_owned();
    assert!(why.contains("loopback"), "{why}");
    fixture.world.ssm.automations.scripts = Scripts::Run { endpoint: "http://127.0.0.1:1".into() };
    let mut finished = |document: Value| {
        let id = fixture.run(document, json!({}));
        for _ in 0..1_000 {
            fixture.pass(0);
            if fixture.status(&id).0 != "InProgress" {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        fixture.execution(&id)
    };
    let execution = finished(document.clone());
    assert_eq!(execution["AutomationExecutionStatus"], "Success", "{execution}");
    assert_eq!(execution["StepExecutions"][0]["Outputs"]["Chosen"], json!(["a", "b"]));
    let mut wrong = document;
    wrong["mainSteps"][0]["inputs"]["Script"] =
        json!("def pick(events, context):\n    raise ValueError('no names')\n");
    let why = finished(wrong)["FailureMessage"].as_str().unwrap().to_owned();
    assert!(why.contains("ValueError: no names"), "{why}");
}

#[test]
fn what_cannot_be_started_is_refused() {
    let mut fixture = Fixture::new();
    let steps = json!([{ "name": "One", "action": "aws:sleep", "inputs": { "Duration": "PT1S" } }]);
    let document = json!({
        "parameters": {
            "Must": { "type": "String" },
            "Mode": { "type": "String", "default": "a", "allowedValues": ["a", "b"] },
        },
        "mainSteps": steps,
    });
    let invalid = "InvalidAutomationExecutionParametersException";
    for (parameters, code) in [
        (json!({}), invalid),
        (json!({ "Must": ["x"], "Mode": ["c"] }), invalid),
        (json!({ "Must": ["x"], "Other": ["c"] }), invalid),
        (json!({ "Must": ["x", "y"] }), invalid),
    ] {
        let refused = fixture.try_run(document.clone(), parameters.clone()).unwrap_err();
        assert_eq!(refused.code, code, "{parameters}");
    }
    for (body, code) in [
        (json!({ "DocumentName": "None" }), "AutomationDefinitionNotFoundException"),
        (json!({ "DocumentName": "AWS-RunShellScript" }), "AutomationDefinitionNotFoundException"),
        (
            json!({ "DocumentName": "runbook-14", "DocumentVersion": "9" }),
            "AutomationDefinitionVersionNotFoundException",
        ),
        (json!({ "DocumentName": "None", "Mode": "Interactive" }), "ValidationException"),
        (json!({}), "ValidationException"),
    ] {
        assert_eq!(fixture.call("StartAutomationExecution", body.clone()).unwrap_err().code, code, "{body}");
    }
    assert!(fixture.world.ssm.automations.executions.is_empty());
    let unknown = json!({ "AutomationExecutionId": "11111111-1111-4111-8111-111111111111" });
    for operation in ["GetAutomationExecution", "StopAutomationExecution", "DescribeAutomationStepExecutions"]
    {
        let refused = fixture.call(operation, unknown.clone()).unwrap_err();
        assert_eq!(refused.code, "AutomationExecutionNotFoundException", "{operation}");
    }
}

#[test]
fn what_is_not_played_here_is_said_by_its_step() {
    let mut fixture = Fixture::new();
    for (step, words) in [
        (
            json!({ "name": "S", "action": "aws:runInstances", "inputs": {} }),
            "aws:runInstances is not played here",
        ),
        (
            json!({ "name": "S", "action": "aws:executeAwsApi", "inputs": { "Service": "ec2", "Api": "DescribeInstances" } }),
            "no DescribeInstances of ec2",
        ),
        (
            json!({ "name": "S", "action": "aws:executeAwsApi",
                    "inputs": { "Service": "ssm", "Api": "GetAutomationExecution",
                                "AutomationExecutionId": "00000000-0000-0000-0000-000000000000" } }),
            "There is no automation execution",
        ),
        (
            json!({ "name": "S", "action": "aws:sleep", "inputs": { "Duration": "{{ Nothing }}" } }),
            "there is no parameter Nothing",
        ),
        (
            json!({
                "name": "S", "action": "aws:runCommand",
                "inputs": { "DocumentName": "AWS-RunShellScript", "Targets": [{ "Key": "tag:None", "Values": ["x"] }],
                            "Parameters": { "commands": ["true"] } },
            }),
            "no managed instance",
        ),
    ] {
        let id = fixture.run(json!({ "mainSteps": [step] }), json!({}));
        let why = fixture.execution(&id)["FailureMessage"].as_str().unwrap().to_owned();
        assert!(why.contains(words) && !why.ends_with(".."), "{why}");
    }
}

#[test]
fn executions_are_listed_newest_first_and_filtered() {
    let mut fixture = Fixture::new();
    let sleep =
        json!({ "mainSteps": [{ "name": "One", "action": "aws:sleep", "inputs": { "Duration": "PT10S" } }] });
    let first = fixture.run(sleep.clone(), json!({}));
    fixture.pass(10);
    let second = fixture.run(sleep, json!({}));
    let mut listed = |body: Value| {
        let found = fixture.call("DescribeAutomationExecutions", body).unwrap();
        let found = found["AutomationExecutionMetadataList"].as_array().unwrap().clone();
        found.iter().map(|it| it["AutomationExecutionId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(json!({})), [second.clone(), first.clone()]);
    let by = |key: &str, value: &str| json!({ "Filters": [{ "Key": key, "Values": [value] }] });
    assert_eq!(listed(by("ExecutionStatus", "Success")), std::slice::from_ref(&first));
    assert_eq!(listed(by("CurrentAction", "aws:sleep")), std::slice::from_ref(&second));
    assert_eq!(listed(by("StartTimeAfter", "2026-01-01T00:00:05Z")), std::slice::from_ref(&second));
    assert_eq!(listed(by("DocumentNamePrefix", "runbook-")).len(), 2);
    let unkept = fixture.call("DescribeAutomationExecutions", by("OpsItemId", "x")).unwrap_err();
    assert_eq!(unkept.code, "InvalidFilterKey");
    let steps =
        json!({ "AutomationExecutionId": first, "Filters": [{ "Key": "StepName", "Values": ["One"] }] });
    let steps = fixture.call("DescribeAutomationStepExecutions", steps).unwrap();
    assert_eq!(steps["StepExecutions"][0]["StepStatus"], "Success");
}

#[test]
fn a_command_that_a_step_sends_by_the_api_is_known() {
    let mut fixture = Fixture::new();
    let send = json!({
        "name": "Send", "action": "aws:executeAwsApi",
        "inputs": {
            "Service": "ssm", "Api": "SendCommand", "DocumentName": "AWS-RunShellScript",
            "InstanceIds": [INSTANCE], "Parameters": { "commands": ["true"] },
        },
    });
    let id = fixture.run(json!({ "mainSteps": [send] }), json!({}));
    let sent = fixture.world.ssm.automations.find(&id).unwrap().commands();
    assert_eq!(sent, [fixture.world.ssm.commands[0].id.to_string()]);
}
