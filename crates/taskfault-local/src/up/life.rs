//! The life of one task, from the start of its containers to its end, reported to the control plane.

use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::containers::{Containers, Next};
use super::plan::Plan;
use super::{Change, Inner, RunningTask};
use crate::stage::{Exit, Happening, StageError, Task};
use aws_local::ecs::{self, agent};

/// A task with its network, and everything that its life needs.
#[derive(Debug)]
pub(super) struct Life {
    inner: Arc<Inner>,
    task: ecs::Task,
    address: Ipv4Addr,
    /// Pid of its first process, as this one sees it.
    first: i32,
    staged: Task,
    plan: Plan,
    containers: Containers,
    /// All its containers have been started.
    is_up: bool,
}

/// A container's end as the API has it: 128 and the signal's number for one that was killed.
fn exit_code(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    }
}

/// Why a task ends.
enum End {
    /// By request: what its load balancers have under way may end before.
    Asked,
    /// An essential container has ended.
    Stop,
    /// A container could not be started.
    NotStarted(String),
    /// Nothing of it is left.
    Over,
}

impl Life {
    pub(super) fn new(
        inner: Arc<Inner>,
        task: ecs::Task,
        (address, first): (Ipv4Addr, i32),
        staged: Task,
        plan: Plan,
    ) -> Life {
        let containers = Containers::of(&plan.containers);
        Life { inner, task, address, first, staged, plan, containers, is_up: false }
    }

    pub(super) fn arn(&self) -> &str {
        &self.task.arn
    }

    /// Until the task has ended: by itself, or because `end` says so.
    pub(super) async fn run(mut self, mut end: oneshot::Receiver<()>) {
        let result = match self.live(&mut end).await {
            Ok(End::Asked) => {
                self.deregister().await;
                self.stop().await
            }
            Ok(End::Stop) => self.stop().await,
            Ok(End::NotStarted(reason)) => {
                let reason = format!("CannotStartContainerError: {reason}");
                self.inner.update(|state, context| {
                    agent::cannot_start(state, &self.task.arn, &reason, context);
                });
                self.emit(Change::FailedToStart { reason });
                self.stop_containers().await
            }
            Ok(End::Over) => Ok(()),
            Err(error) => Err(error),
        };
        self.ended(result);
    }

    /// Until the load balancers are done with it, or it ends meanwhile.
    async fn deregister(&mut self) {
        let (inner, arn) = (self.inner.clone(), self.task.arn.clone());
        let mut done = pin!(inner.deregister(&arn));
        loop {
            tokio::select! {
                () = &mut done => return,
                happening = self.staged.next() => match happening {
                    Ok(Some(happening)) => if self.note(happening).is_some() {
                        return;
                    },
                    // Said again to whoever asks next.
                    Ok(None) | Err(_) => return,
                },
            }
        }
    }

