//! The network namespace: who may have faults in it, what earlier lives left in it, what its kernel can do.
//!
//! Two processes in one network namespace would share roots and undo each other's: so the second one is refused
//! while the first has a fault. The claim is an abstract socket, which the kernel keeps per network namespace
//! and takes back from the dead.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use super::baseline::{Baseline, Note};
use super::error::NetError;
use super::link::{self, Link};
use super::netlink::{NetlinkError, Route, Tables};
use super::{classify, ifb, shape, tc};

/// The name of the claim, in the abstract name space.
const CLAIM: &[u8] = b"taskfault-network";

/// A claim on this network namespace, given up when dropped.
#[derive(Debug)]
pub(super) struct Claim(#[allow(dead_code, reason = "held for its being open")] UnixListener);

/// Claims the network namespace for this process, until the claim is dropped.
///
/// # Errors
/// Another process has it.
pub(super) fn claim() -> Result<Claim, NetError> {
    let name = SocketAddr::from_abstract_name(CLAIM).map_err(NetError::Claim)?;
    UnixListener::bind_addr(&name).map(Claim).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => NetError::Claimed { holder: holder(&name) },
        _ => NetError::Claim(error),
    })
}

/// Who has the claim, as far as it can be told.
fn holder(name: &SocketAddr) -> String {
    let credentials = UnixStream::connect_addr(name)
        .ok()
        .and_then(|stream| getsockopt(&stream, sockopt::PeerCredentials).ok())
        // Processes of another PID namespace are 0 here.
        .filter(|credentials| credentials.pid() > 0);
    credentials.map_or("another process".into(), |credentials| format!("process {}", credentials.pid()))
}

/// Removes what earlier lives left, which is inert without a table: our ifb, and our roots, in whose place comes
/// what was there before. Gives the names of the interfaces. The claim must be held: then no living process
/// uses any of it.
pub(super) fn tidy(route: &mut Route, state_dir: &Path) -> Result<Vec<String>, NetError> {
    let qdiscs = tc::list(route)?;
    let links = link::list(route)?;
    let is_left =
        |link: &&Link| ifb::is_ours(link) || shape::root_of(&qdiscs, link.index).is_some_and(shape::is_ours);
    let left: Vec<_> = links.iter().filter(is_left).collect();
    let note = Note::load(state_dir);
    for link in &left {
        if ifb::is_ours(link) {
            route.request(ifb::remove(link))?;
            continue;
        }
        note.get(&link.name).unwrap_or(&Baseline::Default).restore(route, link)?;
    }
    if !left.is_empty() {
        // A note that stays is of no harm: it is only read where a root of ours is found.
        let _ = Note::remove(state_dir);
    }
    Ok(left.iter().map(|link| link.name.clone()).collect())
}

/// [`tidy`], unless a living process has a claim here.
pub(super) fn tidy_up(state_dir: &Path) -> Result<Vec<String>, NetError> {
    let _claim = claim()?;
    tidy(&mut Route::open()?, state_dir)
}

/// Makes the table and lets it go, and asks for the disciplines, on loopback: where another
/// program shapes that, the answer is not known.
pub(super) fn try_parts() -> Result<(), NetError> {
    let _claim = claim()?;
    let mut tables = Tables::open()?;
    tables.change(classify::create_table())?;
    let mut route = Route::open()?;
    for link in loopback(&mut route)? {
        for question in shape::ask_for_all(&link) {
            match route.request(question) {
                Err(error) if error.errno() == Some(Errno::ENOENT) => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Asks for an ifb, and makes a table that redirects what comes in, on loopback and nothing of it, and lets it
/// go.
pub(super) fn try_redirection() -> Result<(), NetError> {
    let _claim = claim()?;
    let mut route = Route::open()?;
    ifb::ask_for(&mut route)?;
    let mut tables = Tables::open()?;
    for link in loopback(&mut route)? {
        tables.change(classify::try_redirection(&link))?;
    }
    Ok(())
}

fn loopback(route: &mut Route) -> Result<Vec<Link>, NetlinkError> {
    Ok(link::list(route)?.into_iter().filter(|link| link.loopback).collect())
}
