//! The engine with made-up time.

use serde_json::{Value, json};

use super::super::experiment::CommandRole;
use super::super::fixture::Fixture;
use crate::ssm::state::Status;
use crate::world::World;

const UNSEEN: &[Status] = &[Status::Pending];
const RUNNING: &[Status] = &[Status::InProgress];
const CANCELLED: &[Status] = &[Status::Cancelling];

fn actions(list: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    list.iter().map(|(name, status)| ((*name).to_owned(), *status)).collect()
}

/// An action on the target `tasks`.
fn on_tasks(id: &str, parameters: Value) -> Value {
    json!({ "actionId": id, "parameters": parameters, "targets": { "Tasks": "tasks" } })
}

fn selecting(mode: &str) -> Value {
    json!({ "tasks": {
        "resourceType": "aws:ecs:task", "selectionMode": mode, "parameters": { "cluster": "demo" },
    } })
}

fn stop(fixture: &mut Fixture, id: &str) -> Result<Value, crate::error::ApiError> {
    fixture.call("StopExperiment", json!({ "id": id }))
}

#[test]
fn a_stress_lasts_as_long_as_its_action_and_is_cancelled_at_the_end() {
    let mut fixture = Fixture::new(3);
    let template = fixture.template(json!({ "targets": selecting("PERCENT(66)") }));
    let id = fixture.start(&template);
    assert_eq!(fixture.status(&id).0, "running");
    assert_eq!(fixture.commands(), [Status::Pending], "66 % of three is one");
    assert!(fixture.notes(&id, "rounds down: 1"));
    let command = &fixture.state.ssm.commands[0];
    assert_eq!(command.document_name, "AWSFIS-Run-CPU-Stress");
    assert_eq!(command.parameters["DurationSeconds"], ["300"]);
    fixture.agents(UNSEEN, Status::InProgress);
    fixture.pass(299);
    assert_eq!(fixture.status(&id).2, actions(&[("stress", "running")]));
    assert_eq!(fixture.commands(), RUNNING);
    fixture.pass(1);
    assert_eq!(fixture.commands(), CANCELLED, "the document's clock started later");
    assert_eq!(fixture.status(&id).0, "running", "it is not over before its undo");
    fixture.agents(CANCELLED, Status::Cancelled);
    fixture.pass(1);
    assert_eq!(
        fixture.status(&id),
        ("completed", "Experiment completed.".to_owned(), actions(&[("stress", "completed")]))
    );
    assert!(fixture.notes(&id, "Run Command then shows Cancelled"));
    let run = &fixture.experiment(&id).actions["stress"];
    assert_eq!(run.commands[0].details, "Cancelled");
    assert_eq!(run.ended.unwrap().duration_since(run.started.unwrap()).unwrap().as_secs(), 301);
}

#[test]
fn a_command_that_is_done_early_does_not_end_its_action() {
    let mut fixture = Fixture::new(1);
    let template = fixture.template(json!({}));
    let id = fixture.start(&template);
    fixture.agents(UNSEEN, Status::Success);
    fixture.pass(299);
    assert_eq!(fixture.status(&id).0, "running");
    fixture.pass(1);
    assert_eq!(fixture.status(&id).0, "completed");
    assert_eq!(fixture.commands(), [Status::Success]);
}

#[test]
fn an_action_without_a_duration_follows_its_command() {
    let mut fixture = Fixture::new(3);
    let kill = on_tasks("aws:ecs:task-kill-process", json!({ "processName": "python" }));
    let template = fixture.template(json!({ "targets": selecting("COUNT(1)"), "actions": { "kill": kill } }));
    let id = fixture.start(&template);
    fixture.agents(UNSEEN, Status::InProgress);
    fixture.pass(7);
    assert_eq!(fixture.status(&id).0, "running");
    fixture.agents(RUNNING, Status::Success);
    fixture.pass(1);
    assert_eq!(fixture.status(&id).2, actions(&[("kill", "completed")]));
    assert_eq!(fixture.commands().len(), 1);
}

