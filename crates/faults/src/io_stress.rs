//! `io-stress`: worker threads that write, read and sync files without rest.

use std::path::PathBuf;

use super::{DURATION, Parameter, ParameterError, Range, Spec};

/// Name, defaults and ranges (FIS reference, `aws:ecs:task-io-stress`).
pub const SPEC: Spec = Spec {
    name: "io-stress",
    summary: "read, write and sync files without rest",
    available: true,
    parameters: &[
        DURATION,
        Parameter {
            option: "percent",
            fis: "percent",
            default: Some("80"),
            range: "1-100",
            unit: "%",
            description: "share of the free space of the file system that the files may grow to, all together",
        },
        Parameter {
            option: "workers",
            fis: "workers",
            default: Some("1"),
            range: "0-4096",
            unit: "",
            description: "worker threads; 0 means one for each CPU",
        },
        Parameter {
            option: "path",
            fis: "none",
            default: Some("/tmp"),
            range: "a folder",
            unit: "",
            description: "where the files are made; the sidecar takes its state folder",
        },
    ],
};

/// Parameters of an I/O stress, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoStress {
    /// Worker threads; 0 means one for each CPU.
    pub workers: u32,
    /// Share of the free space for all files together, 1–100.
    pub percent: u8,
    /// The folder for the files; None leaves it to the place.
    pub path: Option<PathBuf>,
}

impl IoStress {
    /// FIS: 1.
    pub const DEFAULT_WORKERS: u32 = 1;
    /// FIS: 80 %.
    pub const DEFAULT_PERCENT: u8 = 80;
    /// Threads one fault may ask for, as in a CPU stress.
    pub const WORKERS: Range = Range { low: 0, high: 4096, unit: "workers" };
    /// Shares of the free space.
    pub const PERCENT: Range = Range::PERCENT;

    /// Checks the ranges. Whether `path` can be used is seen when the fault starts.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name of the parameter.
    pub fn new(workers: u64, percent: u64, path: Option<PathBuf>) -> Result<Self, ParameterError> {
        let workers = Self::WORKERS.check("workers", workers)? as u32;
        let percent = Self::PERCENT.check("percent", percent)? as u8;
        Ok(IoStress { workers, percent, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_ranges_are_those_that_are_listed() {
        let [_, percent, workers, _] = SPEC.parameters else { panic!("four parameters") };
        assert_eq!(percent.default, Some(&*IoStress::DEFAULT_PERCENT.to_string()));
        assert_eq!(workers.default, Some(&*IoStress::DEFAULT_WORKERS.to_string()));
        assert_eq!(percent.range, format!("{}-{}", IoStress::PERCENT.low, IoStress::PERCENT.high));
        assert_eq!(workers.range, format!("{}-{}", IoStress::WORKERS.low, IoStress::WORKERS.high));
    }

    #[test]
    fn ranges_are_kept_and_named() {
        assert!(IoStress::new(0, 1, None).is_ok() && IoStress::new(4096, 100, None).is_ok());
        let refused =
            |workers, percent| IoStress::new(workers, percent, None).map_err(|error| error.to_string());
        assert_eq!(refused(1, 0), Err("percent is 0; accepted are 1 to 100 %".into()));
        assert_eq!(refused(4097, 1), Err("workers is 4097; accepted are 0 to 4096 workers".into()));
    }
}
