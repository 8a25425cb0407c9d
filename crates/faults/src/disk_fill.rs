//! `disk-fill`: a file system filled to a share of its size.

use std::path::PathBuf;

use super::{DURATION, Parameter, ParameterError, Range, Spec};

/// Name, defaults and ranges (document `AWSFIS-Run-Disk-Fill`; FIS has no action of that name for tasks).
pub const SPEC: Spec = Spec {
    name: "disk-fill",
    summary: "fill the file system to a share of its size",
    available: true,
    parameters: &[
        DURATION,
        Parameter {
            option: "percent",
            fis: "Percent of AWSFIS-Run-Disk-Fill",
            default: Some("95"),
            range: "1-100",
            unit: "%",
            description: "how full the file system is to be, as df counts: used of used and available",
        },
        Parameter {
            option: "path",
            fis: "none",
            default: Some("/"),
            range: "a path",
            unit: "",
            description: "the file system is the one that this path is on",
        },
    ],
};

/// Parameters of a disk fill, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFill {
    /// How full the file system is to be, 1–100.
    pub percent: u8,
    /// A path on the file system.
    pub path: PathBuf,
}

impl DiskFill {
    /// The document: 95 %.
    pub const DEFAULT_PERCENT: u8 = 95;
    /// The document: the root.
    pub const DEFAULT_PATH: &'static str = "/";
    /// Shares of the size.
    pub const PERCENT: Range = Range::PERCENT;

    /// Checks the range. Whether `path` can be used is seen when the fault starts.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] with the name of the parameter.
    pub fn new(percent: u64, path: PathBuf) -> Result<Self, ParameterError> {
        Ok(DiskFill { percent: Self::PERCENT.check("percent", percent)? as u8, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_ranges_are_those_that_are_listed() {
        let [_, percent, path] = SPEC.parameters else { panic!("three parameters") };
        assert_eq!(percent.default, Some(&*DiskFill::DEFAULT_PERCENT.to_string()));
        assert_eq!(percent.range, format!("{}-{}", DiskFill::PERCENT.low, DiskFill::PERCENT.high));
        assert_eq!(path.default, Some(DiskFill::DEFAULT_PATH));
        let refused = DiskFill::new(101, "/".into()).map_err(|error| error.to_string());
        assert_eq!(refused, Err("percent is 101; accepted are 1 to 100 %".into()));
    }
}
