//! The memory that a fault may take of this task, with what the other containers use where they cannot be seen.

use std::sync::Arc;

use http_client::Client;

use super::Task;
use super::limits::memory::MemoryLimits;
use super::stats::Others;

/// The limits, and whom to ask for what cannot be seen.
#[derive(Debug)]
pub struct TaskMemory {
    limits: Arc<MemoryLimits>,
    others: Option<Others>,
}

impl TaskMemory {
    /// Of this task. Asks the task metadata for the other containers where they cannot be seen; the report says where
    /// that was in vain.
    pub async fn of(task: &Task) -> TaskMemory {
        let limits = MemoryLimits::read(task);
        let others = if limits.lacks_others() { others(task).await } else { None };
        let limits = match &others {
            Some(others) => limits.with_others(others.used()),
            None => limits,
        };
        TaskMemory { limits: Arc::new(limits), others }
    }

    /// The limits, with the use of others as it was last told.
    pub fn limits(&self) -> Arc<MemoryLimits> {
        Arc::clone(&self.limits)
    }

    /// Goes on asking for what the others use, until `end`.
    pub async fn follow_until(&self, end: impl Future<Output = ()>) {
        match &self.others {
            Some(others) => tokio::select! {
                () = end => {}
                () = others.follow() => {}
            },
            None => end.await,
        }
    }
}

async fn others(task: &Task) -> Option<Others> {
    let client = Client::new(&task.region.network.direct()).ok()?;
    let asked = Others::ask(client, task.metadata_uri.as_deref()?).await;
    asked
        .inspect_err(|reason| {
            tracing::warn!(reason, "cannot tell what the other containers use of the memory")
        })
        .ok()
}
