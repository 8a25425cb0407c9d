//! Stand-ins of our own for the documents that FIS sends, and for AWS-RunShellScript.
//!
//! Names, parameters, defaults and accepted values are those of the published documents; the bodies are not.
//! A fault document is performed by its name, so its steps only say that they are stand-ins, and fail: an
//! agent that runs texts must not report a fault that never was.

use serde_json::{Map, Value, json};

/// Every stand-in: its name and its content.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let mut all: Vec<(&'static str, Value)> =
        FAULTS.iter().map(|(name, what, parameters)| (*name, fault(name, what, parameters))).collect();
    all.push(("AWS-RunShellScript", run_shell_script()));
    all
}

/// One parameter of type String: its name, its default (None: required) and what it accepts.
type Parameter = (&'static str, Option<&'static str>, Accepted);

enum Accepted {
    Pattern(&'static str),
    Values(&'static [&'static str]),
}
use Accepted::{Pattern, Values};

const DIGITS: Accepted = Pattern("^[0-9]+$");
const PERCENT: Accepted = Pattern("^([1-9]|[1-9][0-9]|100)$");
const PERCENT_OR_ZERO: Accepted = Pattern("^([0-9]|[1-9][0-9]|100)$");
/// 1–43200, twelve hours.
const TWELVE_HOURS: Accepted =
    Pattern("^([1-9][0-9]{0,3}|[1-3][0-9]{4}|4[0-2][0-9]{3}|43[01][0-9]{2}|43200)$");
/// 1–65535.
const PORT: Accepted =
    Pattern("^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$");
