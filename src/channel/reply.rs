//! A reply to a job, as both channels carry it.

use serde_json::json;
use uuid::Uuid;

use super::Origin;
use ssm_wire::frame::Frame;
use ssm_wire::job::{JobId, Topic};

/// One reply.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The same on every repetition: the service acknowledges it by this id.
    pub id: Uuid,
    /// The job that it answers.
    pub job: JobId,
    /// The kind of that job.
    pub topic: Topic,
    /// JSON text of the reply's content.
    pub content: String,
    /// The channel by which the job came.
    pub origin: Origin,
    /// The job is over with it.
    pub last: bool,
}

impl Reply {
    /// A reply with an id of its own, after which more may come.
    pub fn new(job: &JobId, topic: Topic, content: String, origin: Origin) -> Reply {
        Reply { id: Uuid::new_v4(), job: job.clone(), topic, content, origin, last: false }
    }

    /// The same as the last of its job.
    #[must_use]
    pub fn last(self) -> Reply {
        Reply { last: true, ..self }
    }

    /// The frame of the control channel.
    pub fn frame(&self, created_ms: u64) -> Frame {
        let payload = json!({
            "schemaVersion": 1,
            "jobId": self.job.as_str(),
            "content": self.content,
            "topic": self.topic.as_str(),
        });
        Frame::new("agent_job_reply", self.id, created_ms, payload.to_string().into_bytes())
    }
}
