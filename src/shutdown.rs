//! SIGTERM and SIGINT: the first one asks for the end, later ones are said and change nothing.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Starts to listen. The token is cancelled by the first signal; a second one cannot cut the clean-up short.
///
/// # Errors
/// The kernel refuses the signal handlers.
pub fn listen() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::task::spawn_local(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if asked.is_cancelled() {
                tracing::warn!(signal = name, "already stopping; the clean-up goes on");
            } else {
                tracing::info!(signal = name, "stopping");
                asked.cancel();
            }
        }
    });
    Ok(token)
}
