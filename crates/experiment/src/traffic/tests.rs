//! The generator against servers of the test's own.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that answers every request after `delay`, with `status`.
async fn server(delay: Duration, status: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                if !head.starts_with(b"GET /health") {
                    tokio::time::sleep(delay).await;
                }
                let answer = format!("HTTP/1.1 {status} it\r\ncontent-length: 2\r\n\r\nok");
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

struct Run {
    load: Load,
    seconds: Arc<Mutex<Vec<Second>>>,
    _service: watch::Sender<Vec<Target>>,
}

fn start(rate: f64, addresses: &[SocketAddr], timeouts: Timeouts) -> Run {
    let targets = addresses.iter().map(|address| Target::at(address.to_string(), *address));
    let (service, registered) = watch::channel(targets.collect());
    let seconds = Arc::new(Mutex::new(Vec::new()));
    let sink = seconds.clone();
    let options = LoadOptions { rate, timeouts, ..LoadOptions::default() };
    let load = Load::start(options, registered, move |second| sink.lock().unwrap().push(second)).unwrap();
    Run { load, seconds, _service: service }
}

async fn stopped_after(run: Run, seconds: usize) -> Vec<Second> {
    while run.seconds.lock().unwrap().len() < seconds {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run.load.stop().await;
    Arc::try_unwrap(run.seconds).unwrap().into_inner().unwrap()
}

#[tokio::test]
async fn the_rate_is_kept_by_the_clock() {
    let address = server(Duration::ZERO, 200).await;
    let seconds = stopped_after(start(40.0, &[address], Timeouts::default()), 2).await;
    for second in &seconds[..2] {
        assert_eq!((second.sent, second.ok, second.failed()), (40, 40, 0), "{second:?}");
        assert!(second.p50_ms <= second.p95_ms && second.p95_ms <= second.p99_ms, "{second:?}");
    }
    assert!((seconds[1].at - seconds[0].at - 1.0).abs() < 0.01, "{seconds:?}");
}

/// A closed loop of one client would send two requests in a second to a server that takes half a second.
#[tokio::test]
async fn slow_answers_do_not_slow_the_requests() {
    let address = server(Duration::from_millis(500), 200).await;
    let seconds = stopped_after(start(30.0, &[address], Timeouts::default()), 1).await;
    assert_eq!((seconds[0].sent, seconds[0].ok), (30, 30), "{seconds:?}");
    assert!(seconds[0].p50_ms.unwrap() >= 495.0, "{seconds:?}");
}

#[tokio::test]
async fn failures_are_told_by_their_kind() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let timeouts = Timeouts { connect: Duration::from_secs(1), answer: Duration::from_millis(300) };
    for (address, kind) in [
        (closed, "refused"),
        (server(Duration::ZERO, 503).await, "error status"),
        (server(Duration::from_secs(60), 200).await, "answer timeout"),
    ] {
        let seconds = stopped_after(start(20.0, &[address], timeouts), 1).await;
        assert_eq!((seconds[0].ok, seconds[0].errors.get(kind)), (0, Some(&20)), "{kind}: {seconds:?}");
    }
}

#[tokio::test]
async fn without_a_task_every_request_fails_and_is_counted() {
    let seconds = stopped_after(start(20.0, &[], Timeouts::default()), 1).await;
    assert_eq!(seconds[0].errors.get("no target"), Some(&20), "{seconds:?}");
}

#[tokio::test]
async fn a_dead_task_gets_no_more_requests_once_it_is_noticed() {
    let alive = server(Duration::ZERO, 200).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let run = start(20.0, &[alive, closed], Timeouts::default());
    let mut healthy = run.load.healthy();
    healthy.wait_for(|names| names == &[alive.to_string()]).await.unwrap();
    let before = run.seconds.lock().unwrap().len();
    let seconds = stopped_after(run, before + 3).await;
    let last = seconds.get(before + 2).unwrap();
    assert_eq!((last.ok, last.failed()), (20, 0), "{seconds:?}");
}

#[test]
fn a_rate_is_above_nothing() {
    let (_service, registered) = watch::channel(Vec::new());
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let options = LoadOptions { rate, ..LoadOptions::default() };
        assert!(Load::start(options, registered.clone(), |_| ()).is_err());
    }
}
