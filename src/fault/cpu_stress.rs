//! `cpu-stress`: worker threads that keep a share of a core busy.

use super::{DURATION, Parameter, ParameterError, Spec, in_range, parse_whole};

/// Most workers one fault may ask for. stress-ng's limit, so that whatever ran as a script is accepted here.
pub const MAX_WORKERS: u32 = 4096;

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

    /// Checks the ranges: `workers` 0–4096, `percent` 0–100.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name of the parameter.
    pub fn new(workers: u64, percent: u64) -> Result<Self, ParameterError> {
        let workers = in_range("workers", workers, 0, u64::from(MAX_WORKERS), "")? as u32;
        let percent = in_range("percent", percent, 0, 100, " %")? as u8;
        Ok(CpuStress { workers, percent })
    }

    /// The parameters `CPU` and `LoadPercent` of `AWSFIS-Run-CPU-Stress`: digits, with the document's
    /// defaults (0 and 100) where they are absent. Errors carry the document's names.
    ///
    /// # Errors
    /// [`ParameterError`] naming `CPU` or `LoadPercent`.
    pub fn from_document(cpu: Option<&str>, load_percent: Option<&str>) -> Result<Self, ParameterError> {
        let workers = parse_whole("CPU", cpu.unwrap_or("0"))?;
        let percent = parse_whole("LoadPercent", load_percent.unwrap_or("100"))?;
        let workers = in_range("CPU", workers, 0, u64::from(MAX_WORKERS), "")?;
        let percent = in_range("LoadPercent", percent, 0, 100, " %")?;
        Self::new(workers, percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_fis() {
        let stress = CpuStress::from_document(None, None);
        assert_eq!(
            stress,
            Ok(CpuStress { workers: CpuStress::DEFAULT_WORKERS, percent: CpuStress::DEFAULT_PERCENT })
        );
        assert_eq!(SPEC.parameters[1].default, Some("100"));
        assert_eq!(SPEC.parameters[2].default, Some("0"));
    }

    #[test]
    fn ranges_are_kept_and_named() {
        assert!(CpuStress::new(4096, 0).is_ok());
        assert!(CpuStress::new(0, 100).is_ok());
        let refused =
            |cpu, load| CpuStress::from_document(Some(cpu), Some(load)).map_err(|error| error.to_string());
        assert_eq!(refused("1", "101"), Err("LoadPercent is 101; it must be between 0 and 100 %".into()));
        assert_eq!(refused("4097", "1"), Err("CPU is 4097; it must be between 0 and 4096".into()));
        assert!(refused("all", "1").is_err_and(|text| text.starts_with("CPU is \"all\"")));
        assert!(refused("4294967297", "1").is_err(), "must not wrap round to 1");
    }
}
