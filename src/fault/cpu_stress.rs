//! `cpu-stress`: worker threads that keep a share of a core busy.

/// Parameters of a CPU stress, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuStress {
    /// Worker threads; 0 means all cores, or the task's CPU limit where it has one.
    pub workers: u32,
    /// Share of a core per worker, 0–100.
    pub percent: u8,
}
