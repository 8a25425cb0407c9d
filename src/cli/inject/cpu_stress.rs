//! Options of `taskfault inject cpu-stress`.

use std::time::Duration;

use super::{Asked, plain_number};
use faults::cpu_stress::CpuStress;
use faults::duration;
use faults::{Fault, ParameterError};

#[derive(Debug, clap::Args)]
pub(super) struct CpuStressArgs {
    /// How long, 1 s to 12 h: PT5M, PT1H30M, 90s, 5m, 2h
    #[arg(long, value_parser = duration::parse)]
    duration: Duration,
    /// Share of a core per worker, 0-100; with 0 workers, share of the task's CPU limit
    #[arg(long, value_parser = plain_number, default_value_t = u64::from(CpuStress::DEFAULT_PERCENT))]
    percent: u64,
    /// Worker threads, 0-4096; 0 means all cores, or the task's CPU limit where it has one
    #[arg(long, value_parser = plain_number, default_value_t = u64::from(CpuStress::DEFAULT_WORKERS))]
    workers: u64,
}

impl CpuStressArgs {
    pub(super) fn asked(self) -> Result<Asked, ParameterError> {
        Ok((Fault::CpuStress(CpuStress::new(self.workers, self.percent)?), self.duration))
    }
}
