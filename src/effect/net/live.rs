//! The network effects that live in this process: they share one table, one root per interface and the bands.
//!
//! Made with the first effect, gone with the last. Two processes in one network namespace would share a root
//! and undo each other's: so the second one is refused while the first has a fault (an abstract socket, which
//! the kernel keeps per network namespace and takes back from the dead).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use super::baseline::{Baseline, Note};
use super::classify::{self, Filter};
use super::shape::{self, Link, Netem, Qdisc};
use super::socket::{Family, Netlink, WireError};
use super::target::Reach;
use super::{Counters, NetError};

/// The name of the claim on a network namespace, in the abstract name space.
const CLAIM: &[u8] = b"taskfault-network";

static LIVE: Mutex<Option<Live>> = Mutex::new(None);

/// What is live, for as long as the guard is held.
pub(super) fn lock() -> MutexGuard<'static, Option<Live>> {
    // Whoever panicked in here left at worst something inert, which the next change finds as it is.
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shared part of all effects.
#[derive(Debug)]
pub(super) struct Live {
    /// Owns the table: closing it is the undo that needs nobody.
    tables: Netlink,
    route: Netlink,
    /// Interfaces whose root is ours, by index.
    roots: BTreeMap<u32, Root>,
    bands: BTreeSet<u16>,
    /// The numbers of the effects that live.
    effects: BTreeSet<u32>,
    state_dir: PathBuf,
    _claim: UnixListener,
}

#[derive(Debug)]
struct Root {
    link: Link,
    before: Baseline,
    users: u32,
}

/// What one effect wants of the kernel.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// Its chain, but for its name, its priority and its class, which are given here.
    pub filter: Filter,
    /// The interfaces to shape, each with its netem; none for effects that only drop.
    pub leaves: Vec<(Link, Netem)>,
}

/// What one effect has in the kernel, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Placed {
    number: u32,
    filter: Option<Filter>,
    band: Option<u16>,
    leaves: Vec<Link>,
    roots: Vec<u32>,
}

impl Live {
    /// Claims the network namespace, tidies up after earlier lives and makes the table.
    pub(super) fn open(state_dir: &Path) -> Result<Live, NetError> {
        let claim = claim()?;
        let mut route = Netlink::open(Family::Route)?;
        tidy(&mut route, state_dir)?;
        let mut tables = Netlink::open(Family::Netfilter)?;
        tables.change(classify::create_table())?;
        Ok(Live {
            tables,
            route,
            roots: BTreeMap::new(),
            bands: BTreeSet::new(),
            effects: BTreeSet::new(),
            state_dir: state_dir.to_owned(),
            _claim: claim,
        })
    }

    /// Puts an effect into the kernel; it works from the last step on, the rules.
    pub(super) fn place(&mut self, wanted: Wanted) -> Result<Placed, NetError> {
        let mut placed =
            Placed { number: self.effects.last().map_or(1, |last| last + 1), ..Placed::default() };
        self.effects.insert(placed.number);
        match self.try_place(wanted, &mut placed) {
            Ok(()) => Ok(placed),
            Err(error) => Err(match self.remove(placed).1 {
                undoing if undoing.is_empty() => error,
                undoing => NetError::Twice { first: Box::new(error), undoing: sentence(&undoing) },
            }),
        }
    }

    fn try_place(&mut self, wanted: Wanted, placed: &mut Placed) -> Result<(), NetError> {
        let mut filter = wanted.filter;
        filter.name = format!("{}_{}", filter.name, placed.number);
        // The newest has the last word on a packet.
        filter.priority = classify::FIRST_PRIORITY + placed.number as i32;
        if !wanted.leaves.is_empty() {
            let spare = shape::FIRST_SPARE..=shape::BANDS;
            let band = spare.into_iter().find(|band| !self.bands.contains(band)).ok_or(NetError::NoBand)?;
            self.take_roots(&wanted.leaves, placed)?;
            self.bands.insert(band);
            placed.band = Some(band);
            filter.act = classify::Act::Class(shape::class(band));
            for (link, netem) in &wanted.leaves {
                self.route.request(shape::add_leaf(link, band, *netem))?;
                placed.leaves.push(link.clone());
            }
        }
        self.tables.change(classify::create(&filter))?;
        placed.filter = Some(filter);
        Ok(())
    }

    /// Makes our root the root of all `leaves`' links. Everything is looked at, and noted, before anything
    /// is touched.
    fn take_roots(&mut self, leaves: &[(Link, Netem)], placed: &mut Placed) -> Result<(), NetError> {
        let qdiscs = shape::qdiscs(&mut self.route)?;
        let mut new = Vec::new();
        for (link, _) in leaves.iter().filter(|(link, _)| !self.roots.contains_key(&link.index)) {
            let root = shape::root_of(&qdiscs, link.index);
            new.push((link.clone(), Baseline::of(link, root)?));
        }
        self.note(&new)?;
        for (link, before) in new {
            self.route.request(shape::add_root(&link, before != Baseline::Default))?;
            self.roots.insert(link.index, Root { link, before, users: 0 });
        }
        for (link, _) in leaves {
            if let Some(root) = self.roots.get_mut(&link.index) {
                root.users += 1;
                placed.roots.push(link.index);
            }
        }
        Ok(())
    }

    /// Writes down what the links had. If it cannot be written, that matters only where our root's removal
    /// alone would not bring it back.
    fn note(&self, new: &[(Link, Baseline)]) -> Result<(), NetError> {
        if new.is_empty() {
            return Ok(());
        }
        let old = self.roots.values().map(|root| (root.link.name.clone(), root.before.clone()));
        let new = new.iter().map(|(link, before)| (link.name.clone(), before.clone()));
        let note = Note::new(old.chain(new).collect());
        match note.save(&self.state_dir) {
            Err(source) if note.matters() => Err(NetError::Note { folder: self.state_dir.clone(), source }),
            _ => Ok(()),
        }
    }

