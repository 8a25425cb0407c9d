//! From a port of this machine to the tasks of a service: the one way into their network from outside.
//!
//! A load balancer as ECS services have one: every request goes to the task whose turn it is, and to no other if that
//! one fails it. What became of it is told to the record. The listening socket was opened before the namespaces were
//! entered and belongs to the machine's network; the connections to the tasks are made inside.
//!
//! Answers of its own are those of an Application Load Balancer: 503 without a target, 502 where the connection is
//! refused or breaks, 504 where connecting or answering takes too long.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use experiment::traffic::{Failure, unconnected};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, SERVER, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::balancer::{Balancer, Outcome};

/// How long a task may take to accept a connection, and to begin its answer: the service's own limits.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);
/// The pause when no connection can be accepted.
const PAUSE: Duration = Duration::from_secs(1);

type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Passes requests on to the tasks of a service in turn, until it is dropped.
pub(super) async fn forward(listener: TcpListener, balancer: Arc<Balancer>) {
    let watching = balancer.clone().watch();
    let mut watching = pin!(watching);
    loop {
        tokio::select! {
            () = &mut watching => return,
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
    let mut watched = Watched { balancer: &balancer, came: Instant::now(), outcome: Outcome::GivenUp };
    let answer = match pass_on(&balancer, peer, request).await {
        Ok((answer, time)) => {
            watched.outcome = Outcome::Answered(answer.status(), time);
            answer.map(Either::Left)
        }
        Err(failure) => {
            let page = error_page(failure);
            watched.outcome = Outcome::Failed(failure, page.status());
            page.map(Either::Right)
        }
    };
    Ok(answer)
}

/// A request under way; counted when it is dropped.
struct Watched<'a> {
    balancer: &'a Balancer,
    came: Instant,
    outcome: Outcome,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.balancer.ended(self.outcome, self.came.elapsed());
    }
}

/// The task's answer, and how long after the request it began.
async fn pass_on(
    balancer: &Balancer,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<(Response<Incoming>, Duration), Failure> {
    let under_way = balancer.choose().ok_or(Failure::NoTarget)?;
    let connected = timeout(CONNECT, TcpStream::connect(under_way.address)).await;
    let stream = connected.map_err(|_| Failure::ConnectTimeout)?.map_err(|error| unconnected(&error))?;
    let _ = stream.set_nodelay(true);
    let shaken = client::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|_| Failure::Reset)?;
    tokio::spawn(connection.with_upgrades());
    let from_client = hyper::upgrade::on(&mut request);
    let request = onward(peer, request);
    let sent = Instant::now();
    let answer = timeout(ANSWER, pin!(sender.send_request(request))).await;
    let mut answer = answer.map_err(|_| Failure::AnswerTimeout)?.map_err(|_| Failure::Reset)?;
    let time = sent.elapsed();
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
    Ok((answer, time))
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
    // As the service names itself, which tells its answers from those of targets.
    answer.headers_mut().insert(SERVER, HeaderValue::from_static("awselb/2.0"));
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
