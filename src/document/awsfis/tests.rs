//! Tests of the documents by name.

use std::time::Duration;

use serde_json::json;

use super::*;
use faults::Fault;
use faults::cpu_stress::CpuStress;

const CPU: &str = "AWSFIS-Run-CPU-Stress";

/// The plan of a document that taskfault has.
pub(super) fn plan_of(name: &str, supplied: &Map<String, Value>) -> Result<Plan, ParseError> {
    let document = find(name, supplied).unwrap_or_else(|| panic!("no document {name}"));
    plan(document, name, supplied)
}

fn plan_cpu(parameters: Value) -> Result<Plan, ParseError> {
    let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
    plan_of(CPU, &parameters)
}

fn work(parameters: Value) -> Work {
    let steps = plan_cpu(parameters).unwrap().steps;
    assert_eq!(steps.len(), 2);
    steps[1].work.clone()
}

fn stress(workers: u32, percent: u8, seconds: u64) -> Work {
    let fault = Fault::CpuStress(CpuStress { workers, percent });
    Work::Fault { fault, duration: Duration::from_secs(seconds) }
}

#[test]
fn documents_are_known_by_name_and_by_arn() {
    for name in [
        CPU,
        "arn:aws:ssm:eu-west-1::document/AWSFIS-Run-CPU-Stress",
        "arn:aws:ssm:eu-west-1:123456789012:document/AWSFIS-Run-CPU-Stress",
        "arn:aws-cn:ssm:cn-north-1::document/AWSFIS-Run-CPU-Stress:3",
        "AWSFIS-Run-CPU-Stress:$DEFAULT",
    ] {
        assert_eq!(known_name(name), Some(CPU), "{name}");
    }
    for name in [
        "AWS-RunShellScript",
        "",
        "my-AWSFIS-Run-CPU-Stress",
        "arn:aws:s3:::document/AWSFIS-Run-CPU-Stress",
        "x:document/AWSFIS-Run-CPU-Stress",
    ] {
        assert_eq!(known_name(name), None, "{name}");
    }
}

/// FIS sheet §2.2: defaults, and the forms in which a value may come.
#[test]
fn values_are_texts_numbers_or_lists_of_one() {
    assert_eq!(work(json!({"DurationSeconds": "20"})), stress(0, 100, 20));
    assert_eq!(
        work(
            json!({"DurationSeconds": ["20"], "CPU": "1", "LoadPercent": 60, "InstallDependencies": ["False"]})
        ),
        stress(1, 60, 20)
    );
    assert_eq!(work(json!({"DurationSeconds": 43_200, "LoadPercent": "0"})), stress(0, 0, 43_200));
}

#[test]
fn both_steps_are_reported_and_nothing_is_installed() {
    for install in ["True", "False"] {
        let parameters = json!({"DurationSeconds": "1", "InstallDependencies": install});
        let steps = plan_cpu(parameters).unwrap().steps;
        let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["InstallDependencies", "FaultInjection"]);
        assert!(steps.iter().all(|step| step.action == "aws:runShellScript"));
        assert!(matches!(&steps[0].work, Work::Note(text) if text.lines().count() == 1));
        assert_eq!(steps[0].on_failure, OnFailure::Exit);
    }
}

#[test]
fn a_value_out_of_range_fails_its_step_with_name_value_and_range() {
    for (parameters, words) in [
        (json!({"DurationSeconds": "0"}), "DurationSeconds is 0; accepted are 1 to 43200 seconds"),
        (json!({"DurationSeconds": "43201"}), "DurationSeconds is 43201; accepted are 1 to 43200 seconds"),
        (
            json!({"DurationSeconds": "99999999999999999999999"}),
            "DurationSeconds is 99999999999999999999999; accepted",
        ),
        (json!({"DurationSeconds": "5", "CPU": "5000"}), "CPU is 5000; accepted are 0 to 4096 workers"),
    ] {
        let Work::Fail(text) = work(parameters) else { panic!("accepted: {words}") };
        assert!(text.contains(words) && text.contains("Nothing was started"), "{text}");
    }
}

