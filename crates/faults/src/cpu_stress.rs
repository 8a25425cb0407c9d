//! `cpu-stress`: worker threads that keep a share of a core busy.

use crate::duration::DURATION;
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::pattern::{DIGITS, PERCENT_FROM_0};
use crate::spec::Document;
use crate::spec::{Lives, Spec, Strength};
use crate::{Arguments, Fault, ParameterError, Parameters, Range};

/// FIS reference, `aws:ecs:task-cpu-stress`.
pub static SPEC: Spec = Spec {
    name: "cpu-stress",
    summary: "keep a share of the CPU busy",
    action: Some("aws:ecs:task-cpu-stress"),
    lives: Lives::Asked,
    strength: Some(Strength { percents: &[&PERCENT], instead: None }),
    parameters: &[DURATION, PERCENT, WORKERS],
    documents: &[Document {
        name: "AWSFIS-Run-CPU-Stress",
        parameters: &[DURATION, WORKERS, PERCENT],
        heartbeats: false,
        settles: &[],
        read: Fault::read::<CpuStress>,
    }],
    read: Fault::read::<CpuStress>,
};

const PERCENT: Parameter = Parameter {
    option: "percent",
    fis: Some("percent"),
    document: Some(InDocument::new("LoadPercent", PERCENT_FROM_0)),
    default: Preset::Value("100"),
    values: Values::Number(Range::PERCENT_FROM_0),
    description: "share of a core per worker; with 0 workers, share of the task's CPU limit",
};

const WORKERS: Parameter = Parameter {
    option: "workers",
    fis: Some("workers"),
    document: Some(InDocument::new("CPU", DIGITS)),
    default: Preset::Value("0"),
    values: Values::Number(Range::WORKERS),
    description: "worker threads; 0 means all cores, or the task's CPU limit where it has one",
};

/// Parameters of a CPU stress, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuStress {
    /// Worker threads; 0 means all cores, or the task's CPU limit where it has one.
    pub workers: u32,
    /// Share of a core per worker, 0–100.
    pub percent: u8,
}

impl Parameters for CpuStress {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        Ok(CpuStress { workers: arguments.number(&WORKERS)?, percent: arguments.number(&PERCENT)? })
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "workers" => Some(self.workers.to_string()),
            "percent" => Some(self.percent.to_string()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stress(workers: &str, percent: &str) -> Result<CpuStress, String> {
        let mut arguments = Arguments::default();
        arguments.give(&WORKERS, "workers", workers);
        arguments.give(&PERCENT, "percent", percent);
        CpuStress::read(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn ranges_are_kept_and_named() {
        assert!(stress("4096", "0").is_ok());
        assert!(stress("0", "100").is_ok());
        assert_eq!(stress("1", "101"), Err("percent is 101; accepted are 0 to 100 %".into()));
        assert_eq!(stress("4097", "1"), Err("workers is 4097; accepted are 0 to 4096 workers".into()));
        assert!(stress("4294967297", "1").is_err(), "must not wrap round to 1");
    }
}
