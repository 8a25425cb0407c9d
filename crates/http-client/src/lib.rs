//! The one HTTP client: hyper and rustls, roots compiled in, plus those of the environment, and through its proxies.

#![forbid(unsafe_code)]

pub mod blocking;
mod connector;
pub mod network;
#[cfg(feature = "sdk")]
pub mod sdk;

use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::{Connect, HttpConnector as TcpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tower_service::Service;

use connector::Connector;
pub use network::{CaFile, Network, Proxies, ProxyError};

/// How long a call may take when nobody says otherwise.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that is not made by then is an error.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes: AWS's list of prefixes has half as many.
const MAX_ANSWER_BYTES: usize = 6 * 1024 * 1024;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file cannot be read, or holds no certificate.
    #[error("cannot read the certificates of {variable}={path}: {reason}")]
    CaBundle {
        /// What names the file.
        variable: &'static str,
        /// The file that was to be read.
        path: String,
        /// What reading it failed with.
        reason: String,
    },
    /// rustls knows none of the protocol versions that it was given.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The other side showed a certificate that no trusted root vouches for.
    #[error("{0}")]
    Untrusted(String),
    /// The name did not resolve, the connection was refused or broke, or the answer was too long.
    #[error("{0}")]
    Broken(String),
    /// The request was sent, and the other side closed the connection before the whole answer was there.
    #[error("{0}")]
    HungUp(String),
    /// Nothing complete came within the call's time limit, which is the value.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
}

impl SendError {
    fn of(error: &(dyn Error + 'static)) -> SendError {
        let text = chain(error);
        match (is_untrusted(error), is_incomplete(error)) {
            (true, _) => SendError::Untrusted(text),
            (_, true) => SendError::HungUp(text),
            _ => SendError::Broken(text),
        }
    }
}

/// Whether an error comes from a certificate that is not trusted.
pub fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    // An io::Error holds what it was made of, and names only the source of that as its own.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let inner = inner.map(|inner| inner as &(dyn Error + 'static));
    matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
        || matches!(error.downcast_ref(), Some(SendError::Untrusted(_)))
        || inner.is_some_and(is_untrusted)
        || error.source().is_some_and(is_untrusted)
}

/// Whether an error is the end of a connection in the middle of an answer, or before it.
fn is_incomplete(error: &(dyn Error + 'static)) -> bool {
    let cut_off = |error: &std::io::Error| {
        matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
    };
    error.downcast_ref().is_some_and(hyper::Error::is_incomplete_message)
        || error.downcast_ref().is_some_and(cut_off)
        || error.source().is_some_and(is_incomplete)
}

/// An HTTP client over pooled connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    inner: HyperClient<HttpsConnector<Connector>, Full<Bytes>>,
    https: HttpsConnector<Connector>,
    tls: Arc<rustls::ClientConfig>,
}

/// A connection, plain or by TLS, that is not one of HTTP calls.
pub type Connection = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

impl Client {
    /// A client that trusts the compiled-in roots and those of `network`, and takes its proxies.
    ///
    /// # Errors
    /// A bundle that cannot be read or holds no certificate.
    pub fn new(network: &Network) -> Result<Client, ClientError> {
        let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(file) = &network.ca_file {
            add_bundle(&mut roots, file)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Client::with(tls.into(), network.proxies.clone()))
    }

    fn with(tls: Arc<rustls::ClientConfig>, proxies: Proxies) -> Client {
        let mut tcp = tcp();
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(rustls::ClientConfig::clone(&tls))
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector { tcp, proxies });
        let inner = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(15))
            .build(https.clone());
        Client { inner, https, tls }
    }

    /// The same without proxies: for the task's own metadata and credentials.
    #[must_use]
    pub fn direct(&self) -> Client {
        Client::with(Arc::clone(&self.tls), Proxies::default())
    }

    /// A connection to the host of `uri`, by the way and with the roots that calls have: for what is no HTTP call (the
    /// websocket).
    ///
    /// # Errors
    /// [`SendError`]
    pub async fn open(&self, uri: &Uri) -> Result<Connection, SendError> {
        let mut https = self.https.clone();
        let opened = async {
            std::future::poll_fn(|context| https.poll_ready(context)).await?;
            https.call(uri.clone()).await
        };
        opened.await.map(TokioIo::new).map_err(|error| SendError::of(error.as_ref()))
    }

    /// Sends `request` and reads the whole answer within `timeout`.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, SendError> {
        exchange(&self.inner, request, timeout).await
    }
}

/// Sends `request` over `client` and reads the whole answer within `timeout`.
async fn exchange<C: Connect + Clone + Send + Sync + 'static>(
    client: &HyperClient<C, Full<Bytes>>,
    request: Request<Full<Bytes>>,
    timeout: Duration,
) -> Result<Response<Bytes>, SendError> {
    let exchange = async {
        let answer = client.request(request).await.map_err(|error| SendError::of(&error))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| SendError::of(error.as_ref()))?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(SendError::Late(timeout)))
}

/// Connections over TCP, as every client here makes them.
fn tcp() -> TcpConnector {
    let mut tcp = TcpConnector::new();
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_nodelay(true);
    tcp
}

fn add_bundle(roots: &mut rustls::RootCertStore, file: &CaFile) -> Result<(), ClientError> {
    let (variable, path) = (file.variable, file.path.display().to_string());
    let bad = |reason: String| ClientError::CaBundle { variable, path: path.clone(), reason };
    let certificates = CertificateDer::pem_file_iter(&file.path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(error.to_string()))?;
    let (added, _ignored) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(bad("it holds no certificate".to_owned()));
    }
    Ok(())
}

/// The port of a URI; where it has none, that of its scheme: 80 for `http`, else 443.
pub fn port_of(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 })
}

/// The Host header of an endpoint: without the port where it is the scheme's own, as signers expect.
pub fn host_of(endpoint: &Uri) -> String {
    let host = endpoint.host().unwrap_or_default();
    match (endpoint.scheme_str(), endpoint.port_u16()) {
        (Some("http"), Some(80)) | (Some("https"), Some(443)) | (_, None) => host.to_owned(),
        (_, Some(port)) => format!("{host}:{port}"),
    }
}

/// An error with its causes, since hyper's own text is often only "client error (Connect)".
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_found_behind_other_errors() {
        let bad = || rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert!(is_untrusted(&bad()));
        assert!(is_untrusted(&std::io::Error::other(std::io::Error::other(bad()))));
        let sent = SendError::of(&std::io::Error::other(bad()));
        assert!(matches!(sent, SendError::Untrusted(_)) && is_untrusted(&std::io::Error::other(sent)));
        assert!(!is_untrusted(&std::io::Error::other("a certificate of good conduct")));
        assert!(!is_untrusted(&rustls::Error::DecryptError));
    }

    #[test]
    fn the_host_leaves_out_the_default_port() {
        for (uri, host) in [
            ("http://127.0.0.1:4566/", "127.0.0.1:4566"),
            ("https://ssm.eu-west-1.amazonaws.com/", "ssm.eu-west-1.amazonaws.com"),
            ("https://localhost:443/", "localhost"),
            ("http://[::1]:80/", "[::1]"),
        ] {
            assert_eq!(host_of(&uri.parse().unwrap()), host);
        }
    }
}