#[test]
fn a_failed_command_fails_action_and_experiment_and_stops_the_rest() {
    for (made, details) in [
        (Status::Failed, "Failed"),
        (Status::TimedOut, "ExecutionTimedOut"),
        (Status::DeliveryTimedOut, "DeliveryTimedOut"),
        (Status::Cancelled, "Cancelled"),
    ] {
        let mut fixture = Fixture::new(1);
        let wait = json!({ "actionId": "aws:fis:wait", "parameters": { "duration": "PT10M" } });
        let mut after = wait.clone();
        after["startAfter"] = json!(["wait"]);
        let stress = on_tasks("aws:ecs:task-cpu-stress", json!({ "duration": "PT5M" }));
        let all = json!({ "stress": stress, "wait": wait, "after": after });
        let template = fixture.template(json!({ "actions": all }));
        let id = fixture.start(&template);
        fixture.agents(UNSEEN, made);
        fixture.pass(1);
        let (status, reason, ran) = fixture.status(&id);
        assert_eq!(status, "failed");
        assert!(reason.contains(details), "{reason}");
        assert_eq!(ran, actions(&[("after", "cancelled"), ("stress", "failed"), ("wait", "stopped")]));
        let error = fixture.experiment(&id).error.clone().unwrap();
        assert_eq!(
            (error.code.as_str(), error.location.as_str()),
            ("DependentServiceFailure", "actions.stress")
        );
        assert!(fixture.notes(&id, "list-command-invocations"));
    }
}

#[test]
fn actions_wait_for_those_before_them() {
    let mut fixture = Fixture::new(1);
    let wait = |after: &[&str]| json!({ "actionId": "aws:fis:wait", "parameters": { "duration": "PT1M" }, "startAfter": after });
    let all = json!({ "a": wait(&[]), "b": wait(&["a"]), "c": wait(&["a"]), "d": wait(&["b", "c"]) });
    let template = fixture.template(json!({ "actions": all }));
    let id = fixture.start(&template);
    let ran =
        |fixture: &Fixture| fixture.status(&id).2.into_iter().map(|(_, status)| status).collect::<Vec<_>>();
    assert_eq!(ran(&fixture), ["running", "pending", "pending", "pending"]);
    fixture.pass(60);
    assert_eq!(ran(&fixture), ["completed", "running", "running", "pending"]);
    fixture.pass(59);
    assert_eq!(ran(&fixture), ["completed", "running", "running", "pending"]);
    fixture.pass(1);
    assert_eq!(ran(&fixture), ["completed", "completed", "completed", "running"]);
    fixture.pass(60);
    assert_eq!(fixture.status(&id).0, "completed");
}

#[test]
fn a_stop_ends_what_runs_and_what_waits_and_waits_for_the_undo() {
    let mut fixture = Fixture::new(2);
    let stress = on_tasks("aws:ecs:task-cpu-stress", json!({ "duration": "PT5M" }));
    let after =
        json!({ "actionId": "aws:fis:wait", "parameters": { "duration": "PT1M" }, "startAfter": ["stress"] });
    let template = fixture.template(json!({ "actions": { "stress": stress, "after": after } }));
    let id = fixture.start(&template);
    fixture.agents(UNSEEN, Status::InProgress);
    let answer = stop(&mut fixture, &id).unwrap();
    assert_eq!(answer["experiment"]["state"]["status"], "stopping");
    fixture.pass(1);
    assert_eq!(fixture.status(&id).2, actions(&[("after", "cancelled"), ("stress", "stopping")]));
    assert_eq!(fixture.commands(), [Status::Cancelling; 2]);
    assert!(stop(&mut fixture, &id).is_ok(), "a second stop is no error while the first is under way");
    fixture.pass(20);
    assert_eq!(fixture.status(&id).0, "stopping");
    fixture.agents(CANCELLED, Status::Cancelled);
    fixture.pass(1);
    assert_eq!(
        fixture.status(&id),
        (
            "stopped",
            "Experiment halted by user.".to_owned(),
            actions(&[("after", "cancelled"), ("stress", "stopped")])
        )
    );
    assert_eq!(stop(&mut fixture, &id).unwrap_err().code, "ValidationException");
}

