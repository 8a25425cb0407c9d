//! What happened, in the words and the shape that Systems Manager reads. Pure: it knows no channel and no clock.

pub mod output;
pub mod reply;

use std::time::SystemTime;

/// The status of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStatus {
    /// It did what it should.
    Success,
    /// It ended with a code other than 0, or could not be started.
    Failed,
    /// A cancel job ended it, or came before it.
    Cancelled,
    /// It had run for as long as its document lets it.
    TimedOut,
    /// Its precondition does not hold here.
    Skipped,
}

impl StepStatus {
    /// The word in a reply.
    pub fn as_str(self) -> &'static str {
        match self {
            StepStatus::Success => "Success",
            StepStatus::Failed => "Failed",
            StepStatus::Cancelled => "Cancelled",
            StepStatus::TimedOut => "TimedOut",
            StepStatus::Skipped => "Skipped",
        }
    }
}

/// The status of a whole command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentStatus {
    /// It was accepted, and has steps that have not finished.
    InProgress,
    /// All steps succeeded or were skipped.
    Success,
    /// A step failed, or the document cannot be understood.
    Failed,
    /// A step was cancelled; none failed.
    Cancelled,
    /// A step ran out of time; none failed.
    TimedOut,
}

impl DocumentStatus {
    /// The status of a document whose steps have all finished: the worst of them, in the order that is agreed
    /// between service and agent (`aggregator.go`): failed, timed out, cancelled. A skipped step is a success.
    pub fn of(steps: &[StepReport]) -> DocumentStatus {
        let any = |status| steps.iter().any(|step| step.status == status);
        if any(StepStatus::Failed) {
            DocumentStatus::Failed
        } else if any(StepStatus::TimedOut) {
            DocumentStatus::TimedOut
        } else if any(StepStatus::Cancelled) {
            DocumentStatus::Cancelled
        } else {
            DocumentStatus::Success
        }
    }

    /// The word in a reply.
    pub fn as_str(self) -> &'static str {
        match self {
            DocumentStatus::InProgress => "InProgress",
            DocumentStatus::Success => "Success",
            DocumentStatus::Failed => "Failed",
            DocumentStatus::Cancelled => "Cancelled",
            DocumentStatus::TimedOut => "TimedOut",
        }
    }
}

/// A place in S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The bucket.
    pub bucket: String,
    /// What the keys of the step's output begin with: `PREFIX/COMMAND/INSTANCE/ACTION`.
    pub prefix: String,
}

/// One finished step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The key in `runtimeStatus`.
    pub name: String,
    /// The action or plugin name.
    pub action: String,
    /// How it ended.
    pub status: StepStatus,
    /// Exit code; 0 for success. The reply of a failed step has 1 in place of 0.
    pub code: i32,
    /// Standard output as the step wrote it, of any length; a reply is cut, see [`output`].
    pub stdout: Vec<u8>,
    /// Standard error, likewise.
    pub stderr: Vec<u8>,
    /// Takes the place of the combined output when the step never produced one (skipped, refused), or when
    /// the streams carry remarks that the combined output does not.
    pub message: Option<String>,
    /// Where its output was put besides, where that was asked for.
    pub stored: Option<Stored>,
    /// When it began.
    pub started: SystemTime,
    /// When it was over. The same as `started` where it never ran.
    pub ended: SystemTime,
}

impl StepReport {
    /// A step of a command that was cancelled before it ran.
    pub fn unstarted(name: &str, action: &str, now: SystemTime) -> StepReport {
        StepReport {
            name: name.to_owned(),
            action: action.to_owned(),
            status: StepStatus::Cancelled,
            code: 1,
            stdout: Vec::new(),
            stderr: Vec::new(),
            message: None,
            stored: None,
            started: now,
            ended: now,
        }
    }
}
