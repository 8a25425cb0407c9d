//! Options of `taskfault inject io-stress`.

use std::path::PathBuf;
use std::time::Duration;

use super::{Asked, plain_number};
use faults::duration;
use faults::io_stress::IoStress;
use faults::{Fault, ParameterError};

#[derive(Debug, clap::Args)]
pub(super) struct IoStressArgs {
    /// How long, 1 s to 12 h: PT5M, PT1H30M, 90s, 5m, 2h
    #[arg(long, value_parser = duration::parse)]
    duration: Duration,
    /// Share of the free space that the files may grow to, all together, 1-100
    #[arg(long, value_parser = plain_number, default_value_t = u64::from(IoStress::DEFAULT_PERCENT))]
    percent: u64,
    /// Worker threads, 0-4096; 0 means one for each CPU
    #[arg(long, value_parser = plain_number, default_value_t = u64::from(IoStress::DEFAULT_WORKERS))]
    workers: u64,
    /// The folder for the files [default: /tmp]
    #[arg(long)]
    path: Option<PathBuf>,
}

impl IoStressArgs {
    pub(super) fn asked(self) -> Result<Asked, ParameterError> {
        Ok((Fault::IoStress(IoStress::new(self.workers, self.percent, self.path)?), self.duration))
    }
}
