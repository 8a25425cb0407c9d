//! `network-latency`: packets of chosen peers take longer.

use std::time::Duration;

use super::network_source::{FLOWS_PERCENT, INTERFACE, SOURCES, Scope, TRAFFIC_TYPE};
use super::{DURATION, Parameter, ParameterError, Spec, in_range};

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
            range: "1-120000",
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
    /// 1 ms to 120 s.
    pub delay: Duration,
    /// 0 to 120 s.
    pub jitter: Duration,
    pub scope: Scope,
}

impl NetworkLatency {
    /// Checks the ranges: the delay 1–120,000 ms, the jitter 0–120,000 ms.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name of the parameter.
    pub fn new(delay_ms: u64, jitter_ms: u64, scope: Scope) -> Result<Self, ParameterError> {
        let delay = in_range("delay-milliseconds", delay_ms, 1, MAX_MILLISECONDS, " ms")?;
        let jitter = in_range("jitter-milliseconds", jitter_ms, 0, MAX_MILLISECONDS, " ms")?;
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
            (1, 0, true),
            (120_000, 120_000, true),
            (120_001, 0, false),
            (200, 120_001, false),
        ] {
            assert_eq!(NetworkLatency::new(delay, jitter, scope()).is_ok(), good, "{delay} {jitter}");
        }
    }
}
