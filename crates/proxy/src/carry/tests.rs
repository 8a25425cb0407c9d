use proptest::prelude::*;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;
use crate::hit::tests::fault;

const ROOM: usize = 1 << 16;

/// Carries a connection while `play` is at both of its ends, which it closes by returning. Gives how it ended.
fn carried<F: Future<Output = ()>>(
    options: &[(&'static str, &str)],
    play: impl FnOnce(DuplexStream, DuplexStream) -> F,
) -> (End, Hits) {
    let hits = Hits::new(fault(options));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let end = runtime.block_on(async {
        let ((client, near), (far, server)) = (duplex(ROOM), duplex(ROOM));
        let play = play(client, server);
        tokio::join!(carry(tokio::io::split(near), tokio::io::split(far), &hits), play).0
    });
    (end, hits)
}

/// All that comes until the end.
async fn rest(stream: &mut DuplexStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    all
}

async fn expect(stream: &mut DuplexStream, bytes: impl AsRef<[u8]>) {
    let mut read = vec![0; bytes.as_ref().len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(bytes.as_ref()));
}

/// Writes in pieces of these sizes, again and again, then says that this is all.
async fn say(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], sizes: &[usize]) {
    let (mut at, mut sizes) = (0, sizes.iter().cycle());
    while at < bytes.len() {
        let end = bytes.len().min(at + sizes.next().unwrap());
        // A connection that was ended takes no more.
        if to.write_all(&bytes[at..end]).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
        at = end;
    }
    let _ = to.shutdown().await;
}

const HIT: &str = "GET /hit HTTP/1.1\r\nHost: a\r\n\r\n";
const PASSED: &str = "GET /passed HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
const FAILED: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno";

fn status() -> Vec<(&'static str, &'static str)> {
    vec![("action", "status"), ("path", "/hit"), ("body", "no")]
}

#[test]
fn a_request_that_is_hit_is_answered_and_the_connection_goes_on() {
    let (end, hits) = carried(&status(), |mut client, mut server| async move {
        for _ in 0..2 {
            client.write_all(HIT.as_bytes()).await.unwrap();
            expect(&mut client, FAILED).await;
            client.write_all(PASSED.as_bytes()).await.unwrap();
            expect(&mut server, PASSED).await;
            server.write_all(OK.as_bytes()).await.unwrap();
            expect(&mut client, OK).await;
        }
    });
    assert_eq!(end, End::Closed);
    let of = |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((of(&hits.counts.requests), of(&hits.counts.matched), of(&hits.counts.hit)), (4, 2, 2));
}

#[test]
fn the_body_of_a_request_that_is_hit_is_not_taken_for_the_next_request() {
    let (_, hits) = carried(&status(), |mut client, server| async move {
        let head = "POST /hit HTTP/1.1\r\nContent-Length: 30\r\n\r\n";
        client.write_all(format!("{head}{HIT}").as_bytes()).await.unwrap();
        expect(&mut client, FAILED).await;
        let chunked = "POST /hit HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\n";
        client.write_all(format!("{chunked}{HIT}\r\n0\r\n\r\n").as_bytes()).await.unwrap();
        expect(&mut client, FAILED).await;
        drop(server);
    });
    assert_eq!(HIT.len(), 30);
    assert_eq!(hits.counts.requests.into_inner(), 2);
}

#[test]
fn who_waits_for_a_continue_is_answered_and_the_connection_ends() {
    let (end, _) = carried(&status(), |mut client, mut server| async move {
        let head = "POST /hit HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = String::from_utf8(rest(&mut client).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Connection: close"), "{answer}");
        drop(client);
        assert_eq!(rest(&mut server).await, b"");
    });
    assert_eq!(end, End::Closed);
}

#[test]
fn a_server_that_closes_meanwhile_does_not_spoil_the_answer() {
    let options = [status(), vec![("delay-milliseconds", "1000")]].concat();
    carried(&options, |mut client, server| async move {
        client.write_all(HIT.as_bytes()).await.unwrap();
        // It is taken before.
        sleep(Duration::from_millis(1)).await;
        drop(server);
        assert_eq!(rest(&mut client).await, FAILED.as_bytes());
    });
}

#[test]
fn a_delay_holds_the_request() {
    carried(&[("action", "delay"), ("delay-milliseconds", "250")], |mut client, mut server| async move {
        let began = Instant::now();
        client.write_all(PASSED.as_bytes()).await.unwrap();
        expect(&mut server, PASSED).await;
        assert_eq!(began.elapsed().as_millis() / 10, 25);
    });
}

