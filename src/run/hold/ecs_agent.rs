//! A network fault at the ECS agent as something to hold: started, asked after now and then, stopped.

use std::fmt::Write;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::{FaultReport, Live};
use effects::ecs_agent::request::{self, Request};
use effects::ecs_agent::target::{self, Targets};
use effects::ecs_agent::{AgentError, AgentFault};
use effects::task::Task;
use faults::Fault;
use faults::network_source::{Scope, Source};

/// How often the agent is asked whether the fault still runs.
const ASK_AGAIN: Duration = Duration::from_secs(30);

struct LiveAtAgent {
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

/// Starts a network fault at the agent at `uri`.
///
/// # Errors
/// In words.
pub(super) async fn start(
    fault: &Fault,
    duration: Duration,
    task: &Task,
    uri: &str,
) -> Result<Box<dyn Live>, String> {
    let scope = match fault {
        Fault::NetworkLatency(latency) => Some(&latency.scope),
        Fault::NetworkPacketLoss(loss) => Some(&loss.scope),
        _ => None,
    };
    scope.map_or(Ok(()), request::check).map_err(|error| error.to_string())?;
    let sources = scope.map_or_else(Vec::new, |scope| scope.sources.clone());
    let targets = look_up(sources, task.clone()).await?;
    let (request, asked) = match fault {
        Fault::NetworkLatency(latency) => {
            let (delay, jitter) = (latency.delay.as_millis(), latency.jitter.as_millis());
            let words = format!("{delay} ms, give or take {jitter} ms, to {}", list(&latency.scope));
            (Request::latency(latency, &targets), words)
        }
        Fault::NetworkPacketLoss(loss) => {
            let words = format!("{} % of the packets lost to {}", loss.percent, list(&loss.scope));
            (Request::packet_loss(loss, &targets), words)
        }
        Fault::NetworkBlackholePort(hole) => {
            let words =
                format!("all {} {} packets to port {} lost", hole.direction, hole.protocol, hole.port);
            (Request::blackhole_port(hole, &targets.spared), words)
        }
        other => return Err(format!("the ECS agent has no fault endpoint for {}", other.name())),
    };
    let state_dir = task.state_dir.clone().unwrap_or_else(|| crate::config::DEFAULT_STATE_DIR.into());
    let begun = AgentFault::start(request, &task.ecs_agent, uri, &state_dir).await;
    let live = begun.map_err(|error| error.to_string())?;
    let (name, spared) = (fault.name(), targets.spared.len());
    Ok(Box::new(LiveAtAgent { name, asked, duration, spared, fault: live, seen: 0, vanished: false }))
}

/// On a thread that may wait for DNS.
async fn look_up(sources: Vec<Source>, task: Task) -> Result<Targets, String> {
    match tokio::task::spawn_blocking(move || target::resolve(&sources, &task)).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

/// The sources in one line that stays short.
fn list(scope: &Scope) -> String {
    const SHOWN: usize = 10;
    let mut words: Vec<String> = scope.sources.iter().take(SHOWN).map(ToString::to_string).collect();
    if scope.sources.len() > SHOWN {
        words.push(format!("and {} more", scope.sources.len() - SHOWN));
    }
    let mut line = words.join(", ");
    if scope.flows_percent < 100 {
        let _ = write!(line, ", for {} % of the flows", scope.flows_percent);
    }
    line
}

impl Live for LiveAtAgent {
    fn started(&self) -> String {
        format!("{}: the ECS agent runs it, NET_ADMIN being missing here: {}", self.name, self.asked)
    }

    fn over(&mut self) -> LocalBoxFuture<'_, ()> {
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

impl LiveAtAgent {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sources_stay_one_short_line() {
        let many = (0..200).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(",");
        let words = list(&Scope::new(&many, "egress", "DEFAULT", 30).unwrap());
        assert!(words.len() < 250 && words.ends_with("and 190 more, for 30 % of the flows"), "{words}");
    }
}
