//! What time does to commands and credentials.

use std::time::{Duration, SystemTime};

use super::{Command, Invocation, State, Status, job_id};

/// How long an agent may stay silent after it took a cancel message. The stock agent says nothing at all for
/// a command that was still in its queue, and waits at most ten seconds for one that runs.
pub const CANCEL_GRACE: Duration = Duration::from_secs(30);

/// How long expired credentials are remembered.
const TOKEN_MEMORY: Duration = Duration::from_secs(24 * 3600);

impl State {
    /// Applies every rule that depends on time: deliveries that came too late, executions that never ended,
    /// cancels that nobody answered, credentials long gone. Call it before looking. True if it changed
    /// anything.
    pub fn sweep(&mut self, now: SystemTime) -> bool {
        let tokens = self.tokens.len();
        self.tokens.retain(|_, token| now < token.expires + TOKEN_MEMORY);
        let mut changed = self.tokens.len() != tokens;
        for command in &mut self.commands {
            for at in 0..command.invocations.len() {
                let Some(status) = overdue(command, &command.invocations[at], now) else { continue };
                changed = true;
                command.invocations[at].finish(status, now);
                let instance = &command.invocations[at].instance_id;
                let job = job_id(command.id, instance);
                if let Some(queue) = self.outgoing.get_mut(instance) {
                    queue.retain(|message| message.job_id != job && !message.cancels(&job));
                }
            }
        }
        changed
    }
}

impl super::Outgoing {
    /// Whether it is the cancel message of a job.
    fn cancels(&self, job: &str) -> bool {
        let content = || serde_json::from_str::<serde_json::Value>(&self.content).unwrap_or_default();
        self.topic == super::Topic::CancelCommand && content()["CancelMessageId"] == job
    }
}

/// The status that time has brought an invocation, if any.
///
/// Not delivered within `TimeoutSeconds`: it "won't run" any more (botocore, SendCommand), so it is
/// DeliveryTimedOut. Delivered but not over at `ExpiresAfter`, the sum of both time-outs: it has run out of
/// execution time.
fn overdue(command: &Command, invocation: &Invocation, now: SystemTime) -> Option<Status> {
    let expires = command.requested + command.timeout + command.execution_timeout;
    let patience_over = invocation.cancel_accepted.is_some_and(|taken| now >= taken + CANCEL_GRACE);
    match invocation.status {
        Status::Pending | Status::Delayed if now >= command.requested + command.timeout => {
            Some(Status::DeliveryTimedOut)
        }
        Status::Cancelling if patience_over || now >= expires => Some(Status::Cancelled),
        Status::InProgress if now >= expires => Some(Status::TimedOut),
        _ => None,
    }
}