const INTERFACE: Accepted = Pattern("^[a-zA-Z0-9-]{1,15}$");
/// ALL, DEFAULT or names separated by commas.
const INTERFACES: Accepted = Pattern("^[a-zA-Z0-9-]{1,15}(,[a-zA-Z0-9-]{1,15})*$");
const SOURCES: Accepted = Pattern("^[a-zA-Z0-9./,-]+$");
const PROCESS: Accepted = Pattern("^[a-zA-Z0-9.=_-]{1,128}$");
const SIGNAL: Accepted = Values(&["SIGTERM", "SIGKILL"]);
const PROTOCOL: Accepted = Values(&["tcp", "udp"]);
const DIRECTION: Accepted = Values(&["egress", "ingress"]);
/// What FIS keeps between the calls of one experiment: id, time of the call, number of the call.
const STATE: Accepted =
    Pattern(r#"^\{"id":"[a-zA-Z0-9-]+","callTime":"?[0-9]{10}"?,"callCount":"?[0-9]+"?\}$"#);

const DURATION: Parameter = ("DurationSeconds", None, DIGITS);

/// The fault documents: name, what the fault does, its parameters. All of them also have
/// InstallDependencies.
const FAULTS: &[(&str, &str, &[Parameter])] = &[
    (
        "AWSFIS-Run-CPU-Stress",
        "keeps processors busy",
        &[DURATION, ("CPU", Some("0"), DIGITS), ("LoadPercent", Some("100"), PERCENT_OR_ZERO)],
    ),
    (
        "AWSFIS-Run-Memory-Stress",
        "holds memory",
        &[DURATION, ("Workers", Some("1"), DIGITS), ("Percent", Some("80"), PERCENT)],
    ),
    (
        "AWSFIS-Run-IO-Stress",
        "keeps the file system busy",
        &[DURATION, ("Workers", Some("1"), DIGITS), ("Percent", Some("80"), PERCENT)],
    ),
    ("AWSFIS-Run-Disk-Fill", "fills the file system", &[DURATION, ("Percent", Some("95"), PERCENT)]),
    (
        "AWSFIS-Run-Kill-Process",
        "sends a signal to processes of a name",
        &[("ProcessName", None, PROCESS), ("Signal", Some("SIGTERM"), SIGNAL)],
    ),
    (
        "AWSFIS-Run-Network-Blackhole-Port",
        "drops the traffic of a port",
        &[
            ("Protocol", None, PROTOCOL),
            ("Port", None, PORT),
            ("TrafficType", Some("ingress"), DIRECTION),
            ("DurationSeconds", None, TWELVE_HOURS),
        ],
    ),
    (
        "AWSFIS-Run-Network-Blackhole-Port-ECS",
        "drops the traffic of a port through the ECS agent",
        &[
            ("FISActionState", None, STATE),
            ("Protocol", None, PROTOCOL),
            ("Port", None, PORT),
            ("TrafficType", Some("ingress"), DIRECTION),
            ("DurationSeconds", None, TWELVE_HOURS),
        ],
    ),
    (
        "AWSFIS-Run-Network-Latency",
        "delays the traffic of an interface",
        &[("Interface", Some("eth0"), INTERFACE), ("DelayMilliseconds", Some("200"), DIGITS), DURATION],
    ),
    (
        "AWSFIS-Run-Network-Latency-Sources",
        "delays the traffic with chosen peers",
        &[
            ("Interface", Some("DEFAULT"), INTERFACES),
            ("Sources", None, SOURCES),
            ("TrafficType", Some("ingress"), DIRECTION),
            ("DelayMilliseconds", Some("200"), DIGITS),
            ("JitterMilliseconds", Some("10"), DIGITS),
            ("FlowsPercent", Some("100"), PERCENT),
            DURATION,
        ],
    ),
    (
        "AWSFIS-Run-Network-Latency-ECS",
        "delays the traffic with chosen peers through the ECS agent",
        &[
            ("FISActionState", None, STATE),
            ("Sources", None, SOURCES),
            ("DelayMilliseconds", Some("200"), DIGITS),
            ("JitterMilliseconds", Some("10"), DIGITS),
            ("FlowsPercent", Some("100"), PERCENT),
            DURATION,
        ],
    ),
    (
        "AWSFIS-Run-Network-Packet-Loss",
        "loses packets of an interface",
        &[("Interface", Some("eth0"), INTERFACE), ("LossPercent", Some("7"), PERCENT), DURATION],
    ),
    (
        "AWSFIS-Run-Network-Packet-Loss-Sources",
        "loses packets exchanged with chosen peers",
        &[
            ("Interface", Some("DEFAULT"), INTERFACES),
            ("Sources", None, SOURCES),
            ("TrafficType", Some("ingress"), DIRECTION),
            ("LossPercent", Some("7"), PERCENT),
            ("FlowsPercent", Some("100"), PERCENT),
            DURATION,
        ],
    ),
    (
        "AWSFIS-Run-Network-Packet-Loss-ECS",
        "loses packets exchanged with chosen peers through the ECS agent",
        &[
            ("FISActionState", None, STATE),
            ("Sources", None, SOURCES),
            ("LossPercent", Some("7"), PERCENT),
            ("FlowsPercent", Some("100"), PERCENT),
            DURATION,
        ],
    ),
];

fn fault(name: &str, what: &str, parameters: &[Parameter]) -> Value {
    let mut declared: Map<String, Value> =
        parameters.iter().map(|parameter| (parameter.0.to_owned(), declaration(parameter))).collect();
    let dependencies = ("InstallDependencies", Some("True"), Values(&["True", "False"]));
    declared.insert(dependencies.0.to_owned(), declaration(&dependencies));
    let sentence = format!(
        "{name} is a stand-in of taskfault-local: taskfault performs this fault by the name of the document, \
         and this script does nothing."
    );
    let step = |step: &str, inputs: Value| {
        let mut inputs = inputs;
        inputs["runCommand"] = json!([format!("echo '{sentence}' >&2"), "exit 1"]);
        json!({
            "action": "aws:runShellScript",
            "name": step,
            "precondition": { "StringEquals": ["platformType", "Linux"] },
            "inputs": inputs,
        })
    };
    json!({
        "schemaVersion": "2.2",
        "description": format!("Stand-in for the FIS document that {what}. Performed natively by taskfault."),
        "parameters": declared,
        "mainSteps": [
            step("InstallDependencies", json!({ "onFailure": "exit" })),
            step("FaultInjection", json!({ "timeoutSeconds": 43200 })),
        ],
    })
}

fn declaration((_, default, accepted): &Parameter) -> Value {
    let mut declaration = json!({ "type": "String" });
    if let Some(default) = default {
        declaration["default"] = json!(default);
    }
    match accepted {
        Pattern(pattern) => declaration["allowedPattern"] = json!(pattern),
        Values(values) => declaration["allowedValues"] = json!(values),
    }
    declaration
}

/// Schema 1.2, so that the step is called `aws:runShellScript` in outputs, as users of this document know it.
fn run_shell_script() -> Value {
    json!({
        "schemaVersion": "1.2",
        "description": "Runs the given lines as one shell script. A stand-in of taskfault-local.",
        "parameters": {
            "commands": {
                "type": "StringList",
                "description": "The lines of the script.",
                "minItems": 1,
            },
            "workingDirectory": {
                "type": "String",
                "description": "The folder in which the script runs.",
                "default": "",
                "maxChars": 4096,
            },
            "executionTimeout": {
                "type": "String",
                "description": "The longest the script may run, in seconds, at most 172800.",
                "default": "3600",
                "allowedPattern": "^([1-9][0-9]{0,4}|1[0-6][0-9]{4}|17[01][0-9]{3}|172[0-7][0-9]{2}|172800)$",
            },
        },
        "runtimeConfig": {
            "aws:runShellScript": {
                "properties": [{
                    "id": "0.aws:runShellScript",
                    "runCommand": "{{ commands }}",
                    "workingDirectory": "{{ workingDirectory }}",
                    "timeoutSeconds": "{{ executionTimeout }}",
                }],
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::documents::parameters;

    fn accepts(document: &str, pairs: &[(&str, &str)]) -> bool {
        let content = all().into_iter().find(|(name, _)| *name == document).expect("a stand-in").1;
        let sent: BTreeMap<String, Vec<String>> =
            pairs.iter().map(|(name, value)| ((*name).into(), vec![(*value).into()])).collect();
        parameters::check(&content, &sent).is_ok()
    }

    #[test]
    fn accepted_values_are_those_of_the_published_documents() {
        // FIS user guide, parameters of the AWSFIS-Run documents.
        let cpu = |seconds, percent| {
            accepts("AWSFIS-Run-CPU-Stress", &[("DurationSeconds", seconds), ("LoadPercent", percent)])
        };
        // The range of the duration is the script's business: the service only wants digits.
        for (seconds, percent, good) in [
            ("1", "0", true),
            ("43200", "100", true),
            ("0", "50", true),
            ("43201", "50", true),
            ("60", "101", false),
            ("60", "-1", false),
            ("60", "05", false),
            ("5m", "50", false),
            ("", "50", false),
        ] {
            assert_eq!(cpu(seconds, percent), good, "{seconds} {percent}");
        }
        let port = |port| {
            accepts(
                "AWSFIS-Run-Network-Blackhole-Port",
                &[("Protocol", "tcp"), ("Port", port), ("DurationSeconds", "60")],
            )
        };
        for (number, good) in
            [("0", false), ("1", true), ("9999", true), ("65535", true), ("65536", false), ("70000", false)]
        {
            assert_eq!(port(number), good, "{number}");
        }
        let hole = |seconds| {
            accepts(
                "AWSFIS-Run-Network-Blackhole-Port",
                &[("Protocol", "udp"), ("Port", "53"), ("DurationSeconds", seconds)],
            )
        };
        for (seconds, good) in [
            ("0", false),
            ("1", true),
            ("9999", true),
            ("39999", true),
            ("43200", true),
            ("43201", false),
            ("44000", false),
        ] {
            assert_eq!(hole(seconds), good, "{seconds}");
        }
    }

    #[test]
    fn a_heartbeat_state_is_accepted() {
        let good = r#"{"id":"6d2e0f5c-1111-4222-8333-444455556666","callTime":1766000000,"callCount":2}"#;
        let ecs = |state| {
            accepts(
                "AWSFIS-Run-Network-Latency-ECS",
                &[("FISActionState", state), ("Sources", "ALL"), ("DurationSeconds", "60")],
            )
        };
        assert!(ecs(good));
        assert!(!ecs(&good.replace(",", ", ")));
    }

    #[test]
    fn every_fault_has_two_steps_and_fails_as_a_script() {
        for (name, content) in all().into_iter().filter(|(name, _)| name.starts_with("AWSFIS-")) {
            let steps = content["mainSteps"].as_array().unwrap();
            let names: Vec<_> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["InstallDependencies", "FaultInjection"], "{name}");
            for step in steps {
                assert_eq!(step["inputs"]["runCommand"][1], "exit 1", "{name}");
            }
            assert_eq!(content["parameters"]["InstallDependencies"]["default"], "True", "{name}");
        }
    }
}
