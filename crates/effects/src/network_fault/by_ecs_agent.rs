//! A network fault by the ECS agent: started, asked after now and then, stopped.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Asked, Figures, figures};

use super::NetworkFault;
use crate::ecs_agent::request;
use crate::ecs_agent::target::{self, Targets};
use crate::ecs_agent::{AgentError, AgentFault};
use crate::fault::{ActiveFault, FaultReport, FaultSummary, StartError, Started, Undone};
use crate::task::Task;
use faults::network_source::Source;

const VANISHED: &str =
    "the ECS agent says that it does not run any more: it was stopped there before its time";

/// How often the agent is asked whether the fault still runs.
const ASK_AGAIN: Duration = Duration::from_secs(30);

struct ActiveByEcsAgent {
    name: &'static str,
    asked: String,
    notes: Vec<String>,
    figures: Figures,
    duration: Duration,
    exempt: usize,
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
    let (request, exempt) = (fault.request(&targets), targets.exempt.len());
    let fault_at_agent = AgentFault::start(request, &task.ecs_agent, uri, task.state_dir()).await?;
    Ok(Box::new(ActiveByEcsAgent {
        name: F::NAME,
        asked: fault.summary(),
        notes: fault.notes(),
        figures: fault.figures(),
        duration,
        exempt,
        fault: fault_at_agent,
        seen: 0,
        vanished: false,
    }))
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
            self.report(stopped)
        })
    }
}

impl ActiveByEcsAgent {
    fn report(&self, stopped: Result<(), AgentError>) -> FaultReport {
        let undone = match stopped {
            Ok(()) => Undone::Done("the ECS agent says stopped"),
            Err(_) => Undone::Failed,
        };
        let failure = match stopped {
            Err(error) => {
                Some(format!("{error}; it may run until the next start of a sidecar, or the task's end"))
            }
            Ok(()) => self.vanished.then(|| VANISHED.to_owned()),
        };
        FaultReport { summary: Some(self.summary()), undone, failure }
    }

    fn summary(&self) -> FaultSummary {
        let seconds = self.duration.as_secs_f64();
        let asked = Asked {
            text: format!("{} for {seconds} s, through the ECS agent", self.asked),
            seconds,
            figures: self.figures.clone(),
        };
        let times = if self.seen == 1 { "time" } else { "times" };
        let achieved = Achieved {
            text: format!(
                "the agent started it and said {} {times} since that it runs; it counts no packets",
                self.seen
            ),
            figures: figures([("seen_running", self.seen.into())]),
            ..Achieved::default()
        };
        let text = format!("{}: asked {}\nachieved: {}\n", self.name, asked.text, achieved.text);
        let mut summary = FaultSummary { text, asked, achieved, ..FaultSummary::default() };
        let exempt = self.exempt;
        summary
            .line(&format!("let through: {exempt} addresses of metadata, credentials and Systems Manager"));
        for note in &self.notes {
            summary.note(note);
        }
        summary
    }
}
