//! The local AWS against the faults' table: both say the same of every action of FIS and of every document.
//!
//! The local AWS must not know our faults, nor our faults the local AWS, so that each has its own copy of what AWS
//! publishes; here they are held against each other.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests; the shared functions of a test file are not seen as such"
)]

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_local::documents::{built_in, parameters};
use aws_local::fis::catalog::{self, Accepts, Does, Kind};
use faults::document;
use faults::parameter::{Preset, Values};
use faults::spec::Document;
use faults::{Parameter, Range, Spec, read_back};
use serde_json::Value;
use taskfault::document::pattern::Pattern;

/// The most workers of FIS; ours are stress-ng's, fewer.
const MOST_WORKERS_OF_FIS: u64 = 1_000_000;

/// The actions that send a document, with the fault that each asks for.
fn actions() -> Vec<(&'static Kind, &'static Spec)> {
    let sends = |kind: &&Kind| matches!(kind.does, Does::Document { .. });
    let fault = |kind: &'static Kind| {
        let spec = faults::ALL.iter().find(|spec| spec.action == Some(kind.id));
        (kind, *spec.unwrap_or_else(|| panic!("no fault is asked for by {}", kind.id)))
    };
    catalog::ACTIONS.iter().filter(sends).map(fault).collect()
}

#[test]
fn every_action_of_a_fault_is_in_the_catalogue() {
    let catalogued: Vec<_> = actions().iter().map(|(_, spec)| spec.name).collect();
    let ours: Vec<_> =
        faults::ALL.iter().filter(|spec| spec.action.is_some()).map(|spec| spec.name).collect();
    assert_eq!(catalogued, ours);
}

#[test]
fn an_action_sends_documents_of_its_fault() {
    for (kind, spec) in actions() {
        let Does::Document { name, endpoints, .. } = kind.does else { continue };
        for document in [Some(name), endpoints].into_iter().flatten() {
            assert!(spec.documents.iter().any(|known| known.name == document), "{} {document}", kind.id);
        }
    }
}

#[test]
fn an_action_has_the_parameters_of_its_fault() {
    for (kind, spec) in actions() {
        let of_fis = spec.parameters.iter().filter(|parameter| parameter.fis.is_some());
        for parameter in of_fis.clone() {
            let place = format!("{} {}", kind.id, parameter.option);
            let known =
                kind.parameter(parameter.fis.unwrap()).unwrap_or_else(|| panic!("{place} is missing"));
            let default = match parameter.default {
                Preset::Value(value) => Some(value),
                Preset::Required | Preset::Place(_) => None,
            };
            assert_eq!(known.default, default, "{place}");
            assert_eq!(Some(known.document), parameter.field().map(|field| field.name), "{place}");
            assert!(accepts_the_same(known.accepts, parameter), "{place}: {:?}", known.accepts);
        }
        let extra = ["installDependencies", "useEcsFaultInjectionEndpoints"];
        let own = kind.parameters.iter().filter(|known| !extra.contains(&known.name)).count();
        assert_eq!(own, of_fis.count(), "{} has parameters that its fault has not", kind.id);
    }
}

fn accepts_the_same(of_fis: Accepts, parameter: &Parameter) -> bool {
    match (of_fis, parameter.values) {
        (Accepts::Duration { least }, Values::Duration) => least == faults::duration::DURATION_SECONDS.low,
        (Accepts::Range(low, high), Values::Number(range)) if range == Range::WORKERS => {
            low == range.low && high == MOST_WORKERS_OF_FIS
        }
        (Accepts::Range(low, high), Values::Number(range)) => (low, high) == (range.low, range.high),
        (Accepts::OneOf(words), Values::OneOf(ours)) => sorted(words) == sorted(ours),
        (Accepts::ProcessName | Accepts::Sources, Values::Text { .. }) => true,
        _ => false,
    }
}

fn sorted<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let mut words = words.to_vec();
    words.sort_unstable();
    words
}

