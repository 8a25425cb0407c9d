//! The server: one port, every API. Accepts connections, finds the one that a request is for, stops cleanly.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::fault_endpoints::{self, FaultEndpoints};
use super::gateway::{self, Links};
use super::log::Log;
use super::metadata::{self, TaskLimits};
use super::store::{SnapshotError, State};
use super::switches::{self, Switches};
use super::wire::{self, Answer};
use super::{Context, cloudwatch, dispatch, documents, fis};

/// How a server is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port 0 takes any free port.
    pub listen: SocketAddr,
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// Where the state outlives the process; without it everything is forgotten.
    pub state_file: Option<PathBuf>,
    /// What the metadata of every task says about its limits.
    pub limits: TaskLimits,
    /// Whether tasks may use the fault endpoints, and say so in their metadata.
    pub fault_injection: bool,
    /// [`Context::speed`].
    pub speed: f64,
    pub log: Log,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 4566)),
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            state_file: None,
            limits: TaskLimits::default(),
            fault_injection: true,
            speed: 1.0,
            log: Log::stderr(),
        }
    }
}

/// Why a server did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("could not listen on {address}: {source}; another --listen address may be free")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    State(#[from] SnapshotError),
}

/// A server that has its port and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Changed since it was last written to the state file.
    dirty: AtomicBool,
    switches: Mutex<Switches>,
    /// Counts up whenever something may wait for an agent.
    wake: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    pub(super) links: Links,
    pub(super) region: String,
    pub(super) account: String,
    pub(super) address: SocketAddr,
    pub(super) limits: TaskLimits,
    pub(super) fault_injection: bool,
    speed: f64,
    faults: Mutex<FaultEndpoints>,
    pub(super) started: SystemTime,
    pub(super) log: Log,
    state_file: Option<PathBuf>,
}

/// How often time is let into the state, and the state onto the disk.
const TICK: Duration = Duration::from_millis(250);
/// How long requests under way may take to end once the server stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

impl Server {
    /// Takes the port and reads the state file, if there is one.
    ///
    /// # Errors
    /// The port is taken, or the state file is damaged.
    pub async fn bind(options: Options) -> Result<Server, ServerError> {
        let listen = |source| ServerError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Shared::new(options, address)?;
        Ok(Server { listener, address, shared: Arc::new(shared) })
    }

    /// The address it listens on, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A way to look at the state, and to change it, while the server runs in the same process.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Serves until `shutdown` is done; then ends what is under way, closes every control channel and writes
    /// the state file a last time.
    ///
    /// # Errors
    /// The state file could not be written.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Server { listener, shared, .. } = self;
        // Also when this future is dropped: control channels live in tasks of their own.
        let stopping = StopGuard(shared.clone());
        let mut shutdown = pin!(shutdown);
        let mut connections = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = tick.tick() => shared.tick(),
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => { connections.spawn(connection(shared.clone(), stream, peer)); }
                    // Out of descriptors, most likely: let some connections end first.
                    Err(error) => {
                        shared.log.line("server", "accept", error);
                        tokio::time::sleep(TICK).await;
                    }
                },
            }
        }
        drop(listener);
        drop(stopping);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_GRACE, ended).await;
        shared.save().map_err(ServerError::from)
    }
}

/// The state of a server in the same process.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    /// Looks at the state or changes it; agents that wait for something are woken.
    pub fn state<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        self.0.change(use_it)
    }

    /// Resolves once the state satisfies `condition`, which is asked at every change.
    pub async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut changes = self.0.changes();
        while !self.0.look(|state| condition(state)) {
            // It cannot be closed: the sender is here.
            let _ = changes.changed().await;
        }
    }
}

struct StopGuard(Arc<Shared>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.stop.send_replace(true);
    }
}

impl Shared {
    fn new(options: Options, address: SocketAddr) -> Result<Shared, SnapshotError> {
        let now = SystemTime::now();
        let mut state = options.state_file.as_deref().map_or_else(|| Ok(State::default()), State::load)?;
        for document in documents::built_in(now) {
            state.documents.insert(document.name.clone(), document);
        }
        Ok(Shared {
            state: Mutex::new(state),
            dirty: AtomicBool::new(false),
            switches: Mutex::default(),
            wake: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            links: Links::default(),
            region: options.region,
            account: options.account,
            address,
            limits: options.limits,
            fault_injection: options.fault_injection,
            speed: options.speed,
            faults: Mutex::default(),
            started: now,
            log: options.log,
            state_file: options.state_file,
        })
    }

