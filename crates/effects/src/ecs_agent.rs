//! A network fault through the ECS agent's fault endpoints, for tasks without NET_ADMIN.
//!
//! The agent has no time limit and no owner: what was started stays until a client stops it or the task ends.
//! So here, and only here, the kernel cannot hold the undo. The value stops its fault when it is dropped, at the
//! latest; what a `kill -9` leaves running stands in a [`ledger`] on disk that was written before the start, and
//! is stopped by the next life ([`tidy_up`]). Each of the nine routes takes one request in 5 s ([`pace`]).

pub mod ledger;
mod pace;
pub mod request;
pub mod share;
pub mod target;
pub(crate) mod wire;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use faults::network_source::Net;
use http_client::SendError;
use ledger::{Entry, Ledger, LedgerError};
use request::Request;
use wire::Answer;

use crate::given_up;
use crate::task::ecs_agent::AgentAccess;

/// How often one request is sent again after the agent said that it was too early: it knows of requests that
/// others made.
const RETRIES: u32 = 3;
/// How often a stop is tried.
const STOPS: u32 = 4;
/// The agent gives itself 5 s for a request, and then closes the connection; clocks are no finer than this.
const OWN_LIMIT: Duration = Duration::from_millis(4_500);
/// What may be behind a failed start.
const HALF_DONE: &str = "; what an earlier start or stop left half done (a root queueing discipline, an iptables \
                         chain) may be in its way: the agent never removes that, so if it goes on, only a new task helps";
/// Between two tries to tidy up after an earlier life.
const TIDY_AGAIN: Duration = Duration::from_secs(30);

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Start,
    Stop,
    Status,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Start => "start",
            Operation::Stop => "stop",
            Operation::Status => "status",
        }
    }
}

/// What the agent did not do, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// No answer.
    #[error("the ECS agent cannot be reached at {url}: {reason}; check ECS_AGENT_URI")]
    Unreachable {
        /// What was asked.
        url: String,
        /// The connection's error.
        reason: String,
    },
    /// It closed the connection without an answer, which it does after 5 s.
    #[error("the ECS agent took longer than its 5 s to {what} and hung up; what it did may be half there")]
    HungUp {
        /// What was asked: `start network-latency`.
        what: String,
    },
    /// The agent does not take the request (4xx).
    #[error("the ECS agent refused to {what} ({status}): {text}{hint}")]
    Refused {
        /// What was asked: `start network-latency`.
        what: String,
        /// HTTP status.
        status: u16,
        /// The answer's text.
        text: String,
        /// What to do, where that is known; empty otherwise.
        hint: &'static str,
    },
    /// The agent could not do it (5xx).
    #[error("the ECS agent failed to {what} ({status}): {text}{hint}")]
    Failed {
        /// What was asked: `start network-latency`.
        what: String,
        /// HTTP status.
        status: u16,
        /// The answer's text.
        text: String,
        /// What may be behind it; empty where nothing is known.
        hint: &'static str,
    },
    /// One request in 5 s is served for each task and kind of fault.
    #[error("the ECS agent is asked too often to {what}, by others too (429); try again in a minute")]
    TooOften {
        /// What was asked: `start network-latency`.
        what: String,
    },
    /// A success whose answer is not the agent's.
    #[error("the ECS agent answered a request to {what} with {text:?}, which makes no sense")]
    Senseless {
        /// What was asked: `start network-latency`.
        what: String,
        /// The answer's text.
        text: String,
    },
    /// Another client of the agent has started such a fault.
    #[error(
        "such a fault runs in this task already, and this command has not started it; wait for its end, or end it: \
         curl -X POST -d '{body}' {url}"
    )]
    RunsAlready {
        /// Stops it.
        url: String,
        /// What the stop has to say.
        body: String,
    },
    /// It was not started, because it could not be noted first.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A start whose end is not known, and the stop that followed.
    #[error("{first}; it was stopped afterwards, in case it runs")]
    StoppedAfter {
        /// The start's error.
        first: Box<AgentError>,
    },
    /// Neither start nor stop has a known end.
    #[error(
        "{first}; stopping it failed too: {stopping}; it may run until the next start of a sidecar, or the task's end"
    )]
    Twice {
        /// The start's error.
        first: Box<AgentError>,
        /// The stop's.
        stopping: Box<AgentError>,
    },
}

