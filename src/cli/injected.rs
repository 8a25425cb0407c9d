//! The faults of `taskfault inject` in this network namespace, for `taskfault status`.
//!
//! Each holds a socket whose name says it all. The name is an abstract one: the kernel keeps it for the network
//! namespace, which the containers of a task share whatever folders they have, and takes it back when the
//! process ends, however that comes about.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, SystemTime};

use serde::Serialize;

/// Where the kernel lists the sockets of the own network namespace; the names of abstract ones begin with `@`.
const SOCKETS: &str = "/proc/self/net/unix";
const PREFIX: &str = "taskfault-inject";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Injected {
    /// As FIS names it.
    pub fault: &'static str,
    /// The process, as it sees itself.
    pub pid: u32,
    /// Seconds since 1970.
    pub since: u64,
    /// When it ends at the latest, in seconds since 1970.
    pub until: u64,
}

/// What keeps a fault on the list.
#[derive(Debug)]
pub(super) struct Shown {
    _socket: UnixListener,
}

/// Puts the fault of this process on the list, from now on.
pub(super) fn show(fault: &str, duration: Duration) -> io::Result<Shown> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let until = (since + duration).as_secs();
    let name = format!("{PREFIX}:{fault}:{}:{}:{until}", std::process::id(), since.as_secs());
    let address = SocketAddr::from_abstract_name(name)?;
    Ok(Shown { _socket: UnixListener::bind_addr(&address)? })
}

/// All of them, the oldest first. None where the kernel does not tell.
pub(super) fn list() -> Vec<Injected> {
    parse(&std::fs::read_to_string(SOCKETS).unwrap_or_default())
}

fn parse(sockets: &str) -> Vec<Injected> {
    let names = sockets.lines().filter_map(|line| line.split_whitespace().nth(7)?.strip_prefix('@'));
    let mut found: Vec<Injected> = names.filter_map(injected).collect();
    // A socket with a client on it is listed more than once.
    found.sort_by_key(|one| (one.since, one.pid));
    found.dedup();
    found
}

fn injected(name: &str) -> Option<Injected> {
    let mut parts = name.strip_prefix(PREFIX)?.strip_prefix(':')?.split(':');
    let fault = faults::find(parts.next()?)?.name;
    let one = Injected {
        fault,
        pid: parts.next()?.parse().ok()?,
        since: parts.next()?.parse().ok()?,
        until: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_listed_for_as_long_as_it_is_held() {
        let ours =
            || list().into_iter().find(|one| one.pid == std::process::id() && one.fault == "disk-fill");
        let shown = show("disk-fill", Duration::from_secs(77)).unwrap();
        let found = ours().unwrap();
        assert_eq!(found.until - found.since, 77);
        drop(shown);
        assert_eq!(ours(), None);
    }

    #[test]
    fn the_names_of_others_are_passed_over() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 1 @taskfault-inject:cpu-stress:9:20:30\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 2 @taskfault-inject:cpu-stress:7:10:20\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 3 @taskfault-inject:cpu-stress:7:10:20\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 4 @taskfault-inject:no-such:7:10:20\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 5 @taskfault-inject:cpu-stress:7:10\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 6 @taskfault-inject:cpu-stress:7:10:20:30\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 7 @taskfault-inject:cpu-stress:-7:10:20\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 8 /taskfault-inject:cpu-stress:7:10:20\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 9\n";
        let found = parse(table);
        assert_eq!(found.iter().map(|one| one.pid).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(found[0], Injected { fault: "cpu-stress", pid: 7, since: 10, until: 20 });
    }
}
