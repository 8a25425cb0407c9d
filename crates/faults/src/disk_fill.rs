//! `disk-fill`: a file system filled to a share of its size.

use std::path::PathBuf;

use crate::duration::DURATION;
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::pattern;
use crate::spec::Document;
use crate::spec::{Lives, Spec, Strength};
use crate::{Arguments, Fault, ParameterError, Parameters, Range};

/// Document `AWSFIS-Run-Disk-Fill`; FIS has no action of that name for tasks.
pub static SPEC: Spec = Spec {
    name: "disk-fill",
    summary: "fill the file system to a share of its size",
    action: None,
    lives: Lives::Asked,
    strength: Some(Strength { percents: &[&PERCENT], instead: Some(&BYTES) }),
    parameters: &[DURATION, PERCENT, BYTES, PATH],
    documents: &[Document {
        name: "AWSFIS-Run-Disk-Fill",
        parameters: &[DURATION, PERCENT],
        heartbeats: false,
        settles: &[],
        read: Fault::read::<DiskFill>,
    }],
    read: Fault::read::<DiskFill>,
};

const PERCENT: Parameter = Parameter {
    option: "percent",
    fis: None,
    document: Some(InDocument::new("Percent", pattern::PERCENT)),
    default: Preset::Value("95"),
    values: Values::Number(Range::PERCENT),
    description: "how full the file system is to be, as df counts: used of used and available",
};

const BYTES: Parameter = Parameter {
    option: "bytes",
    fis: None,
    document: None,
    default: Preset::Value("0"),
    values: Values::Number(Range::BYTES),
    description: "how much to take, instead of a percentage; 0 means the percentage",
};

const PATH: Parameter = Parameter {
    option: "path",
    fis: None,
    document: None,
    default: Preset::Value("/"),
    values: Values::Path { accepts: "a path" },
    description: "the file system is the one that this path is on",
};

/// Parameters of a disk fill, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFill {
    /// How full the file system is to be, 1–100.
    pub percent: u8,
    /// Bytes to take instead, at most a pebibyte; 0 means the percentage.
    pub bytes: u64,
    /// A path on the file system. Whether it can be used is seen when the fault starts.
    pub path: PathBuf,
}

impl Parameters for DiskFill {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        let path = arguments.path(&PATH).unwrap_or_default();
        Ok(DiskFill { percent: arguments.number(&PERCENT)?, bytes: arguments.number(&BYTES)?, path })
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "percent" => Some(self.percent.to_string()),
            "bytes" => Some(self.bytes.to_string()),
            "path" => Some(self.path.to_str()?.to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_all_is_refused() {
        let mut arguments = Arguments::default();
        arguments.give(&PERCENT, "percent", "101");
        let refused = DiskFill::read(&arguments).map_err(|error| error.to_string());
        assert_eq!(refused, Err("percent is 101; accepted are 1 to 100 %".into()));
        let usual = DiskFill::with_defaults();
        assert_eq!(usual, Ok(DiskFill { percent: 95, bytes: 0, path: "/".into() }));
    }
}
