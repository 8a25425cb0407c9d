//! The connections that this process has open, as the kernel lists them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{SockType, SockaddrStorage, getpeername, getsockopt, sockopt};

use faults::network_source::Protocol;

/// One connection: a stream, or datagrams to and from one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Of the socket.
    pub protocol: Protocol,
    /// Address and port of the other side.
    pub peer: SocketAddr,
    /// The local port.
    pub own_port: u16,
}

/// All that are open now. What cannot be read is left out.
pub fn open() -> Vec<Flow> {
    let sockets = sockets().into_iter().map(|(_, inode)| inode).collect();
    let tables =
        [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)];
    let read = |(name, protocol)| {
        let table = fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
        flows(&table, protocol, &sockets)
    };
    tables.into_iter().flat_map(read).collect()
}

/// The other sides of the TCP connections among [`open`]. The sockets themselves are asked, which takes microseconds: for
/// the tables of TCP the kernel looks through all its buckets, which takes several milliseconds.
pub fn tcp_peers() -> Vec<SocketAddr> {
    let mut peers = Vec::new();
    for (descriptor, _) in sockets() {
        match tcp_end(descriptor) {
            TcpEnd::Peer(peer) => peers.push(peer),
            // Only the tables know where it is on its way to.
            TcpEnd::Opening => {
                let tcp = open().into_iter().filter(|flow| flow.protocol == Protocol::Tcp);
                return tcp.map(|flow| flow.peer).collect();
            }
            TcpEnd::None => {}
        }
    }
    peers
}

/// What a descriptor is to TCP.
enum TcpEnd {
    Peer(SocketAddr),
    /// It has no peer and waits for none: one that is being opened.
    Opening,
    None,
}

fn tcp_end(descriptor: RawFd) -> TcpEnd {
    // SAFETY: it is asked for what it is and for its peer, nothing more; one that is closed meanwhile, or is another's
    // by now, answers for itself or not at all.
    let socket = unsafe { BorrowedFd::borrow_raw(descriptor) };
    if getsockopt(&socket, sockopt::SockType) != Ok(SockType::Stream) {
        return TcpEnd::None;
    }
    match getpeername::<SockaddrStorage>(descriptor) {
        Ok(peer) => {
            let v4 = peer.as_sockaddr_in().map(|peer| SocketAddr::new(peer.ip().into(), peer.port()));
            let v6 =
                || peer.as_sockaddr_in6().map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()));
            v4.or_else(v6).map_or(TcpEnd::None, TcpEnd::Peer)
        }
        Err(Errno::ENOTCONN) if getsockopt(&socket, sockopt::AcceptConn) == Ok(false) => TcpEnd::Opening,
        Err(_) => TcpEnd::None,
    }
}

/// The descriptors of this process's sockets, and their inodes as the kernel's tables have them.
fn sockets() -> Vec<(RawFd, String)> {
    fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
            Some((entry.file_name().to_str()?.parse().ok()?, inode))
        })
        .collect()
}

/// Those of a `/proc/net/tcp` or `/proc/net/udp` that have a peer and one of these inodes.
fn flows(table: &str, protocol: Protocol, sockets: &BTreeSet<String>) -> Vec<Flow> {
    let flow = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours = sockets.contains(*fields.get(9)?);
        let peer = end(fields.get(2)?)?;
        (ours && peer.port() != 0).then_some(Flow { protocol, peer, own_port: end(fields.get(1)?)?.port() })
    };
    table.lines().filter_map(flow).collect()
}

/// An address and a port as the kernel prints them there.
pub(crate) fn end(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    Some(SocketAddr::new(address(host)?, u16::from_str_radix(port, 16).ok()?))
}

/// An address as the kernel prints it there: words of 32 bits in hex, each in the machine's own byte order.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut bytes = [0; 16];
            bytes.copy_from_slice(words.as_flattened());
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Reads bytes as a table of sockets in `/proc/net`.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let all = text.split_whitespace().map(str::to_owned).collect();
    let _ = flows(&text, Protocol::Tcp, &all);
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{AddressFamily, SockFlag, socket};

    use super::*;

    #[test]
    fn streams_and_connected_datagrams_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let stream = TcpStream::connect(peer).unwrap();
        let own_port = stream.local_addr().unwrap().port();
        assert!(open().contains(&Flow { protocol: Protocol::Tcp, peer, own_port }));
        assert!(tcp_peers().contains(&peer));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own_port = udp.local_addr().unwrap().port();
        assert!(!open().iter().any(|flow| flow.own_port == own_port && flow.protocol == Protocol::Udp));
        udp.connect(peer).unwrap();
        assert!(open().contains(&Flow { protocol: Protocol::Udp, peer, own_port }));
    }

    #[test]
    fn a_tcp_socket_is_asked_for_its_peer_and_one_that_is_being_opened_is_known() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let stream = TcpStream::connect(peer).unwrap();
        assert!(matches!(tcp_end(stream.as_raw_fd()), TcpEnd::Peer(found) if found == peer));
        assert!(matches!(tcp_end(listener.as_raw_fd()), TcpEnd::None));
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.connect("127.0.0.1:9").unwrap();
        assert!(matches!(tcp_end(datagrams.as_raw_fd()), TcpEnd::None));
        let (local, _other) = UnixStream::pair().unwrap();
        assert!(matches!(tcp_end(local.as_raw_fd()), TcpEnd::None));
        let fresh = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
        assert!(matches!(tcp_end(fresh.as_raw_fd()), TcpEnd::Opening));
    }

    #[test]
    fn only_sockets_of_ours_count_and_mapped_addresses_are_ipv4() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1388 0200007F:01BB 01 00000000:00000000 00:00000000 00000000     0        0 77 1 0\n\
            1: 0100007F:1389 0200007F:01BB 01 00000000:00000000 00:00000000 00000000     0        0 78 1 0\n\
            2: 0100007F:138A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0\n";
        let found = flows(table, Protocol::Tcp, &["77".to_owned()].into());
        let peer = "127.0.0.2:443".parse().unwrap();
        assert_eq!(found, [Flow { protocol: Protocol::Tcp, peer, own_port: 5000 }]);
        assert_eq!(address("0000000000000000FFFF00000100007F"), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(address("x"), None);
    }
}
