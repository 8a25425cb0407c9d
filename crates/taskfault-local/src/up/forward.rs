//! From a port of this machine to the tasks of a service: the one way into their network from outside.
//!
//! The listening socket was opened before the namespaces were entered and belongs to the machine's network;
//! the connections to the tasks are made inside.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::Inner;

/// How long a task may take to accept a connection before the next one is tried.
const CONNECT: Duration = Duration::from_secs(2);

/// Where connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub cluster: String,
    pub service: String,
    pub port: u16,
}

/// Passes connections on to the tasks of a service in turn, until it is dropped.
pub(super) async fn forward(listener: TcpListener, route: Route, inner: Arc<Inner>) {
    let mut turn = 0_usize;
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                turn = turn.wrapping_add(1);
                tokio::spawn(pass_on(client, addresses(&inner, &route, turn)));
            }
            // Out of descriptors, most likely: let some connections end first.
            Err(_) => tokio::time::sleep(CONNECT).await,
        }
    }
}

/// The addresses of the service's tasks, the one whose turn it is first.
fn addresses(inner: &Inner, route: &Route, turn: usize) -> Vec<SocketAddr> {
    let of_route = |task: &super::RunningTask| {
        task.cluster == route.cluster && task.service.as_deref() == Some(route.service.as_str())
    };
    let tasks = inner.running();
    let mut found: Vec<Ipv4Addr> = tasks.iter().filter(|it| of_route(it)).map(|it| it.address).collect();
    if !found.is_empty() {
        let first = turn % found.len();
        found.rotate_left(first);
    }
    found.into_iter().map(|address| SocketAddr::from((address, route.port))).collect()
}

/// To the first task that accepts; a client for which there is none sees its connection closed.
async fn pass_on(mut client: TcpStream, addresses: Vec<SocketAddr>) -> io::Result<()> {
    for address in addresses {
        if let Ok(Ok(mut task)) = timeout(CONNECT, TcpStream::connect(address)).await {
            let _ = (client.set_nodelay(true), task.set_nodelay(true));
            copy_bidirectional(&mut client, &mut task).await?;
            return Ok(());
        }
    }
    Ok(())
}
