//! Connections over TCP: straight to a host, or through the proxy that is for it, by CONNECT.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::network::{Proxies, Proxy};
use crate::port_of;

/// How long a proxy may take to connect us: it has to look up a name and to connect itself.
const TUNNEL_SECONDS: u64 = 10;

type BoxError = Box<dyn Error + Send + Sync>;

/// Makes connections. CONNECT is for every scheme: then nobody but the two ends sees what is said.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    pub tcp: TcpConnector,
    pub proxies: Proxies,
}

/// Why a proxy does not lead where we want to go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyFailure {
    #[error("the proxy {0} does not answer within {TUNNEL_SECONDS} s")]
    Late(String),
    #[error("the proxy {0} wants a user and a password, or others than these (407)")]
    Unauthorized(String),
    #[error("the proxy {proxy} does not connect us to {target}: it refuses or cannot reach it")]
    Refused { proxy: String, target: String },
    #[error("the proxy {0} cannot be reached")]
    Unreachable(String, #[source] BoxError),
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match self.proxies.of(&target) {
            Some(proxy) => Box::pin(tunnel(self.tcp.clone(), proxy, target)),
            None => {
                let connecting = self.tcp.call(target);
                Box::pin(async { Ok(connecting.await?) })
            }
        }
    }
}

async fn tunnel(tcp: TcpConnector, proxy: Proxy, target: Uri) -> Result<TokioIo<TcpStream>, BoxError> {
    let mut tunnel = Tunnel::new(proxy.uri.clone(), tcp);
    if let Some(authorization) = &proxy.authorization {
        tunnel = tunnel.with_auth(authorization.clone());
    }
    let (name, place) = (proxy.to_string(), with_port(&target)?);
    let connecting = tunnel.call(place.clone());
    let Ok(connected) = tokio::time::timeout(Duration::from_secs(TUNNEL_SECONDS), connecting).await else {
        return Err(ProxyFailure::Late(name).into());
    };
    connected.map_err(|error| {
        // The library's error has no public kinds: what it says of them is all there is.
        let refused = |proxy| ProxyFailure::Refused { proxy, target: place.to_string() };
        let failure = match error.source() {
            Some(_) => ProxyFailure::Unreachable(name, Box::new(error)),
            None if error.to_string().contains("authorization required") => ProxyFailure::Unauthorized(name),
            None => refused(name),
        };
        failure.into()
    })
}

/// With the port of its scheme: the library takes 443 for all.
fn with_port(target: &Uri) -> Result<Uri, http::Error> {
    let host = target.host().unwrap_or_default();
    let authority = format!("{host}:{}", port_of(target));
    Uri::builder().scheme("http").authority(authority).path_and_query("/").build()
}
