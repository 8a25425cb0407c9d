//! `io-stress`: worker threads that write, read and sync files without rest.

use std::path::PathBuf;

use crate::duration::DURATION;
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::pattern;
use crate::pattern::DIGITS;
use crate::spec::Document;
use crate::spec::{Lives, Spec, Strength};
use crate::{Arguments, Fault, ParameterError, Parameters, Range};

/// FIS reference, `aws:ecs:task-io-stress`.
pub static SPEC: Spec = Spec {
    name: "io-stress",
    summary: "read, write and sync files without rest",
    action: Some("aws:ecs:task-io-stress"),
    lives: Lives::Asked,
    strength: Some(Strength { percents: &[&PERCENT], instead: Some(&BYTES) }),
    parameters: &[DURATION, PERCENT, BYTES, WORKERS, PATH],
    documents: &[Document {
        name: "AWSFIS-Run-IO-Stress",
        parameters: &[DURATION, WORKERS, PERCENT],
        heartbeats: false,
        settles: &[],
        read: Fault::read::<IoStress>,
    }],
    read: Fault::read::<IoStress>,
};

const PERCENT: Parameter = Parameter {
    option: "percent",
    fis: Some("percent"),
    document: Some(InDocument::new("Percent", pattern::PERCENT)),
    default: Preset::Value("80"),
    values: Values::Number(Range::PERCENT),
    description: "share of the free space of the file system that the files may grow to, all together",
};

const WORKERS: Parameter = Parameter {
    option: "workers",
    fis: Some("workers"),
    document: Some(InDocument::new("Workers", DIGITS)),
    default: Preset::Value("1"),
    values: Values::Number(Range::WORKERS),
    description: "worker threads; 0 means one for each CPU",
};

const BYTES: Parameter = Parameter {
    option: "bytes",
    fis: None,
    document: None,
    default: Preset::Value("0"),
    values: Values::Number(Range::BYTES),
    description: "size that the files may grow to, all together, instead of a share; 0 means the share",
};

const PATH: Parameter = Parameter {
    option: "path",
    fis: None,
    document: None,
    default: Preset::Place("/tmp"),
    values: Values::Path { accepts: "a folder" },
    description: "where the files are made; the sidecar takes its state folder",
};

/// Parameters of an I/O stress, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoStress {
    /// Worker threads; 0 means one for each CPU.
    pub workers: u32,
    /// Share of the free space for all files together, 1–100.
    pub percent: u8,
    /// Bytes for all files together instead, at most a pebibyte; 0 means the share.
    pub bytes: u64,
    /// The folder for the files; None leaves it to the place. Whether it can be used is seen when the fault starts.
    pub path: Option<PathBuf>,
}

impl Parameters for IoStress {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        let (workers, percent) = (arguments.number(&WORKERS)?, arguments.number(&PERCENT)?);
        Ok(IoStress { workers, percent, bytes: arguments.number(&BYTES)?, path: arguments.path(&PATH) })
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "workers" => Some(self.workers.to_string()),
            "percent" => Some(self.percent.to_string()),
            "bytes" => Some(self.bytes.to_string()),
            "path" => Some(self.path.as_ref()?.to_str()?.to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stress(workers: &str, percent: &str) -> Result<IoStress, String> {
        let mut arguments = Arguments::default();
        arguments.give(&WORKERS, "workers", workers);
        arguments.give(&PERCENT, "percent", percent);
        IoStress::read(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn ranges_are_kept_and_named() {
        assert!(stress("0", "1").is_ok() && stress("4096", "100").is_ok());
        assert_eq!(stress("1", "0"), Err("percent is 0; accepted are 1 to 100 %".into()));
        assert_eq!(stress("4097", "1"), Err("workers is 4097; accepted are 0 to 4096 workers".into()));
    }

    #[test]
    fn the_folder_is_the_places_where_none_is_asked_for() {
        let usual = IoStress::with_defaults();
        assert_eq!(usual, Ok(IoStress { workers: 1, percent: 80, bytes: 0, path: None }));
    }
}
