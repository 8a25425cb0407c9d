//! `network-packet-loss`: a share of the packets of chosen peers is lost.

use super::network_source::{FLOWS_PERCENT, INTERFACE, SOURCES, Scope, TRAFFIC_TYPE};
use super::{DURATION, Parameter, ParameterError, Range, Spec};

/// Name, defaults and ranges (FIS reference, `aws:ecs:task-network-packet-loss`).
pub const SPEC: Spec = Spec {
    name: "network-packet-loss",
    summary: "lose a share of the packets to chosen targets",
    available: true,
    parameters: &[
        DURATION,
        Parameter {
            option: "loss-percent",
            fis: "lossPercent",
            default: Some("7"),
            range: "1-100",
            unit: "%",
            description: "share of the packets that are lost, without a word to the sender",
        },
        SOURCES,
        FLOWS_PERCENT,
        TRAFFIC_TYPE,
        INTERFACE,
    ],
};

/// Parameters of a packet loss, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPacketLoss {
    /// 1–100.
    pub percent: u8,
    pub scope: Scope,
}

impl NetworkPacketLoss {
    /// Checks the range: 1–100 %.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name of the parameter.
    pub fn new(percent: u64, scope: Scope) -> Result<Self, ParameterError> {
        let percent = Range::PERCENT.check("loss-percent", percent)? as u8;
        Ok(NetworkPacketLoss { percent, scope })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_loss_and_more_than_all_are_refused() {
        let scope = || Scope::new("ALL", "egress", "DEFAULT", 100).unwrap();
        for (percent, good) in [(0, false), (1, true), (100, true), (101, false), (257, false)] {
            assert_eq!(NetworkPacketLoss::new(percent, scope()).is_ok(), good, "{percent}");
        }
    }
}
