//! Tests of the documents of the network faults that are for the ECS agent's endpoints.

use std::time::Duration;

use serde_json::{Value, json};

use super::ActionState;
use super::tests::plan_of;
use crate::document::Work;
use faults::Fault;
use faults::network_blackhole_port::NetworkBlackholePort;
use faults::network_latency::NetworkLatency;
use faults::network_packet_loss::NetworkPacketLoss;
use faults::network_source::Scope;

const BLACKHOLE_PORT: &str = "AWSFIS-Run-Network-Blackhole-Port-ECS";
const LATENCY: &str = "AWSFIS-Run-Network-Latency-ECS";
const PACKET_LOSS: &str = "AWSFIS-Run-Network-Packet-Loss-ECS";
const START: &str = r#"{"id":"6d2e0f5c-1111","callTime":1766000000,"callCount":1}"#;
const BEAT: &str = r#"{"id":"6d2e0f5c-1111","callTime":1766000020,"callCount":2}"#;

fn work(name: &str, parameters: Value) -> Result<Work, String> {
    let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
    let plan = plan_of(name, &parameters).map_err(|error| error.to_string())?;
    assert_eq!(plan.steps.len(), 2);
    Ok(plan.steps[1].work.clone())
}

fn fault(name: &str, parameters: Value) -> Fault {
    match work(name, parameters) {
        Ok(Work::Leased { fault, duration, call }) => {
            assert_eq!(duration, Duration::from_secs(60));
            assert_eq!((call.id.as_str(), call.call_time), ("6d2e0f5c-1111", 1_766_000_000));
            fault
        }
        other => panic!("{name}: {other:?}"),
    }
}

/// FIS sheet §2.2.
#[test]
fn a_first_call_asks_for_the_fault_with_the_documents_defaults() {
    let scope = || Scope::new("10.0.0.1", "egress", "DEFAULT", 100).unwrap();
    let sources = json!({"FISActionState": START, "DurationSeconds": "60", "Sources": "10.0.0.1"});
    let latency = NetworkLatency::new(200, 10, scope()).unwrap();
    assert_eq!(fault(LATENCY, sources.clone()), Fault::NetworkLatency(latency));
    let loss = NetworkPacketLoss::new(7, scope()).unwrap();
    assert_eq!(fault(PACKET_LOSS, sources), Fault::NetworkPacketLoss(loss));
    let port = json!({"FISActionState": START, "DurationSeconds": "60", "Port": "443", "Protocol": "tcp"});
    let hole = NetworkBlackholePort::new(443, "tcp", "ingress").unwrap();
    assert_eq!(fault(BLACKHOLE_PORT, port), Fault::NetworkBlackholePort(hole));
}

#[test]
fn every_other_call_is_a_heartbeat_whatever_else_it_says() {
    for duration in ["60", "99999"] {
        let parameters = json!({"FISActionState": BEAT, "DurationSeconds": duration, "Sources": "ALL"});
        let call = ActionState { id: "6d2e0f5c-1111".into(), call_time: 1_766_000_020, call_count: 2 };
        assert_eq!(work(LATENCY, parameters), Ok(Work::Heartbeat(call)));
    }
}

#[test]
fn hostile_values_are_refused_or_taken_literally() {
    for (parameter, value) in [
        ("FISActionState", "{}"),
        ("FISActionState", r#"{"id":"$(reboot)","callTime":1766000000,"callCount":1}"#),
        ("Sources", "$(reboot)"),
        ("Sources", "a b"),
        ("Sources", "10.0.0.1\n"),
        ("Sources", ""),
        ("FlowsPercent", "0"),
        ("DelayMilliseconds", "-1"),
        ("JitterMilliseconds", "1e3"),
    ] {
        let mut parameters = json!({"FISActionState": START, "DurationSeconds": "60", "Sources": "10.0.0.1"});
        parameters[parameter] = value.into();
        let refused = work(LATENCY, parameters);
        assert!(refused.is_err_and(|text| text.contains("does not match")), "{parameter} {value:?}");
    }
    for (parameter, value) in
        [("DelayMilliseconds", "120001"), ("Sources", "/etc/passwd"), ("DurationSeconds", "0")]
    {
        let mut parameters = json!({"FISActionState": START, "DurationSeconds": "60", "Sources": "10.0.0.1"});
        parameters[parameter] = value.into();
        let outcome = work(LATENCY, parameters);
        assert!(matches!(outcome, Ok(Work::Fail(_))), "{parameter} {value:?}: {outcome:?}");
    }
    assert!(work(LATENCY, json!({"DurationSeconds": "60", "Sources": "ALL"})).is_err(), "no state");
}
