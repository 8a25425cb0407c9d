//! Tests: hostile values on every parameter of every document, from the request to the plan. A value is refused,
//! or it arrives in the fault as the very text or number that it was.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::document::Request;
use faults::{Parameter, read_back};

const STATE: &str = r#"{"id":"6d2e0f5c-1111","callTime":1766000000,"callCount":1}"#;

/// A document, one of its parameters, and values that are accepted for all the others.
type Place = (&'static Document, Field, Map<String, Value>);

/// Every parameter of every document. Patterns take long to compile, so it is made once.
static PLACES: LazyLock<Vec<Place>> = LazyLock::new(|| {
    let samples = [
        "10.0.0.1", "80", "503", "True", "nginx", "SIGTERM", "tcp", "http", "egress", "eth0", STATE, "all",
        "none", "status", "nxdomain", "/", "",
    ];
    let good = |field: Field| {
        let pattern = Pattern::compile(field.pattern).unwrap();
        let sample = samples.into_iter().find(|sample| pattern.matches(sample)).unwrap();
        (field.name.to_owned(), Value::from(sample))
    };
    let each = document::all().flat_map(|document| document.fields().map(move |hit| (document, hit)));
    each.map(|(document, hit)| (document, hit, document.fields().map(good).collect())).collect()
});

/// A document whose text would run the value, if anybody read it.
fn request(name: &str, parameters: Map<String, Value>) -> Request {
    let commands: Vec<_> = parameters.keys().map(|name| format!("echo {{{{ {name} }}}}")).collect();
    let step = json!({"action": "aws:runShellScript", "name": "x", "inputs": {"runCommand": commands}});
    let document = json!({"schemaVersion": "2.2", "mainSteps": [step]});
    Request { command_id: "c".into(), document_name: name.into(), document, parameters }
}

/// What the plan has of the parameter; None if it carries nothing of it.
fn told(document: &Document, work: &Work, parameter: &str) -> Option<String> {
    let (fault, duration, call) = match work {
        Work::Fault { fault, duration } => (fault, duration, None),
        Work::Leased { fault, duration, call } => (fault, duration, Some(call)),
        _ => return None,
    };
    match (parameter, call) {
        ("DurationSeconds", _) => Some(duration.as_secs().to_string()),
        ("FISActionState", Some(call)) => {
            let (id, time, count) = (&call.id, call.call_time, call.call_count);
            Some(format!(r#"{{"id":"{id}","callTime":{time},"callCount":{count}}}"#))
        }
        (other, _) => {
            let is_it = |known: &&Parameter| known.document.is_some_and(|known| known.name == other);
            fault.text(document.parameters.iter().find(is_it)?.option)
        }
    }
}

/// Whether `value` in the place of the parameter became a fault; in words what became of it, if it was neither refused
/// nor taken as it is.
fn misread(
    document: &Document,
    hit: Field,
    mut values: Map<String, Value>,
    value: &str,
) -> Result<bool, String> {
    values.insert(hit.name.to_owned(), value.into());
    let plan = match crate::document::plan(&request(document.name, values)) {
        Ok(plan) => plan,
        Err(ParseError::Parameters(findings)) if findings.len() == 1 && findings[0].contains(hit.name) => {
            return Ok(false);
        }
        Err(other) => return Err(format!("refused for something else: {other}")),
    };
    let names: Vec<_> = plan.steps.iter().map(|step| step.name.as_str()).collect();
    let [.., fault] = plan.steps.as_slice() else { return Err("became no step".to_owned()) };
    let installs = names == ["InstallDependencies", "FaultInjection"];
    if !(installs && matches!(plan.steps[0].work, Work::Note(_)) || names == ["FaultInjection"]) {
        return Err(format!("became other steps: {:?}", plan.steps));
    }
    let is_fault = plan.fault_name().is_some();
    match &fault.work {
        // The words of a fault may spell the name its own way: flows-percent for FlowsPercent.
        Work::Fail(reason) => {
            let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "");
            let named = plain(reason).contains(&plain(hit.name)) && reason.contains("Nothing was started");
            named.then_some(is_fault).ok_or_else(|| format!("failed without naming it: {reason}"))
        }
        work @ (Work::Fault { .. } | Work::Leased { .. }) => match told(document, work, hit.name) {
            Some(told) if read_back::same(value, &told) => Ok(is_fault),
            // An empty text is what such a parameter is where it is not given.
            _ if value.is_empty() && hit.default == Some("") => Ok(is_fault),
            None if hit.name == document::INSTALL_DEPENDENCIES.name && matches!(value, "True" | "False") => {
                Ok(is_fault)
            }
            told => Err(format!("became {told:?} in {work:?}")),
        },
        // Another call count is another call; nothing else makes one.
        Work::Heartbeat(call) if hit.name == "FISActionState" && call.call_count != 1 => Ok(is_fault),
        other => Err(format!("became {other:?}")),
    }
}

#[test]
fn every_nasty_value_is_refused_or_taken_literally() {
    let long = ["1", "a", "a.", "10.0.0.1,", "{{ a }}"].map(|word| word.repeat(20_000));
    let all = read_back::HOSTILE.iter().copied().chain(long.iter().map(String::as_str));
    let (mut taken, mut count) = (0, 0);
    for value in all {
        for (document, hit, values) in PLACES.iter() {
            let outcome = misread(document, *hit, values.clone(), value);
            let shown: String = value.chars().take(60).collect();
            assert!(outcome.is_ok(), "{} {} {shown:?}: {outcome:?}", document.name, hit.name);
            (taken, count) = (taken + u32::from(outcome == Ok(true)), count + 1);
        }
    }
    // Both ways out are tried: some are good values in some place.
    assert!(taken > 50 && taken < count / 2, "{taken} of {count} taken");
}

#[test]
fn a_value_that_is_no_text_is_refused() {
    for (document, hit, values) in PLACES.iter() {
        for value in [
            json!(null),
            json!(true),
            json!([]),
            json!(["80", "80"]),
            json!([["80"]]),
            json!({"a": "80"}),
            json!([null]),
            json!(-1),
            json!(1.5555),
            json!(1e300),
        ] {
            let mut values = values.clone();
            values.insert(hit.name.to_owned(), value.clone());
            let plan = crate::document::plan(&request(document.name, values));
            let named = plan.is_err_and(|error| error.to_string().contains(hit.name));
            // -1 and the like are texts that some parameters take: a name of a process, a host name.
            let text = matches!(
                hit.name,
                "ProcessName"
                    | "Sources"
                    | "ExcludeSources"
                    | "Interface"
                    | "Ports"
                    | "ExcludePorts"
                    | "Host"
                    | "Body"
                    | "Names"
                    | "Addresses"
            ) && value.is_number();
            assert!(named || text, "{} {} {value}", document.name, hit.name);
        }
    }
}

#[test]
fn hostile_names_of_parameters_and_documents_reach_nothing() {
    for name in read_back::HOSTILE {
        let parameters = json!({"DurationSeconds": "5", *name: "1"});
        let refused =
            crate::document::plan(&request("AWSFIS-Run-CPU-Stress", parameters.as_object().unwrap().clone()));
        assert!(matches!(refused, Err(ParseError::UnknownParameter { .. })), "{name:?}: {refused:?}");
        assert!(
            find(&format!("AWSFIS-Run-CPU-Stress{name}"), &Map::new()).is_none() || name.is_empty(),
            "{name:?}"
        );
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_refused_or_taken_literally(
        place in any::<proptest::sample::Index>(),
        value in prop_oneof![
            any::<String>(),
            "[0-9]{1,24}",
            "[a-zA-Z0-9.,:/-]{0,40}",
            r#"\{"id":"[a-z0-9-]{0,5}","callTime":"?[0-9]{9,11}"?,"callCount":"?[0-9]{0,3}"?\}"#,
            "([0-9]{1,3}\\.){3}[0-9]{1,3}(/[0-9]{1,3})?",
            "([0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(/[0-9]{1,3})?",
        ],
    ) {
        let (document, hit, values) = place.get(&PLACES).clone();
        let outcome = misread(document, hit, values, &value);
        prop_assert!(outcome.is_ok(), "{} {} {:?}: {:?}", document.name, hit.name, value, outcome);
    }
}
