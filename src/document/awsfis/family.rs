//! Documents whose names are new to taskfault: the document that they are taken for.
//!
//! AWS has added documents by putting words behind the name of an older one (`-Sources`, `-ECS`). One more of
//! that kind, with parameters that a known one has, means what that one means.

use serde_json::{Map, Value};

use super::{DOCUMENTS, Document, action_state};

/// Words of a name that only documents on heartbeats have.
const ON_HEARTBEATS: &str = "ECS";

/// The document that one called `name` is taken for: one of its family (the name goes on from the family's, with
/// a hyphen) that has all the `supplied` parameters and needs no other; the most like it, where there are
/// several.
pub(super) fn like(name: &str, supplied: &Map<String, Value>) -> Option<&'static Document> {
    let words: Vec<&str> = name.split('-').collect();
    let shared = |document: &Document| document.name.split('-').filter(|word| words.contains(word)).count();
    let members = DOCUMENTS.iter().copied().filter(|document| {
        goes_on(name, family(document)) && on_heartbeats(document) == words.contains(&ON_HEARTBEATS)
    });
    members.filter(|document| fits(document, supplied)).max_by_key(|document| shared(document))
}

/// The shortest name that the document's own goes on from.
fn family(document: &Document) -> &'static str {
    let names = DOCUMENTS.iter().map(|other| other.name).filter(|other| goes_on(document.name, other));
    names.min_by_key(|name| name.len()).unwrap_or(document.name)
}

fn goes_on(name: &str, from: &str) -> bool {
    name.strip_prefix(from).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn on_heartbeats(document: &Document) -> bool {
    document.parameters.iter().any(|parameter| parameter.name == action_state::PARAMETER.name)
}

/// Whether the document could be sent with exactly these parameters.
fn fits(document: &Document, supplied: &Map<String, Value>) -> bool {
    let known = |name: &String| document.all_parameters().any(|parameter| parameter.name == name);
    let given = |name: &str| supplied.contains_key(name);
    supplied.keys().all(known)
        && document.all_parameters().all(|parameter| parameter.default.is_some() || given(parameter.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken_for(name: &str, parameters: &[&str]) -> Option<&'static str> {
        let supplied = parameters.iter().map(|name| ((*name).to_owned(), json!("1"))).collect();
        like(&format!("AWSFIS-Run-{name}"), &supplied).map(|document| &document.name["AWSFIS-Run-".len()..])
    }

    #[test]
    fn a_new_name_is_taken_for_the_member_of_its_family_that_has_its_parameters() {
        let (time, from, state) = ("DurationSeconds", "Sources", "FISActionState");
        for (name, parameters, known) in [
            ("CPU-Stress-V2", &[time, "CPU", "LoadPercent"][..], "CPU-Stress"),
            ("Kill-Process-By-Name", &["ProcessName", "Signal"], "Kill-Process"),
            ("Network-Latency-V2", &[time, "DelayMilliseconds", "Interface"], "Network-Latency"),
            ("Network-Latency-V2", &[time, from, "TrafficType"], "Network-Latency-Sources"),
            ("Network-Latency-Ingress", &[time, from], "Network-Latency-Sources"),
            ("Network-Latency-V2-ECS", &[time, from, state], "Network-Latency-ECS"),
            ("Network-Packet-Loss-ECS-V2", &[time, from, state, "LossPercent"], "Network-Packet-Loss-ECS"),
            ("Network-Packet-Loss-IPv6", &[time], "Network-Packet-Loss"),
            ("Network-Blackhole-Port-V2", &[time, "Port", "Protocol"], "Network-Blackhole-Port"),
        ] {
            assert_eq!(taken_for(name, parameters), Some(known), "{name} {parameters:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_taken_for_nothing() {
        let time = "DurationSeconds";
        for (name, parameters) in [
            ("CPU-Stress-V2", &[time, "Cores"][..]),
            ("CPU-Stress-V2", &["CPU"]),
            ("CPU-StressV2", &[time]),
            ("CPU", &[time]),
            ("Network-Latency-V2-ECS", &[time, "Sources"]),
            ("Network-Latency-V2", &[time, "Sources", "FISActionState"]),
            ("Network-Corruption", &[time, "Sources"]),
            ("Whatever-Comes", &[time]),
            ("", &[]),
        ] {
            assert_eq!(taken_for(name, parameters), None, "{name} {parameters:?}");
        }
    }
}
