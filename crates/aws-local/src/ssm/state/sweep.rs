//! What time does to commands and credentials.

use std::time::{Duration, SystemTime};

use super::{Command, Invocation, SsmState, Status, job_id};

/// How long an agent may stay silent after it took a cancel message. The stock agent says nothing at all for
/// a command that was still in its queue, and waits at most ten seconds for one that runs.
pub(super) const CANCEL_GRACE: Duration = Duration::from_secs(30);

/// How long expired credentials are remembered.
const TOKEN_MEMORY: Duration = Duration::from_secs(24 * 3600);

impl SsmState {
    /// Applies every rule that depends on time: deliveries that came too late, executions that never ended,
    /// cancels without an answer, credentials long gone. Call it before looking. True if it changed
    /// anything.
    pub fn sweep(&mut self, now: SystemTime) -> bool {
        let tokens = self.tokens.len();
        self.tokens.retain(|_, token| now < token.expires + TOKEN_MEMORY);
        let mut changed = self.tokens.len() != tokens;
        for index in 0..self.commands.len() {
            let mut ended = false;
            let command = &mut self.commands[index];
            for at in 0..command.invocations.len() {
                let Some(status) = overdue(command, &command.invocations[at], now) else { continue };
                ended = true;
                command.invocations[at].finish(status, now);
                let instance = &command.invocations[at].instance_id;
                let job = job_id(command.id, instance);
                if let Some(queue) = self.outgoing.get_mut(instance) {
                    queue.retain(|message| message.job_id != job && !message.cancels(&job));
                }
            }
            if ended {
                self.advance(index, now);
                changed = true;
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
    let sent = invocation.queued?;
    let expires = sent + command.timeout + command.execution_timeout;
    let grace_over = invocation.cancel_accepted.is_some_and(|taken| now >= taken + CANCEL_GRACE);
    match invocation.status {
        Status::Pending | Status::Delayed if now >= sent + command.timeout => Some(Status::DeliveryTimedOut),
        Status::Cancelling if grace_over || now >= expires => Some(Status::Cancelled),
        Status::InProgress if now >= expires => Some(Status::TimedOut),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::super::sample::{at, job, offers, reply, submitted};
    use super::super::{RoleToken, Topic};
    use super::*;

    fn status(state: &SsmState) -> Status {
        state.commands[0].invocations[0].status
    }

    fn accepted() -> SsmState {
        let mut state = submitted(&["mi-1"]);
        offers(&mut state, 0);
        state.acknowledge(&job("mi-1"), "200", Duration::ZERO, at(1));
        state
    }

    #[test]
    fn a_command_that_is_not_delivered_in_time_will_not_run() {
        let mut state = submitted(&["mi-1"]);
        offers(&mut state, 0);
        assert!(!state.sweep(at(59)));
        assert_eq!(status(&state), Status::Pending);
        assert!(state.sweep(at(60)));
        assert_eq!(status(&state), Status::DeliveryTimedOut);
        assert!(offers(&mut state, 100).is_empty());
        let summary = SsmState::summary(&state.commands[0]);
        assert_eq!((summary.delivery_timed_out, summary.errors), (1, 0));
    }

    #[test]
    fn a_command_that_runs_for_too_long_has_timed_out() {
        let mut state = accepted();
        state.sweep(at(659));
        assert_eq!(status(&state), Status::InProgress);
        state.sweep(at(660));
        assert_eq!(status(&state), Status::TimedOut);
        state.reply(&job("mi-1"), &reply("Success", json!({})), at(661));
        assert_eq!(status(&state), Status::TimedOut);
    }

    #[test]
    fn a_cancel_that_nobody_answers_is_over_after_a_while() {
        let mut state = accepted();
        state.cancel(Uuid::from_u128(7), &[], at(10));
        state.sweep(at(100));
        assert_eq!(status(&state), Status::Cancelling, "the agent does not know yet");
        let cancel = offers(&mut state, 100);
        assert_eq!(cancel[0].topic, Topic::CancelCommand);
        state.acknowledge(&cancel[0].job_id, "200", Duration::ZERO, at(100));
        state.sweep(at(129));
        assert_eq!(status(&state), Status::Cancelling);
        state.sweep(at(130));
        assert_eq!(status(&state), Status::Cancelled);
    }

    #[test]
    fn a_cancel_that_never_arrives_ends_with_its_command() {
        let mut state = accepted();
        state.cancel(Uuid::from_u128(7), &[], at(10));
        state.sweep(at(660));
        assert_eq!(status(&state), Status::Cancelled);
        assert!(offers(&mut state, 661).is_empty(), "the cancel message goes with it");
    }

    #[test]
    fn expired_tokens_are_remembered_for_a_day() {
        let mut state = SsmState::default();
        let token = RoleToken {
            access_key_id: "ASIA".to_owned(),
            instance_id: "mi-1".to_owned(),
            secret_access_key: String::new(),
            session_token: String::new(),
            expires: at(0),
        };
        state.tokens.insert("ASIA".to_owned(), token);
        assert!(!state.sweep(at(24 * 3600 - 1)));
        assert!(state.sweep(at(24 * 3600)));
        assert!(state.tokens.is_empty());
    }
}
