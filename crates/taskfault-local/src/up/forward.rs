//! From a port of this machine to the tasks of a service: the one way into their network from outside.
//!
//! A load balancer as ECS services have one: every request goes to the task whose turn it is, and to no other if that
//! one fails it. What became of it is told to the record. The listening socket was opened before the namespaces were
//! entered and belongs to the machine's network; the connections to the tasks are made inside.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use experiment::traffic::{Failure, Observed, unconnected};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Inner;

/// How long a task may take to accept a connection, and to begin its answer: the service's own limits.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);
/// The pause when no connection can be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub cluster: String,
    pub service: String,
    pub port: u16,
}

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// One published port.
struct Balancer {
    inner: Arc<Inner>,
    route: Route,
    turn: AtomicUsize,
}

/// Passes requests on to the tasks of a service in turn, until it is dropped.
pub(super) async fn forward(listener: TcpListener, route: Route, inner: Arc<Inner>) {
    let balancer = Arc::new(Balancer { inner, route, turn: AtomicUsize::new(0) });
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = seconds.tick() => balancer.tell(),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => { tokio::spawn(serve(balancer.clone(), stream, peer)); }
                // Out of descriptors, most likely: let some connections end first.
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
}

async fn serve(balancer: Arc<Balancer>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| respond(balancer.clone(), peer, request));
    // A client that goes away is nothing to talk about.
    let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn respond(
    balancer: Arc<Balancer>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    // Dropped before its end if the client gives up.
    let mut watched =
        Watched { balancer: &balancer, came: Instant::now(), outcome: Err(Failure::AnswerTimeout) };
    let answer = balancer.pass_on(peer, request).await;
    watched.outcome = match &answer {
        Ok(answer) if answer.status().is_server_error() => Err(Failure::Status),
        Ok(_) => Ok(()),
        Err(failure) => Err(*failure),
    };
    Ok(answer
        .map_or_else(|failure| error_page(failure).map(Either::Right), |answer| answer.map(Either::Left)))
}

/// A request under way; counted when it is dropped.
struct Watched<'a> {
    balancer: &'a Balancer,
    came: Instant,
    outcome: Result<(), Failure>,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.balancer.count(self.outcome, self.came.elapsed());
    }
}

impl Balancer {
    fn count(&self, outcome: Result<(), Failure>, took: Duration) {
        let mut observed = self.inner.observed.lock();
        if observed.is_none() {
            let what = format!("requests from outside to service {}", self.route.service);
            self.inner.handle.observe(|recorder| recorder.load_begins(what, 0.0));
        }
        observed.get_or_insert_with(Observed::now).ended(outcome, took);
    }

    /// Tells the record of the seconds that are over.
    fn tell(&self) {
        let over = self.inner.observed.lock().as_mut().map(Observed::over).unwrap_or_default();
        for second in over {
            self.inner.handle.observe(|recorder| recorder.second(second));
        }
    }

    /// The address of the task whose turn it is; None if no task runs.
    fn choose(&self) -> Option<SocketAddr> {
        let of_route = |task: &super::RunningTask| {
            task.cluster == self.route.cluster && task.service.as_deref() == Some(self.route.service.as_str())
        };
        let tasks = self.inner.running();
        let found: Vec<Ipv4Addr> = tasks.iter().filter(|it| of_route(it)).map(|it| it.address).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let address = found.get(turn.checked_rem(found.len())?)?;
        Some(SocketAddr::from((*address, self.route.port)))
    }

    async fn pass_on(
        &self,
        peer: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        let address = self.choose().ok_or(Failure::NoTarget)?;
        let connected = timeout(CONNECT, TcpStream::connect(address)).await;
        let stream = connected.map_err(|_| Failure::ConnectTimeout)?.map_err(|error| unconnected(&error))?;
        let _ = stream.set_nodelay(true);
        let shaken = client::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|_| Failure::Reset)?;
        tokio::spawn(connection.with_upgrades());
        let from_client = hyper::upgrade::on(&mut request);
        let request = onward(peer, request);
        let answer = timeout(ANSWER, pin!(sender.send_request(request))).await;
        let mut answer = answer.map_err(|_| Failure::AnswerTimeout)?.map_err(|_| Failure::Reset)?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let from_task = hyper::upgrade::on(&mut answer);
            tokio::spawn(async move {
                if let (Ok(one), Ok(other)) = (from_client.await, from_task.await) {
                    let _ = copy_bidirectional(&mut TokioIo::new(one), &mut TokioIo::new(other)).await;
                }
            });
        } else {
            answer.headers_mut().remove(CONNECTION);
            answer.headers_mut().remove(TRANSFER_ENCODING);
        }
        Ok(answer)
    }
}

/// The request as the task gets it: without what was meant for this connection, with who sent it.
fn onward(peer: SocketAddr, request: Request<Incoming>) -> Request<Incoming> {
    let (mut parts, body) = request.into_parts();
    if let Some(path) = parts.uri.path_and_query().and_then(|path| path.as_str().parse().ok()) {
        parts.uri = path;
    }
    let headers = &mut parts.headers;
    if !headers.contains_key(UPGRADE) {
        headers.remove(CONNECTION);
    }
    headers.remove(TE);
    headers.remove("keep-alive");
    // Who asks may have come by another balancer.
    let before = headers.get("x-forwarded-for").and_then(|it| it.to_str().ok());
    let client = before.map_or_else(|| peer.ip().to_string(), |before| format!("{before}, {}", peer.ip()));
    for (name, value) in [("x-forwarded-for", client.as_str()), ("x-forwarded-proto", "http")] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Request::from_parts(parts, body)
}

/// What the client gets in place of an answer, with the codes of an application load balancer.
fn error_page(failure: Failure) -> Response<Full<Bytes>> {
    let status = match failure {
        Failure::NoTarget => StatusCode::SERVICE_UNAVAILABLE,
        Failure::AnswerTimeout | Failure::ConnectTimeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let page = format!(
        "<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<p>{}</p>\n</body>\n</html>\n",
        failure.as_str()
    );
    let mut answer = Response::new(Full::new(Bytes::from(page)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_the_codes_of_a_load_balancer() {
        let codes = [
            Failure::NoTarget,
            Failure::Refused,
            Failure::Reset,
            Failure::ConnectTimeout,
            Failure::AnswerTimeout,
        ];
        assert_eq!(codes.map(|failure| error_page(failure).status().as_u16()), [503, 502, 502, 504, 504]);
    }
}
