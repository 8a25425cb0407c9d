//! The `AWSFIS-Run-Network-*` documents that are not for the ECS agent's endpoints.

use super::{Arguments, DIGITS, Document, Life, PERCENT_FROM_1, Parameter};
use faults::network_blackhole_port::NetworkBlackholePort;
use faults::network_latency::NetworkLatency;
use faults::network_packet_loss::NetworkPacketLoss;
use faults::network_source::Scope;
use faults::{Fault, ParameterError, Range};

const PORTS: &str =
    "^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})$";
const WAYS: &str = "^(egress|ingress)$";
/// As in the documents, and colons for IPv6.
const SOURCES: &str = "^[a-zA-Z0-9./,:-]+$";
const INTERFACES: &str = "^(ALL|DEFAULT|[a-zA-Z0-9-]{1,15}(,[a-zA-Z0-9-]{1,15})*)$";
const INTERFACE: &str = "^[a-zA-Z0-9-]{1,15}$";

pub(super) const DELAY: Parameter =
    Parameter { name: "DelayMilliseconds", default: Some("200"), pattern: DIGITS };
pub(super) const JITTER: Parameter =
    Parameter { name: "JitterMilliseconds", default: Some("10"), pattern: DIGITS };
pub(super) const LOSS: Parameter =
    Parameter { name: "LossPercent", default: Some("7"), pattern: PERCENT_FROM_1 };
const ETH0: Parameter = Parameter { name: "Interface", default: Some("eth0"), pattern: INTERFACE };
const CHOICE: Parameter = Parameter { name: "Interface", default: Some("DEFAULT"), pattern: INTERFACES };
pub(super) const FROM: Parameter = Parameter { name: "Sources", default: None, pattern: SOURCES };
pub(super) const WAY: Parameter = Parameter { name: "TrafficType", default: Some("ingress"), pattern: WAYS };
pub(super) const FLOWS: Parameter =
    Parameter { name: "FlowsPercent", default: Some("100"), pattern: PERCENT_FROM_1 };
pub(super) const PROTOCOL: Parameter = Parameter { name: "Protocol", default: None, pattern: "^(tcp|udp)$" };
pub(super) const PORT: Parameter = Parameter { name: "Port", default: None, pattern: PORTS };

pub(super) const BLACKHOLE_PORT: Document = Document {
    name: "AWSFIS-Run-Network-Blackhole-Port",
    life: Life::Asked,
    parameters: &[PROTOCOL, PORT, WAY],
    fault: blackhole_port,
};

pub(super) fn blackhole_port(arguments: &Arguments) -> Result<Fault, ParameterError> {
    let port = arguments.number(PORT.name, NetworkBlackholePort::PORT)?;
    let (protocol, way) = (arguments.text(PROTOCOL.name), arguments.text(WAY.name));
    NetworkBlackholePort::new(port, protocol, way).map(Fault::NetworkBlackholePort)
}

/// Everything that leaves one interface; no jitter.
pub(super) const LATENCY: Document = Document {
    name: "AWSFIS-Run-Network-Latency",
    life: Life::Asked,
    parameters: &[ETH0, DELAY],
    fault: |arguments| latency(arguments, 0, whole_interface(arguments)?),
};

pub(super) const LATENCY_SOURCES: Document = Document {
    name: "AWSFIS-Run-Network-Latency-Sources",
    life: Life::Asked,
    parameters: &[CHOICE, FROM, WAY, DELAY, JITTER, FLOWS],
    fault: |arguments| {
        let jitter = arguments.number(JITTER.name, NetworkLatency::JITTER)?;
        latency(arguments, jitter, scope(arguments)?)
    },
};

/// Everything that leaves one interface.
pub(super) const PACKET_LOSS: Document = Document {
    name: "AWSFIS-Run-Network-Packet-Loss",
    life: Life::Asked,
    parameters: &[ETH0, LOSS],
    fault: |arguments| packet_loss(arguments, whole_interface(arguments)?),
};

