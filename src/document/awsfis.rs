//! The `AWSFIS-Run-*` documents, known by name: parameters in, a fault out. Pure.
//!
//! Their text is never read. What is fixed here is what their users count on: the names, defaults, patterns
//! and ranges of the parameters, the two steps, the exit codes. To add one: a file beside `cpu_stress` and a
//! line in [`DOCUMENTS`].

mod action_state;
mod cpu_stress;
mod disk_fill;
mod io_stress;
mod kill_process;
mod memory_stress;
mod network;
mod network_ecs;

use std::time::Duration;

use serde_json::{Map, Value};

use super::parameters::{go_text, wrong};
use super::pattern::Pattern;
use super::precondition::RUN_SHELL_SCRIPT;
use super::{OnFailure, ParseError, Plan, Step, Work};
use crate::fault::{DURATION_SECONDS, Fault, ParameterError, Range};

/// The documents that taskfault performs itself, in alphabetical order.
#[rustfmt::skip] // One line each.
pub const DOCUMENTS: &[&Document] = &[
    &cpu_stress::DOCUMENT,
    &disk_fill::DOCUMENT,
    &io_stress::DOCUMENT,
    &kill_process::DOCUMENT,
    &memory_stress::DOCUMENT,
    &network::BLACKHOLE_PORT,
    &network_ecs::BLACKHOLE_PORT,
    &network::LATENCY,
    &network_ecs::LATENCY,
    &network::LATENCY_SOURCES,
    &network::PACKET_LOSS,
    &network_ecs::PACKET_LOSS,
    &network::PACKET_LOSS_SOURCES,
];

pub use action_state::ActionState;

/// The names of all of them begin so; nothing with such a name is ever run as a script.
const PREFIX: &str = "AWSFIS-Run-";

/// One document.
#[derive(Debug)]
pub struct Document {
    pub name: &'static str,
    life: Life,
    /// Besides `InstallDependencies`, which all have, and `DurationSeconds`.
    pub parameters: &'static [Parameter],
    /// The fault that the parameters ask for, or what is wrong with them.
    fault: fn(&Arguments) -> Result<Fault, ParameterError>,
}

/// How long the fault of a document lives.
#[derive(Debug, Clone, Copy)]
enum Life {
    /// As `DurationSeconds` says.
    Asked,
    /// There is no such parameter.
    Fixed(Duration),
}

/// One parameter; its values are texts.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    pub name: &'static str,
    /// None: the caller has to give it.
    pub default: Option<&'static str>,
    /// What the document's `allowedPattern` takes. A value that breaks it is refused before anything runs.
    pub pattern: &'static str,
}

const DIGITS: &str = "^[0-9]+$";
/// 0 to 100 without leading zeros.
const PERCENT_FROM_0: &str = "^(100|[1-9]?[0-9])$";
/// 1 to 100 without leading zeros.
const PERCENT_FROM_1: &str = "^(100|[1-9][0-9]?)$";

const DURATION: Parameter = Parameter { name: "DurationSeconds", default: None, pattern: DIGITS };
/// True or False. There is nothing to install either way.
const INSTALL: Parameter =
    Parameter { name: "InstallDependencies", default: Some("True"), pattern: "^(True|False)$" };

impl Document {
    fn all_parameters(&self) -> impl Iterator<Item = &Parameter> {
        let duration = matches!(self.life, Life::Asked).then_some(&DURATION);
        duration.into_iter().chain([&INSTALL]).chain(self.parameters)
    }

    fn work(&self, arguments: &Arguments) -> Work {
        // Only the -ECS documents have one.
        let call = ActionState::parse(arguments.text(action_state::PARAMETER.name));
        if let Some(beat) = call.as_ref().filter(|call| !call.starts()) {
            return Work::Heartbeat(beat.clone());
        }
        match self.duration(arguments).and_then(|duration| Ok((duration, (self.fault)(arguments)?))) {
            Ok((duration, fault)) => match call {
                Some(call) => Work::Leased { fault, duration, call },
                None => Work::Fault { fault, duration },
            },
            Err(reason) => Work::Fail(format!("{}: {reason}. Nothing was started.\n", self.name)),
        }
    }

    fn duration(&self, arguments: &Arguments) -> Result<Duration, ParameterError> {
        match self.life {
            Life::Asked => arguments.number(DURATION.name, DURATION_SECONDS).map(Duration::from_secs),
            Life::Fixed(duration) => Ok(duration),
        }
    }
}