    /// Looks at the state, or changes what nobody waits for.
    pub(super) fn look<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        use_it(&mut lock(&self.state))
    }

    /// Changes the state, and wakes those who wait for a change.
    pub(super) fn change<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        let result = use_it(&mut lock(&self.state));
        self.dirty.store(true, Ordering::Relaxed);
        self.wake();
        result
    }

    pub(super) fn wake(&self) {
        self.wake.send_modify(|count| *count += 1);
    }

    /// Resolves at every change after this call.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }

    /// Resolves when the server stops, at once if it has.
    pub(super) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // It cannot be closed: the sender is here.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    pub(super) fn switches(&self) -> Switches {
        lock(&self.switches).clone()
    }

    pub(super) fn set_switches(&self, switches: Switches) {
        *lock(&self.switches) = switches;
        self.wake();
    }

    /// Changes the switches that count down or turn themselves off.
    pub(super) fn use_switches<T>(&self, use_them: impl FnOnce(&mut Switches) -> T) -> T {
        use_them(&mut lock(&self.switches))
    }

    /// Looks at what the fault endpoints keep, or changes it.
    pub(super) fn faults<T>(&self, use_them: impl FnOnce(&mut FaultEndpoints) -> T) -> T {
        use_them(&mut lock(&self.faults))
    }

    pub(super) fn context(&self) -> Context {
        Context {
            now: SystemTime::now(),
            region: self.region.clone(),
            account: self.account.clone(),
            speed: self.speed,
        }
    }

    fn tick(&self) {
        let context = self.context();
        let moved = self.look(|state| {
            let swept = state.sweep(context.now);
            let alarms = cloudwatch::advance(state, &context);
            let experiments = fis::advance(state, &context);
            swept | alarms | experiments
        });
        if moved {
            self.change(|_| ());
        }
        if let Err(error) = self.save() {
            self.log.line("server", "state file", error);
        }
    }

    fn save(&self) -> Result<(), SnapshotError> {
        match &self.state_file {
            Some(path) if self.dirty.swap(false, Ordering::Relaxed) => self.look(|state| state.save(path)),
            _ => Ok(()),
        }
    }
}

/// A panic elsewhere must not take the server with it: the state is plain data, changed in small steps.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("connection closed on request of a switch")]
pub(super) struct Hangup;

async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| route(shared.clone(), request));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // It would also end connections that clients keep for their next call, sometimes just as they use it.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    let outcome = tokio::select! {
        outcome = served.as_mut() => outcome,
        () = shared.stopped() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    // Clients that go away in the middle of a request are nothing to talk about.
    if let Err(error) = outcome
        && error.is_parse()
    {
        shared.log.line(&peer.to_string(), "not HTTP", error);
    }
}

/// Finds the API that a request is for.
async fn route(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Hangup> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    if let Some(instance) = path.strip_prefix("/v1/control-channel/") {
        return gateway::answer(shared, request, instance).await;
    }
    let (parts, body) = request.into_parts();
    let body = match wire::read_body(body).await {
        Ok(body) => body,
        Err(error) => {
            shared.log.line("?", &format!("{method} {path}"), &error);
            return Ok(wire::json_answer(&Err(error)));
        }
    };
    Ok(if let Some(call) = path.strip_prefix("/_taskfault/") {
        let answer = switches::answer(&shared, &method, call, &body);
        if method != http::Method::GET {
            shared.log.line("test", &format!("{method} {path}"), answer.status().as_u16());
        }
        answer
    } else if let (http::Method::GET, Some(answer)) = (method.clone(), metadata::answer(&shared, &path)) {
        shared.log.line("task", &path, answer.status().as_u16());
        answer
    } else if let Some(answer) = fis::answer(&shared, &parts, &body) {
        answer
    } else if let Some(operation) = cloudwatch::cbor_operation(&parts) {
        cloudwatch::answer_cbor(&shared, operation, &body)
    } else if path.starts_with("/api/") {
        fault_endpoints::answer(&shared, &method, &path, &body).await
    } else if method == http::Method::POST && path == "/" {
        dispatch::answer(&shared, &parts, &body).await
    } else {
        shared.log.line("?", &format!("{method} {path}"), 404);
        let hint = "AWS calls are POST /, task metadata GET /v4/CLUSTER/SERVICE/TASK, \
                    fault endpoints POST /api/CLUSTER/SERVICE/TASK/fault/v1/FAULT/OPERATION";
        wire::plain_json(404, &json!({ "message": format!("there is no {method} {path} here; {hint}") }))
    })
}