    /// Takes an effect out of the kernel, goes on after errors, and gives all of them. When it returns
    /// without one, what the effect had is as it was before.
    pub(super) fn remove(&mut self, placed: Placed) -> (Counters, Vec<NetError>) {
        let mut errors = Vec::new();
        let counters = self.counters(&placed);
        if let Some(filter) = &placed.filter {
            keep(&mut errors, self.tables.change(classify::remove(filter)));
        }
        if let Some(band) = placed.band {
            for link in &placed.leaves {
                keep(&mut errors, self.route.request(shape::remove_leaf(link, band)));
            }
            self.bands.remove(&band);
        }
        self.give_roots_back(&placed.roots, &mut errors);
        self.effects.remove(&placed.number);
        (counters, errors)
    }

    fn give_roots_back(&mut self, indices: &[u32], errors: &mut Vec<NetError>) {
        for index in indices {
            if let Some(root) = self.roots.get_mut(index) {
                root.users -= 1;
            }
        }
        // Also those that nobody came to use, because a step after the first of them failed.
        let idle: Vec<u32> =
            self.roots.iter().filter(|(_, root)| root.users == 0).map(|(index, _)| *index).collect();
        if idle.is_empty() {
            return;
        }
        let qdiscs = match shape::qdiscs(&mut self.route) {
            Ok(qdiscs) => qdiscs,
            Err(error) => return errors.push(error.into()),
        };
        for index in idle {
            let Some(root) = self.roots.remove(&index) else { continue };
            // Somebody may have replaced our root; theirs stays.
            if shape::root_of(&qdiscs, index).is_some_and(Qdisc::is_ours) {
                keep(errors, root.before.restore(&mut self.route, &root.link));
            }
        }
    }

    /// Whether nothing lives any more, so that it can all be dropped.
    pub(super) fn is_idle(&self) -> bool {
        self.effects.is_empty()
    }

    /// Removes the note, since there is nothing left that it speaks of, and closes the table.
    pub(super) fn close(self) {
        if self.roots.is_empty()
            && let Err(error) = Note::remove(&self.state_dir)
        {
            tracing::warn!(%error, folder = %self.state_dir.display(), "cannot remove the note of the root qdiscs");
        }
    }

    /// Adds addresses to an effect's targets; gives how many were new.
    pub(super) fn extend(&mut self, placed: &mut Placed, addresses: &[IpAddr]) -> Result<usize, NetError> {
        let Some(filter) = &mut placed.filter else { return Ok(0) };
        let new = filter.reach.lacking(addresses);
        if new.is_empty() {
            return Ok(0);
        }
        let more = Reach::of(&new);
        self.tables.change(classify::extend(filter, &more))?;
        filter.reach = filter.reach.with(&more);
        Ok(new.len())
    }

    /// What was counted for an effect so far. Numbers that cannot be read are left out.
    pub(super) fn counters(&mut self, placed: &Placed) -> Counters {
        let name = placed.filter.as_ref().map(|filter| filter.name.as_str());
        let matched = name.and_then(|name| classify::matched(&mut self.tables, name).ok());
        let mut counters = Counters { matched, dropped: None };
        if let (Some(band), Ok(qdiscs)) = (placed.band, shape::qdiscs(&mut self.route)) {
            let leaves = placed.leaves.iter().filter_map(|link| shape::leaf_of(&qdiscs, link.index, band));
            counters.dropped = Some(leaves.map(|leaf| u64::from(leaf.drops)).sum());
        }
        counters
    }
}

/// Keeps an error, but not one that says that what was to be removed is gone already.
fn keep(errors: &mut Vec<NetError>, outcome: Result<(), WireError>) {
    match outcome {
        Err(error) if !matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV)) => {
            errors.push(error.into())
        }
        _ => {}
    }
}

/// Several errors as one sentence.
pub(super) fn sentence(errors: &[NetError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn claim() -> Result<UnixListener, NetError> {
    let name = SocketAddr::from_abstract_name(CLAIM).map_err(NetError::Claim)?;
    UnixListener::bind_addr(&name).map_err(|error| match error.kind() {
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

/// Puts back what earlier lives left: our roots, which are inert without a table. Gives the names of the
/// interfaces. The claim must be held: then no living process has such a root.
pub(super) fn tidy(route: &mut Netlink, state_dir: &Path) -> Result<Vec<String>, NetError> {
    let qdiscs = shape::qdiscs(route)?;
    let links = shape::links(route)?;
    let left: Vec<_> =
        links.iter().filter(|link| shape::root_of(&qdiscs, link.index).is_some_and(Qdisc::is_ours)).collect();
    let note = Note::load(state_dir);
    for link in &left {
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
    tidy(&mut Netlink::open(Family::Route)?, state_dir)
}

/// Makes the table and lets it go, and asks for the disciplines, on loopback: where that is shaped by
/// somebody it cannot be told.
pub(super) fn try_parts() -> Result<(), NetError> {
    let _claim = claim()?;
    let mut tables = Netlink::open(Family::Netfilter)?;
    tables.change(classify::create_table())?;
    let mut route = Netlink::open(Family::Route)?;
    let links = shape::links(&mut route)?;
    for link in links.iter().filter(|link| link.loopback) {
        for kind in ["prio", "netem"] {
            match route.request(shape::ask_for(link, kind)) {
                Err(error) if error.errno() == Some(Errno::ENOENT) => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}