/// The values of one document's parameters; every one has its pattern.
#[derive(Debug)]
struct Arguments(Vec<(&'static str, String)>);

impl Arguments {
    fn read(document: &Document, supplied: &Map<String, Value>) -> Result<Arguments, ParseError> {
        let known: Vec<_> = document.all_parameters().map(|parameter| parameter.name).collect();
        if let Some(name) = supplied.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(ParseError::UnknownParameter {
                document: document.name.to_owned(),
                name: name.chars().take(200).collect(),
                known: known.join(", "),
            });
        }
        let (mut values, mut findings) = (Vec::new(), Vec::new());
        for parameter in document.all_parameters() {
            match value_of(parameter, supplied.get(parameter.name)) {
                Ok(value) => values.push((parameter.name, value)),
                Err(reason) => findings.push(wrong(parameter.name, &reason)),
            }
        }
        if findings.is_empty() { Ok(Arguments(values)) } else { Err(ParseError::Parameters(findings)) }
    }

    fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// A whole number in `range`, or the parameter, its value and the range in words.
    fn number(&self, name: &'static str, range: Range) -> Result<u64, ParameterError> {
        range.parse(name, self.text(name))
    }
}

/// The one text of a parameter: a string, a number, or a list of one of them, as the service may send it.
fn value_of(parameter: &Parameter, supplied: Option<&Value>) -> Result<String, String> {
    let single = match supplied {
        Some(Value::Array(items)) if items.len() == 1 => items.first(),
        other => other,
    };
    let text = match (single, parameter.default) {
        (Some(value @ (Value::String(_) | Value::Number(_))), _) => go_text(value),
        (None, Some(default)) => default.to_owned(),
        (other, _) => {
            let shown =
                other.map_or("<nil>".to_owned(), |value| value.to_string().chars().take(200).collect());
            return Err(format!("invalid parameter type String with parameter value {shown}"));
        }
    };
    let pattern = Pattern::compile(parameter.pattern)?;
    if pattern.matches(&text) {
        return Ok(text);
    }
    let shown: String = text.chars().take(200).collect();
    Err(format!("parameter value /{shown}/ does not match the allowed pattern /{}/", parameter.pattern))
}

/// The plain name, if `document_name` is an AWSFIS document: by name or by ARN
/// (`arn:aws:ssm:REGION:[ACCOUNT]:document/NAME`), with or without a version.
pub fn known_name(document_name: &str) -> Option<&str> {
    let name = match document_name.split_once(":document/") {
        Some((arn, name)) => {
            let mut parts = arn.split(':');
            let arn = parts.next() == Some("arn")
                && parts.next().is_some_and(|partition| partition.starts_with("aws"))
                && parts.next() == Some("ssm");
            arn.then_some(name)?
        }
        None => document_name,
    };
    let name = name.split_once(':').map_or(name, |(name, _version)| name);
    name.starts_with(PREFIX).then_some(name)
}

/// The two steps of the document called `name`.
///
/// # Errors
/// A parameter that is unknown, missing, or breaks its pattern. A value that has its pattern but not its range
/// is no error here: the document starts, its second step fails with code 1, as the real script does.
pub fn plan(name: &str, supplied: &Map<String, Value>) -> Result<Plan, ParseError> {
    let document = DOCUMENTS.iter().find(|document| document.name == name);
    let work = match document {
        Some(document) => document.work(&Arguments::read(document, supplied)?),
        None => Work::Fail(not_yet(name)),
    };
    let dependencies = "Nothing to install: taskfault performs this fault itself.\n".to_owned();
    let install = step("InstallDependencies", Work::Note(dependencies), OnFailure::Exit);
    Ok(Plan { steps: vec![install, step("FaultInjection", work, OnFailure::Continue)] })
}

fn not_yet(name: &str) -> String {
    let known: Vec<_> = DOCUMENTS.iter().map(|document| document.name).collect();
    format!(
        "{name}: this version of taskfault ({}) cannot perform this document yet; it performs {}. \
         Nothing was started.\n",
        env!("CARGO_PKG_VERSION"),
        known.join(", ")
    )
}

fn step(name: &str, work: Work, on_failure: OnFailure) -> Step {
    Step {
        name: name.to_owned(),
        action: RUN_SHELL_SCRIPT.to_owned(),
        work,
        on_failure,
        exit_on_success: false,
        finally: false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fault::cpu_stress::CpuStress;

    const CPU: &str = "AWSFIS-Run-CPU-Stress";

    fn plan_cpu(parameters: Value) -> Result<Plan, ParseError> {
        let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
        plan(CPU, &parameters)
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
            (
                json!({"DurationSeconds": "43201"}),
                "DurationSeconds is 43201; accepted are 1 to 43200 seconds",
            ),
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
    fn a_document_that_is_not_there_yet_says_so_and_runs_nothing() {
        let name = "AWSFIS-Run-Whatever-Comes";
        let steps = plan(name, &Map::new()).unwrap().steps;
        let Work::Fail(text) = &steps[1].work else { panic!("{name} does something") };
        assert!(text.contains(name) && text.contains("cannot perform this document yet"), "{text}");
    }

    #[test]
    fn the_resource_documents_ask_for_their_faults() {
        use crate::fault::disk_fill::DiskFill;
        use crate::fault::io_stress::IoStress;
        use crate::fault::kill_process::{KillProcess, Signal, WATCH};
        use crate::fault::memory_stress::MemoryStress;
        let minute = Duration::from_secs(60);
        let io = |workers, percent| Fault::IoStress(IoStress { workers, percent, path: None });
        let memory = |workers, percent| Fault::MemoryStress(MemoryStress { workers, percent });
        let disk = |percent| Fault::DiskFill(DiskFill { percent, path: "/".into() });
        let kill = |name: &str, signal| {
            Fault::KillProcess(KillProcess { name: name.into(), signal, host_processes: false })
        };
        // Defaults of the FIS sheet, §2.2, then every parameter by name.
        for (document, parameters, fault, duration) in [
            ("IO-Stress", json!({"DurationSeconds": "60"}), io(1, 80), minute),
            (
                "IO-Stress",
                json!({"DurationSeconds": "60", "Workers": "4", "Percent": "100"}),
                io(4, 100),
                minute,
            ),
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
            let steps = plan(&format!("{PREFIX}{document}"), parameters.as_object().unwrap()).unwrap().steps;
            assert_eq!(steps[1].work, Work::Fault { fault, duration }, "{document} {parameters}");
        }
    }

    /// Every parameter of every document but its duration, with values that are accepted for the others.
    fn places() -> Vec<(&'static Document, &'static Parameter, Map<String, Value>)> {
        let good = |parameter: &Parameter| {
            let samples = ["10.0.0.1", "1", "80", "True", "nginx", "SIGTERM", "tcp", "egress", "eth0"];
            let pattern = Pattern::compile(parameter.pattern).unwrap();
            samples.into_iter().find(|sample| pattern.matches(sample)).map(Value::from)
        };
        let mut places = Vec::new();
        for document in DOCUMENTS {
            for hit in document.all_parameters() {
                let all =
                    document.all_parameters().filter_map(|other| Some((other.name.into(), good(other)?)));
                places.push((*document, hit, all.collect()));
            }
        }
        places
    }

    /// What a shell, a path or a number parser would fall for.
    const HOSTILE: &[&str] = &[
        "",
        " ",
        "1 ",
        "+1",
        "-1",
        "0x10",
        "1e2",
        "01",
        "1\n",
        "1\0",
        "١",
        "1;reboot",
        "$(reboot)",
        "`reboot`",
        "&& reboot",
        "| sh",
        "../../etc/passwd",
        "/",
        "*",
        "--help",
        "-9",
        "1 --no-preserve-root",
        "%n%s",
        "{{ Percent }}",
        "'1'",
        "\"1\"",
        "4294967297",
        "18446744073709551617",
        "NaN",
    ];

    proptest::proptest! {
        /// A value is refused, or it arrives in the fault as the very text or number that it was.
        #[test]
        fn hostile_values_are_refused_or_taken_literally(
            place in 0usize..1000,
            known in proptest::option::of(proptest::sample::select(HOSTILE)),
            wild in proptest::arbitrary::any::<String>(),
            digits in "[0-9]{1,24}",
            as_digits in proptest::arbitrary::any::<bool>(),
        ) {
            let places = places();
            let (document, hit, mut values) = places[place % places.len()].clone();
            let value = match known {
                Some(known) => known.to_owned(),
                None if as_digits => digits,
                None => wild,
            };
            values.insert(hit.name.to_owned(), value.clone().into());
            let Ok(plan) = plan(document.name, &values) else { return Ok(()) };
            proptest::prop_assert!(Pattern::compile(hit.pattern).unwrap().matches(&value), "{value:?}");
            // Accepted, so nothing but the pattern's characters are in it. What it came to says the same.
            match &plan.steps[1].work {
                // The words of a fault may spell the name its own way: flows-percent for FlowsPercent.
                Work::Fail(reason) => {
                    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "");
                    proptest::prop_assert!(plain(reason).contains(&plain(hit.name)), "{reason}");
                }
                Work::Fault { fault, duration } => {
                    let shown = format!("{fault:?} {}", duration.as_secs());
                    let number = value.trim_start_matches('0');
                    let number = if number.is_empty() { "0" } else { number };
                    let literal = shown.contains(&value) || shown.contains(number);
                    let enumerated = matches!(hit.name, "InstallDependencies" | "Signal")
                        || !matches!(document.name, "AWSFIS-Run-CPU-Stress" | "AWSFIS-Run-Disk-Fill"
                            | "AWSFIS-Run-IO-Stress" | "AWSFIS-Run-Kill-Process" | "AWSFIS-Run-Memory-Stress");
                    proptest::prop_assert!(literal || enumerated, "{} {value:?}: {shown}", hit.name);
                }
                other => proptest::prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn the_registry_is_sound() {
        assert!(DOCUMENTS.is_sorted_by_key(|document| document.name));
        for document in DOCUMENTS {
            assert_eq!(known_name(document.name), Some(document.name));
            for parameter in document.all_parameters() {
                let pattern = Pattern::compile(parameter.pattern).unwrap();
                assert!(
                    parameter.default.is_none_or(|default| pattern.matches(default)),
                    "{}",
                    parameter.name
                );
            }
        }
    }
}
