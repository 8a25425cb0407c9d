//! Messages on their way to agents: what is due, and what an acknowledgement means.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{SsmState, Status, Topic};

/// A message to put on a wire now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// `aws.ssm.<uuid>.<instance>`.
    pub job_id: String,
    /// What the job asks for.
    pub topic: Topic,
    /// JSON text of the payload.
    pub content: String,
    /// When the job was queued.
    pub created: SystemTime,
    /// 1 for the first delivery.
    pub attempt: u32,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// The agent holds the job now.
    Accepted,
    /// It will be offered again.
    Later,
    /// The agent will not run it: the invocation has failed.
    Refused,
    /// No such message is waiting: an acknowledgement repeated, or of another instance's job.
    Unknown,
}

impl SsmState {
    /// The messages to send to an instance now, `most` of them. Each is not due again before `hold` has passed.
    pub fn offers(&mut self, instance_id: &str, most: usize, hold: Duration, now: SystemTime) -> Vec<Offer> {
        let Some(queue) = self.outgoing.get_mut(instance_id) else { return Vec::new() };
        let due = queue.iter_mut().filter(|message| message.due <= now).take(most);
        due.map(|message| {
            message.offered = Some(now);
            message.offers += 1;
            message.refused = false;
            message.due = now + hold;
            Offer {
                job_id: message.job_id.clone(),
                topic: message.topic,
                content: message.content.clone(),
                created: message.created,
                attempt: message.offers,
            }
        })
        .collect()
    }

    /// When the next message to an instance is due, if any waits.
    pub fn next_due(&self, instance_id: &str) -> Option<SystemTime> {
        self.outgoing.get(instance_id)?.iter().map(|message| message.due).min()
    }

    /// Everything that was not acknowledged is due at once: the instance has a new connection.
    pub fn reconnected(&mut self, instance_id: &str, now: SystemTime) {
        for message in self.outgoing.get_mut(instance_id).into_iter().flatten() {
            message.due = now;
        }
    }

    /// An agent's answer to a message, by the codes of amazon-ssm-agent's `mgsinteractor.go`: 200 taken,
    /// 51405 taken before, 51402 no room, 51401 and 51499 not now; every other one means that it never will.
    /// A message that the agent has no room for is due again after `later`.
    pub fn acknowledge(&mut self, job: &str, code: &str, later: Duration, now: SystemTime) -> Ack {
        let instance = job.rsplit('.').next().unwrap_or_default();
        let Some(queue) = self.outgoing.get_mut(instance) else { return Ack::Unknown };
        let Some(at) = queue.iter().position(|message| message.job_id == job) else { return Ack::Unknown };
        match code {
            "200" | "51405" => {
                self.take(job, now);
                Ack::Accepted
            }
            "51401" | "51402" | "51499" => {
                queue[at].due = now + later;
                queue[at].refused = true;
                if let Some((invocation, _)) = self.invocation_mut(job)
                    && invocation.status == Status::Pending
                {
                    invocation.status = Status::Delayed;
                }
                Ack::Later
            }
            _ => {
                self.withdraw(job);
                if let Some((invocation, _)) = self.invocation_mut(job) {
                    invocation.finish(Status::Failed, now);
                }
                self.advance_job(job, now);
                Ack::Refused
            }
        }
    }

    /// The agent holds this job: stop offering it.
    fn take(&mut self, job: &str, now: SystemTime) {
        if let Some((Topic::CancelCommand, content)) = self.withdraw(job) {
            self.cancel_taken(&content, now);
        } else if let Some((invocation, _)) = self.invocation_mut(job) {
            invocation.start(now);
        }
    }

    fn cancel_taken(&mut self, content: &str, now: SystemTime) {
        let content: Value = serde_json::from_str(content).unwrap_or_default();
        let target = content["CancelMessageId"].as_str().unwrap_or_default();
        if let Some((invocation, _)) = self.invocation_mut(target) {
            invocation.cancel_accepted.get_or_insert(now);
        }
    }

    fn withdraw(&mut self, job: &str) -> Option<(Topic, String)> {
        let queue = self.outgoing.get_mut(job.rsplit('.').next()?)?;
        let at = queue.iter().position(|message| message.job_id == job)?;
        queue.remove(at).map(|message| (message.topic, message.content))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{at, job, offers, submitted};
    use super::*;

    const LATER: Duration = Duration::from_secs(5);

    fn after_ack(code: &str) -> (SsmState, Ack) {
        let mut state = submitted(&["mi-1"]);
        assert_eq!(offers(&mut state, 0).len(), 1);
        let ack = state.acknowledge(&job("mi-1"), code, LATER, at(1));
        (state, ack)
    }

    fn status(state: &SsmState) -> Status {
        state.commands[0].invocations[0].status
    }

    #[test]
    fn a_message_is_offered_again_when_its_time_is_over() {
        let mut state = submitted(&["mi-1"]);
        assert!(state.offers("mi-2", 10, LATER, at(0)).is_empty());
        assert_eq!(state.next_due("mi-1"), Some(at(0)));
        assert_eq!(offers(&mut state, 0)[0].attempt, 1);
        assert_eq!(state.next_due("mi-1"), Some(at(10)));
        assert!(offers(&mut state, 9).is_empty());
        let again = offers(&mut state, 10);
        assert_eq!((again[0].attempt, &again[0].job_id), (2, &job("mi-1")));
    }

    #[test]
    fn a_new_connection_gets_everything_at_once() {
        let mut state = submitted(&["mi-1"]);
        offers(&mut state, 0);
        state.reconnected("mi-1", at(1));
        assert_eq!(offers(&mut state, 1).len(), 1);
    }

    #[test]
    fn an_accepted_job_is_in_progress_and_gone() {
        for code in ["200", "51405"] {
            let (mut state, ack) = after_ack(code);
            assert_eq!((ack, status(&state)), (Ack::Accepted, Status::InProgress));
            assert!(offers(&mut state, 100).is_empty());
            assert_eq!(state.acknowledge(&job("mi-1"), code, LATER, at(2)), Ack::Unknown);
        }
    }

    #[test]
    fn a_job_without_room_is_delayed_and_comes_again() {
        for code in ["51401", "51402", "51499"] {
            let (mut state, ack) = after_ack(code);
            assert_eq!((ack, status(&state)), (Ack::Later, Status::Delayed));
            assert!(offers(&mut state, 5).is_empty());
            assert_eq!(offers(&mut state, 6)[0].attempt, 2);
            state.acknowledge(&job("mi-1"), "200", LATER, at(7));
            assert_eq!(status(&state), Status::InProgress);
        }
    }

    #[test]
    fn a_job_that_cannot_be_read_has_failed() {
        for code in ["51403", "51404", "51406", "51407", "51408", "what"] {
            let (mut state, ack) = after_ack(code);
            assert_eq!((ack, status(&state)), (Ack::Refused, Status::Failed), "{code}");
            assert!(offers(&mut state, 100).is_empty());
        }
    }

    #[test]
    fn nobody_elses_job_is_acknowledged() {
        let mut state = submitted(&["mi-1"]);
        for job in [job("mi-2"), "aws.ssm.x.mi-1".to_owned(), String::new(), "...".to_owned()] {
            assert_eq!(state.acknowledge(&job, "200", LATER, at(0)), Ack::Unknown);
        }
        assert_eq!(status(&state), Status::Pending);
    }
}
