//! The signals that ask for the end: the first one counts, later ones are logged and change nothing.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGTERM, SIGINT, SIGHUP (the terminal is closed) and SIGQUIT.
#[derive(Debug)]
pub struct Signals(Vec<(&'static str, u8, Signal)>);

impl Signals {
    /// Takes them over from the kernel, whose answer would be the end of the process.
    ///
    /// # Errors
    /// The kernel refuses the signal handlers.
    pub fn listen() -> std::io::Result<Signals> {
        let all = [
            ("SIGHUP", 1, SignalKind::hangup()),
            ("SIGINT", 2, SignalKind::interrupt()),
            ("SIGQUIT", 3, SignalKind::quit()),
            ("SIGTERM", 15, SignalKind::terminate()),
        ];
        let listen = |(name, number, kind)| Ok((name, number, signal(kind)?));
        Ok(Signals(all.into_iter().map(listen).collect::<std::io::Result<_>>()?))
    }

    /// Waits for the next of them: its name and number.
    pub async fn next(&mut self) -> (&'static str, u8) {
        std::future::poll_fn(|context| {
            for (name, number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready((*name, *number));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Starts to listen. The token is cancelled by the first signal; a second one cannot cut the clean-up short.
///
/// # Errors
/// The kernel refuses the signal handlers.
pub fn listen() -> std::io::Result<CancellationToken> {
    let mut signals = Signals::listen()?;
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (signal, _) = signals.next().await;
            if asked.is_cancelled() {
                tracing::warn!(signal, "already stopping; the clean-up goes on");
            } else {
                asked.cancel();
                tracing::info!(signal, "stopping");
            }
        }
    });
    Ok(token)
}
