use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream as Stream;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::hit::tests::fault;

/// A server that answers every line with itself, on a port of its own.
fn echo() -> SocketAddr {
    static ECHO: OnceLock<SocketAddr> = OnceLock::new();
    *ECHO.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map(Result::unwrap) {
                thread::spawn(move || {
                    let mut room = [0; 4096];
                    while let Ok(count @ 1..) = stream.read(&mut room) {
                        if stream.write_all(&room[..count]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        address
    })
}

fn proxy(options: &[(&'static str, &str)], destination: Destination) -> (Proxy, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (Proxy::start(vec![listener], Hits::new(fault(options)), destination).unwrap(), address)
}

fn end(stream: &mut Stream) -> Result<usize, ErrorKind> {
    stream.read(&mut [0; 64]).map_err(|error| error.kind())
}

#[test]
fn it_carries_and_its_end_resets() {
    let (mut proxy, address) = proxy(&[("action", "abort")], |_| Ok(echo()));
    let mut stream = Stream::connect(address).unwrap();
    stream.write_all(b"PING\n").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"PING\n");
    proxy.stop();
    assert_eq!(end(&mut stream), Err(ErrorKind::ConnectionReset));
    assert_eq!(
        Stream::connect(address).map(drop).map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionRefused)
    );
    assert_eq!(proxy.counts().connections.load(Relaxed), 1);
}

#[test]
fn what_is_said_before_the_end_arrives() {
    let (_proxy, address) = proxy(&[("action", "status"), ("body", "0123456789")], |_| Ok(echo()));
    for _ in 0..20 {
        let mut stream = Stream::connect(address).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\n0123456789"), "{answer}");
    }
}

#[test]
fn an_abort_and_a_server_out_of_reach_are_resets() {
    let (_proxy, address) = proxy(&[("action", "abort")], |_| Ok(echo()));
    let mut stream = Stream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(end(&mut stream), Err(ErrorKind::ConnectionReset));
    // Nobody listens at the port of discard.
    let (unreached, address) = self::proxy(&[("action", "abort")], |_| Ok(([127, 0, 0, 1], 9).into()));
    let mut stream = Stream::connect(address).unwrap();
    assert_eq!(end(&mut stream), Err(ErrorKind::ConnectionReset));
    assert_eq!(unreached.counts().unreached.load(Relaxed), 1);
}