#[test]
fn a_value_that_breaks_its_pattern_is_refused_before_anything_runs() {
    for (parameters, words) in [
        (
            json!({}),
            "validating parameter /DurationSeconds/: invalid parameter type String with parameter value <nil>",
        ),
        (json!({"DurationSeconds": "5m"}), "value /5m/ does not match"),
        (json!({"DurationSeconds": ""}), "value // does not match"),
        (json!({"DurationSeconds": "5\n"}), "does not match"),
        (json!({"DurationSeconds": -5}), "value /-5/ does not match"),
        (json!({"DurationSeconds": 5.5}), "value /5.5/ does not match"),
        (json!({"DurationSeconds": "٣"}), "does not match"),
        (
            json!({"DurationSeconds": ["1", "2"]}),
            "invalid parameter type String with parameter value [\"1\",\"2\"]",
        ),
        (json!({"DurationSeconds": null}), "invalid parameter type"),
        (
            json!({"DurationSeconds": "5", "LoadPercent": "101"}),
            "parameter /LoadPercent/: parameter value /101/",
        ),
        (json!({"DurationSeconds": "5", "LoadPercent": "007"}), "value /007/ does not match"),
        (json!({"DurationSeconds": "5", "InstallDependencies": "true"}), "value /true/ does not match"),
        (
            json!({"DurationSeconds": "5", "Workers": "1"}),
            "has no parameter \"Workers\"; it has DurationSeconds, ",
        ),
        (json!({"DurationSeconds": "5", "CPU": "1; reboot"}), "value /1; reboot/ does not match"),
    ] {
        let error = plan_cpu(parameters.clone()).unwrap_err().to_string();
        assert!(error.contains(words), "{parameters}: {error}");
    }
}

#[test]
fn a_name_that_is_new_runs_as_the_one_it_is_like_and_says_so() {
    let parameters = json!({"DurationSeconds": "20", "CPU": "1", "LoadPercent": "60"});
    let steps = plan_of("AWSFIS-Run-CPU-Stress-V2", parameters.as_object().unwrap()).unwrap().steps;
    assert_eq!(steps[1].work, stress(1, 60, 20));
    let Work::Note(text) = &steps[0].work else { panic!("{:?}", steps[0].work) };
    assert!(
        text.contains("AWSFIS-Run-CPU-Stress-V2 is new to taskfault: it is taken for AWSFIS-Run-CPU-Stress,"),
        "{text}"
    );
    assert!(find("AWSFIS-Run-Whatever-Comes", &Map::new()).is_none());
    // A name that is known is what it is, whatever its parameters.
    assert!(find(CPU, parameters.as_object().unwrap()).is_some_and(|document| document.name == CPU));
}

#[test]
fn the_resource_documents_ask_for_their_faults() {
    use faults::disk_fill::DiskFill;
    use faults::io_stress::IoStress;
    use faults::kill_process::{KillProcess, Signal, WATCH};
    use faults::memory_stress::MemoryStress;
    let minute = Duration::from_secs(60);
    let io = |workers, percent| Fault::IoStress(IoStress { workers, percent, bytes: 0, path: None });
    let memory = |workers, percent| Fault::MemoryStress(MemoryStress { workers, percent });
    let disk = |percent| Fault::DiskFill(DiskFill { percent, bytes: 0, path: "/".into() });
    let kill = |name: &str, signal| {
        Fault::KillProcess(KillProcess { name: name.into(), signal, host_processes: false })
    };
    // Defaults of the FIS sheet, §2.2, then every parameter by name.
    for (document, parameters, fault, duration) in [
        ("IO-Stress", json!({"DurationSeconds": "60"}), io(1, 80), minute),
        ("IO-Stress", json!({"DurationSeconds": "60", "Workers": "4", "Percent": "100"}), io(4, 100), minute),
        ("Memory-Stress", json!({"DurationSeconds": "60"}), memory(1, 80), minute),
        (
            "Memory-Stress",
            json!({"DurationSeconds": "60", "Workers": "0", "Percent": "1"}),
            memory(0, 1),
            minute,
        ),
        ("Disk-Fill", json!({"DurationSeconds": "60"}), disk(95), minute),
        ("Disk-Fill", json!({"DurationSeconds": "60", "Percent": ["7"]}), disk(7), minute),
        ("Kill-Process", json!({"ProcessName": "-9"}), kill("-9", Signal::Term), WATCH),
        (
            "Kill-Process",
            json!({"ProcessName": "python3.11", "Signal": "SIGKILL"}),
            kill("python3.11", Signal::Kill),
            WATCH,
        ),
    ] {
        let steps =
            plan_of(&format!("AWSFIS-Run-{document}"), parameters.as_object().unwrap()).unwrap().steps;
        assert_eq!(steps[1].work, Work::Fault { fault, duration }, "{document} {parameters}");
    }
}

/// As the sidecar reads patterns; that each default has its pattern in plain regular expressions is tested in `faults`.
#[test]
fn the_documents_are_sound() {
    for document in document::all() {
        assert_eq!(known_name(document.name), Some(document.name));
        for field in document.fields() {
            let pattern = Pattern::compile(field.pattern).unwrap();
            assert!(field.default.is_none_or(|default| pattern.matches(default)), "{}", field.name);
        }
    }
}
