//! `network-blackhole-port`: packets to a port vanish, those of established connections too.

use crate::duration::DURATION;
use crate::network_source::{self, Direction, Protocol};
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::spec::Document;
use crate::spec::{Lives, Spec};
use crate::{Arguments, Fault, ParameterError, Parameters, Range};

/// FIS reference, `aws:ecs:task-network-blackhole-port`.
pub static SPEC: Spec = Spec {
    name: "network-blackhole-port",
    summary: "drop the traffic of a port without a word",
    action: Some("aws:ecs:task-network-blackhole-port"),
    lives: Lives::Asked,
    strength: None,
    parameters: &[DURATION, PORT, TRAFFIC_TYPE, PROTOCOL],
    documents: &[
        Document {
            name: "AWSFIS-Run-Network-Blackhole-Port",
            parameters: &[DURATION, PROTOCOL, PORT, TRAFFIC_TYPE],
            heartbeats: false,
            settles: &[],
            read: Fault::read::<NetworkBlackholePort>,
        },
        Document {
            name: "AWSFIS-Run-Network-Blackhole-Port-ECS",
            parameters: &[DURATION, PROTOCOL, PORT, TRAFFIC_TYPE],
            heartbeats: true,
            settles: &[],
            read: Fault::read::<NetworkBlackholePort>,
        },
    ],
    read: Fault::read::<NetworkBlackholePort>,
};

const PORT: Parameter = Parameter {
    option: "port",
    fis: Some("port"),
    document: Some(InDocument::new(
        "Port",
        "^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})$",
    )),
    default: Preset::Required,
    values: Values::Number(Range { low: 1, high: 65_535, unit: "" }),
    description: "the port that packets are sent to: of a server there (egress) or here (ingress)",
};

const TRAFFIC_TYPE: Parameter =
    Parameter { fis: Some("trafficType"), default: Preset::Required, ..network_source::TRAFFIC_TYPE };

const PROTOCOL: Parameter = Parameter {
    option: "protocol",
    fis: Some("protocol"),
    document: Some(InDocument::with_default("Protocol", "^(tcp|udp)$", Preset::Required)),
    default: Preset::Value("tcp"),
    values: Values::OneOf(Protocol::NAMES),
    description: "the protocol of the port",
};

/// Parameters of a black hole, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkBlackholePort {
    /// 1–65535.
    pub port: u16,
    /// Of the port.
    pub protocol: Protocol,
    /// Of the packets to it.
    pub direction: Direction,
}

impl NetworkBlackholePort {
    /// Checks the range of the port, 1–65535, and the words.
    ///
    /// # Errors
    /// [`ParameterError`] naming what is wrong.
    pub fn new(port: u64, protocol: &str, direction: &str) -> Result<Self, ParameterError> {
        let mut arguments = Arguments::default();
        arguments.give(&PORT, PORT.option, port.to_string());
        arguments.give(&PROTOCOL, PROTOCOL.option, protocol);
        arguments.give(&TRAFFIC_TYPE, TRAFFIC_TYPE.option, direction);
        Self::read(&arguments)
    }
}

impl Parameters for NetworkBlackholePort {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        Ok(NetworkBlackholePort {
            port: arguments.number(&PORT)?,
            protocol: arguments.text(&PROTOCOL).parse()?,
            direction: arguments.text(&TRAFFIC_TYPE).parse()?,
        })
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "port" => Some(self.port.to_string()),
            "protocol" => Some(self.protocol.to_string()),
            "traffic-type" => Some(self.direction.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_words_are_checked() {
        assert!(NetworkBlackholePort::new(443, "tcp", "egress").is_ok());
        for (port, protocol, direction, words) in [
            (0, "tcp", "egress", "port is 0; accepted are 1 to 65535"),
            (65_536, "tcp", "egress", "port is 65536"),
            (1, "icmp", "egress", "protocol is \"icmp\"; it must be tcp or udp"),
            (1, "udp", "both", "traffic type is \"both\"; it must be egress or ingress"),
        ] {
            let refused = NetworkBlackholePort::new(port, protocol, direction).unwrap_err().to_string();
            assert!(refused.starts_with(words), "{refused}");
        }
    }
}