#[test]
fn a_stop_before_the_first_step_starts_nothing() {
    let mut fixture = Fixture::new(1);
    let template = fixture.template(json!({}));
    let body = json!({ "clientToken": "t", "experimentTemplateId": template });
    let made = fixture.call("StartExperiment", body).unwrap();
    let id = made["experiment"]["id"].as_str().unwrap().to_owned();
    stop(&mut fixture, &id).unwrap();
    fixture.pass(0);
    assert_eq!(fixture.status(&id).2, actions(&[("stress", "cancelled")]));
    assert!(fixture.commands().is_empty());
}

#[test]
fn a_sidecar_that_is_gone_does_not_hold_up_the_end() {
    let mut fixture = Fixture::new(2);
    let template = fixture.template(json!({}));
    let id = fixture.start(&template);
    fixture.agents(UNSEEN, Status::InProgress);
    fixture.state.ssm.deregister("mi-00000000000000001");
    stop(&mut fixture, &id).unwrap();
    fixture.pass(1);
    assert_eq!(fixture.status(&id).0, "stopping", "the other one has not answered");
    fixture.pass(59);
    assert_eq!(fixture.status(&id).0, "stopping");
    fixture.pass(1);
    assert_eq!(fixture.status(&id).0, "stopped");
    assert!(fixture.notes(&id, "no answer to the cancel"));
}

#[test]
fn nothing_found_fails_or_skips() {
    for (mode, status, action) in [("fail", "failed", "cancelled"), ("skip", "completed", "skipped")] {
        for (tasks, selection) in [(0, "ALL"), (1, "PERCENT(50)")] {
            let mut fixture = Fixture::new(tasks);
            let template = fixture.template(json!({
                "targets": selecting(selection), "experimentOptions": { "emptyTargetResolutionMode": mode },
            }));
            let id = fixture.start(&template);
            let (got, reason, ran) = fixture.status(&id);
            assert_eq!((got, ran), (status, actions(&[("stress", action)])), "{mode} {selection}");
            assert_eq!(reason == "Target resolution returned empty set.", mode == "fail", "{reason}");
            assert!(fixture.commands().is_empty());
            assert_eq!(fixture.notes(&id, "nothing is chosen"), tasks == 1);
        }
    }
}

#[test]
fn an_arn_without_a_task_fails_in_either_mode() {
    for mode in ["fail", "skip"] {
        let mut fixture = Fixture::new(1);
        let tasks = json!({ "tasks": {
            "resourceType": "aws:ecs:task", "selectionMode": "ALL", "resourceArns": [Fixture::arn(1), Fixture::arn(2)],
        } });
        let template = fixture.template(
            json!({ "targets": tasks, "experimentOptions": { "emptyTargetResolutionMode": mode } }),
        );
        let id = fixture.start(&template);
        assert_eq!(fixture.status(&id).0, "failed");
        assert_eq!(fixture.experiment(&id).error.as_ref().unwrap().code, "InvalidTarget");
        assert!(fixture.commands().is_empty());
    }
}

#[test]
fn more_targets_than_the_quota_fail_before_anything_is_sent() {
    let mut fixture = Fixture::new(6);
    let template = fixture.template(json!({}));
    let id = fixture.start(&template);
    assert_eq!(fixture.status(&id).0, "failed");
    assert_eq!(fixture.experiment(&id).error.as_ref().unwrap().code, "QuotaExceededFailure");
    assert!(fixture.commands().is_empty());
    assert!(fixture.notes(&id, "fis_targets_per_action"));
    fixture.state.fis.targets_per_action = Some(0);
    let id = fixture.start(&template);
    assert_eq!(fixture.status(&id).0, "running");
    assert_eq!(fixture.commands().len(), 6);
    assert!(fixture.notes(&id, "total outage"));
}

