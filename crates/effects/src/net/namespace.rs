//! The network namespace: who may have faults in it, what earlier lives left in it, what its kernel can do.
//!
//! Two processes in one network namespace would share roots and undo each other's: so the second one is refused
//! while the first has a fault. The claim is the table of all filters itself: the kernel gives a name to one owner,
//! and takes it back from the dead. Nothing that a neighbour without NET_ADMIN can do stands in its way.

use std::fs;
use std::path::Path;

use nix::errno::Errno;

use super::baseline::Note;
use super::error::NetError;
use super::link::{self, Link};
use super::netlink::{NetlinkError, Route, Tables};
use super::nft::table::Owner;
use super::tc::Qdisc;
use super::{classify, ifb, shape, tc};

/// Claims the network namespace for whoever has this socket, until the socket closes or gives the table up.
///
/// # Errors
/// Another process has it.
pub(super) fn claim(tables: &mut Tables) -> Result<(), NetError> {
    let mut attempt = || match tables.change(classify::create_table()) {
        Err(error) if is_taken(&error) => match classify::owner(tables)? {
            Some(Owner::Socket(port)) => Err(NetError::Claimed { holder: holder(port) }),
            Some(Owner::Nobody) => Err(NetError::TableTaken),
            None => Err(error.into()),
        },
        outcome => Ok(outcome?),
    };
    match attempt() {
        // It was there a moment ago: its owner has just given it up. Without NET_ADMIN this is refused once more.
        Err(NetError::Kernel { error }) if is_taken(&error) => attempt(),
        outcome => outcome,
    }
}

/// What the kernel says of a table that is another's, and of one that nobody owns.
fn is_taken(error: &NetlinkError) -> bool {
    matches!(error.errno(), Some(Errno::EPERM | Errno::EEXIST))
}

/// Who has the socket of this number, as far as it can be told.
fn holder(port: u32) -> String {
    let name = |process: &str| fs::read_to_string(format!("/proc/{process}/comm")).ok();
    // The first socket of a process has the number that the process has in its own PID namespace, which need not be
    // ours.
    let is_known = name(&port.to_string()).is_some_and(|theirs| Some(theirs) == name("self"));
    if is_known { format!("process {port}") } else { "another process".to_owned() }
}

/// A socket that has the claim.
fn claimed() -> Result<Tables, NetError> {
    let mut tables = Tables::open()?;
    claim(&mut tables)?;
    Ok(tables)
}

/// Removes what earlier lives left, which is inert without a table: our ifb, and our roots, in whose place comes
/// what was there before. Gives the names of the interfaces. The claim must be held: then no living process
/// uses any of it.
///
/// Roots that a living process keeps are not left over; what another had on them is.
pub(super) fn tidy(
    tables: &mut Tables,
    route: &mut Route,
    state_dir: &Path,
) -> Result<Vec<String>, NetError> {
    let kept = classify::is_kept(tables)?;
    let left = clear(route, state_dir, |_| kept)?;
    if !left.is_empty() && !kept {
        // A note that stays is of no harm: it is only read where a root of ours is found.
        let _ = Note::remove(state_dir);
    }
    Ok(left)
}

/// Removes what others that are gone left beside the roots that this process keeps (`is_kept`, by the index of the
/// interface), and on them. The claim must be held, and no effect be there.
pub(super) fn tidy_kept(
    route: &mut Route,
    state_dir: &Path,
    is_kept: impl Fn(u32) -> bool,
) -> Result<(), NetError> {
    clear(route, state_dir, is_kept).map(drop)
}

/// Removes ifbs of ours, and puts back what was before our roots, but for those that are kept. Out of these it takes
/// every netem: one that was killed leaves its own, which no packet reaches any more and which would be in the way of
/// the next. Gives the names of the interfaces where nothing of ours is left.
fn clear(
    route: &mut Route,
    state_dir: &Path,
    is_kept: impl Fn(u32) -> bool,
) -> Result<Vec<String>, NetError> {
    let (qdiscs, links) = (tc::list(route)?, link::list(route)?);
    let ours = links.iter().filter(|link| ifb::is_ours(link) || has_root(link, &qdiscs));
    let (kept, left): (Vec<_>, Vec<_>) = ours.partition(|link| !ifb::is_ours(link) && is_kept(link.index));
    // The ifb needs no note.
    let note =
        if left.iter().all(|link| ifb::is_ours(link)) { Ok(Note::default()) } else { Note::load(state_dir) };
    for link in &left {
        if ifb::is_ours(link) {
            route.request(ifb::remove(link))?;
            continue;
        }
        note.as_ref().map_err(Clone::clone)?.or_default(&link.name).restore(route, link)?;
    }
    for link in kept {
        for band in shape::bands_with_leaf(&qdiscs, link.index) {
            route.request(shape::remove_leaf(link, band))?;
        }
    }
    Ok(left.iter().map(|link| link.name.clone()).collect())
}

/// Whether there is a root of ours on an interface, left over or not.
fn has_root(link: &Link, qdiscs: &[Qdisc]) -> bool {
    shape::root_of(qdiscs, link.index).is_some_and(shape::is_ours)
}

/// [`tidy`], unless a living process has a claim here.
pub(super) fn tidy_up(state_dir: &Path) -> Result<Vec<String>, NetError> {
    let mut route = Route::open()?;
    let (qdiscs, links) = (tc::list(&mut route)?, link::list(&mut route)?);
    // A claim is a table, and the kernel takes ten milliseconds or more to take one away: not where nothing is ours.
    if !links.iter().any(|link| ifb::is_ours(link) || has_root(link, &qdiscs)) {
        return Ok(Vec::new());
    }
    tidy(&mut claimed()?, &mut route, state_dir)
}

/// Makes the table and lets it go, and asks for the disciplines, on loopback: where another
/// program shapes that, the answer is not known.
pub(super) fn try_parts() -> Result<(), NetError> {
    let _claim = claimed()?;
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

/// Makes the table with a rule that loses packets in silence, which nothing calls, and lets it go.
pub(super) fn try_discard() -> Result<(), NetError> {
    Ok(claimed()?.change(classify::try_discard())?)
}

/// Makes the table with a rule that sends connections to a port, and no packet meets, and lets it go.
pub(super) fn try_to_port() -> Result<(), NetError> {
    Ok(claimed()?.change(classify::try_to_port())?)
}

/// Asks for an ifb, and makes a table that redirects what comes in, on loopback and nothing of it, and lets it
/// go.
pub(super) fn try_redirection() -> Result<(), NetError> {
    let mut tables = claimed()?;
    let mut route = Route::open()?;
    ifb::ask_for(&mut route)?;
    for link in loopback(&mut route)? {
        tables.change(classify::try_redirection(&link))?;
    }
    Ok(())
}

fn loopback(route: &mut Route) -> Result<Vec<Link>, NetlinkError> {
    Ok(link::list(route)?.into_iter().filter(|link| link.loopback).collect())
}
