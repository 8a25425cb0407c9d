//! Accepts connections and carries each to where it was going, on a thread of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener as Listener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::LocalSet;

use crate::carry::{End, carry};
use crate::hit::{Counts, Hits};

/// So many connections are carried at once; more are reset. Each has two buffers of 8 KiB, and one head at most.
pub const MOST_CONNECTIONS: usize = 1_024;
/// Where there is no descriptor left, so long passes before the next connection is looked for.
const BREATH: Duration = Duration::from_millis(20);

/// Where a connection was going; an error resets it.
pub type Destination = fn(&TcpStream) -> io::Result<SocketAddr>;

/// Carries connections. Dropped, it ends, and every connection that it carries is reset: also by the kernel, if this
/// process ends.
#[derive(Debug)]
#[must_use = "dropped, it ends"]
pub struct Proxy {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    hits: Arc<Hits>,
}

impl Proxy {
    /// Accepts what comes to the listeners.
    ///
    /// # Errors
    /// There is no thread or no descriptor left for it.
    pub fn start(listeners: Vec<TcpListener>, hits: Hits, destination: Destination) -> io::Result<Proxy> {
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let listeners = {
            // They belong to the runtime that they are made in.
            let _here = runtime.enter();
            listeners.into_iter().map(Listener::from_std).collect::<io::Result<Vec<_>>>()?
        };
        let hits = Arc::new(hits);
        let (stop, stopped) = oneshot::channel();
        let work = {
            let hits = Arc::clone(&hits);
            move || {
                let local = LocalSet::new();
                let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
                for listener in listeners {
                    let (hits, room) = (Arc::clone(&hits), Arc::clone(&room));
                    local.spawn_local(accept(listener, hits, room, destination));
                }
                // Either way it is the end.
                let _ = local.block_on(&runtime, stopped);
            }
        };
        let thread = thread::Builder::new().name("http-fault".to_owned()).spawn(work)?;
        Ok(Proxy { stop: Some(stop), thread: Some(thread), hits })
    }

    /// What has been counted so far.
    pub fn counts(&self) -> &Counts {
        &self.hits.counts
    }

    /// Ends it, and waits until every connection is reset: milliseconds.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that has panicked has ended as well.
            let _ = thread.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Without a wait: the thread ends by itself.
        drop(self.stop.take());
    }
}

async fn accept(listener: Listener, hits: Arc<Hits>, room: Arc<Semaphore>, destination: Destination) {
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(_) => {
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        if client.set_zero_linger().is_err() {
            continue;
        }
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            Counts::add(&hits.counts.refused);
            continue;
        };
        let hits = Arc::clone(&hits);
        tokio::task::spawn_local(async move {
            connection(client, &hits, destination).await;
            drop(permit);
        });
    }
}

/// Carries one connection. Its sockets are closed with a reset, but for those whose end was said.
async fn connection(mut client: TcpStream, hits: &Hits, destination: Destination) {
    let Ok(to) = destination(&client) else { return };
    let Ok(mut server) = TcpStream::connect(to).await else {
        Counts::add(&hits.counts.unreached);
        return;
    };
    if server.set_zero_linger().is_err() {
        return;
    }
    // Pieces are written as they come.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    Counts::add(&hits.counts.connections);
    let end = carry(client.split(), server.split(), hits).await;
    if end == End::Closed {
        for socket in [&client, &server] {
            linger(socket);
        }
    }
}

/// What is still to be sent is sent, after the socket was closed.
#[expect(deprecated, reason = "what blocks is to linger for a time; this takes that back")]
fn linger(socket: &TcpStream) {
    // If it cannot be, the other side is reset.
    let _ = socket.set_linger(None);
}

#[cfg(test)]
mod tests;