    async fn live(&mut self, end: &mut oneshot::Receiver<()>) -> Result<End, StageError> {
        loop {
            if let Some(reason) = self.go_on().await {
                return Ok(End::NotStarted(reason));
            }
            let due = self.containers.due(Instant::now());
            tokio::select! {
                happening = self.staged.next() => match happening? {
                    None => return Ok(End::Over),
                    Some(happening) => if let Some(end) = self.note(happening) {
                        return Ok(end);
                    },
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                // A sender that is gone means that the whole cluster is; then this future is, too.
                _ = &mut *end => return Ok(End::Asked),
            }
        }
    }

    /// Starts what may be started and looks at what is to be looked at; why a container can never be started.
    async fn go_on(&mut self) -> Option<String> {
        loop {
            match self.containers.next(Instant::now()) {
                Next::Start(place) => self.staged.run(self.plan.containers[place].program.clone()).await,
                Next::Check(place) => {
                    if let Some(health) = &self.plan.containers[place].health {
                        self.staged.check(health.check.clone()).await;
                    }
                }
                Next::Never(reason) => return Some(reason),
                Next::Wait => break,
            }
        }
        if !self.is_up && self.containers.all_started() {
            self.is_up = true;
            self.staged.complete().await;
            self.up();
        }
        None
    }

    /// All containers have been started.
    fn up(&self) {
        let pid = |it: &super::plan::Container| {
            let name = &it.program.name;
            Some((name.clone(), self.staged.pid(name)?))
        };
        let running = RunningTask {
            arn: self.task.arn.clone(),
            id: self.task.id.clone(),
            cluster: self.task.cluster.clone(),
            service: self.task.service.clone(),
            address: self.address,
            first: self.first,
            programs: self.plan.containers.iter().filter_map(pid).collect(),
            started: SystemTime::now(),
            folder: self.plan.folder.clone(),
        };
        self.inner.running.lock().insert(self.task.arn.clone(), running);
        self.inner.update(|state, context| agent::started(state, &self.task.arn, context));
        self.emit(Change::Started { replaces: self.task.replaces.clone() });
    }

    /// Takes note of what happened; the task's end if it is that.
    fn note(&mut self, happening: Happening) -> Option<End> {
        let arn = self.task.arn.clone();
        match happening {
            Happening::Running { program } => {
                self.containers.started(&program, Instant::now());
                self.inner.update(|state, _| agent::container_started(state, &arn, &program));
            }
            Happening::NotRunning { message, .. } => return Some(End::NotStarted(message)),
            Happening::Ended { program, exit } => {
                self.container_ended(&program, exit);
                if self.containers.is_essential(&program) {
                    return Some(End::Stop);
                }
            }
            Happening::Checked { program, exit } => {
                let passed = exit == Some(Exit::Code(0));
                if let Some(health) = self.containers.checked(&program, passed, Instant::now()) {
                    self.inner.update(|state, context| {
                        agent::health_checked(state, &arn, &program, health, context);
                    });
                    self.emit(Change::Health { container: program, health });
                }
            }
        }
        None
    }

    fn container_ended(&mut self, container: &str, exit: Exit) {
        let exit_code = exit_code(exit);
        self.containers.ended(container, exit_code);
        self.inner.update(|state, context| {
            agent::container_ended(state, &self.task.arn, container, exit_code, context);
        });
        let container = container.to_owned();
        self.emit(Change::ContainerEnded { container, exit_code });
    }

    /// The task does not count any more and is ended.
    async fn stop(&mut self) -> Result<(), StageError> {
        self.inner.running.lock().remove(&self.task.arn);
        self.inner.update(|state, context| agent::stopping(state, &self.task.arn, context));
        self.emit(Change::Stopping { reason: self.inner.reason(&self.task.arn) });
        self.stop_containers().await
    }

    /// SIGTERM to each container once those that depend on it have ended, SIGKILL after its `stopTimeout`.
    async fn stop_containers(&mut self) -> Result<(), StageError> {
        self.staged.complete().await;
        let mut kills: Vec<(Instant, usize)> = Vec::new();
        loop {
            for place in self.containers.take_stops() {
                let container = &self.plan.containers[place];
                self.staged.terminate_one(&container.program.name).await;
                kills.push((Instant::now() + container.grace, place));
            }
            kills.retain(|(_, place)| self.containers.runs(*place));
            let next = kills.iter().min().copied();
            tokio::select! {
                happening = self.staged.next() => match happening? {
                    Some(Happening::Ended { program, exit }) => self.container_ended(&program, exit),
                    Some(Happening::Running { program }) => self.containers.started(&program, Instant::now()),
                    Some(_) => {}
                    None => return Ok(()),
                },
                () = sleep_until(next.map_or_else(Instant::now, |(at, _)| at)), if next.is_some() => {
                    if let Some(next) = next {
                        self.staged.kill(&self.plan.containers[next.1].program.name).await;
                        kills.retain(|kill| *kill != next);
                    }
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
            self.inner.update(|state, context| {
                agent::container_ended(state, &self.task.arn, container, exit_code, context);
            });
        }
        self.inner.logs.ended(&self.task.arn);
        self.inner.update(|state, context| agent::stopped(state, &self.task.arn, context));
        self.emit(Change::Stopped { reason: self.inner.reason(&self.task.arn) });
    }

    fn emit(&self, change: Change) {
        self.inner.emit(&self.task, Some(self.address), change);
    }
}
