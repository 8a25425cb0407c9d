//! A network fault by the ECS agent: started, asked after now and then, stopped.

use std::fmt::Write;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::NetworkFault;
use crate::ecs_agent::request;
use crate::ecs_agent::target::{self, Targets};
use crate::ecs_agent::{AgentError, AgentFault};
use crate::fault::{ActiveFault, FaultReport, StartError, Started};
use crate::task::Task;
use faults::network_source::Source;

/// How often the agent is asked whether the fault still runs.
const ASK_AGAIN: Duration = Duration::from_secs(30);

struct ActiveByEcsAgent {
    name: &'static str,
    asked: String,
    duration: Duration,
    spared: usize,
    fault: AgentFault,
    /// How often the agent said that it runs.
    seen: u32,
    /// The agent said that it does not run any more.
    vanished: bool,
}

/// Starts the fault at the agent at `uri`.
pub(super) async fn start<F: NetworkFault>(fault: &F, duration: Duration, task: &Task, uri: &str) -> Started {
    let scope = fault.scope();
    scope.map_or(Ok(()), request::check)?;
    let sources = scope.map_or_else(Vec::new, |scope| scope.sources.clone());
    let targets = look_up(sources, task.clone()).await?;
    let (request, spared) = (fault.request(&targets), targets.spared.len());
    let live = AgentFault::start(request, &task.ecs_agent, uri, task.state_dir()).await?;
    let (name, asked) = (F::NAME, fault.words());
    Ok(Box::new(ActiveByEcsAgent { name, asked, duration, spared, fault: live, seen: 0, vanished: false }))
}

/// On a thread that may wait for DNS.
async fn look_up(sources: Vec<Source>, task: Task) -> Result<Targets, StartError> {
    match tokio::task::spawn_blocking(move || target::resolve(&sources, &task)).await {
        Ok(found) => Ok(found?),
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

impl ActiveFault for ActiveByEcsAgent {
    fn started(&self) -> String {
        format!("{}: the ECS agent runs it, NET_ADMIN being missing here: {}", self.name, self.asked)
    }

    fn completed(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {
            loop {
                tokio::time::sleep(ASK_AGAIN).await;
                match self.fault.runs().await {
                    Ok(true) => self.seen += 1,
                    Ok(false) => {
                        self.vanished = true;
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(fault = self.name, %error, "cannot tell whether the fault runs")
                    }
                }
            }
        })
    }

    fn finish(mut self: Box<Self>) -> LocalBoxFuture<'static, FaultReport> {
        Box::pin(async move {
            let stopped = self.fault.stop().await;
            self.tell(stopped)
        })
    }
}

impl ActiveByEcsAgent {
    fn tell(&self, stopped: Result<(), AgentError>) -> FaultReport {
        let seconds = self.duration.as_secs_f64();
        let mut text =
            format!("{}: asked {} for {seconds} s, through the ECS agent\n", self.name, self.asked);
        let times = if self.seen == 1 { "time" } else { "times" };
        let _ = writeln!(
            text,
            "achieved: the agent started it and said {} {times} since that it runs; it counts no packets\n\
             let through: {} addresses of metadata, credentials and Systems Manager",
            self.seen, self.spared
        );
        let vanished =
            "the ECS agent says that it does not run any more: somebody else stopped it before its time";
        let undone = stopped.is_ok().then(|| "the ECS agent says stopped".to_owned());
        let failure = match stopped {
            Err(error) => {
                Some(format!("{error}; it may run until the next start of a sidecar, or the task's end"))
            }
            Ok(()) => self.vanished.then(|| vanished.to_owned()),
        };
        FaultReport { text, undone, failure }
    }
}
