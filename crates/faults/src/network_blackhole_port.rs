//! `network-blackhole-port`: packets to a port vanish, those of established connections too.

use super::network_source::{Direction, Protocol};
use super::{DURATION, Parameter, ParameterError, Range, Spec};

/// Name, defaults and ranges (FIS reference, `aws:ecs:task-network-blackhole-port`).
pub const SPEC: Spec = Spec {
    name: "network-blackhole-port",
    summary: "drop the traffic of a port without a word",
    available: true,
    parameters: &[
        DURATION,
        Parameter {
            option: "port",
            fis: "port",
            default: None,
            range: "1-65535",
            unit: "",
            description: "the port that packets are sent to: of a server there (egress) or here (ingress)",
        },
        Parameter {
            option: "traffic-type",
            fis: "trafficType",
            default: None,
            range: "egress or ingress",
            unit: "",
            description: "packets that leave the task, or that come in",
        },
        Parameter {
            option: "protocol",
            fis: "protocol",
            default: Some("tcp"),
            range: "tcp or udp",
            unit: "",
            description: "the protocol of the port",
        },
    ],
};

/// Parameters of a black hole, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkBlackholePort {
    /// 1–65535.
    pub port: u16,
    pub protocol: Protocol,
    pub direction: Direction,
}

impl NetworkBlackholePort {
    /// FIS: the document's pattern takes 1–65535.
    pub const PORT: Range = Range { low: 1, high: 65_535, unit: "" };

    /// Checks the range of the port, 1–65535, and the words.
    ///
    /// # Errors
    /// [`ParameterError`] naming what is wrong.
    pub fn new(port: u64, protocol: &str, direction: &str) -> Result<Self, ParameterError> {
        let port = Self::PORT.check("port", port)? as u16;
        Ok(NetworkBlackholePort { port, protocol: protocol.parse()?, direction: direction.parse()? })
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
