//! A network fault by the ECS agent: started, asked after now and then, stopped.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use outcome::{Achieved, Asked, Figures, figures};

use super::AtAgent;
use crate::ecs_agent::request;
use crate::ecs_agent::share::{self, Share};
use crate::ecs_agent::target::{self, Targets};
use crate::ecs_agent::{AgentError, AgentFault};
use crate::fault::{ActiveFault, FaultReport, FaultSummary, StartError, Started, Undone};
use crate::task::Task;
use faults::network_source::Source;

const VANISHED: &str =
    "the ECS agent says that it does not run any more: it was stopped there before its time";

/// What an agent that refuses an address of IPv6 is.
const NO_V6: &str =
    "this ECS agent takes no IPv6 (it is older than 1.94.0 for black holes, 1.95.0 for latency and loss)";

/// How often the agent is asked whether the fault still runs.
const ASK_AGAIN: Duration = Duration::from_secs(30);

struct ActiveByEcsAgent {
    name: &'static str,
    asked: String,
    notes: Vec<String>,
    figures: Figures,
    /// The agent has made a fault for every flow where a share of them was asked for.
    hits_every_flow: bool,
    duration: Duration,
    exempt: usize,
    fault: AgentFault,
    /// How often the agent said that it runs.
    seen: u32,
    /// The agent said that it does not run any more.
    vanished: bool,
}

/// Starts the fault at the agent at `uri`.
pub(super) async fn start<F: AtAgent>(fault: &F, duration: Duration, task: &Task, uri: &str) -> Started {
    let scope = fault.scope();
    scope.map_or(Ok(()), request::check)?;
    let sources = scope.map_or_else(Vec::new, |scope| scope.sources.clone());
    let targets = look_up(sources, task.clone()).await?;
    let begin =
        |targets: &Targets| AgentFault::start(fault.request(targets), &task.ecs_agent, uri, task.state_dir());
    let (mut notes, mut exempt) = (fault.notes(), targets.exempt.len());
    let at_agent = match begin(&targets).await {
        Err(error) if targets.has_v6() && error.refuses_v6() => {
            let Some(left) = targets.without_v6() else { return Err(format!("{error}; {NO_V6}").into()) };
            notes.push(format!("{NO_V6}: this fault is for IPv4 alone"));
            exempt = left.exempt.len();
            begin(&left).await?
        }
        started => started?,
    };
    let percent = scope.map_or(100, |scope| scope.flows_percent);
    let share = if percent < 100 { share::seen() } else { Share::Kept };
    notes.extend(note_on(share, percent));
    Ok(Box::new(ActiveByEcsAgent {
        name: F::NAME,
        asked: fault.summary(),
        notes,
        figures: fault.figures(),
        hits_every_flow: share == Share::EveryFlow,
        duration,
        exempt,
        fault: at_agent,
        seen: 0,
        vanished: false,
    }))
}

/// What is to be said of a share of the flows.
fn note_on(share: Share, percent: u8) -> Option<String> {
    match share {
        Share::Kept => None,
        Share::EveryFlow => Some(format!(
            "this ECS agent is older than 1.100.0 and ignores flowsPercent: the fault hits every flow, not {percent} %"
        )),
        Share::Unseen => Some(
            "an ECS agent older than 1.100.0 ignores flowsPercent and hits every flow; which one this is cannot be seen \
             from the task"
                .to_owned(),
        ),
    }
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
        let text =
            format!("{}: the ECS agent runs it, NET_ADMIN being missing here: {}", self.name, self.asked);
        [vec![text], self.notes.clone()].concat().join("; ")
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
        let mut achieved = Achieved {
            text: format!(
                "the agent started it and said {} {times} since that it runs; it counts no packets",
                self.seen
            ),
            figures: figures([("seen_running", self.seen.into())]),
            ..Achieved::default()
        };
        if self.hits_every_flow {
            achieved.figures.insert("flows_percent".to_owned(), 100.into());
        }
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;
    use crate::task::ecs_agent::AgentAccess;
    use faults::network_blackhole_port::NetworkBlackholePort;
    use faults::network_latency::NetworkLatency;
    use faults::network_source::Scope;

    /// An agent that refuses addresses of IPv6. Gives its URI and, one by one, what it was asked.
    fn old_agent() -> (String, mpsc::Receiver<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}/api/x", listener.local_addr().unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") {
                    let from = head.len();
                    lines.read_line(&mut head).unwrap();
                    if let Some(value) = head[from..].to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                lines.read_exact(&mut body).unwrap();
                let (path, body) =
                    (head.split(' ').nth(1).unwrap().to_owned(), String::from_utf8(body).unwrap());
                let (status, answer) = match path.rsplit('/').next().unwrap() {
                    "start" if body.contains("fd00:ec2::23") => (
                        "400 Bad Request",
                        r#"{"Error":"invalid value fd00:ec2::23 for parameter SourcesToFilter"}"#,
                    ),
                    "start" => ("200 OK", r#"{"Status":"running"}"#),
                    "stop" => ("200 OK", r#"{"Status":"stopped"}"#),
                    _ => ("200 OK", r#"{"Status":"not-running"}"#),
                };
                let length = answer.len();
                let text =
                    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all(format!("{text}{answer}").as_bytes()).unwrap();
                if tell.send((path, body)).is_err() {
                    return;
                }
            }
        });
        (uri, told)
    }

    fn dual_stack(folder: &std::path::Path) -> Task {
        let ecs_agent = AgentAccess { has_v6: true, ..AgentAccess::default() };
        Task { state_dir: Some(folder.to_owned()), ecs_agent, ..Task::default() }
    }

    /// Time that waits pass at once.
    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn an_agent_without_ipv6_is_asked_once_more_for_ipv4_alone() {
        run(async {
            let (folder, (uri, told)) = (tempfile::tempdir().unwrap(), old_agent());
            let hole = NetworkBlackholePort::new(443, "tcp", "egress").unwrap();
            let minute = Duration::from_secs(60);
            let active = start(&hole, minute, &dual_stack(folder.path()), &uri).await.unwrap();
            assert!(active.started().contains(NO_V6), "{}", active.started());
            let summary = active.finish().await.summary.unwrap();
            assert!(summary.text.contains("note: this ECS agent takes no IPv6") && summary.notes.len() == 1);
            let starts: Vec<String> =
                told.try_iter().filter(|(path, _)| path.ends_with("/start")).map(|(_, body)| body).collect();
            assert_eq!(starts.len(), 2);
            assert!(!starts[1].contains("fd00") && starts[1].contains("169.254.170.2"), "{}", starts[1]);
            // What was asked for is of IPv6 alone: nothing is left of it.
            let scope = Scope::new("2001:db8::7", "egress", "DEFAULT", 100).unwrap();
            let latency = NetworkLatency::new(200, 0, scope).unwrap();
            let refused = start(&latency, minute, &dual_stack(folder.path()), &uri).await.err().unwrap();
            assert!(refused.to_string().ends_with(NO_V6), "{refused}");
        });
    }

    #[test]
    fn a_share_of_flows_that_is_not_kept_is_said() {
        assert_eq!(note_on(Share::Kept, 30), None);
        assert!(note_on(Share::EveryFlow, 30).unwrap().contains("hits every flow, not 30 %"));
        assert!(note_on(Share::Unseen, 30).unwrap().contains("cannot be seen from the task"));
    }
}
