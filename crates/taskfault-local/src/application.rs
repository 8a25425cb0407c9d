//! A small web service to try experiments on: each request costs a stated amount of CPU time.
//!
//! `GET /health` answers at once; everything else does its work first: rounds of SHA-256 until its own
//! thread's CPU clock has advanced by the stated time. So a request takes longer when the CPU is scarce, which
//! is what a CPU stress is to show, and is not shortened by a faster machine.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::time::{ClockId, clock_gettime};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

/// The arguments of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct ApplicationOptions {
    /// Port to listen on, on every address
    #[arg(long, default_value_t = 80)]
    pub port: u16,
    /// CPU time of one request, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 4)]
    pub work: u32,
    /// How many requests are worked on at once; the others wait
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub threads: usize,
}

/// Work between two looks at the clock: some tens of microseconds.
const ROUNDS: u32 = 64;

/// Serves until SIGTERM or SIGINT; exit code 0 then, 1 if it could not listen.
pub fn run(options: ApplicationOptions) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(options.threads.max(1))
        .enable_all()
        .build();
    let served = runtime.and_then(|runtime| runtime.block_on(serve(options)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("application: port {}: {error}", options.port);
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: ApplicationOptions) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, options.port))).await?;
    println!("listening on {}", listener.local_addr()?);
    let workers = Arc::new(Semaphore::new(options.threads.max(1)));
    let work = Duration::from_millis(options.work.into());
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, work, workers.clone()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

async fn connection(stream: TcpStream, work: Duration, workers: Arc<Semaphore>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, work, workers.clone()));
    // A client that goes away is nothing to talk about.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    work: Duration,
    workers: Arc<Semaphore>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/health" {
        return Ok(text(StatusCode::OK, "healthy\n"));
    }
    // A client that gives up while it waits leaves the queue.
    let Ok(_place) = workers.acquire_owned().await else {
        return Ok(text(StatusCode::SERVICE_UNAVAILABLE, "ending\n"));
    };
    let burned = tokio::task::spawn_blocking(move || burn(work)).await;
    Ok(match burned {
        Ok(rounds) => text(StatusCode::OK, &format!("{rounds} rounds of SHA-256\n")),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the work failed\n"),
    })
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    response
}

/// Hashes until this thread has used so much CPU time; how many rounds that were.
fn burn(work: Duration) -> u64 {
    let mut block = [0_u8; 32];
    let mut rounds = 0;
    let Some(began) = cpu_time() else { return rounds };
    while cpu_time().is_some_and(|now| now.saturating_sub(began) < work) {
        for _ in 0..ROUNDS {
            let hash = digest(&SHA256, &block);
            block.copy_from_slice(hash.as_ref());
        }
        rounds += u64::from(ROUNDS);
    }
    rounds
}

/// CPU time of this thread.
fn cpu_time() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_its_cpu_time() {
        let before = cpu_time().unwrap();
        assert!(burn(Duration::from_millis(5)) > 0);
        assert!(cpu_time().unwrap() - before >= Duration::from_millis(5));
        assert_eq!(burn(Duration::ZERO), 0);
    }
}
