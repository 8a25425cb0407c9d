//! The faults: validated parameters of one fault each, and the registry of all of them. Pure.
//!
//! Must not know where a fault was asked for (a document, the command line) nor how it is performed.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

pub mod cpu_stress;
pub mod network_blackhole_port;
pub mod network_latency;
pub mod network_packet_loss;
pub mod network_source;

/// Shortest life of a fault, in seconds (FIS: the documents enforce 1–43200).
pub const MIN_DURATION_SECONDS: u64 = 1;
/// Longest life of a fault, in seconds: 12 hours (FIS: the documents enforce 1–43200).
pub const MAX_DURATION_SECONDS: u64 = 43_200;

/// A fault whose parameters are all in range.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    CpuStress(cpu_stress::CpuStress),
    NetworkBlackholePort(network_blackhole_port::NetworkBlackholePort),
    NetworkLatency(network_latency::NetworkLatency),
    NetworkPacketLoss(network_packet_loss::NetworkPacketLoss),
}

impl Fault {
    /// The fault's name, as FIS has it (`cpu-stress`).
    pub fn name(&self) -> &'static str {
        match self {
            Fault::CpuStress(_) => cpu_stress::SPEC.name,
            Fault::NetworkBlackholePort(_) => network_blackhole_port::SPEC.name,
            Fault::NetworkLatency(_) => network_latency::SPEC.name,
            Fault::NetworkPacketLoss(_) => network_packet_loss::SPEC.name,
        }
    }
}

/// A parameter that is not in range. Nothing has been done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParameterError {
    #[error("{name} is {value:?}, which is not a whole number of at most ten digits")]
    NotANumber { name: &'static str, value: String },
    #[error("{name} is {value}; it must be between {low} and {high}{unit}")]
    OutOfRange { name: &'static str, value: u64, low: u64, high: u64, unit: &'static str },
    #[error("{name} is {value:?}; it must be {accepted}")]
    NotOneOf { name: &'static str, value: String, accepted: &'static str },
}

/// One parameter of a fault, as the command line and FIS name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// The option of `taskfault inject`, without the dashes.
    pub option: &'static str,
    /// The parameter of the FIS action.
    pub fis: &'static str,
    /// FIS's default; None where the parameter must be given.
    pub default: Option<&'static str>,
    /// The values it takes, in words.
    pub range: &'static str,
    /// The unit, or nothing for plain words and counts.
    pub unit: &'static str,
    pub description: &'static str,
}

/// One fault of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spec {
    /// The name of the FIS action after `aws:ecs:task-`, or of the SSM document where FIS has no action.
    pub name: &'static str,
    pub summary: &'static str,
    /// Whether this version performs it.
    pub available: bool,
    pub parameters: &'static [Parameter],
}

const DURATION: Parameter = Parameter {
    option: "duration",
    fis: "duration",
    default: None,
    range: "PT1S-PT12H",
    unit: "ISO 8601, or 90s, 5m, 2h",
    description: "how long the fault lives",
};

/// Every fault there is, in alphabetical order.
pub const ALL: &[Spec] = &[
    cpu_stress::SPEC,
    planned("disk-fill", "fill the file system to a share of its size"),
    planned("io-stress", "read, write and sync files without rest"),
    planned("kill-process", "send a signal to the processes of a name"),
    planned("memory-stress", "hold a share of the memory"),
    network_blackhole_port::SPEC,
    network_latency::SPEC,
    network_packet_loss::SPEC,
];

/// A fault that FIS has and this version does not perform. Its parameters are listed once they are honoured.
const fn planned(name: &'static str, summary: &'static str) -> Spec {
    Spec { name, summary, available: false, parameters: &[] }
}

/// The fault of that name.
pub fn find(name: &str) -> Option<&'static Spec> {
    ALL.iter().find(|spec| spec.name == name)
}

/// `duration`, if a fault may live that long: 1 s to 12 h.
pub fn check_duration(duration: Duration) -> Result<Duration, ParameterError> {
    let whole = duration >= Duration::from_secs(MIN_DURATION_SECONDS);
    if whole && duration <= Duration::from_secs(MAX_DURATION_SECONDS) {
        return Ok(duration);
    }
    // Rounded away from the range, so that 43200.5 s does not read as 43200.
    let above = u64::from(whole && duration.subsec_nanos() > 0);
    in_range("duration", duration.as_secs() + above, MIN_DURATION_SECONDS, MAX_DURATION_SECONDS, " seconds")
        .map(Duration::from_secs)
}

/// A `DurationSeconds` as the documents have it: digits only, 1–43200.
pub fn parse_duration_seconds(name: &'static str, text: &str) -> Result<Duration, ParameterError> {
    let seconds = parse_whole(name, text)?;
    in_range(name, seconds, MIN_DURATION_SECONDS, MAX_DURATION_SECONDS, " seconds").map(Duration::from_secs)
}

/// A non-negative whole number in plain digits: no sign, no blank, no unit.
pub(crate) fn parse_whole(name: &'static str, text: &str) -> Result<u64, ParameterError> {
    let plain = !text.is_empty() && text.len() <= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    let refused = || ParameterError::NotANumber { name, value: text.chars().take(40).collect() };
    if !plain {
        return Err(refused());
    }
    text.parse().map_err(|_| refused())
}

pub(crate) fn in_range(
    name: &'static str,
    value: u64,
    low: u64,
    high: u64,
    unit: &'static str,
) -> Result<u64, ParameterError> {
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(ParameterError::OutOfRange { name, value, low, high, unit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_alphabetical_and_without_twins() {
        assert!(ALL.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn every_name_of_fis_and_of_the_documents_is_listed() {
        // FIS reference, aws:ecs:task-* actions, and the documents AWSFIS-Run-Memory-Stress and -Disk-Fill.
        for name in [
            "cpu-stress",
            "io-stress",
            "kill-process",
            "network-blackhole-port",
            "network-latency",
            "network-packet-loss",
            "memory-stress",
            "disk-fill",
        ] {
            assert!(find(name).is_some(), "{name}");
        }
        assert_eq!(find("CPU-stress"), None);
    }

    #[test]
    fn only_faults_with_a_type_are_available() {
        let available: Vec<_> = ALL.iter().filter(|spec| spec.available).map(|spec| spec.name).collect();
        assert_eq!(
            available,
            ["cpu-stress", "network-blackhole-port", "network-latency", "network-packet-loss"]
        );
    }

    #[test]
    fn durations_outside_one_second_to_twelve_hours_are_refused() {
        for (seconds, good) in
            [(0.0, false), (0.999, false), (1.0, true), (43_200.0, true), (43_200.5, false)]
        {
            let checked = check_duration(Duration::from_secs_f64(seconds));
            assert_eq!(checked.is_ok(), good, "{seconds}");
        }
        assert!(check_duration(Duration::MAX - Duration::from_secs(1)).is_err());
    }

    #[test]
    fn document_durations_are_digits_only() {
        assert_eq!(parse_duration_seconds("DurationSeconds", "20"), Ok(Duration::from_secs(20)));
        for text in ["", "5m", "-1", "+1", " 1", "1.5", "99999999999", "١"] {
            let refused = parse_duration_seconds("DurationSeconds", text);
            assert!(matches!(refused, Err(ParameterError::NotANumber { .. })), "{text:?}");
        }
        let refused = parse_duration_seconds("DurationSeconds", "43201").map_err(|error| error.to_string());
        assert_eq!(refused, Err("DurationSeconds is 43201; it must be between 1 and 43200 seconds".into()));
    }
}