pub(super) const PACKET_LOSS_SOURCES: Document = Document {
    name: "AWSFIS-Run-Network-Packet-Loss-Sources",
    life: Life::Asked,
    parameters: &[CHOICE, FROM, WAY, LOSS, FLOWS],
    fault: |arguments| packet_loss(arguments, scope(arguments)?),
};

fn latency(arguments: &Arguments, jitter: u64, scope: Scope) -> Result<Fault, ParameterError> {
    let delay = arguments.number(DELAY.name, NetworkLatency::DELAY)?;
    NetworkLatency::new(delay, jitter, scope).map(Fault::NetworkLatency)
}

pub(super) fn packet_loss(arguments: &Arguments, scope: Scope) -> Result<Fault, ParameterError> {
    let percent = arguments.number(LOSS.name, Range::PERCENT)?;
    NetworkPacketLoss::new(percent, scope).map(Fault::NetworkPacketLoss)
}

fn whole_interface(arguments: &Arguments) -> Result<Scope, ParameterError> {
    let interface = arguments.text(ETH0.name);
    // Here they are names like any other, not the words that the -Sources documents know.
    if matches!(interface, "ALL" | "DEFAULT") {
        return Err(ParameterError::NotOneOf {
            name: ETH0.name,
            value: interface.to_owned(),
            accepted: "the names of interfaces",
        });
    }
    Scope::new("ALL", "egress", interface, 100)
}

fn scope(arguments: &Arguments) -> Result<Scope, ParameterError> {
    let flows = arguments.number(FLOWS.name, Range::PERCENT)?;
    let text = |parameter: Parameter| arguments.text(parameter.name);
    Scope::new(text(FROM), text(WAY), text(CHOICE), flows)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::plan;
    use super::*;
    use crate::document::Work;

    fn work(name: &str, parameters: Value) -> Result<Work, String> {
        let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
        let plan = plan(name, &parameters).map_err(|error| error.to_string())?;
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
        assert_eq!(fault(LATENCY.name, sixty.clone()), latency(200, 0, all()));
        assert_eq!(fault(PACKET_LOSS.name, sixty), loss(7, all()));
        assert_eq!(fault(LATENCY_SOURCES.name, sources.clone()), latency(200, 10, of("ingress")));
        assert_eq!(fault(PACKET_LOSS_SOURCES.name, sources), loss(7, of("ingress")));
    }

    #[test]
    fn what_fis_sends_is_taken() {
        let sent = json!({
            "DurationSeconds": ["60"], "Port": ["443"], "Protocol": ["tcp"], "TrafficType": ["egress"],
            "InstallDependencies": ["True"],
        });
        let expected = NetworkBlackholePort::new(443, "tcp", "egress").unwrap();
        assert_eq!(fault(BLACKHOLE_PORT.name, sent), Fault::NetworkBlackholePort(expected));
        let sent = json!({
            "DurationSeconds": "60", "Sources": "db.example.com,10.0.0.0/8,S3", "TrafficType": "egress",
            "DelayMilliseconds": "300", "JitterMilliseconds": "0", "FlowsPercent": "30", "Interface": "ALL",
        });
        let scope = Scope::new("db.example.com,10.0.0.0/8,S3", "egress", "ALL", 30).unwrap();
        let expected = NetworkLatency::new(300, 0, scope).unwrap();
        assert_eq!(fault(LATENCY_SOURCES.name, sent), Fault::NetworkLatency(expected));
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
            let refused = work(LATENCY_SOURCES.name, parameters);
            assert!(refused.is_err_and(|text| text.contains("does not match")), "{parameter} {value:?}");
        }
        for (name, parameter, value) in [
            (LATENCY_SOURCES.name, "DelayMilliseconds", "120001"),
            (LATENCY_SOURCES.name, "Sources", "10.0.0.999"),
            (LATENCY_SOURCES.name, "Sources", "/etc/passwd"),
            (LATENCY.name, "DelayMilliseconds", "0"),
            (LATENCY.name, "Interface", "ALL"),
        ] {
            let mut parameters = json!({"DurationSeconds": "60"});
            if name == LATENCY_SOURCES.name {
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
            assert_eq!(work(BLACKHOLE_PORT.name, parameters).is_ok(), good, "{port}");
        }
    }
}
