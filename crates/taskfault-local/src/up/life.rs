//! The life of one task, from its start to its end, reported to the control plane.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::plan::Plan;
use super::{Change, Inner};
use crate::stage::{Exit, StageError, Task};
use aws_local::ecs::{self, agent};

/// A running task and everything that its end needs.
#[derive(Debug)]
pub(super) struct Life {
    inner: Arc<Inner>,
    task: ecs::Task,
    address: Ipv4Addr,
    staged: Task,
    plan: Plan,
}

/// A container's end as the API has it: 128 and the signal's number for one that was killed.
fn exit_code(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    }
}

impl Life {
    pub(super) fn new(
        inner: Arc<Inner>,
        task: ecs::Task,
        address: Ipv4Addr,
        staged: Task,
        plan: Plan,
    ) -> Life {
        Life { inner, task, address, staged, plan }
    }

    pub(super) fn arn(&self) -> &str {
        &self.task.arn
    }

    /// Until the task has ended: by itself, or because `end` says so.
    pub(super) async fn run(mut self, mut end: oneshot::Receiver<()>) {
        let result = loop {
            tokio::select! {
                exit = self.staged.next_exit() => match exit {
                    Ok(Some((container, exit))) => {
                        self.container_ended(&container, exit);
                        if self.plan.essential.contains(&container) {
                            break self.stop().await;
                        }
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                },
                // A sender that is gone means that the whole cluster is; then this future is, too.
                _ = &mut end => {
                    self.deregister().await;
                    break self.stop().await;
                }
            }
        };
        self.ended(result);
    }

    /// Until the load balancers are done with it, or it has ended meanwhile.
    async fn deregister(&mut self) {
        let (inner, arn) = (self.inner.clone(), self.task.arn.clone());
        let mut done = pin!(inner.deregister(&arn));
        loop {
            tokio::select! {
                () = &mut done => return,
                exit = self.staged.next_exit() => match exit {
                    Ok(Some((container, exit))) => {
                        self.container_ended(&container, exit);
                        if self.plan.essential.contains(&container) {
                            return;
                        }
                    }
                    // Said again to whoever asks next.
                    Ok(None) | Err(_) => return,
                },
            }
        }
    }

    fn container_ended(&self, container: &str, exit: Exit) {
        let exit_code = exit_code(exit);
        self.inner.update(|state, _| agent::container_ended(state, &self.task.arn, container, exit_code));
        let container = container.to_owned();
        self.emit(Change::ContainerEnded { container, exit_code });
    }

    /// SIGTERM to all, SIGKILL to each that is there after its `stopTimeout`.
    async fn stop(&mut self) -> Result<(), StageError> {
        self.inner.running.lock().remove(&self.task.arn);
        self.inner.update(|state, context| agent::stopping(state, &self.task.arn, context));
        self.emit(Change::Stopping { reason: self.inner.reason(&self.task.arn) });
        let now = Instant::now();
        let left: BTreeMap<&String, &Duration> = self
            .plan
            .grace
            .iter()
            .filter(|(container, _)| !self.staged.exits().contains_key(*container))
            .collect();
        let mut kills: Vec<(Instant, String)> =
            left.into_iter().map(|(container, grace)| (now + *grace, container.clone())).collect();
        kills.sort();
        self.staged.terminate().await;
        loop {
            let next = kills.first().map(|(at, _)| *at);
            tokio::select! {
                exit = self.staged.next_exit() => match exit? {
                    Some((container, exit)) => {
                        kills.retain(|(_, name)| *name != container);
                        self.container_ended(&container, exit);
                    }
                    None => return Ok(()),
                },
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {
                    let (_, container) = kills.remove(0);
                    self.staged.kill(&container).await;
                }
            }
        }
    }

    fn ended(self, result: Result<(), StageError>) {
        self.inner.running.lock().remove(&self.task.arn);
        if let Err(error) = result {
            // Its first process failed in the middle: rare enough to be said as the reason.
            let reason = format!("CannotRunTask: {error}");
            self.inner.update(|state, context| {
                agent::failed_to_start(state, &self.task.arn, &reason, context);
            });
        }
        for (container, exit) in self.staged.exits() {
            let exit_code = exit_code(*exit);
            self.inner.update(|state, _| agent::container_ended(state, &self.task.arn, container, exit_code));
        }
        self.inner.logs.ended(&self.task.arn);
        self.inner.update(|state, context| agent::stopped(state, &self.task.arn, context));
        self.emit(Change::Stopped { reason: self.inner.reason(&self.task.arn) });
    }

    fn emit(&self, change: Change) {
        self.inner.emit(&self.task, Some(self.address), change);
    }
}