/// The stand-ins of the local AWS for the documents of faults, by name.
fn stand_ins() -> BTreeMap<String, Value> {
    let all = built_in(SystemTime::UNIX_EPOCH).into_iter();
    let of_faults = all.filter(|document| document.name.starts_with("AWSFIS-"));
    of_faults
        .map(|document| (document.name, serde_json::from_str(&document.versions[0].text).unwrap()))
        .collect()
}

/// The documents of AWS that ask for faults; those of ours are in `deploy/documents`.
fn of_aws() -> impl Iterator<Item = &'static Document> {
    document::all().filter(|document| document.name.starts_with("AWSFIS-"))
}

/// Each of these documents with its stand-in.
fn documents() -> Vec<(&'static Document, Value)> {
    let mut stand_ins = stand_ins();
    let stand_in = |document: &'static Document| {
        let content = stand_ins.remove(document.name);
        (document, content.unwrap_or_else(|| panic!("{} has no stand-in", document.name)))
    };
    of_aws().map(stand_in).collect()
}

#[test]
fn every_stand_in_of_a_fault_is_a_document_of_ours() {
    let ours: Vec<_> = of_aws().map(|document| document.name).collect();
    assert_eq!(stand_ins().into_keys().collect::<Vec<_>>(), ours);
}

#[test]
fn a_stand_in_has_the_parameters_and_defaults_of_its_document() {
    for (document, content) in documents() {
        let declared = content["parameters"].as_object().unwrap();
        assert_eq!(declared.len(), document.fields().count(), "{}", document.name);
        for field in document.fields() {
            let place = format!("{} {}", document.name, field.name);
            let known = declared.get(field.name).unwrap_or_else(|| panic!("{place} is missing"));
            assert_eq!(known.get("default").and_then(Value::as_str), field.default, "{place}");
        }
    }
}

/// What the service lets through, our pattern lets through as well; and what our pattern lets through, the service
/// does, but for what [`only_ours`] names.
#[test]
fn a_stand_in_accepts_what_its_document_accepts() {
    let numbers = ["0", "1", "9", "10", "42", "99", "100", "101", "4096", "43200", "43201", "65535", "65536"];
    let words = [
        "True",
        "False",
        "SIGTERM",
        "SIGKILL",
        "tcp",
        "udp",
        "egress",
        "ingress",
        "nginx",
        "a=b_c.d-e",
        "ALL",
        "DEFAULT",
        "eth0",
        "eth0,eth1",
        "10.0.0.1,10.0.0.0/8",
        "db.example.com",
        "fd00::/64",
        r#"{"id":"6d2e-F","callTime":1766000000,"callCount":12}"#,
        r#"{"id":"6d2e-F","callTime":"1766000000","callCount":"1"}"#,
    ];
    let mut accepted = 0;
    for (document, content) in documents() {
        for field in document.fields() {
            let pattern = Pattern::compile(field.pattern).unwrap();
            for value in numbers.iter().chain(&words).chain(read_back::HOSTILE) {
                let (service, ours) = (accepts(&content, field.name, value), pattern.matches(value));
                let place = format!("{} {}={value:?}", document.name, field.name);
                assert!(ours || !service, "{place}: the service sends what we refuse");
                assert!(service || !ours || only_ours(field.name, value), "{place}: the service refuses it");
                accepted += usize::from(service);
            }
        }
    }
    assert!(accepted > 500, "{accepted}");
}

/// Whether the stand-in's declaration of one parameter takes the value.
fn accepts(content: &Value, parameter: &str, value: &str) -> bool {
    let declared = &content["parameters"][parameter];
    let alone = serde_json::json!({ "parameters": { parameter: declared } });
    let sent = BTreeMap::from([(parameter.to_owned(), vec![value.to_owned()])]);
    parameters::check(&alone, &sent).is_ok()
}

/// IPv6 among the sources; and a duration whose range the script looks at rather than the service.
fn only_ours(parameter: &str, value: &str) -> bool {
    match parameter {
        "Sources" => value.contains(':'),
        "DurationSeconds" => {
            !value.parse().is_ok_and(|seconds: u64| (1..=43_200).contains(&seconds)) || value.starts_with('0')
        }
        _ => false,
    }
}
