//! What can be asked for: validated parameters of one fault each, and the registry of all of them. Pure.
//!
//! Must not know where a fault was asked for (a document, the command line) nor how it is performed.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

pub mod cpu_stress;
pub mod disk_fill;
pub mod duration;
pub mod io_stress;
pub mod kill_process;
pub mod memory_stress;
pub mod network_blackhole_port;
pub mod network_latency;
pub mod network_packet_loss;
pub mod network_source;
#[cfg(feature = "read-back")]
pub mod read_back;

/// How long a fault may live: up to 12 hours (FIS: the documents enforce 1–43200).
pub const DURATION_SECONDS: Range = Range { low: 1, high: 43_200, unit: "seconds" };

/// A fault whose parameters are all in range.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    CpuStress(cpu_stress::CpuStress),
    DiskFill(disk_fill::DiskFill),
    IoStress(io_stress::IoStress),
    KillProcess(kill_process::KillProcess),
    MemoryStress(memory_stress::MemoryStress),
    NetworkBlackholePort(network_blackhole_port::NetworkBlackholePort),
    NetworkLatency(network_latency::NetworkLatency),
    NetworkPacketLoss(network_packet_loss::NetworkPacketLoss),
}

impl Fault {
    /// The fault's name, as FIS has it (`cpu-stress`).
    pub fn name(&self) -> &'static str {
        match self {
            Fault::CpuStress(_) => cpu_stress::SPEC.name,
            Fault::DiskFill(_) => disk_fill::SPEC.name,
            Fault::IoStress(_) => io_stress::SPEC.name,
            Fault::KillProcess(_) => kill_process::SPEC.name,
            Fault::MemoryStress(_) => memory_stress::SPEC.name,
            Fault::NetworkBlackholePort(_) => network_blackhole_port::SPEC.name,
            Fault::NetworkLatency(_) => network_latency::SPEC.name,
            Fault::NetworkPacketLoss(_) => network_packet_loss::SPEC.name,
        }
    }
}

/// A parameter that is not in range. Nothing has been done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParameterError {
    #[error("{name} is {value}; accepted are {range}")]
    OutOfRange {
        name: &'static str,
        /// As it was given, cut to 40 characters.
        value: String,
        range: Range,
    },
    #[error("{name} is {value:?}; it must be {accepted}")]
    NotOneOf {
        name: &'static str,
        /// As it was given, cut to 40 characters.
        value: String,
        /// In words.
        accepted: &'static str,
    },
}

/// The whole numbers that one parameter takes. The only place where a range stands: the command line and the
/// documents check against the same one, each under its own name for the parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub low: u64,
    pub high: u64,
    /// In words, plural; nothing for plain numbers.
    pub unit: &'static str,
}

impl Range {
    /// A share of something, from nothing to all of it.
    pub const PERCENT_FROM_0: Range = Range { low: 0, high: 100, unit: "%" };
    /// A share of something, from a hundredth to all of it.
    pub const PERCENT: Range = Range { low: 1, high: 100, unit: "%" };

    /// `value`, if it is in the range.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] under the parameter's `name`.
    pub fn check(self, name: &'static str, value: u64) -> Result<u64, ParameterError> {
        if (self.low..=self.high).contains(&value) {
            return Ok(value);
        }
        Err(ParameterError::OutOfRange { name, value: value.to_string(), range: self })
    }

    /// The number that `text` is: plain digits, no sign, no blank, no unit.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] under the parameter's `name`; what is no number, or too long for one, is
    /// out of every range.
    pub fn parse(self, name: &'static str, text: &str) -> Result<u64, ParameterError> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| plain);
        let refused =
            || ParameterError::OutOfRange { name, value: text.chars().take(40).collect(), range: self };
        self.check(name, number.ok_or_else(refused)?)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.low, self.high)?;
        if self.unit.is_empty() { Ok(()) } else { write!(f, " {}", self.unit) }
    }
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
    disk_fill::SPEC,
    io_stress::SPEC,
    kill_process::SPEC,
    memory_stress::SPEC,
    network_blackhole_port::SPEC,
    network_latency::SPEC,
    network_packet_loss::SPEC,
];

/// The fault of that name.
pub fn find(name: &str) -> Option<&'static Spec> {
    ALL.iter().find(|spec| spec.name == name)
}

/// `duration`, if a fault may live that long: 1 s to 12 h.
///
/// # Errors
/// [`ParameterError::OutOfRange`] with the duration in whole seconds.
pub fn check_duration(duration: Duration) -> Result<Duration, ParameterError> {
    let Range { low, high, .. } = DURATION_SECONDS;
    let long_enough = duration >= Duration::from_secs(low);
    if long_enough && duration <= Duration::from_secs(high) {
        return Ok(duration);
    }
    // Rounded away from the range, so that 43200.5 s does not read as 43200.
    let above = u64::from(long_enough && duration.subsec_nanos() > 0);
    DURATION_SECONDS.check("duration", duration.as_secs().saturating_add(above)).map(Duration::from_secs)
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
        let names: Vec<_> = ALL.iter().map(|spec| spec.name).collect();
        assert_eq!(available, names);
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
    fn numbers_are_plain_digits_in_range() {
        assert_eq!(DURATION_SECONDS.parse("DurationSeconds", "20"), Ok(20));
        for text in
            ["", "5m", "-1", "+1", " 1", "1.5", "99999999999999999999", "0x1", "\u{661}", "0", "43201"]
        {
            let said = DURATION_SECONDS.parse("DurationSeconds", text).map_err(|error| error.to_string());
            let wanted = format!("DurationSeconds is {text}; accepted are 1 to 43200 seconds");
            assert_eq!(said, Err(wanted));
        }
    }
}
