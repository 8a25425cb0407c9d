//! Options of `taskfault inject disk-fill`.

use std::path::PathBuf;
use std::time::Duration;

use super::{Asked, plain_number};
use faults::disk_fill::DiskFill;
use faults::duration;
use faults::{Fault, ParameterError};

#[derive(Debug, clap::Args)]
pub(super) struct DiskFillArgs {
    /// How long, 1 s to 12 h: PT5M, PT1H30M, 90s, 5m, 2h
    #[arg(long, value_parser = duration::parse)]
    duration: Duration,
    /// How full the file system is to be, as df counts, 1-100
    #[arg(long, value_parser = plain_number, default_value_t = u64::from(DiskFill::DEFAULT_PERCENT))]
    percent: u64,
    /// The file system is the one that this path is on
    #[arg(long, default_value = DiskFill::DEFAULT_PATH)]
    path: PathBuf,
}

impl DiskFillArgs {
    pub(super) fn asked(self) -> Result<Asked, ParameterError> {
        Ok((Fault::DiskFill(DiskFill::new(self.percent, self.path)?), self.duration))
    }
}
