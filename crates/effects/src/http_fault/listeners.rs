//! Where redirected connections arrive, and where they were going.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockopt, listen, setsockopt,
    socket, sockopt,
};
use tokio::net::TcpStream;

use faults::network_source::Direction;

/// So many connections may wait to be accepted.
const BACKLOG: i32 = 1_024;
/// A port that is free for one family and taken for the other is passed over so often.
const TRIES: u32 = 16;

/// A listener for each family that there is, at the same port. What leaves is redirected to the loopback address; what
/// comes in to the address of its interface.
pub(super) fn open(direction: Direction) -> io::Result<(Vec<TcpListener>, u16)> {
    let (v4, v6) = match direction {
        Direction::Egress => (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
        Direction::Ingress => (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
    };
    let mut tries = 0;
    loop {
        let first = listener(v4.into(), 0)?;
        let port = first.local_addr()?.port();
        match listener(v6.into(), port) {
            Ok(second) => return Ok((vec![first, second], port)),
            Err(Errno::EADDRINUSE) if tries < TRIES => tries += 1,
            Err(Errno::EADDRINUSE) => return Err(Errno::EADDRINUSE.into()),
            // There is no IPv6 here.
            Err(_) => return Ok((vec![first], port)),
        }
    }
}

fn listener(address: IpAddr, port: u16) -> nix::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    if address.is_ipv6() {
        // IPv4 has its own.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &SockaddrStorage::from(SocketAddr::new(address, port)))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket.into())
}

/// Where a connection was going before it was redirected.
///
/// # Errors
/// It was not redirected: somebody has found the port.
pub(super) fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let here = stream.local_addr()?;
    let destination: SocketAddr = match here {
        SocketAddr::V4(_) => {
            let to = getsockopt(stream, sockopt::OriginalDst)?;
            (Ipv4Addr::from_bits(u32::from_be(to.sin_addr.s_addr)), u16::from_be(to.sin_port)).into()
        }
        SocketAddr::V6(_) => {
            let to = getsockopt(stream, sockopt::Ip6tOriginalDst)?;
            let (address, port) = (Ipv6Addr::from(to.sin6_addr.s6_addr), u16::from_be(to.sin6_port));
            SocketAddrV6::new(address, port, 0, to.sin6_scope_id).into()
        }
    };
    if destination == here {
        // To carry it on would be to carry it here again, for ever.
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    Ok(destination)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream as Stream;

    use super::*;

    #[test]
    fn both_families_listen_at_one_port() {
        for direction in [Direction::Egress, Direction::Ingress] {
            let (listeners, port) = open(direction).unwrap();
            assert!(Stream::connect(("127.0.0.1", port)).is_ok());
            if listeners.len() == 2 {
                assert!(Stream::connect(("::1", port)).is_ok());
            }
            assert!(listeners.iter().all(|listener| listener.local_addr().unwrap().port() == port));
        }
    }

    #[test]
    fn who_was_not_redirected_is_refused() {
        let (listeners, port) = open(Direction::Egress).unwrap();
        let _client = Stream::connect(("127.0.0.1", port)).unwrap();
        let (accepted, _) = listeners[0].accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _here = runtime.enter();
        assert!(original_destination(&TcpStream::from_std(accepted).unwrap()).is_err());
    }
}
