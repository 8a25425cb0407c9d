//! AWSFIS documents by name, from request to reports: performed here, without a shell, whatever their text says.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;

use effects::task::Task;
use serde_json::{Value, json};
use ssm_wire::report::{DocumentStatus, StepReport};
use taskfault::document::{self, Request, Work};
use taskfault::run::invocation::{self, InvocationContext};
use tokio_util::sync::CancellationToken;

fn request(name: &str, parameters: Value, mark: &std::path::Path) -> Request {
    let script = format!("touch {}", mark.display());
    let step = json!({"action": "aws:runShellScript", "name": "x", "inputs": {"runCommand": [script]}});
    Request {
        command_id: "da11fb41-9572-47f6-9aae-6f3494230478".to_owned(),
        document_name: name.to_owned(),
        document: json!({"schemaVersion": "2.2", "mainSteps": [step]}),
        parameters: parameters.as_object().unwrap().clone(),
    }
}

/// Runs the document in a place without a shell; `cancel` is called after the first step.
fn run(name: &str, parameters: Value, cancel_after_first: bool) -> Vec<StepReport> {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let plan = document::plan(&request(name, parameters, &mark)).unwrap();
    let context = InvocationContext {
        command_id: "da11fb41-9572-47f6-9aae-6f3494230478".to_owned(),
        instance_id: "mi-0123456789abcdef0".to_owned(),
        region: "eu-west-1".to_owned(),
        orchestration_dir: folder.path().join("orchestration"),
        platform_name: String::new(),
        platform_version: String::new(),
        task: Task::default(),
        clock: taskfault::aws::clock::Clock::default(),
        heartbeats: std::rc::Rc::default(),
        output: None,
        metrics: None,
        active_faults: std::rc::Rc::default(),
        environment: BTreeMap::from_iter([("PATH".into(), "/nonexistent".into())]),
    };
    let cancel = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reports = runtime.block_on(async {
        let later = cancel.clone();
        let mut on_step = |_: &StepReport| {
            if cancel_after_first {
                let later = later.clone();
                // The fault has been started by then: this task gets its turn when the fault waits.
                tokio::spawn(async move { later.cancel() });
            }
        };
        invocation::run(&plan, &context, &cancel, &mut on_step).await
    });
    assert!(!mark.exists(), "the text of the document was run");
    let scripts = plan.steps.iter().any(|step| matches!(step.work, Work::Scripts(_)));
    assert_eq!(context.orchestration_dir.exists(), scripts);
    reports
}

fn summary(reports: &[StepReport]) -> Vec<(&str, &str, i32)> {
    reports.iter().map(|report| (report.name.as_str(), report.status.as_str(), report.code)).collect()
}

#[test]
fn a_cpu_stress_runs_its_duration_and_succeeds() {
    let parameters = json!({"DurationSeconds": ["1"], "CPU": ["1"], "LoadPercent": ["5"]});
    let reports = run("AWSFIS-Run-CPU-Stress", parameters, false);
    assert_eq!(summary(&reports), [("InstallDependencies", "Success", 0), ("FaultInjection", "Success", 0)]);
    assert_eq!(DocumentStatus::of(&reports), DocumentStatus::Success);
}

#[test]
fn resource_documents_run_their_duration_and_say_what_they_achieved() {
    for (name, parameters, undone) in [
        ("IO-Stress", json!({"DurationSeconds": "1", "Percent": "1"}), "undone: no file and no thread left"),
        ("Memory-Stress", json!({"DurationSeconds": "1", "Percent": "1"}), "undone: all of it is given back"),
    ] {
        let reports = run(&format!("AWSFIS-Run-{name}"), parameters, false);
        assert_eq!(
            summary(&reports),
            [("InstallDependencies", "Success", 0), ("FaultInjection", "Success", 0)],
            "{}",
            String::from_utf8_lossy(&reports[1].stderr)
        );
        let stdout = std::str::from_utf8(&reports[1].stdout).unwrap();
        assert!(stdout.contains("achieved: ") && stdout.contains(undone), "{stdout}");
        assert!(stdout.contains("completed after 1."), "{stdout}");
    }
}

#[test]
fn a_disk_that_is_full_enough_fails_with_code_1() {
    let reports = run("AWSFIS-Run-Disk-Fill", json!({"DurationSeconds": "5", "Percent": "1"}), false);
    assert_eq!(summary(&reports), [("InstallDependencies", "Success", 0), ("FaultInjection", "Failed", 1)]);
    let stderr = std::str::from_utf8(&reports[1].stderr).unwrap();
    assert!(stderr.contains("is already") && stderr.contains("which is not below the 1 % asked"), "{stderr}");
}

#[test]
fn a_cancel_ends_the_fault() {
    let parameters = json!({"DurationSeconds": "43200", "CPU": "1", "LoadPercent": "5"});
    let reports = run("arn:aws:ssm:eu-west-1::document/AWSFIS-Run-CPU-Stress", parameters, true);
    assert_eq!(
        summary(&reports),
        [("InstallDependencies", "Success", 0), ("FaultInjection", "Cancelled", 137)]
    );
    assert_eq!(DocumentStatus::of(&reports), DocumentStatus::Cancelled);
}

#[test]
fn a_value_out_of_range_fails_with_code_1() {
    let reports = run("AWSFIS-Run-CPU-Stress", json!({"DurationSeconds": "0"}), false);
    assert_eq!(summary(&reports), [("InstallDependencies", "Success", 0), ("FaultInjection", "Failed", 1)]);
    let stderr = std::str::from_utf8(&reports[1].stderr).unwrap();
    assert!(stderr.contains("DurationSeconds is 0; accepted are 1 to 43200"), "{stderr}");
    assert_eq!(DocumentStatus::of(&reports), DocumentStatus::Failed);
}

#[test]
fn a_name_that_is_new_runs_as_its_family_does() {
    let parameters = json!({"DurationSeconds": "1", "CPU": "1", "LoadPercent": "5"});
    let reports = run("AWSFIS-Run-CPU-Stress-V2", parameters, false);
    assert_eq!(summary(&reports), [("InstallDependencies", "Success", 0), ("FaultInjection", "Success", 0)]);
    let note = std::str::from_utf8(&reports[0].stdout).unwrap();
    assert!(note.contains("it is taken for AWSFIS-Run-CPU-Stress"), "{note}");
}

/// As the stock agent would run it: step by step, by a shell, which this place has not.
#[test]
fn a_document_of_no_known_family_is_one_like_any_other() {
    for (name, parameters) in [
        ("AWSFIS-Run-Whatever-Comes", json!({"DurationSeconds": "5"})),
        ("AWSFIS-Run-CPU-Stress-V2", json!({"DurationSeconds": "5", "Flavour": "salt"})),
    ] {
        let reports = run(name, parameters, false);
        assert_eq!(summary(&reports), [("x", "Failed", 1)]);
        let stderr = std::str::from_utf8(&reports[0].stderr).unwrap();
        assert!(stderr.contains("this image has no shell"), "{stderr}");
    }
}
