//! The signals by which a user, a terminal or a supervisor ends a program.

use std::io;

use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind};

/// SIGINT, SIGTERM and SIGHUP. From [`Interruption::watch`] on they no longer end the process by themselves, for
/// as long as it lives: the watcher must go on watching.
#[derive(Debug)]
pub struct Interruption {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
}

impl Interruption {
    /// # Errors
    /// The system refuses a handler, or there is no tokio runtime.
    pub fn watch() -> io::Result<Interruption> {
        let watched = |kind| {
            unix::signal(kind)
                .map_err(|error| io::Error::new(error.kind(), format!("watching for Ctrl-C: {error}")))
        };
        Ok(Interruption {
            interrupt: watched(SignalKind::interrupt())?,
            terminate: watched(SignalKind::terminate())?,
            hangup: watched(SignalKind::hangup())?,
        })
    }

    /// The next of them; may be dropped while waiting.
    pub async fn received(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::SIGINT,
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.hangup.recv() => Signal::SIGHUP,
        }
    }
}