#[test]
fn a_task_without_a_sidecar_fails_the_action_and_nothing_is_sent() {
    let mut fixture = Fixture::new(2);
    let template = fixture.template(json!({}));
    // Resolved while it was there, gone before its action: startAfter makes the time between.
    let wait = json!({ "actionId": "aws:fis:wait", "parameters": { "duration": "PT1M" } });
    let mut stress = on_tasks("aws:ecs:task-cpu-stress", json!({ "duration": "PT5M" }));
    stress["startAfter"] = json!(["wait"]);
    let later = fixture.template(json!({ "actions": { "wait": wait, "stress": stress } }));
    let id = fixture.start(&later);
    fixture.state.ssm.deregister("mi-00000000000000002");
    fixture.pass(60);
    assert_eq!(fixture.status(&id).2, actions(&[("stress", "failed"), ("wait", "completed")]));
    assert!(fixture.status(&id).1.contains("not registered as a SSM managed instance"));
    assert!(fixture.commands().is_empty());
    let again = fixture.start(&template);
    assert_eq!(fixture.experiment(&again).resolved["tasks"], [Fixture::arn(1)]);
}

#[test]
fn a_rehearsal_resolves_and_runs_nothing() {
    let mut fixture = Fixture::new(2);
    let template = fixture.template(json!({}));
    let id = fixture.start_with(&template, json!({ "experimentOptions": { "actionsMode": "skip-all" } }));
    assert_eq!(fixture.status(&id).0, "completed");
    assert_eq!(fixture.status(&id).2, actions(&[("stress", "skipped")]));
    assert_eq!(fixture.experiment(&id).resolved["tasks"].len(), 2);
    assert!(fixture.commands().is_empty());
}

#[test]
fn faults_through_the_agent_get_heartbeats_every_twenty_seconds() {
    let mut fixture = Fixture::new(1);
    let hole = on_tasks(
        "aws:ecs:task-network-blackhole-port",
        json!({
            "duration": "PT2M", "port": "443", "trafficType": "egress", "useEcsFaultInjectionEndpoints": "true",
        }),
    );
    let template = fixture.template(json!({ "actions": { "hole": hole } }));
    let id = fixture.start(&template);
    fixture.agents(UNSEEN, Status::InProgress);
    for second in 1..=45 {
        fixture.pass(1);
        assert_eq!(fixture.commands().len(), 1 + second / 20, "after {second} s");
        for command in fixture.state.ssm.commands.iter_mut().skip(1) {
            command.invocations[0].status = Status::Success;
        }
    }
    let counts: Vec<String> = fixture
        .state
        .ssm
        .commands
        .iter()
        .map(|command| {
            assert_eq!(command.document_name, "AWSFIS-Run-Network-Blackhole-Port-ECS");
            let state: Value = serde_json::from_str(&command.parameters["FISActionState"][0]).unwrap();
            assert_eq!(state["id"], json!(fixture.experiment(&id).actions["hole"].commands[0].state_id));
            format!("{} {}", state["callCount"], state["callTime"].as_u64().unwrap() - 1_767_225_600)
        })
        .collect();
    assert_eq!(counts, ["1 0", "2 20", "3 40"]);
    let roles: Vec<_> = fixture.experiment(&id).actions["hole"].commands.iter().map(|one| one.role).collect();
    assert_eq!(roles, [CommandRole::Fault, CommandRole::Heartbeat, CommandRole::Heartbeat]);
    stop(&mut fixture, &id).unwrap();
    fixture.pass(1);
    fixture.pass(60);
    assert_eq!(fixture.commands().len(), 3, "no heartbeat once it stops");
}

