//! The end of a sidecar: nothing of it stays, in the task or in Systems Manager.

use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use super::Sidecar;
use crate::channel::journal;

/// ECS gives 30 s between SIGTERM and SIGKILL; these three together stay inside. Undoing takes long only where
/// the ECS agent does it: one stop in 5 s for each kind of fault.
const UNDO_LIMIT: Duration = Duration::from_secs(12);
const REPLIES_LIMIT: Duration = Duration::from_secs(4);
const RETIRE_LIMIT: Duration = Duration::from_secs(12);

impl Sidecar {
    /// Undoes the effects, answers the commands, removes activation and instance.
    pub(super) async fn drain(&self, channels: Pin<&mut impl Future<Output = ()>>) -> ExitCode {
        self.queue.close();
        // Replies that wait for a later try have no later.
        self.outbox.resend_all();
        let mut clean = true;
        let undo_and_reply = async {
            if tokio::time::timeout(UNDO_LIMIT, self.queue.idle()).await.is_err() {
                tracing::error!("some commands did not end in time; they end with this process");
                clean = false;
            }
            if tokio::time::timeout(REPLIES_LIMIT, self.outbox.drained()).await.is_err() {
                tracing::warn!(replies = self.outbox.len(), "the service did not acknowledge every reply");
            }
        };
        tokio::select! {
            () = undo_and_reply => {}
            () = channels => {}
        }
        clean &= self.retire().await;
        if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn retire(&self) -> bool {
        let identity = &self.registered.identity;
        let gone = self.registered.footprint.retire(RETIRE_LIMIT, identity.credentials()).await;
        if gone {
            // After what is still being written, which would come back otherwise.
            if let Err(error) = identity.store().clear().await {
                tracing::warn!(%error, "the identity of an instance that is gone stays on disk");
            }
            if let Err(error) = journal::remove(identity.store().dir()).await {
                tracing::warn!(%error, "the journal of an instance that is gone stays on disk");
            }
        }
        gone
    }
}
