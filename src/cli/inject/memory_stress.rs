//! Options of `taskfault inject memory-stress`.

use std::time::Duration;

use super::{Asked, plain_number};
use faults::duration;
use faults::memory_stress::MemoryStress;
use faults::{Fault, ParameterError};

#[derive(Debug, clap::Args)]
pub(super) struct MemoryStressArgs {
    /// How long, 1 s to 12 h: PT5M, PT1H30M, 90s, 5m, 2h
    #[arg(long, value_parser = duration::parse)]
    duration: Duration,
    /// Share of the memory that is free to the task, for all workers together, 1-100
    #[arg(long, value_parser = plain_number, default_value_t = u64::from(MemoryStress::DEFAULT_PERCENT))]
    percent: u64,
    /// Worker threads that share it, 0-4096; 0 means one for each CPU
    #[arg(long, value_parser = plain_number, default_value_t = u64::from(MemoryStress::DEFAULT_WORKERS))]
    workers: u64,
}

impl MemoryStressArgs {
    pub(super) fn asked(self) -> Result<Asked, ParameterError> {
        Ok((Fault::MemoryStress(MemoryStress::new(self.workers, self.percent)?), self.duration))
    }
}
