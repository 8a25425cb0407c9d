//! The traffic: an echo server for UDP and TCP, and clients that measure one exchange. Runs as a process of
//! its own, because a process is in one network namespace.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};

use super::service::SIGNED;

/// An exchange that takes longer is lost.
const REPLY_LIMIT: Duration = Duration::from_millis(1500);
/// How long the packets of a burst have, all together.
const BURST_LIMIT: Duration = Duration::from_secs(2);

/// `serve ADDRESS…`, `udp ADDRESS`, `tcp ADDRESS`, `burst ADDRESS COUNT`, `stream ADDRESS`, `play`,
/// `call ADDRESS OPERATION BODY`.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let argument = |number: usize| arguments[number].as_str();
    match argument(0) {
        "serve" => serve(&arguments[1..]),
        "udp" => say(udp(argument(1).parse().unwrap())),
        "tcp" => say(tcp(argument(1).parse().unwrap())),
        "burst" => burst(argument(1).parse().unwrap(), argument(2).parse().unwrap()),
        "stream" => stream(argument(1).parse().unwrap()),
        "play" => crate::play::run(),
        "call" => call(argument(1), argument(2), argument(3)),
        other => other_kind(other, &arguments[1..]),
    }
    ExitCode::SUCCESS
}

/// `post PATH TARGET BODY`, `proxy ADDRESS`, `tell ADDRESS TEXT`, `publish ADDRESS PREFIX`, `occupy NAME`.
fn other_kind(kind: &str, arguments: &[String]) {
    match (kind, arguments) {
        ("post", [path, target, body]) => crate::service::post(path, target, body),
        ("proxy", [address]) => proxy(address),
        ("tell", [address, text]) => tell(address.parse().unwrap(), text),
        ("publish", [address, prefix]) => crate::places::publish(address, prefix),
        ("occupy", [name]) => occupy(name),
        _ => panic!("no probe {kind} {arguments:?}"),
    }
}

/// Sends a line and an empty one, and says the first line that comes back, or what came instead.
fn tell(to: SocketAddr, text: &str) {
    let first_line = || {
        let mut stream = TcpStream::connect(to)?;
        write!(stream, "{text}\r\n\r\n")?;
        let mut room = [0; 256];
        let length = stream.read(&mut room)?;
        let answer = String::from_utf8_lossy(&room[..length]).into_owned();
        Ok::<String, std::io::Error>(answer.lines().next().unwrap_or("nothing").to_owned())
    };
    match first_line() {
        Ok(line) => println!("{line}"),
        Err(error) => println!("lost {error}"),
    }
}

/// Takes redirected connections and carries each to where it was meant to go, until it is killed.
fn proxy(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    for near in listener.incoming().map_while(Result::ok) {
        std::thread::spawn(move || {
            let to = getsockopt(&near, sockopt::OriginalDst).unwrap();
            let to = (Ipv4Addr::from_bits(u32::from_be(to.sin_addr.s_addr)), u16::from_be(to.sin_port));
            let Ok(far) = TcpStream::connect(to) else { return };
            let (mut from_near, mut to_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_near, &mut to_far);
                let _ = to_far.shutdown(Shutdown::Write);
            });
            let (mut from_far, mut to_near) = (far, near);
            let _ = std::io::copy(&mut from_far, &mut to_near);
            let _ = to_near.shutdown(Shutdown::Write);
        });
    }
}

/// Listens on an abstract socket, fills its backlog, says so, and keeps it until the input ends.
fn occupy(name: &str) {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    let listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    // Who connects to a full backlog waits.
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        loop {
            all.push(std::os::unix::net::UnixStream::connect_addr(&address).unwrap());
            tell.send(()).unwrap();
        }
    });
    while told.recv_timeout(Duration::from_secs(1)).is_ok() {}
    println!("full");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

fn say(outcome: std::io::Result<Duration>) {
    match outcome {
        Ok(time) => println!("{:.3}", time.as_secs_f64() * 1e3),
        Err(error) => println!("lost {error}"),
    }
}

/// Echoes on the addresses until it is killed; says so when it listens.
fn serve(addresses: &[String]) {
    let mut threads = Vec::new();
    for address in addresses {
        let udp = UdpSocket::bind(address).unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        threads.push(thread::spawn(move || {
            let mut room = [0; 2048];
            while let Ok((length, from)) = udp.recv_from(&mut room) {
                let _ = udp.send_to(&room[..length], from);
            }
        }));
        threads.push(thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                thread::spawn(move || echo(stream));
            }
        }));
    }
    println!("ready");
    std::io::stdout().flush().unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn echo(mut stream: TcpStream) {
    let mut room = [0; 2048];
    while let Ok(length @ 1..) = stream.read(&mut room) {
        if stream.write_all(&room[..length]).is_err() {
            return;
        }
    }
}

fn udp(to: SocketAddr) -> std::io::Result<Duration> {
    let socket = connected(to, REPLY_LIMIT)?;
    let began = Instant::now();
    socket.send(b"x")?;
    socket.recv(&mut [0; 8])?;
    Ok(began.elapsed())
}

/// A connected socket, as the resolver of the C library has it.
fn connected(to: SocketAddr, limit: Duration) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(limit))?;
    Ok(socket)
}

/// From the first packet to the established connection.
fn tcp(to: SocketAddr) -> std::io::Result<Duration> {
    let began = Instant::now();
    TcpStream::connect_timeout(&to, REPLY_LIMIT)?;
    Ok(began.elapsed())
}

/// Sends `count` packets, each from a port of its own, and says how many came back.
fn burst(to: SocketAddr, count: usize) {
    let sockets: Vec<_> = (0..count).map(|_| connected(to, BURST_LIMIT).unwrap()).collect();
    for socket in &sockets {
        // What could not be sent does not come back.
        let _ = socket.send(b"x");
    }
    // All wait together, so that a busy machine has time and what is lost costs little.
    let end = Instant::now() + BURST_LIMIT;
    let mut back = 0;
    for socket in &sockets {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left)).unwrap();
        back += usize::from(socket.recv(&mut [0; 8]).is_ok());
    }
    println!("{back}");
}

/// Holds one connection, and exchanges a byte whenever a line comes in: says the time, or that it stalls.
fn stream(to: SocketAddr) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(REPLY_LIMIT)).unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    for _ in std::io::stdin().lines() {
        let began = Instant::now();
        let outcome = stream.write_all(b"x").and_then(|()| stream.read_exact(&mut [0; 1]));
        say(outcome.map(|()| began.elapsed()));
        std::io::stdout().flush().unwrap();
    }
}

/// One call of Systems Manager, as a client without the SDK makes it; shows the body of the answer.
fn call(to: &str, operation: &str, body: &str) {
    let mut stream = TcpStream::connect(to).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {to}\r\nX-Amz-Target: AmazonSSM.{operation}\r\n\
         {SIGNED}Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    println!("{}", answer.split_once("\r\n\r\n").unwrap().1);
}