#[test]
fn the_safety_lever_stops_what_runs_and_lets_nothing_start() {
    let mut fixture = Fixture::new(1);
    let template = fixture.template(json!({}));
    let id = fixture.start(&template);
    fixture.agents(UNSEEN, Status::InProgress);
    let state = json!({ "id": "default", "state": { "status": "engaged", "reason": "an incident" } });
    let lever = |fixture: &mut Fixture, state: &Value| {
        fixture.call("UpdateSafetyLeverState", state.clone()).map(|answer| answer["safetyLever"].clone())
    };
    assert_eq!(lever(&mut fixture, &state).unwrap()["state"]["status"], "engaging");
    let body = json!({ "clientToken": "x", "experimentTemplateId": template });
    let refused = fixture.call("StartExperiment", body.clone()).unwrap_err();
    assert_eq!((refused.status, refused.code), (409, "ConflictException"));
    assert!(refused.message.contains("an incident"));
    fixture.pass(1);
    assert_eq!(lever(&mut fixture, &state).unwrap_err().status, 409, "still engaging");
    fixture.agents(CANCELLED, Status::Cancelled);
    fixture.pass(1);
    assert_eq!(fixture.status(&id).0, "stopped");
    let off = json!({ "id": "default", "state": { "status": "disengaged", "reason": "over" } });
    assert_eq!(lever(&mut fixture, &off).unwrap()["state"]["status"], "disengaged");
    assert!(fixture.call("StartExperiment", body).is_ok());
}

#[test]
fn a_restart_ends_what_was_running_and_says_so() {
    let mut fixture = Fixture::new(1);
    let template = fixture.template(json!({}));
    let id = fixture.start(&template);
    fixture.agents(UNSEEN, Status::InProgress);
    fixture.state = serde_json::from_str::<World>(&serde_json::to_string(&fixture.state).unwrap()).unwrap();
    fixture.pass(100);
    assert_eq!(fixture.status(&id).2, actions(&[("stress", "stopping")]));
    assert_eq!(fixture.commands(), CANCELLED);
    fixture.agents(CANCELLED, Status::Cancelled);
    fixture.pass(1);
    let (status, reason, _) = fixture.status(&id);
    assert_eq!(status, "failed");
    assert!(reason.contains("restarted"), "{reason}");
    assert!(fixture.notes(&id, "the time it was away is lost"));
    let again = fixture.start(&template);
    assert_eq!(fixture.status(&again).0, "running", "only what was running before");
}

#[test]
fn short_experiments_are_short_and_say_so() {
    let mut fixture = Fixture::new(1);
    fixture.context.speed = 30.0;
    let template = fixture.template(json!({}));
    let id = fixture.start(&template);
    assert_eq!(fixture.state.ssm.commands[0].parameters["DurationSeconds"], ["10"]);
    assert!(fixture.notes(&id, "300 s of the template take 10.0 s here"));
    fixture.agents(UNSEEN, Status::Success);
    fixture.pass(9);
    assert_eq!(fixture.status(&id).0, "running");
    fixture.pass(1);
    assert_eq!(fixture.status(&id).0, "completed");
}

#[test]
fn two_experiments_run_on_one_task() {
    let mut fixture = Fixture::new(1);
    let template = fixture.template(json!({}));
    let (one, two) = (fixture.start(&template), fixture.start(&template));
    assert_eq!(fixture.commands().len(), 2);
    stop(&mut fixture, &one).unwrap();
    fixture.pass(1);
    assert_eq!((fixture.status(&one).0, fixture.status(&two).0), ("stopped", "running"));
}

/// A template of one action without targets.
fn only(fixture: &mut Fixture, action: Value) -> String {
    fixture.template(json!({ "targets": {}, "actions": { "act": action } }))
}

fn automation(parameters: Value) -> Value {
    json!({ "actionId": "aws:ssm:start-automation-execution", "parameters": parameters })
}

/// A local AWS with a runbook that sends a command, and sleeps when it is cancelled.
fn with_runbook() -> Fixture {
    let mut fixture = Fixture::new(1);
    let send = json!({
        "name": "Send", "action": "aws:runCommand", "onCancel": "step:Undo", "isEnd": true,
        "inputs": {
            "DocumentName": "AWS-RunShellScript", "InstanceIds": ["mi-00000000000000001"],
            "Parameters": { "commands": ["{{ Line }}"] },
        },
    });
    let undo = json!({ "name": "Undo", "action": "aws:sleep", "inputs": { "Duration": "PT5S" } });
    let content = json!({
        "schemaVersion": "0.3", "parameters": { "Line": { "type": "String" } }, "mainSteps": [send, undo],
    });
    let body = json!({ "Name": "runbook", "DocumentType": "Automation", "Content": content.to_string() });
    let body = body.as_object().unwrap().clone();
    crate::ssm::call("CreateDocument", &body, &mut fixture.state.ssm, &fixture.context).unwrap().unwrap();
    fixture
}

