//! One request as a client makes it: a connection of its own, time limits, and a word for each way to fail.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Target;

/// How long a client waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection.
    pub connect: Duration,
    /// For the whole answer, from the connection on.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { connect: Duration::from_secs(1), answer: Duration::from_secs(2) }
    }
}

/// Why a request failed, as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The load balancer has no task to send it to.
    NoTarget,
    /// Nothing listens on the port.
    Refused,
    /// There is no such address any more.
    Unreachable,
    /// No connection within [`Timeouts::connect`].
    ConnectTimeout,
    /// The connection broke before the answer was complete.
    Reset,
    /// No complete answer within [`Timeouts::answer`].
    AnswerTimeout,
    /// An answer, but not a success (2xx).
    Status,
    /// The client's own system failed it: no descriptors, for instance.
    Client,
}

impl Failure {
    /// A few words for the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::NoTarget => "no target",
            Failure::Refused => "refused",
            Failure::Unreachable => "unreachable",
            Failure::ConnectTimeout => "connect timeout",
            Failure::Reset => "connection broken",
            Failure::AnswerTimeout => "answer timeout",
            Failure::Status => "error status",
            Failure::Client => "client error",
        }
    }
}

/// GETs a path from a target and reads the whole answer.
///
/// Each request makes its own connection: an idle one that the server has closed meanwhile would fail a
/// request that no fault has touched.
///
/// # Errors
/// The way it failed.
pub async fn get(target: &Target, path: &str, timeouts: Timeouts) -> Result<(), Failure> {
    let connected = timeout(timeouts.connect, TcpStream::connect(target.address)).await;
    let stream = connected.map_err(|_| Failure::ConnectTimeout)?.map_err(|error| unconnected(&error))?;
    let _ = stream.set_nodelay(true);
    match timeout(timeouts.answer, exchange(stream, &target.host, path)).await {
        Ok(answered) => answered,
        Err(_) => Err(Failure::AnswerTimeout),
    }
}

async fn exchange(stream: TcpStream, host: &str, path: &str) -> Result<(), Failure> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Reset)?;
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Failure::Client)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|_| Failure::Reset)?;
        let status = answer.status();
        answer.into_body().collect().await.map_err(|_| Failure::Reset)?;
        if status.is_success() { Ok(()) } else { Err(Failure::Status) }
    };
    // The connection does its work while the answer is awaited; its own end is no news.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        _ = connection => answer.await,
    }
}

/// Why there is no connection.
pub fn unconnected(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::Refused,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            Failure::Unreachable
        }
        ErrorKind::TimedOut => Failure::ConnectTimeout,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Failure::Reset,
        _ => Failure::Client,
    }
}