#[test]
fn an_abort_resets_after_the_answers_before_it() {
    let (end, _) = carried(&[("action", "abort"), ("path", "/hit")], |mut client, mut server| async move {
        client.write_all(format!("{PASSED}{HIT}").as_bytes()).await.unwrap();
        expect(&mut server, PASSED).await;
        server.write_all(OK.as_bytes()).await.unwrap();
        expect(&mut client, OK).await;
        assert_eq!(rest(&mut server).await, b"");
    });
    assert_eq!(end, End::Reset);
}

#[test]
fn half_of_a_body_comes() {
    for (answer, seen, end) in [
        (OK, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi", End::Closed),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine",
            End::Closed,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nfine", "HTTP/1.1 200 OK\r\n\r\nfi", End::Reset),
    ] {
        let (ended, hits) = carried(&[("action", "cut")], |mut client, mut server| async move {
            client.write_all(PASSED.as_bytes()).await.unwrap();
            expect(&mut server, PASSED).await;
            server.write_all(answer.as_bytes()).await.unwrap();
            assert_eq!(String::from_utf8(rest(&mut client).await).unwrap(), seen);
        });
        assert_eq!((ended, hits.counts.bodiless.into_inner()), (end, 0), "{answer}");
    }
    let empty = "HTTP/1.1 204 No Content\r\n\r\n";
    let (_, hits) = carried(&[("action", "cut")], |mut client, mut server| async move {
        client.write_all(PASSED.as_bytes()).await.unwrap();
        expect(&mut server, PASSED).await;
        server.write_all(empty.as_bytes()).await.unwrap();
        expect(&mut client, empty).await;
    });
    assert_eq!(hits.counts.bodiless.into_inner(), 1);
}

#[test]
fn a_body_comes_at_the_rate() {
    carried(&[("action", "rate"), ("rate", "1000")], |mut client, mut server| async move {
        client.write_all(PASSED.as_bytes()).await.unwrap();
        expect(&mut server, PASSED).await;
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n";
        server.write_all(&[head.as_bytes(), &[b'x'; 2000]].concat()).await.unwrap();
        expect(&mut client, head).await;
        let began = Instant::now();
        expect(&mut client, [b'x'; 2000]).await;
        assert_eq!(began.elapsed().as_millis() / 100, 19, "the last piece needs no wait");
    });
}

#[test]
fn who_is_not_answered_hears_nothing_of_the_server() {
    let (end, _) = carried(&[("action", "no-answer")], |mut client, mut server| async move {
        client.write_all(HIT.as_bytes()).await.unwrap();
        // It is taken before.
        sleep(Duration::from_millis(1)).await;
        server.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        drop(server);
        let waited = timeout(Duration::from_secs(3600), client.read_u8()).await;
        assert!(waited.is_err(), "{waited:?}");
    });
    assert_eq!(end, End::Reset);
}

#[test]
fn after_an_upgrade_everything_passes() {
    let (_, hits) = carried(&status(), |mut client, mut server| async move {
        let upgrade = "GET /passed HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.write_all(upgrade.as_bytes()).await.unwrap();
        expect(&mut server, upgrade).await;
        let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        server.write_all(switched.as_bytes()).await.unwrap();
        expect(&mut client, switched).await;
        for _ in 0..2 {
            client.write_all(HIT.as_bytes()).await.unwrap();
            expect(&mut server, HIT).await;
            server.write_all(b"\x81\x02hi").await.unwrap();
            expect(&mut client, b"\x81\x02hi").await;
        }
    });
    assert_eq!((hits.counts.requests.into_inner(), hits.counts.passed.into_inner()), (1, 0));
}

#[test]
fn a_request_whose_upgrade_is_refused_is_followed_by_others() {
    carried(&status(), |mut client, mut server| async move {
        let upgrade = "GET /passed HTTP/1.1\r\nUpgrade: h2c\r\n\r\n";
        client.write_all(format!("{upgrade}{HIT}").as_bytes()).await.unwrap();
        expect(&mut server, upgrade).await;
        server.write_all(OK.as_bytes()).await.unwrap();
        expect(&mut client, format!("{OK}{FAILED}")).await;
    });
}

#[test]
fn a_protocol_that_waits_behind_half_a_line_passes() {
    let (_, hits) = carried(&status(), |mut client, mut server| async move {
        client.write_all(b"HELLO").await.unwrap();
        expect(&mut server, b"HELLO").await;
        server.write_all(b"WORLD").await.unwrap();
        expect(&mut client, b"WORLD").await;
    });
    assert_eq!(hits.counts.passed.into_inner(), 1);
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    carried(&status(), |mut client, mut server| async move {
        server.write_all(b"220 ready\r\n").await.unwrap();
        expect(&mut client, b"220 ready\r\n").await;
        client.write_all(HIT.as_bytes()).await.unwrap();
        expect(&mut server, HIT).await;
    });
}

#[test]
fn a_body_in_doubt_passes_and_is_not_hit() {
    let (_, hits) = carried(&status(), |mut client, mut server| async move {
        let both = "POST /hit HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        client.write_all(format!("{both}{HIT}").as_bytes()).await.unwrap();
        expect(&mut server, format!("{both}{HIT}")).await;
    });
    assert_eq!((hits.counts.hit.into_inner(), hits.counts.passed.into_inner()), (0, 1));
}

/// A ClientHello that asks for `b.exa`.
const HELLO: &[u8] = b"\x16\x03\x01\x00\x3d\x01\x00\x00\x39\x03\x03\
    0123456789abcdef0123456789abcdef\x00\x00\x02\x13\x01\x01\x00\x00\x0e\
    \x00\x00\x00\x0a\x00\x08\x00\x00\x05b.exa";

#[test]
fn tls_is_known_by_the_name_that_it_asks_for() {
    for (host, end, hit) in [("b.*", End::Reset, 1), ("c.*", End::Closed, 0)] {
        let options = [("action", "abort"), ("protocol", "tls"), ("host", host)];
        let (ended, hits) = carried(&options, |mut client, mut server| async move {
            client.write_all(HELLO).await.unwrap();
            client.shutdown().await.unwrap();
            let seen = rest(&mut server).await;
            assert_eq!(seen, if hit == 1 { &[][..] } else { HELLO });
        });
        assert_eq!((ended, hits.counts.hit.into_inner()), (end, hit), "{host}");
    }
}

/// Messages of HTTP, or nearly, and other bytes.
fn messages(begin: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(any::<u8>(), 0..200);
    let one = prop_oneof![
        8 => body.clone().prop_map(move |body| {
            [format!("{begin}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat()
        }),
        8 => proptest::collection::vec(body.clone(), 0..4).prop_map(move |chunks| {
            let mut bytes = format!("{begin}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                bytes.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            }
            [&bytes[..], b"0\r\n\r\n"].concat()
        }),
        4 => Just([begin.as_bytes(), b"\r\n"].concat()),
        2 => Just([begin.as_bytes(), b"Upgrade: x\r\n\r\n"].concat()),
        1 => body,
    ];
    proptest::collection::vec(one, 0..6).prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_is_not_meant_passes_byte_for_byte(
        asked in messages("POST /passed HTTP/1.1\r\nHost: a\r\n"),
        answered in messages("HTTP/1.1 200 OK\r\n"),
        sizes in proptest::collection::vec(1_usize..120, 1..5),
    ) {
        let (to_server, to_client) = (asked.clone(), answered.clone());
        let (end, _) = carried(&status(), |client, server| async move {
            let ((mut heard, mut client), (mut reached, mut server)) =
                (tokio::io::split(client), tokio::io::split(server));
            let (mut seen, mut got) = (Vec::new(), Vec::new());
            let (_, _, reached, heard) = tokio::join!(
                say(&mut client, &to_server, &sizes),
                say(&mut server, &to_client, &sizes),
                reached.read_to_end(&mut seen),
                heard.read_to_end(&mut got),
            );
            reached.unwrap();
            heard.unwrap();
            assert_eq!(seen, to_server);
            assert_eq!(got, to_client);
        });
        prop_assert_eq!(end, End::Closed);
    }

    #[test]
    fn answers_come_in_the_order_of_requests(
        hits in proptest::collection::vec(any::<bool>(), 1..90),
        sizes in proptest::collection::vec(1_usize..200, 1..5),
    ) {
        let asked: String = hits.iter().map(|hit| if *hit { HIT } else { PASSED }).collect();
        let passed: String = hits.iter().filter(|hit| !**hit).map(|_| PASSED).collect();
        let expected: String = hits.iter().map(|hit| if *hit { FAILED } else { OK }).collect();
        carried(&status(), |mut client, mut server| async move {
            let (mut heard, mut to) = tokio::io::split(&mut client);
            let serve = async {
                let mut request = vec![0; PASSED.len()];
                for _ in 0..passed.len() / PASSED.len() {
                    server.read_exact(&mut request).await.unwrap();
                    server.write_all(OK.as_bytes()).await.unwrap();
                }
            };
            let mut answers = vec![0; expected.len()];
            let _ = tokio::join!(say(&mut to, asked.as_bytes(), &sizes), serve, heard.read_exact(&mut answers));
            assert_eq!(String::from_utf8(answers).unwrap(), expected);
        });
    }
}