impl AgentError {
    /// Whether the agent is so old that it refuses addresses of IPv6: one of those that it was sent.
    pub fn refuses_v6(&self) -> bool {
        match self {
            AgentError::Refused { status: 400, text, .. } => {
                let is_v6 = |word: &str| Net::parse(word).is_some_and(|net| net.range().0.is_ipv6());
                text.starts_with("invalid value") && text.split_whitespace().any(is_v6)
            }
            _ => false,
        }
    }
}

/// Whether a fault may run, as far as the requests that were sent can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    /// A start that did not come back with a refusal.
    Start,
    /// The start was given up: it must not be sent.
    Withdrawn,
}

fn lock(sent: &Mutex<Sent>) -> MutexGuard<'_, Sent> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fault that the ECS agent performs for us. Dropping it stops it, on a thread of its own ([`given_up`]).
#[derive(Debug)]
#[must_use = "dropped, the fault is stopped"]
pub struct AgentFault {
    call: Call,
    ledger: Ledger,
    entry: String,
    sent: Arc<Mutex<Sent>>,
    over: bool,
}

impl AgentFault {
    /// Asks whether such a fault runs, notes ours on disk, starts it.
    ///
    /// # Errors
    /// [`AgentError`]. Nothing runs then, unless the error says otherwise.
    pub async fn start(
        request: Request,
        access: &AgentAccess,
        uri: &str,
        state_dir: &Path,
    ) -> Result<AgentFault, AgentError> {
        let call = Call { uri: uri.to_owned(), request };
        if call.ask().await? {
            let (url, body) = (call.url(Operation::Stop), call.request.body);
            return Err(AgentError::RunsAlready { url, body });
        }
        let ledger = Ledger::of(state_dir);
        let entry = Entry::new(&access.task_arn, &call.request);
        let sent = Arc::new(Mutex::new(Sent::Nothing));
        // From here on, whatever happens, Drop ends it: its note, too.
        let mut fault = AgentFault { call, ledger, entry: entry.id.clone(), sent, over: false };
        let (ledger, sent) = (fault.ledger.clone(), Arc::clone(&fault.sent));
        waiting(move || match &*lock(&sent) {
            // Nobody would strike it any more.
            Sent::Withdrawn => Ok(()),
            _ => ledger.note(&entry),
        })
        .await?;
        let Err(first) = fault.begin().await else { return Ok(fault) };
        let first = Box::new(first);
        if *lock(&fault.sent) == Sent::Nothing {
            return Err(*first);
        }
        // A start that failed half-way leaves rules behind: the agent undoes nothing by itself.
        match fault.stop().await {
            Ok(()) => Err(AgentError::StoppedAfter { first }),
            Err(stopping) => Err(AgentError::Twice { first, stopping: Box::new(stopping) }),
        }
    }

    async fn begin(&self) -> Result<(), AgentError> {
        self.call.send(Operation::Start, Some(&self.sent)).await.map(|_| ())
    }

    /// Whether the agent says that it runs.
    ///
    /// # Errors
    /// The agent does not say.
    pub async fn runs(&self) -> Result<bool, AgentError> {
        self.call.ask().await
    }

    /// Stops it, with as many tries as it takes within reason.
    ///
    /// # Errors
    /// It may still run; it stays noted for the next life.
    pub async fn stop(&mut self) -> Result<(), AgentError> {
        let mut tries = 1;
        while let Err(error) = self.call.send(Operation::Stop, None).await {
            if tries == STOPS {
                // No better luck for Drop; the ledger has it.
                self.over = true;
                return Err(error);
            }
            tracing::warn!(%error, tries, "the fault could not be stopped, trying again");
            tries += 1;
        }
        self.over = true;
        let (ledger, entry) = (self.ledger.clone(), self.entry.clone());
        struck(&waiting(move || ledger.strike(&entry)).await);
        Ok(())
    }
}

