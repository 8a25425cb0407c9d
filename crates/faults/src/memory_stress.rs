//! `memory-stress`: worker threads that hold a share of the memory.

use super::{DURATION, Parameter, ParameterError, Range, Spec};

/// Name, defaults and ranges (document `AWSFIS-Run-Memory-Stress`; FIS has no action of that name for tasks).
pub const SPEC: Spec = Spec {
    name: "memory-stress",
    summary: "hold a share of the memory",
    available: true,
    parameters: &[
        DURATION,
        Parameter {
            option: "percent",
            fis: "Percent of AWSFIS-Run-Memory-Stress",
            default: Some("80"),
            range: "1-100",
            unit: "%",
            description: "share of the memory that is free to the task at the start: of its limit, less its use",
        },
        Parameter {
            option: "workers",
            fis: "Workers of AWSFIS-Run-Memory-Stress",
            default: Some("1"),
            range: "0-4096",
            unit: "",
            description: "worker threads that share it; 0 means one for each CPU",
        },
    ],
};

/// Parameters of a memory stress, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryStress {
    /// Threads that share the memory; 0 means one for each CPU.
    pub workers: u32,
    /// Share of the memory that is free to the task at the start, for all workers together, 1–100.
    pub percent: u8,
}

impl MemoryStress {
    /// The document: 1.
    pub const DEFAULT_WORKERS: u32 = 1;
    /// The document: 80 %.
    pub const DEFAULT_PERCENT: u8 = 80;
    /// Threads one fault may ask for, as in a CPU stress.
    pub const WORKERS: Range = Range { low: 0, high: 4096, unit: "workers" };
    /// Shares of the free memory.
    pub const PERCENT: Range = Range::PERCENT;

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name of the parameter.
    pub fn new(workers: u64, percent: u64) -> Result<Self, ParameterError> {
        let workers = Self::WORKERS.check("workers", workers)? as u32;
        let percent = Self::PERCENT.check("percent", percent)? as u8;
        Ok(MemoryStress { workers, percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_ranges_are_those_that_are_listed() {
        let [_, percent, workers] = SPEC.parameters else { panic!("three parameters") };
        assert_eq!(percent.default, Some(&*MemoryStress::DEFAULT_PERCENT.to_string()));
        assert_eq!(workers.default, Some(&*MemoryStress::DEFAULT_WORKERS.to_string()));
        assert_eq!(percent.range, format!("{}-{}", MemoryStress::PERCENT.low, MemoryStress::PERCENT.high));
        assert_eq!(workers.range, format!("{}-{}", MemoryStress::WORKERS.low, MemoryStress::WORKERS.high));
        let refused = MemoryStress::new(1, 0).map_err(|error| error.to_string());
        assert_eq!(refused, Err("percent is 0; accepted are 1 to 100 %".into()));
    }
}
