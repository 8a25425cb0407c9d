//! `network-latency`: packets of chosen peers take longer.

use std::time::Duration;

use super::network_source::{FLOWS_PERCENT, INTERFACE, SOURCES, Scope, TRAFFIC_TYPE};
use super::{DURATION, Parameter, ParameterError, Range, Spec};

/// The longest delay, in milliseconds, and the widest jitter (the documents enforce both).
pub const MAX_MILLISECONDS: u64 = 120_000;

/// Name, defaults and ranges (FIS reference, `aws:ecs:task-network-latency`).
pub const SPEC: Spec = Spec {
    name: "network-latency",
    summary: "delay traffic to chosen targets",
    available: true,
    parameters: &[
        DURATION,
        Parameter {
            option: "delay-milliseconds",
            fis: "delayMilliseconds",
            default: Some("200"),
            range: "1-120000, or 0 with a jitter",
            unit: "ms",
            description: "how much longer each packet takes",
        },
        Parameter {
            option: "jitter-milliseconds",
            fis: "jitterMilliseconds",
            default: Some("10"),
            range: "0-120000",
            unit: "ms",
            description: "the delay varies evenly by this much more or less",
        },
        SOURCES,
        FLOWS_PERCENT,
        TRAFFIC_TYPE,
        INTERFACE,
    ],
};

/// Parameters of a latency, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLatency {
    /// 1 ms to 120 s; 0 where there is a jitter.
    pub delay: Duration,
    /// 0 to 120 s.
    pub jitter: Duration,
    pub scope: Scope,
}

impl NetworkLatency {
    /// FIS: checked by the -Sources document, whatever the jitter.
    pub const DELAY: Range = Range { low: 1, high: MAX_MILLISECONDS, unit: "milliseconds" };
    /// FIS: checked by the -Sources document.
    pub const JITTER: Range = Range { low: 0, high: MAX_MILLISECONDS, unit: "milliseconds" };

    /// Checks the ranges: both 0–120,000 ms, and not both 0. A delay of 0 with a jitter is what the ECS agent and
    /// the -ECS document accept: packets come up to the jitter later, half of them not at all.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name of the parameter.
    pub fn new(delay_ms: u64, jitter_ms: u64, scope: Scope) -> Result<Self, ParameterError> {
        let jitter = Self::JITTER.check("jitter-milliseconds", jitter_ms)?;
        let delay = if jitter > 0 { Self::JITTER } else { Self::DELAY };
        let delay = delay.check("delay-milliseconds", delay_ms)?;
        let (delay, jitter) = (Duration::from_millis(delay), Duration::from_millis(jitter));
        Ok(NetworkLatency { delay, jitter, scope })
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