/// What is left to do for a fault that is dropped before it is over.
struct Rest {
    call: Call,
    ledger: Ledger,
    entry: String,
    sent: Arc<Mutex<Sent>>,
}

impl Rest {
    /// Waits for a start that is under way; one that is not must not be sent any more.
    fn end(self) {
        let before = std::mem::replace(&mut *lock(&self.sent), Sent::Withdrawn);
        match before {
            Sent::Start => self.stop(),
            Sent::Nothing | Sent::Withdrawn => self.settle(),
        }
    }

    fn settle(&self) {
        struck(&self.ledger.strike(&self.entry));
    }

    /// Stops it on this thread. At most 20 s, which is better than a fault that stays.
    fn stop(&self) {
        for last in [false, true] {
            match self.call.post(Operation::Stop).and_then(|answer| self.call.judge(Operation::Stop, &answer))
            {
                Ok(_) => return self.settle(),
                Err(error) if last => {
                    tracing::error!(%error, "a fault of the ECS agent may still run; the next start stops it");
                }
                Err(AgentError::TooOften { .. }) => std::thread::sleep(pace::INTERVAL),
                Err(error) => tracing::warn!(%error, "the fault could not be stopped, trying again"),
            }
        }
    }
}

/// What may wait for the file system, on a thread that may.
async fn waiting<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}

fn struck(done: &Result<(), LedgerError>) {
    if let Err(error) = done {
        tracing::warn!(%error, "the next start will stop once more what is stopped");
    }
}

impl Drop for AgentFault {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (call, ledger, entry) = (self.call.clone(), self.ledger.clone(), self.entry.clone());
        let rest = Rest { call, ledger, entry, sent: Arc::clone(&self.sent) };
        given_up::undo_off_thread(move || rest.end());
    }
}

/// A fault's requests to one agent.
#[derive(Debug, Clone)]
struct Call {
    uri: String,
    request: Request,
}

impl Call {
    fn url(&self, operation: Operation) -> String {
        format!("{}/fault/v1/{}/{}", self.uri, self.request.fault, operation.name())
    }

    fn what(&self, operation: Operation) -> String {
        match operation {
            Operation::Status => format!("read the status of {}", self.request.fault),
            other => format!("{} {}", other.name(), self.request.fault),
        }
    }

    /// Whether it runs.
    async fn ask(&self) -> Result<bool, AgentError> {
        Ok(self.send(Operation::Status, None).await? == "running")
    }

    /// Sends one request when its route is free, and again while it comes too early. Gives the status.
    async fn send(
        &self,
        operation: Operation,
        sent: Option<&Arc<Mutex<Sent>>>,
    ) -> Result<String, AgentError> {
        let url = self.url(operation);
        for tried in 0.. {
            tokio::time::sleep(pace::reserve(&url)).await;
            let (call, sent) = (self.clone(), sent.cloned());
            let posting = tokio::task::spawn_blocking(move || match sent {
                Some(sent) => call.post_start(&sent),
                None => call.post(operation),
            });
            let answer = match posting.await {
                Ok(answer) => answer?,
                Err(broken) => std::panic::resume_unwind(broken.into_panic()),
            };
            match self.judge(operation, &answer) {
                Err(AgentError::TooOften { .. }) if tried < RETRIES => pace::refused(&url),
                judged => return judged,
            }
        }
        Err(AgentError::TooOften { what: self.what(operation) })
    }

    /// Sends the start unless it was withdrawn, and keeps `sent` true. Who wants to know waits for the answer.
    fn post_start(&self, sent: &Mutex<Sent>) -> Result<Answer, AgentError> {
        let mut sent = lock(sent);
        if *sent == Sent::Withdrawn {
            let reason = "the start was withdrawn".to_owned();
            return Err(AgentError::Unreachable { url: self.url(Operation::Start), reason });
        }
        *sent = Sent::Start;
        let answer = self.post(Operation::Start);
        // Refused before anything was done, or because another one runs, which is not ours to stop.
        if answer.as_ref().is_ok_and(|answer| answer.status.is_client_error()) {
            *sent = Sent::Nothing;
        }
        answer
    }

