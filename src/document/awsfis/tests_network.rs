//! Tests of the documents of the network faults that are not for the ECS agent's endpoints.

use std::time::Duration;

use serde_json::{Value, json};

use super::tests::plan_of;
use crate::document::Work;
use faults::Fault;
use faults::network_blackhole_port::NetworkBlackholePort;
use faults::network_latency::NetworkLatency;
use faults::network_packet_loss::NetworkPacketLoss;
use faults::network_source::Scope;

const BLACKHOLE_PORT: &str = "AWSFIS-Run-Network-Blackhole-Port";
const LATENCY_SOURCES: &str = "AWSFIS-Run-Network-Latency-Sources";
const LATENCY: &str = "AWSFIS-Run-Network-Latency";
const PACKET_LOSS: &str = "AWSFIS-Run-Network-Packet-Loss";
const PACKET_LOSS_SOURCES: &str = "AWSFIS-Run-Network-Packet-Loss-Sources";

fn work(name: &str, parameters: Value) -> Result<Work, String> {
    let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
    let plan = plan_of(name, &parameters).map_err(|error| error.to_string())?;
    Ok(plan.steps[1].work.clone())
}

fn fault(name: &str, parameters: Value) -> Fault {
    match work(name, parameters) {
        Ok(Work::Fault { fault, duration }) => {
            assert_eq!(duration, Duration::from_secs(60));
            fault
        }
        other => panic!("{name}: {other:?}"),
    }
}

/// FIS sheet §2.2.
#[test]
fn defaults_are_those_of_the_documents() {
    let all = || Scope::new("ALL", "egress", "eth0", 100).unwrap();
    let of = |way| Scope::new("10.0.0.1", way, "DEFAULT", 100).unwrap();
    let latency =
        |delay, jitter, scope| Fault::NetworkLatency(NetworkLatency::new(delay, jitter, scope).unwrap());
    let loss = |percent, scope| Fault::NetworkPacketLoss(NetworkPacketLoss::new(percent, scope).unwrap());
    let sixty = json!({"DurationSeconds": "60"});
    let sources = json!({"DurationSeconds": "60", "Sources": "10.0.0.1"});
    assert_eq!(fault(LATENCY, sixty.clone()), latency(200, 0, all()));
    assert_eq!(fault(PACKET_LOSS, sixty), loss(7, all()));
    assert_eq!(fault(LATENCY_SOURCES, sources.clone()), latency(200, 10, of("ingress")));
    assert_eq!(fault(PACKET_LOSS_SOURCES, sources), loss(7, of("ingress")));
}

#[test]
fn what_fis_sends_is_taken() {
    let sent = json!({
        "DurationSeconds": ["60"], "Port": ["443"], "Protocol": ["tcp"], "TrafficType": ["egress"],
        "InstallDependencies": ["True"],
    });
    let expected = NetworkBlackholePort::new(443, "tcp", "egress").unwrap();
    assert_eq!(fault(BLACKHOLE_PORT, sent), Fault::NetworkBlackholePort(expected));
    let sent = json!({
        "DurationSeconds": "60", "Sources": "db.example.com,10.0.0.0/8,S3", "TrafficType": "egress",
        "DelayMilliseconds": "300", "JitterMilliseconds": "0", "FlowsPercent": "30", "Interface": "ALL",
    });
    let scope = Scope::new("db.example.com,10.0.0.0/8,S3", "egress", "ALL", 30).unwrap();
    let expected = NetworkLatency::new(300, 0, scope).unwrap();
    assert_eq!(fault(LATENCY_SOURCES, sent), Fault::NetworkLatency(expected));
}

#[test]
fn hostile_values_are_refused_or_taken_literally() {
    for (parameter, value) in [
        ("Sources", "$(reboot)"),
        ("Sources", "a b"),
        ("Sources", "a;b"),
        ("Sources", "10.0.0.1\n"),
        ("Sources", ""),
        ("Interface", "eth0;reboot"),
        ("Interface", "../eth0"),
        ("Interface", "a-name-too-long-"),
        ("TrafficType", "EGRESS"),
        ("FlowsPercent", "0"),
        ("FlowsPercent", "101"),
        ("DelayMilliseconds", "-1"),
        ("JitterMilliseconds", "1e3"),
    ] {
        let mut parameters = json!({"DurationSeconds": "60", "Sources": "10.0.0.1"});
        parameters[parameter] = value.into();
        let refused = work(LATENCY_SOURCES, parameters);
        assert!(refused.is_err_and(|text| text.contains("does not match")), "{parameter} {value:?}");
    }
    for (name, parameter, value) in [
        (LATENCY_SOURCES, "DelayMilliseconds", "120001"),
        (LATENCY_SOURCES, "Sources", "10.0.0.999"),
        (LATENCY_SOURCES, "Sources", "/etc/passwd"),
        (LATENCY, "DelayMilliseconds", "0"),
        (LATENCY, "Interface", "ALL"),
    ] {
        let mut parameters = json!({"DurationSeconds": "60"});
        if name == LATENCY_SOURCES {
            parameters["Sources"] = "10.0.0.1".into();
        }
        parameters[parameter] = value.into();
        let outcome = work(name, parameters);
        assert!(matches!(outcome, Ok(Work::Fail(_))), "{parameter} {value:?}: {outcome:?}");
    }
}

#[test]
fn ports_are_those_of_ip() {
    for (port, good) in [("0", false), ("1", true), ("65535", true), ("65536", false), ("080", false)] {
        let parameters = json!({"DurationSeconds": "60", "Port": port, "Protocol": "udp"});
        assert_eq!(work(BLACKHOLE_PORT, parameters).is_ok(), good, "{port}");
    }
}
