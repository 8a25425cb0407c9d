//! The conversation with Systems Manager: bytes to jobs, replies to bytes. Knows the wire, nothing else.
//!
//! Two ways in: the control channel ([`mgs`], a websocket) and, while that is denied or unreachable, the
//! long poll ([`mds`]). Both hand their jobs to an [`Inbox`] and both carry the replies of the [`outbox`].

pub mod heartbeat;
pub mod journal;
pub mod link;
pub mod mds;
pub mod mgs;
pub mod outbox;
pub mod reply;
pub mod sender;

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::aws::clock::epoch_milliseconds;
use ssm_wire::job::{Delivery, JobId, Verdict};

/// For how long a job may be offered again that is answered already. Source: amazon-ssm-agent
/// `messagehandler/idempotency`.
pub const JOB_MEMORY: Duration = Duration::from_secs(30 * 60);

/// The way a job came in; its replies go out the same way where they can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The control channel (`ssmmessages`).
    Gateway,
    /// The long poll (`ec2messages`).
    Poll,
}

/// What takes the jobs: the run layer. The channels know it by this trait only.
pub trait Inbox: fmt::Debug {
    /// Looks at a job and decides; nothing runs yet.
    fn offer(&self, delivery: &Delivery, origin: Origin) -> Verdict;
    /// The service knows that the job is taken: it may run now. Called once for each accepted job.
    fn start(&self, id: &JobId);
    /// The service refused the acknowledgement: as if the job had never come.
    fn withdraw(&self, id: &JobId);
    /// The service refused the acknowledgement of a job that is in progress to it: `reason` is its last reply, and a
    /// next offer is a repeated one.
    fn refuse(&self, id: &JobId, reason: &str);
}

/// Now, as frames date themselves: Unix epoch milliseconds.
fn now_ms() -> u64 {
    epoch_milliseconds(SystemTime::now())
}
