//! `cpu-stress`: worker threads that keep a share of a core busy.

use super::{DURATION, Parameter, ParameterError, Range, Spec};

/// Name, defaults and ranges (FIS reference, `aws:ecs:task-cpu-stress`).
pub const SPEC: Spec = Spec {
    name: "cpu-stress",
    summary: "keep a share of the CPU busy",
    available: true,
    parameters: &[
        DURATION,
        Parameter {
            option: "percent",
            fis: "percent",
            default: Some("100"),
            range: "0-100",
            unit: "%",
            description: "share of a core per worker; with 0 workers, share of the task's CPU limit",
        },
        Parameter {
            option: "workers",
            fis: "workers",
            default: Some("0"),
            range: "0-4096",
            unit: "",
            description: "worker threads; 0 means all cores, or the task's CPU limit where it has one",
        },
    ],
};

/// Parameters of a CPU stress, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuStress {
    /// Worker threads; 0 means all cores, or the task's CPU limit where it has one.
    pub workers: u32,
    /// Share of a core per worker, 0–100.
    pub percent: u8,
}

impl CpuStress {
    /// The workers of a fault that does not name them (FIS: 0, all cores).
    pub const DEFAULT_WORKERS: u32 = 0;
    /// The share of a fault that does not name it (FIS: 100 %).
    pub const DEFAULT_PERCENT: u8 = 100;

    /// Threads one fault may ask for. stress-ng's limit, so that whatever ran as a script is accepted here.
    pub const WORKERS: Range = Range { low: 0, high: 4096, unit: "workers" };
    /// Shares of a core one worker may have.
    pub const PERCENT: Range = Range::PERCENT_FROM_0;

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name of the parameter.
    pub fn new(workers: u64, percent: u64) -> Result<Self, ParameterError> {
        let workers = Self::WORKERS.check("workers", workers)? as u32;
        let percent = Self::PERCENT.check("percent", percent)? as u8;
        Ok(CpuStress { workers, percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_ranges_are_those_that_are_listed() {
        let [_, percent, workers] = SPEC.parameters else { panic!("three parameters") };
        assert_eq!(percent.default, Some(&*CpuStress::DEFAULT_PERCENT.to_string()));
        assert_eq!(workers.default, Some(&*CpuStress::DEFAULT_WORKERS.to_string()));
        assert_eq!(percent.range, format!("{}-{}", CpuStress::PERCENT.low, CpuStress::PERCENT.high));
        assert_eq!(workers.range, format!("{}-{}", CpuStress::WORKERS.low, CpuStress::WORKERS.high));
    }

    #[test]
    fn ranges_are_kept_and_named() {
        assert!(CpuStress::new(4096, 0).is_ok());
        assert!(CpuStress::new(0, 100).is_ok());
        let refused = |workers, percent| CpuStress::new(workers, percent).map_err(|error| error.to_string());
        assert_eq!(refused(1, 101), Err("percent is 101; accepted are 0 to 100 %".into()));
        assert_eq!(refused(4097, 1), Err("workers is 4097; accepted are 0 to 4096 workers".into()));
        assert!(refused(4_294_967_297, 1).is_err(), "must not wrap round to 1");
    }
}
