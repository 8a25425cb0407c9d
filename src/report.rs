//! What happened, in the words and the shape that Systems Manager reads.

use std::time::SystemTime;

/// The status of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStatus {
    Success,
    Failed,
    Cancelled,
    TimedOut,
    Skipped,
}

/// One finished step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The key in `runtimeStatus`.
    pub name: String,
    /// The action or plugin name.
    pub action: String,
    pub status: StepStatus,
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Takes the place of the combined output when the step never produced one (skipped, refused).
    pub message: Option<String>,
    pub started: SystemTime,
    pub ended: SystemTime,
}