    fn post(&self, operation: Operation) -> Result<Answer, AgentError> {
        let url = self.url(operation);
        let began = Instant::now();
        wire::post(&url, &self.request.body).map_err(|error| match error {
            SendError::HungUp(_) if began.elapsed() >= OWN_LIMIT => {
                AgentError::HungUp { what: self.what(operation) }
            }
            error => AgentError::Unreachable { url, reason: error.to_string() },
        })
    }

    fn judge(&self, operation: Operation, answer: &Answer) -> Result<String, AgentError> {
        let what = self.what(operation);
        let (status, text) = (answer.status.as_u16(), answer.text());
        match status {
            200 => answer.member("Status").ok_or(AgentError::Senseless { what, text }),
            429 => Err(AgentError::TooOften { what }),
            400..=499 => Err(AgentError::Refused { what, status, text, hint: hint(status) }),
            _ => {
                let hint = if operation == Operation::Start { HALF_DONE } else { "" };
                Err(AgentError::Failed { what, status, text, hint })
            }
        }
    }
}

/// Asks the agent at `uri` whether `fault` runs, and so whether it would take it at all. For who waits for the answer:
/// at most 2 s.
///
/// # Errors
/// It cannot be reached, or does not serve this task.
pub fn probe(uri: &str, fault: &'static str) -> Result<(), AgentError> {
    // The status of a black hole is asked for with what it was started with; this is nobody's.
    let body = r#"{"Port":1,"Protocol":"tcp","TrafficType":"egress"}"#;
    let call = Call { uri: uri.to_owned(), request: Request { fault, body: body.to_owned() } };
    let url = call.url(Operation::Status);
    let answer = wire::ask(&url, body).map_err(|error| {
        let reason = error.to_string();
        AgentError::Unreachable { url, reason }
    })?;
    match call.judge(Operation::Status, &answer) {
        // It is there: somebody else has just asked.
        Ok(_) | Err(AgentError::TooOften { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        404 => {
            "; ECS_AGENT_URI is not that of this task, or its agent has no fault endpoints (before 1.88.0)"
        }
        409 => "; the agent performs one latency or packet loss at a time: wait for its end",
        _ => "",
    }
}

/// Stops what an earlier life of this task left running, and gives the names of those faults. Goes on until
/// nothing is left, so let it run beside everything else.
pub async fn tidy_up(access: &AgentAccess, uri: &str, state_dir: &Path) -> Vec<String> {
    let ledger = Ledger::of(state_dir);
    let stale = || {
        let ledger = ledger.clone();
        waiting(move || ledger.stale())
    };
    let mut stopped = Vec::new();
    loop {
        let left = stale().await;
        if left.is_empty() {
            return stopped;
        }
        for entry in left {
            if tidy(&ledger, &entry, access, uri).await {
                stopped.push(entry.fault.clone());
            }
        }
        if !stale().await.is_empty() {
            tokio::time::sleep(TIDY_AGAIN).await;
        }
    }
}

/// Whether one entry's fault was stopped. One of another task has ended with its task.
async fn tidy(ledger: &Ledger, entry: &Entry, access: &AgentAccess, uri: &str) -> bool {
    let fault = entry.fault.as_str();
    let ours = entry.task_arn == access.task_arn;
    if ours {
        let call = Call { uri: uri.to_owned(), request: entry.request() };
        if let Err(error) = call.send(Operation::Stop, None).await {
            tracing::warn!(fault, %error, "an earlier life left a fault at the ECS agent that cannot be stopped yet");
            return false;
        }
        tracing::info!(fault, "stopped a fault that an earlier life left running at the ECS agent");
    }
    let (striking, id) = (ledger.clone(), entry.id.clone());
    struck(&waiting(move || striking.strike(&id)).await);
    ours
}
