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
