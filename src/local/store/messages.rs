//! Messages on their way to agents: what is due, and what an acknowledgement means.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{State, Status, Topic};

/// A message to put on a wire now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub job_id: String,
    pub topic: Topic,
    pub content: String,
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
    /// No such message is waiting: an acknowledgement repeated, or of somebody else's job.
    Unknown,
}

impl State {
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
