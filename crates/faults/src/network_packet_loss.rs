//! `network-packet-loss`: a share of the packets of chosen peers is lost.

use crate::duration::DURATION;
use crate::network_source::{
    CHOSEN_INTERFACE, EXCLUDE_PORTS, EXCLUDE_SOURCES, FLOWS_PERCENT, INTERFACE, OUR_SOURCES,
    OUR_TRAFFIC_TYPE, PORTS, PROTOCOL, SOURCES, Scope, TRAFFIC_TYPE, WHOLE_INTERFACE, one_interface,
};
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::pattern;
use crate::spec::Document;
use crate::spec::{Lives, Spec, Strength};
use crate::{Arguments, Fault, ParameterError, Parameters, Range};

/// FIS reference, `aws:ecs:task-network-packet-loss`.
pub static SPEC: Spec = Spec {
    name: "network-packet-loss",
    summary: "lose a share of the packets to chosen targets",
    action: Some("aws:ecs:task-network-packet-loss"),
    lives: Lives::Asked,
    strength: Some(Strength { percents: &[&LOSS], instead: None }),
    parameters: &[
        DURATION,
        LOSS,
        SOURCES,
        EXCLUDE_SOURCES,
        PORTS,
        EXCLUDE_PORTS,
        PROTOCOL,
        FLOWS_PERCENT,
        TRAFFIC_TYPE,
        INTERFACE,
    ],
    documents: &[
        // Everything that leaves one interface.
        Document {
            name: "AWSFIS-Run-Network-Packet-Loss",
            parameters: &[DURATION, WHOLE_INTERFACE, LOSS],
            heartbeats: false,
            settles: &[(SOURCES, "ALL"), (TRAFFIC_TYPE, "egress"), (FLOWS_PERCENT, "100")],
            read: |arguments| {
                one_interface(arguments)?;
                Fault::read::<NetworkPacketLoss>(arguments)
            },
        },
        // What leaves the task by its own interface: the ECS agent shapes nothing else.
        Document {
            name: "AWSFIS-Run-Network-Packet-Loss-ECS",
            parameters: &[DURATION, SOURCES, LOSS, FLOWS_PERCENT],
            heartbeats: true,
            settles: &[(TRAFFIC_TYPE, "egress"), (INTERFACE, "DEFAULT")],
            read: Fault::read::<NetworkPacketLoss>,
        },
        Document {
            name: "AWSFIS-Run-Network-Packet-Loss-Sources",
            parameters: &[DURATION, CHOSEN_INTERFACE, SOURCES, TRAFFIC_TYPE, LOSS, FLOWS_PERCENT],
            heartbeats: false,
            settles: &[],
            read: Fault::read::<NetworkPacketLoss>,
        },
        // All that the fault takes.
        Document {
            name: "Taskfault-Run-Network-Packet-Loss",
            parameters: &[
                DURATION,
                LOSS,
                OUR_SOURCES,
                EXCLUDE_SOURCES,
                PORTS,
                EXCLUDE_PORTS,
                PROTOCOL,
                FLOWS_PERCENT,
                OUR_TRAFFIC_TYPE,
                CHOSEN_INTERFACE,
            ],
            heartbeats: false,
            settles: &[],
            read: Fault::read::<NetworkPacketLoss>,
        },
    ],
    read: Fault::read::<NetworkPacketLoss>,
};

const LOSS: Parameter = Parameter {
    option: "loss-percent",
    fis: Some("lossPercent"),
    document: Some(InDocument::new("LossPercent", pattern::PERCENT)),
    default: Preset::Value("7"),
    values: Values::Number(Range::PERCENT),
    description: "share of the packets that are lost, without a word to the sender",
};

/// Parameters of a packet loss, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPacketLoss {
    /// 1–100.
    pub percent: u8,
    /// Whose traffic.
    pub scope: Scope,
}

impl NetworkPacketLoss {
    /// Checks the range: 1–100 %.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name of the parameter.
    pub fn new(percent: u64, scope: Scope) -> Result<Self, ParameterError> {
        let percent = Range::PERCENT.parse(LOSS.option, &percent.to_string())?;
        Ok(NetworkPacketLoss { percent, scope })
    }
}

impl Parameters for NetworkPacketLoss {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        Ok(NetworkPacketLoss { percent: arguments.number(&LOSS)?, scope: Scope::read(arguments)? })
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "loss-percent" => Some(self.percent.to_string()),
            option => self.scope.text(option),
        }
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