const RUNBOOK: &str = "arn:aws:ssm:eu-west-1:000000000000:document/runbook";

#[test]
fn a_runbook_is_executed_and_its_end_is_that_of_the_action() {
    let parameters =
        json!({ "documentArn": RUNBOOK, "documentParameters": r#"{"Line":"true"}"#, "maxDuration": "PT1M" });
    for (end, status, words) in [
        (Status::Success, "completed", "Experiment completed."),
        (Status::Failed, "failed", "ended as Failed. Step Send (aws:runCommand) failed: command"),
    ] {
        let mut fixture = with_runbook();
        let template = only(&mut fixture, automation(parameters.clone()));
        let id = fixture.start(&template);
        fixture.pass(1);
        assert_eq!(fixture.status(&id).2, actions(&[("act", "running")]));
        assert_eq!(fixture.state.ssm.commands[0].parameters["commands"], ["true"]);
        let sent = fixture.experiment(&id).actions["act"].command_ids().count();
        assert_eq!(sent, 1, "the report knows its commands");
        fixture.agents(UNSEEN, end);
        fixture.pass(1);
        let (found, reason, _) = fixture.status(&id);
        assert!(found == status && reason.contains(words), "{found}: {reason}");
    }
}

#[test]
fn a_stop_cancels_the_runbook_and_waits_for_what_undoes_it() {
    let parameters =
        json!({ "documentArn": RUNBOOK, "documentParameters": r#"{"Line":"true"}"#, "maxDuration": "PT10M" });
    let mut fixture = with_runbook();
    let template = only(&mut fixture, automation(parameters));
    let id = fixture.start(&template);
    fixture.pass(1);
    fixture.agents(UNSEEN, Status::InProgress);
    stop(&mut fixture, &id).unwrap();
    fixture.pass(1);
    fixture.pass(1);
    assert_eq!(fixture.commands(), CANCELLED);
    fixture.agents(CANCELLED, Status::Cancelled);
    fixture.pass(1);
    assert_eq!(fixture.status(&id).2, actions(&[("act", "stopping")]), "onCancel runs");
    fixture.pass(5);
    assert_eq!(fixture.status(&id).0, "stopped");
}

#[test]
fn a_runbook_that_takes_too_long_or_is_not_there_fails_its_action() {
    let mut fixture = with_runbook();
    let parameters =
        json!({ "documentArn": RUNBOOK, "documentParameters": r#"{"Line":"true"}"#, "maxDuration": "PT1M" });
    let template = only(&mut fixture, automation(parameters));
    let id = fixture.start(&template);
    fixture.pass(1);
    fixture.agents(UNSEEN, Status::InProgress);
    fixture.pass(60);
    let (status, reason, _) = fixture.status(&id);
    assert!(status == "failed" && reason.contains("longer than its 60 s"), "{reason}");
    fixture.pass(1);
    assert_eq!(fixture.commands(), CANCELLED);
    for (parameters, words) in [
        (
            json!({ "documentArn": format!("{RUNBOOK}x"), "maxDuration": "PT1M" }),
            "AutomationDefinitionNotFound",
        ),
        (json!({ "documentArn": RUNBOOK, "maxDuration": "PT1M" }), "\"Line\" requires a value"),
    ] {
        let template = only(&mut fixture, automation(parameters));
        let id = fixture.start(&template);
        let (status, reason, _) = fixture.status(&id);
        assert!(status == "failed" && reason.contains(words), "{reason}");
        assert_eq!(fixture.experiment(&id).error.as_ref().unwrap().location, "actions.act");
    }
}

#[test]
fn a_document_of_the_user_is_sent_to_instances_by_tag_and_by_arn() {
    let tag = json!({ "resourceTags": { "ECS_TASK_ARN": Fixture::arn(2) } });
    let arn = json!({ "resourceArns": ["arn:aws:ec2:eu-west-1:000000000000:instance/mi-00000000000000002"] });
    for found in [tag, arn] {
        let mut fixture = Fixture::new(3);
        let mut target = json!({ "resourceType": "aws:ec2:instance", "selectionMode": "ALL" });
        target.as_object_mut().unwrap().extend(found.as_object().unwrap().clone());
        let send = json!({
            "actionId": "aws:ssm:send-command", "targets": { "Instances": "some" },
            "parameters": {
                "documentArn": "arn:aws:ssm:eu-west-1::document/AWSFIS-Run-Memory-Stress",
                "documentParameters": r#"{"DurationSeconds":"120","Percent":["40"]}"#, "duration": "PT2M",
            },
        });
        let template = fixture.template(json!({ "targets": { "some": target }, "actions": { "act": send } }));
        let id = fixture.start(&template);
        assert_eq!(fixture.commands(), [Status::Pending]);
        let command = &fixture.state.ssm.commands[0];
        assert_eq!(command.instance_ids, ["mi-00000000000000002"]);
        assert_eq!(command.parameters["Percent"], ["40"]);
        assert_eq!(fixture.experiment(&id).actions["act"].commands[0].task_arn, Fixture::arn(2));
        fixture.agents(UNSEEN, Status::Success);
        fixture.pass(119);
        assert_eq!(fixture.status(&id).0, "running");
        fixture.pass(1);
        assert_eq!(fixture.status(&id).0, "completed");
    }
}

#[test]
fn an_alarm_is_asserted() {
    let alarm = |name: &str| format!("arn:aws:cloudwatch:eu-west-1:000000000000:alarm:{name}");
    let put = json!({
        "AlarmName": "quiet", "Namespace": "N", "MetricName": "M", "Statistic": "Sum", "Period": 60,
        "EvaluationPeriods": 1, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold",
    });
    for (name, states, status, words) in [
        ("quiet", "OK,INSUFFICIENT_DATA", "completed", "completed"),
        ("quiet", "OK", "failed", "quiet is in the state INSUFFICIENT_DATA, not in OK"),
        ("none", "OK", "failed", "no alarm"),
    ] {
        let mut fixture = Fixture::new(0);
        let context = fixture.context.clone();
        fixture.state.call_cloudwatch("PutMetricAlarm", put.as_object().unwrap(), &context).unwrap().unwrap();
        let action = json!({
            "actionId": "aws:cloudwatch:assert-alarm-state",
            "parameters": { "alarmArns": alarm(name), "alarmStates": states },
        });
        let template = only(&mut fixture, action);
        let id = fixture.start(&template);
        let (found, reason, _) = fixture.status(&id);
        assert!(found == status && reason.contains(words), "{found}: {reason}");
    }
}

#[test]
fn a_role_must_be_there_and_trust_fis() {
    let trust = |service: &str| {
        format!(
            r#"{{"Statement":{{"Effect":"Allow","Principal":{{"Service":"{service}"}},"Action":"sts:AssumeRole"}}}}"#
        )
    };
    for (service, any, status, words) in [
        (Some("fis.amazonaws.com"), false, "running", "running"),
        (Some("ssm.amazonaws.com"), false, "failed", "does not name fis.amazonaws.com"),
        (None, false, "failed", "there is no such role"),
        (None, true, "running", "running"),
    ] {
        let mut fixture = Fixture::new(1);
        if let Some(service) = service {
            let form = [
                ("Action", "CreateRole"),
                ("RoleName", "mine"),
                ("AssumeRolePolicyDocument", &trust(service)),
            ];
            let form = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            crate::iam::call(&form, &mut fixture.state.iam, &fixture.context).unwrap();
        }
        fixture.state.fis.any_role = any;
        let template = fixture.template(json!({ "roleArn": "arn:aws:iam::000000000000:role/mine" }));
        let id = fixture.start(&template);
        let (found, reason, _) = fixture.status(&id);
        assert!(found == status && reason.contains(words), "{found}: {reason}");
        let code = fixture.experiment(&id).error.as_ref().map(|error| error.code.as_str());
        assert_eq!(code, (status == "failed").then_some("AuthorizationFailure"));
    }
}

#[test]
fn what_was_sent_is_given_back_and_what_waits_says_so() {
    let mut fixture = Fixture::new(1);
    let mut action = on_tasks("aws:ecs:stop-task", json!({}));
    action["startAfter"] = json!([]);
    let template = fixture.template(json!({ "actions": { "act": action } }));
    let shown = fixture.call("GetExperimentTemplate", json!({ "id": template })).unwrap();
    let shown = &shown["experimentTemplate"]["actions"]["act"];
    assert_eq!((&shown["parameters"], &shown["startAfter"]), (&json!({}), &json!([])));
    assert!(shown.get("sent_empty").is_none() && shown.get("sentEmpty").is_none());
    let body = json!({ "clientToken": "t", "experimentTemplateId": template });
    let started = fixture.call("StartExperiment", body).unwrap()["experiment"].clone();
    assert!(started["startTime"].is_number());
    assert_eq!(started["actions"]["act"]["state"], json!({ "status": "pending", "reason": "Initial state" }));
}

#[test]
fn an_empty_target_says_in_which_region_the_tasks_run() {
    let mut fixture = Fixture::new(0);
    fixture.state.fis.tasks_elsewhere = Some("us-west-2".to_owned());
    let template = fixture.template(json!({}));
    let id = fixture.start(&template);
    assert_eq!(fixture.status(&id).0, "failed");
    assert!(fixture.notes(&id, "tasks run in us-west-2 here, and this experiment is in eu-west-1"));
}

#[test]
fn records_for_a_bucket_are_one_object_at_the_end() {
    let mut fixture = Fixture::new(1);
    let log = json!({ "logSchemaVersion": 2, "s3Configuration": { "bucketName": "logs", "prefix": "a/" } });
    let stop_task = on_tasks("aws:ecs:stop-task", json!({}));
    let template = fixture.template(json!({ "logConfiguration": log, "actions": { "act": stop_task } }));
    let id = fixture.start(&template);
    let objects = fixture.state.fis.take_objects();
    let [object] = &objects[..] else { panic!("{objects:?} {:?}", fixture.status(&id)) };
    let folder = format!(
        "a/AWSLogs/000000000000/fis/eu-west-1/{id}/2026/01/01/000000000000_awsfislogs_eu-west-1_{id}_"
    );
    assert!(object.bucket == "logs" && object.key.starts_with(&folder), "{}", object.key);
    let kinds: Vec<Value> =
        object.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    assert_eq!(kinds.first().unwrap()["log_type"], "experiment-start");
    assert_eq!(kinds.last().unwrap()["log_type"], "experiment-end");
    assert_eq!(kinds[0]["event_timestamp"], "2026-01-01T00:00:00Z", "whole seconds");
    assert!(fixture.notes(&id, "s3://logs/a/AWSLogs"));
}

#[test]
fn what_cannot_run_here_is_said() {
    let mut fixture = Fixture::new(1);
    let role = json!({ "resourceType": "aws:iam:role", "selectionMode": "ALL", "resourceArns": ["arn:aws:iam::0:role/r"] });
    let inject = json!({
        "actionId": "aws:fis:inject-api-throttle-error", "targets": { "Roles": "roles" },
        "parameters": { "service": "ec2", "operations": "DescribeInstances", "percentage": "100", "duration": "PT1M" },
    });
    let template = fixture.template(json!({
        "targets": { "roles": role }, "actions": { "act": inject },
        "experimentOptions": { "emptyTargetResolutionMode": "skip" },
    }));
    let id = fixture.start(&template);
    assert_eq!(fixture.status(&id).2, actions(&[("act", "skipped")]));
    assert!(fixture.notes(&id, "aws:fis:inject-api-throttle-error cannot run here"));
}
