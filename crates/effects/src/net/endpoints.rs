//! Where the control channel's endpoints are, for connections that are ours but not made by us: a transparent proxy of
//! the task (App Mesh, Istio, Consul) takes our connections and makes its own to the same addresses, as another user.
//!
//! DNS gives a few of many addresses at a time, and may hang. So what it has said is kept, and waited for only shortly;
//! the peers of the connections that are open now are known without it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::own_flows;

/// How often each name is looked up: each answer may give other addresses.
const LOOK_UPS: usize = 3;
/// As many addresses are kept; the oldest go.
const MOST: usize = 64;

/// What DNS has said so far, the latest last.
static KNOWN: Mutex<VecDeque<SocketAddr>> = Mutex::new(VecDeque::new());

/// The addresses of the endpoints, by host and port, as far as they can be known within `patience`: what DNS says later
/// serves the next who asks. Those of this machine are left out, because nothing is in their way.
pub fn addresses(hosts: &[(String, u16)], patience: Duration) -> Vec<SocketAddr> {
    let (mut all, mut names) = (Vec::new(), Vec::new());
    for (host, port) in hosts {
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => all.push(SocketAddr::new(address, *port)),
            Err(_) => names.push((host.clone(), *port)),
        }
    }
    if !names.is_empty() {
        look_up(names, patience);
        all.extend(known().iter().copied());
    }
    all.extend(own_flows::tcp_peers());
    all.retain(|address| !address.ip().is_loopback());
    all.sort_unstable();
    all.dedup();
    all
}

/// On a thread of its own, which may hang for longer than anybody waits.
fn look_up(names: Vec<(String, u16)>, patience: Duration) {
    let (tell, told) = mpsc::channel::<()>();
    let looking = std::thread::Builder::new().name("endpoints".to_owned()).spawn(move || {
        for (host, port) in names {
            for _ in 0..LOOK_UPS {
                let found = (host.as_str(), port).to_socket_addrs();
                keep(&mut known(), found.into_iter().flatten());
            }
        }
        // Nobody may wait any more.
        let _ = tell.send(());
    });
    if looking.is_ok() {
        let _ = told.recv_timeout(patience);
    }
}

fn keep(known: &mut VecDeque<SocketAddr>, found: impl Iterator<Item = SocketAddr>) {
    for address in found {
        known.retain(|other| *other != address);
        known.push_back(address);
    }
    let too_many = known.len().saturating_sub(MOST);
    known.drain(..too_many);
}

fn known() -> MutexGuard<'static, VecDeque<SocketAddr>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_addresses_need_no_dns_and_loopback_no_exemption() {
        let hosts =
            [("10.9.0.2".to_owned(), 443), ("[fd00::2]".to_owned(), 8443), ("127.0.0.1".to_owned(), 80)];
        let all = addresses(&hosts, Duration::ZERO);
        for expected in ["10.9.0.2:443", "[fd00::2]:8443"] {
            assert!(all.contains(&expected.parse().unwrap()), "{all:?}");
        }
        assert!(all.iter().all(|address| !address.ip().is_loopback()), "{all:?}");
    }

    #[test]
    fn the_latest_addresses_are_kept() {
        let mut known = VecDeque::new();
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 443));
        keep(&mut known, (0..100).map(address));
        keep(&mut known, [address(99), address(40)].into_iter());
        assert_eq!(
            (known.len(), known.back(), known.front()),
            (MOST, Some(&address(40)), Some(&address(36)))
        );
        assert_eq!(known.iter().filter(|one| **one == address(40)).count(), 1);
    }
}
