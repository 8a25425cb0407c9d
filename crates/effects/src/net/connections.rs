//! The TCP connections of this network namespace, as the kernel lists them: those of every container in it.
//!
//! A connection whose other end is in the same namespace, but not where it was opened to, was taken by a transparent
//! proxy: the kernel shows the address that was asked for on the one side, and the proxy's own on the other. That
//! holds whoever made the redirection: nf_tables, iptables of either kind, TPROXY.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};

use super::own_flows::end;

/// As much of each of the kernel's two lists is read, some 100,000 connections: those that have ended stay in them for
/// a minute, and a busy task has many.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// `TCP_ESTABLISHED`, as the kernel prints it.
const ESTABLISHED: &str = "01";

/// One end of an established connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Where this end is.
    pub local: SocketAddr,
    /// Where it is connected to.
    pub peer: SocketAddr,
}

/// All that are established. What cannot be read is left out.
pub fn established() -> Vec<Connection> {
    ["tcp", "tcp6"].into_iter().flat_map(read).collect()
}

fn read(name: &str) -> Vec<Connection> {
    let table = File::open(format!("/proc/self/net/{name}")).ok();
    table.map(|table| parse(BufReader::new(table.take(MOST_BYTES)))).unwrap_or_default()
}

/// Line by line: of a long list little is meant.
fn parse(table: impl BufRead) -> Vec<Connection> {
    let connection = |line: String| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, peer) = (end(fields.next()?)?, end(fields.next()?)?);
        (fields.next()? == ESTABLISHED).then_some(Connection { local, peer })
    };
    table.lines().map_while(Result::ok).filter_map(connection).collect()
}

/// Where in this namespace the connection ends that `local` believes to have with `peer`: the address of a proxy. None
/// where it leaves the namespace, and where it ends at `peer`.
pub fn proxy_of(all: &[Connection], one: &Connection) -> Option<SocketAddr> {
    let is_other_end = |other: &&Connection| other.peer == one.local && other.local != one.peer;
    all.iter().find(is_other_end).map(|other| other.local)
}

/// What can be told of the connections to targets, to explain why a fault did not touch them.
pub fn explain(is_target: impl Fn(IpAddr) -> bool) -> String {
    explained(&established(), is_target)
}

fn explained(all: &[Connection], is_target: impl Fn(IpAddr) -> bool) -> String {
    let to_targets: Vec<&Connection> = all.iter().filter(|one| is_target(one.peer.ip())).collect();
    let proxies: Vec<SocketAddr> = to_targets.iter().filter_map(|one| proxy_of(all, one)).collect();
    match (to_targets.len(), proxies.first()) {
        (0, _) => "no TCP connection of this task to the targets is open now".to_owned(),
        (count, Some(proxy)) => format!(
            "{} of {count} open TCP connections to the targets end in this task, at {proxy}: a proxy takes them, so \
             name the addresses that it connects to",
            proxies.len()
        ),
        (count, None) => {
            let connections = if count == 1 { "connection" } else { "connections" };
            format!(
                "{count} TCP {connections} to the targets {} open now",
                if count == 1 { "is" } else { "are" }
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connection(local: &str, peer: &str) -> Connection {
        Connection { local: local.parse().unwrap(), peer: peer.parse().unwrap() }
    }

    #[test]
    fn both_ends_of_a_connection_are_found_and_are_no_proxy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let all = established();
        let one = Connection { local, peer };
        assert!(all.contains(&one) && all.contains(&Connection { local: peer, peer: local }));
        assert_eq!(proxy_of(&all, &one), None);
    }

    #[test]
    fn one_behind_very_many_that_have_ended_is_found() {
        let line = |number: u32, state: &str| {
            format!(
                "{number:>4}: 0100007F:1F90 0100007F:{:04X} {state} 00000000:00000000",
                1024 + number % 60_000
            )
        };
        let ended: Vec<String> = (0..20_000).map(|number| line(number, "06")).collect();
        let table = format!("  sl  local_address rem_address st\n{}\n{}\n", ended.join("\n"), line(7, "01"));
        assert_eq!(parse(table.as_bytes()), [connection("127.0.0.1:8080", "127.0.0.1:1031")]);
    }

    #[test]
    fn a_proxy_is_where_a_connection_really_ends() {
        let all = [
            connection("10.0.0.1:5000", "192.0.2.7:443"),
            connection("127.0.0.1:15001", "10.0.0.1:5000"),
            connection("10.0.0.1:6000", "192.0.2.7:443"),
        ];
        assert_eq!(proxy_of(&all, &all[0]), Some("127.0.0.1:15001".parse().unwrap()));
        assert_eq!(proxy_of(&all, &all[2]), None);
        let target = |address: IpAddr| address == all[0].peer.ip();
        let text = explained(&all, target);
        assert!(
            text.starts_with(
                "1 of 2 open TCP connections to the targets end in this task, at 127.0.0.1:15001"
            )
        );
        assert!(explained(&all, |_| false).starts_with("no TCP connection"));
        assert_eq!(explained(&all[2..], target), "1 TCP connection to the targets is open now");
    }
}
