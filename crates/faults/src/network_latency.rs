//! `network-latency`: packets of chosen peers take longer.

use std::time::Duration;

use crate::duration::DURATION;
use crate::network_source::{
    CHOSEN_INTERFACE, EXCLUDE_PORTS, EXCLUDE_SOURCES, FLOWS_PERCENT, INTERFACE, OUR_SOURCES,
    OUR_TRAFFIC_TYPE, PORTS, PROTOCOL, SOURCES, Scope, TRAFFIC_TYPE, WHOLE_INTERFACE, one_interface,
};
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::pattern::DIGITS;
use crate::spec::Document;
use crate::spec::{Lives, Spec};
use crate::{Arguments, Fault, ParameterError, Parameters, Range};

/// The longest delay, in milliseconds, and the widest jitter (the documents enforce both).
const MAX_MILLISECONDS: u64 = 120_000;

/// FIS reference, `aws:ecs:task-network-latency`.
pub static SPEC: Spec = Spec {
    name: "network-latency",
    summary: "delay traffic to chosen targets",
    action: Some("aws:ecs:task-network-latency"),
    lives: Lives::Asked,
    strength: None,
    parameters: &[
        DURATION,
        DELAY,
        JITTER,
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
        // Everything that leaves one interface; no jitter.
        Document {
            name: "AWSFIS-Run-Network-Latency",
            parameters: &[DURATION, WHOLE_INTERFACE, DELAY],
            heartbeats: false,
            settles: &[(SOURCES, "ALL"), (TRAFFIC_TYPE, "egress"), (FLOWS_PERCENT, "100"), (JITTER, "0")],
            read: |arguments| {
                one_interface(arguments)?;
                with_delay(arguments)
            },
        },
        // What leaves the task by its own interface: the ECS agent shapes nothing else.
        Document {
            name: "AWSFIS-Run-Network-Latency-ECS",
            parameters: &[DURATION, SOURCES, DELAY, JITTER, FLOWS_PERCENT],
            heartbeats: true,
            settles: &[(TRAFFIC_TYPE, "egress"), (INTERFACE, "DEFAULT")],
            read: Fault::read::<NetworkLatency>,
        },
        Document {
            name: "AWSFIS-Run-Network-Latency-Sources",
            parameters: &[DURATION, CHOSEN_INTERFACE, SOURCES, TRAFFIC_TYPE, DELAY, JITTER, FLOWS_PERCENT],
            heartbeats: false,
            settles: &[],
            read: with_delay,
        },
        // All that the fault takes.
        Document {
            name: "Taskfault-Run-Network-Latency",
            parameters: &[
                DURATION,
                DELAY,
                JITTER,
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
            read: Fault::read::<NetworkLatency>,
        },
    ],
    read: Fault::read::<NetworkLatency>,
};

const DELAY: Parameter = Parameter {
    option: "delay-milliseconds",
    fis: Some("delayMilliseconds"),
    document: Some(InDocument::new("DelayMilliseconds", DIGITS)),
    default: Preset::Value("200"),
    values: Values::Number(Range { low: 1, high: MAX_MILLISECONDS, unit: "milliseconds" }),
    description: "how much longer each packet takes; with a jitter it may be 0",
};

const JITTER: Parameter = Parameter {
    option: "jitter-milliseconds",
    fis: Some("jitterMilliseconds"),
    document: Some(InDocument::new("JitterMilliseconds", DIGITS)),
    default: Preset::Value("10"),
    values: Values::Number(FROM_0),
    description: "the delay varies evenly by this much more or less",
};

const FROM_0: Range = Range { low: 0, high: MAX_MILLISECONDS, unit: "milliseconds" };

/// Documents but for those of the ECS agent want a delay, whatever the jitter.
fn with_delay(arguments: &Arguments) -> Result<Fault, ParameterError> {
    arguments.number::<u64>(&DELAY)?;
    Fault::read::<NetworkLatency>(arguments)
}

/// Parameters of a latency, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLatency {
    /// 1 ms to 120 s; 0 where there is a jitter.
    pub delay: Duration,
    /// 0 to 120 s.
    pub jitter: Duration,
    /// Whose traffic.
    pub scope: Scope,
}

impl NetworkLatency {
    /// Checks the ranges: both 0–120,000 ms, and not both 0. A delay of 0 with a jitter is what the ECS agent and
    /// the -ECS document accept: packets come up to the jitter later, half of them not at all.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name of the parameter.
    pub fn new(delay_ms: u64, jitter_ms: u64, scope: Scope) -> Result<Self, ParameterError> {
        let mut arguments = Arguments::default();
        arguments.give(&DELAY, DELAY.option, delay_ms.to_string());
        arguments.give(&JITTER, JITTER.option, jitter_ms.to_string());
        Self::of(&arguments, scope)
    }

    fn of(arguments: &Arguments, scope: Scope) -> Result<Self, ParameterError> {
        let jitter: u64 = arguments.number(&JITTER)?;
        let delay = match jitter {
            0 => arguments.number(&DELAY)?,
            _ => arguments.number_in(&DELAY, FROM_0)?,
        };
        let (delay, jitter) = (Duration::from_millis(delay), Duration::from_millis(jitter));
        Ok(NetworkLatency { delay, jitter, scope })
    }
}

impl Parameters for NetworkLatency {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        Self::of(arguments, Scope::read(arguments)?)
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "delay-milliseconds" => Some(self.delay.as_millis().to_string()),
            "jitter-milliseconds" => Some(self.jitter.as_millis().to_string()),
            option => self.scope.text(option),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_documents() {
        let scope = || Scope::new("ALL", "egress", "DEFAULT", 100).unwrap();
        for (delay, jitter, good) in [
            (0, 0, false),
            (0, 1, true),
            (0, 120_000, true),
            (1, 0, true),
            (120_001, 1, false),
            (120_000, 120_000, true),
            (120_001, 0, false),
            (200, 120_001, false),
        ] {
            assert_eq!(NetworkLatency::new(delay, jitter, scope()).is_ok(), good, "{delay} {jitter}");
        }
    }
}
