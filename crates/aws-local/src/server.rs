//! The server: one port, every API. Accepts connections, finds the one that a request is for, stops cleanly.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::gateway::Hangup;
use super::page::{self, Page};
use super::shared::{Handle, Options, Shared};
use super::wire::{self, Answer};
use super::{cloudwatch, dispatch, fault_endpoints, gateway, guard, metadata, s3, test_calls};
use crate::world::SnapshotError;

/// Why a server did not start or did not end well.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum ServerError {
    #[error("could not listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    State(#[from] SnapshotError),
}

/// A server that has its port and does not answer yet.
#[derive(Debug)]
pub struct Server {
    /// The first is the one of the options.
    listeners: Vec<TcpListener>,
    address: SocketAddr,
    shared: Arc<Shared>,
    page: Option<Arc<dyn Page>>,
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
        Server::on(listener, options)
    }

    /// The same on a port that was taken before, in another network namespace for instance; the options' own
    /// address is not used.
    ///
    /// # Errors
    /// The state file is damaged.
    pub fn on(listener: TcpListener, options: Options) -> Result<Server, ServerError> {
        let listen = |source| ServerError::Listen { address: options.listen, source };
        let address = listener.local_addr().map_err(listen)?;
        let shared = Shared::new(options, address)?;
        Ok(Server { listeners: vec![listener], address, shared: Arc::new(shared), page: None })
    }

    /// Serves the same on one more port.
    pub fn listen_also(&mut self, listener: TcpListener) {
        self.listeners.push(listener);
    }

    /// Shows a page to browsers. It may hold a [`Handle`] of this server.
    pub fn show(&mut self, page: Arc<dyn Page>) {
        self.page = Some(page);
    }

    /// The address it listens on, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A way to look at the state, and to change it, while the server runs in the same process.
    pub fn handle(&self) -> Handle {
        Handle::of(self.shared.clone())
    }

    /// Serves until `shutdown` is done; then ends what is under way, closes every control channel and writes
    /// the state file a last time.
    ///
    /// # Errors
    /// The state file could not be written.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Server { listeners, shared, page, .. } = self;
        // Also when this future is dropped: control channels live in tasks of their own.
        let stopping = StopGuard(shared.clone());
        let mut shutdown = pin!(shutdown);
        let mut connections = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = tick.tick() => let_time_pass(&shared),
                Some(_) = connections.join_next() => {}
                accepted = accept(&listeners) => match accepted {
                    Ok((stream, peer)) => { connections.spawn(connection(shared.clone(), page.clone(), stream, peer)); }
                    // Out of descriptors, most likely: let some connections end first.
                    Err(error) => {
                        tracing::warn!(who = "server", what = "accept", outcome = %error);
                        tokio::time::sleep(TICK).await;
                    }
                },
            }
        }
        drop(listeners);
        drop(stopping);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_GRACE, ended).await;
        shared.save().map_err(ServerError::from)
    }
}

/// The next connection to any of the listeners.
async fn accept(listeners: &[TcpListener]) -> std::io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|context| {
        let mut asked = listeners.iter().map(|listener| listener.poll_accept(context));
        asked.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

#[must_use = "dropping it stops the server"]
struct StopGuard(Arc<Shared>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Lets time into the state, and the state onto the disk.
fn let_time_pass(shared: &Shared) {
    let mut moved = false;
    let mut objects = Vec::new();
    shared.regions(|regions| {
        regions.each(|region, state| {
            moved |= state.let_time_pass(&shared.context_in(region));
            shared.observe(|recorder| recorder.observe(state));
            state.fis.flush_log();
            objects.append(&mut state.fis.take_objects());
        });
    });
    for object in objects {
        if let Err(error) = shared.write_object(&object) {
            tracing::warn!(who = "server", what = format!("s3://{}", object.bucket), outcome = %error);
        }
    }
    if moved {
        shared.update(|_| ());
    }
    if let Err(error) = shared.save() {
        tracing::warn!(who = "server", what = "state file", outcome = %error);
    }
}

async fn connection(shared: Arc<Shared>, page: Option<Arc<dyn Page>>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().ok().map(|local| local.ip());
    let service = service_fn(|request| respond(shared.clone(), page.clone(), local, request));
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
        tracing::info!(who = %peer, what = "not HTTP", outcome = %error);
    }
}

/// Refuses who may not ask, and finds out whether a browser asks for a page or a client for an API.
async fn respond(
    shared: Arc<Shared>,
    page: Option<Arc<dyn Page>>,
    local: Option<IpAddr>,
    request: Request<Incoming>,
) -> Result<Response<Either<Full<Bytes>, page::Body>>, Hangup> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let asked = (&method, request.uri(), request.headers());
    if let Err(message) = guard::check(asked, local, &shared.allow_hosts) {
        tracing::warn!(who = "?", what = format!("{method} {path}"), outcome = format!("403 {message}"));
        return Ok(wire::refused(403, "AccessDeniedException", &message).map(Either::Left));
    }
    let Some(page) = page else { return Ok(route(shared, request).await?.map(Either::Left)) };
    if page::belongs_to_a_page(&method, &path, request.headers()) {
        let (parts, body) = request.into_parts();
        return Ok(match wire::read_body(body).await {
            Ok(body) => page.answer(&Request::from_parts(parts, body)).map(Either::Right),
            Err(error) => wire::json_answer(None, &Err(error)).map(Either::Left),
        });
    }
    let browser = method == Method::GET && page::takes_html(request.headers());
    let answer = route(shared, request).await?;
    Ok(match answer.status() == StatusCode::NOT_FOUND && browser {
        true => page.not_found(&path).map(Either::Right),
        false => answer.map(Either::Left),
    })
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
            tracing::info!(who = "?", what = format!("{method} {path}"), outcome = %error);
            return Ok(wire::json_answer(None, &Err(error)));
        }
    };
    let answer = if let Some(call) = path.strip_prefix("/_taskfault/") {
        let answer = test_calls::answer(&shared, &parts, call, &body);
        if method != http::Method::GET {
            let what = format!("{method} {path}");
            tracing::info!(who = "test", what, outcome = answer.status().as_u16());
        }
        answer
    } else if let (http::Method::GET, Some(answer)) = (method.clone(), metadata::answer(&shared, &path)) {
        tracing::info!(who = "task", what = path, outcome = answer.status().as_u16());
        answer
    } else if let Some(answer) = dispatch::fis(&shared, &parts, &body) {
        answer
    } else if let Some(answer) = s3::answer(&shared, &parts, &body) {
        answer
    } else if let Some(operation) = cloudwatch::cbor_operation(&parts) {
        dispatch::cbor(&shared, &parts, operation, &body)
    } else if path.starts_with("/api/") {
        fault_endpoints::answer::answer(&shared, &method, &path, &body).await?
    } else if method == http::Method::POST && path == "/" {
        dispatch::answer(&shared, &parts, &body).await
    } else {
        tracing::info!(who = "?", what = format!("{method} {path}"), outcome = 404);
        let hint = "AWS calls are POST /, task metadata GET /v4/CLUSTER/SERVICE/TASK, \
                    fault endpoints POST /api/CLUSTER/SERVICE/TASK/fault/v1/FAULT/OPERATION";
        wire::plain_json(404, &json!({ "message": format!("there is no {method} {path} here; {hint}") }))
    };
    // What is acknowledged survives a kill.
    Ok(match shared.save() {
        Ok(()) => answer,
        Err(error) => {
            tracing::warn!(who = "server", what = "state file", outcome = %error);
            wire::refused(500, "InternalServerError", &error.to_string())
        }
    })
}
