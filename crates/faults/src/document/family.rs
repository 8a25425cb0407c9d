//! Documents whose names are new to taskfault: the document that they are taken for.
//!
//! AWS has added documents by putting words behind the name of an older one (`-Sources`, `-ECS`). One more of
//! that kind, with parameters that a known one has, means what that one means.

use super::all;
use crate::spec::Document;

/// Words of a name that only documents on heartbeats have.
const ON_HEARTBEATS: &str = "ECS";

/// The document that one called `name` is taken for: one of its family (the name goes on from the family's, with
/// a hyphen) that has all the `given` parameters and needs no other; the most like it, where there are several.
pub(super) fn like(name: &str, given: &[&str]) -> Option<&'static Document> {
    let words: Vec<&str> = name.split('-').collect();
    let shared = |document: &Document| document.name.split('-').filter(|word| words.contains(word)).count();
    let members = all().filter(|document| {
        goes_on(name, family(document)) && document.heartbeats == words.contains(&ON_HEARTBEATS)
    });
    members.filter(|document| fits(document, given)).max_by_key(|document| shared(document))
}

/// The shortest name that the document's own goes on from.
fn family(document: &Document) -> &'static str {
    let names = all().map(|other| other.name).filter(|other| goes_on(document.name, other));
    names.min_by_key(|name| name.len()).unwrap_or(document.name)
}

fn goes_on(name: &str, from: &str) -> bool {
    name.strip_prefix(from).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Whether the document could be sent with exactly these parameters.
fn fits(document: &Document, given: &[&str]) -> bool {
    let known = |name: &&str| document.fields().any(|field| field.name == *name);
    given.iter().all(known)
        && document.fields().all(|field| field.default.is_some() || given.contains(&field.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_for(name: &str, parameters: &[&str]) -> Option<&'static str> {
        like(&format!("AWSFIS-Run-{name}"), parameters).map(|document| &document.name["AWSFIS-Run-".len()..])
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
