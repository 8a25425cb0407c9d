//! What the network effects of this process share: one table, one root per interface, and the bands.
//!
//! Made with the first effect, gone with the last.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use super::baseline::{Baseline, Note};
use super::classify::{self, Action, Filter};
use super::error::NetError;
use super::kernel_part::KernelPart;
use super::link::Link;
use super::namespace;
use super::netlink::{NetlinkError, Route, Tables};
use super::tc::Qdisc;
use super::tc::netem::Netem;
use super::{ifb, shape, tc};

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

/// What is shared, for as long as the guard is held. None where no effect lives.
pub(super) fn lock() -> MutexGuard<'static, Option<Shared>> {
    // Whoever panicked in here left at worst something inert, which the next change finds as it is.
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shared part of all effects. Made with the first effect, gone with the last.
#[derive(Debug)]
pub(super) struct Shared {
    /// Owns the table, which is the claim on the network namespace as well: the kernel removes it when this closes,
    /// whatever becomes of the process.
    tables: Tables,
    route: Route,
    /// Interfaces whose root is ours, by index.
    roots: BTreeMap<u32, Root>,
    /// Whether there is the interface behind which packets that come in wait.
    has_ifb: bool,
    bands: BTreeSet<u16>,
    /// The numbers of the active effects.
    effects: BTreeSet<u32>,
    state_dir: PathBuf,
}

#[derive(Debug)]
struct Root {
    link: Link,
    before: Baseline,
    users: u32,
}

/// What was counted for an effect. None where it could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that the rules matched. A large send counts as the one packet that it is before segmentation.
    pub matched: Option<u64>,
    /// Packets that came to a netem of the effect. A large send may count as the many that it becomes.
    pub shaped: Option<u64>,
    /// Packets that netem dropped: the lost ones, and those that its queue had no room for.
    pub dropped: Option<u64>,
}

/// What one effect is to have in the kernel.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    /// Its filter, but for its name, its priority and its class, which are given here.
    pub filter: Filter,
    pub shaping: Shaping,
}

/// Where an effect has its netem.
#[derive(Debug, Clone)]
pub(super) enum Shaping {
    /// Nowhere: it only drops.
    None,
    /// Where packets leave, on each of these interfaces.
    Outgoing(Vec<(Link, Netem)>),
    /// Behind the ifb.
    Incoming(Netem),
}

impl Shaping {
    /// How many packets may wait at once, of all its netems the most.
    pub(super) fn queue_limit(&self) -> Option<u32> {
        match self {
            Shaping::None => None,
            Shaping::Outgoing(leaves) => leaves.iter().map(|(_, netem)| netem.limit).max(),
            Shaping::Incoming(netem) => Some(netem.limit),
        }
    }
}

/// What one effect has in the kernel, as far as it came.
#[derive(Debug, Default)]
pub(super) struct Installed {
    number: u32,
    pub filter: Option<Filter>,
    band: Option<u16>,
    leaves: Vec<Link>,
    roots: Vec<u32>,
}

impl Shared {
    /// Claims the network namespace by making the table, and tidies up after earlier lives.
    pub(super) fn open(state_dir: &Path) -> Result<Shared, NetError> {
        let mut tables = Tables::open()?;
        namespace::claim(&mut tables)?;
        let mut route = Route::open()?;
        namespace::tidy(&mut route, state_dir)?;
        Ok(Shared {
            tables,
            route,
            roots: BTreeMap::new(),
            has_ifb: false,
            bands: BTreeSet::new(),
            effects: BTreeSet::new(),
            state_dir: state_dir.to_owned(),
        })
    }

    /// Puts an effect into the kernel; it works from the last step on, the rules.
    pub(super) fn install(&mut self, spec: Spec) -> Result<Installed, NetError> {
        let mut installed =
            Installed { number: self.effects.last().map_or(1, |last| last + 1), ..Installed::default() };
        self.effects.insert(installed.number);
        match self.try_install(spec, &mut installed) {
            Ok(()) => Ok(installed),
            Err(error) => Err(match self.remove(installed).1 {
                undoing if undoing.is_empty() => error,
                undoing => NetError::Twice { first: Box::new(error), undoing: sentence(&undoing) },
            }),
        }
    }

    fn try_install(&mut self, spec: Spec, installed: &mut Installed) -> Result<(), NetError> {
        let mut filter = spec.filter;
        filter.name = format!("{}_{}", filter.name, installed.number);
        let number = i32::try_from(installed.number).unwrap_or(i32::MAX / 2);
        // The newest has the last word on a packet: the last to set its class, or the first to send it away.
        filter.priority = match spec.shaping {
            Shaping::Incoming(_) => -number,
            _ => classify::FIRST_PRIORITY + number,
        };
        let incoming = matches!(spec.shaping, Shaping::Incoming(_));
        let leaves = match spec.shaping {
            Shaping::None => Vec::new(),
            Shaping::Outgoing(leaves) => leaves,
            Shaping::Incoming(netem) => {
                self.free_band()?;
                vec![(self.take_ifb()?, netem)]
            }
        };
        if let Some((first, _)) = leaves.first() {
            let link = first.index;
            let band = self.free_band()?;
            self.take_roots(&leaves, installed)?;
            self.bands.insert(band);
            installed.band = Some(band);
            let class = shape::class(band);
            filter.action = if incoming { Action::Redirect { class, link } } else { Action::Classify(class) };
            for (link, netem) in &leaves {
                self.route.request(shape::add_leaf(link, band, *netem))?;
                installed.leaves.push(link.clone());
            }
        }
        match self.tables.change(classify::create(&filter)) {
            // A firewall's drop does the same, but for what a sender of datagrams is told.
            Err(error) if lacks_queue(&error) => {
                filter.action = Action::Drop;
                self.tables.change(classify::create(&filter))?;
            }
            outcome => outcome?,
        }
        installed.filter = Some(filter);
        Ok(())
    }

    fn free_band(&self) -> Result<u16, NetError> {
        let spare = shape::FIRST_SPARE..=shape::BANDS;
        spare.into_iter().find(|band| !self.bands.contains(band)).ok_or(NetError::NoBand)
    }

    /// The ifb, made if there is none yet.
    fn take_ifb(&mut self) -> Result<Link, NetError> {
        if !self.has_ifb {
            self.route.request(ifb::create())?;
            self.has_ifb = true;
            ifb::start(&mut self.route)?;
        }
        Ok(ifb::link())
    }

    /// Makes our root the root of all `leaves`' links. Everything is looked at, and noted, before anything
    /// is touched.
    fn take_roots(&mut self, leaves: &[(Link, Netem)], installed: &mut Installed) -> Result<(), NetError> {
        let qdiscs = tc::list(&mut self.route)?;
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
                installed.roots.push(link.index);
            }
        }
        Ok(())
    }

    /// Writes down what the links had. If it cannot be written, that matters only where our root's removal
    /// alone would not bring it back.
    fn note(&self, new: &[(Link, Baseline)]) -> Result<(), NetError> {
        // What we made ourselves needs no putting back.
        let new: Vec<_> = new.iter().filter(|(link, _)| !ifb::is_ours(link)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let others = self.roots.values().filter(|root| !ifb::is_ours(&root.link));
        let old = others.map(|root| (root.link.name.clone(), root.before.clone()));
        let new = new.iter().map(|(link, before)| (link.name.clone(), before.clone()));
        let note = Note::new(old.chain(new).collect());
        match note.save(&self.state_dir) {
            Err(source) if note.matters() => Err(NetError::Note { folder: self.state_dir.clone(), source }),
            _ => Ok(()),
        }
    }

    /// Takes an effect out of the kernel, goes on after errors, and gives all of them. When it returns
    /// without one, what the effect had is as it was before.
    pub(super) fn remove(&mut self, installed: Installed) -> (Counters, Vec<NetError>) {
        let mut errors = Vec::new();
        let counters = self.counters(&installed);
        if let Some(filter) = &installed.filter {
            keep(&mut errors, self.tables.change(classify::remove(filter)));
        }
        if let Some(band) = installed.band {
            for link in &installed.leaves {
                keep(&mut errors, self.route.request(shape::remove_leaf(link, band)));
            }
            self.bands.remove(&band);
        }
        self.give_roots_back(&installed.roots, &mut errors);
        self.give_ifb_back(&mut errors);
        self.effects.remove(&installed.number);
        (counters, errors)
    }

    fn give_roots_back(&mut self, indices: &[u32], errors: &mut Vec<NetError>) {
        for index in indices {
            if let Some(root) = self.roots.get_mut(index) {
                root.users -= 1;
            }
        }
        // Also those that no effect uses, because a step after the first of them failed.
        let idle: Vec<u32> =
            self.roots.iter().filter(|(_, root)| root.users == 0).map(|(index, _)| *index).collect();
        if idle.is_empty() {
            return;
        }
        let qdiscs = match tc::list(&mut self.route) {
            Ok(qdiscs) => qdiscs,
            Err(error) => return errors.push(error.into()),
        };
        for index in idle {
            let Some(root) = self.roots.remove(&index) else { continue };
            // Another program may have replaced our root; its own stays.
            if !ifb::is_ours(&root.link) && shape::root_of(&qdiscs, index).is_some_and(shape::is_ours) {
                keep(errors, root.before.restore(&mut self.route, &root.link));
            }
        }
    }

    /// Removes the ifb if no effect uses it, with its root.
    fn give_ifb_back(&mut self, errors: &mut Vec<NetError>) {
        let ifb = ifb::link();
        if self.has_ifb && !self.roots.contains_key(&ifb.index) {
            self.has_ifb = false;
            keep(errors, self.route.request(ifb::remove(&ifb)));
        }
    }

    /// Whether no effect is left, so that it can all be dropped.
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
    pub(super) fn extend(
        &mut self,
        installed: &mut Installed,
        addresses: &[IpAddr],
    ) -> Result<usize, NetError> {
        let Some(filter) = &mut installed.filter else { return Ok(0) };
        let new = filter.lacking(addresses);
        if new.is_empty() {
            return Ok(0);
        }
        let (extended, messages) = classify::extend(filter, &new);
        self.tables.change(messages)?;
        *filter = extended;
        Ok(new.len())
    }

    /// Has the kernel end an effect so long from now.
    pub(super) fn prolong(&mut self, filter: &Filter, lasts: Duration) -> Result<(), NetError> {
        Ok(self.tables.change(classify::prolong(filter, lasts))?)
    }

    /// What was counted for an effect so far. Numbers that cannot be read are left out.
    pub(super) fn counters(&mut self, installed: &Installed) -> Counters {
        let filter = installed.filter.as_ref();
        let matched = filter.and_then(|filter| classify::matched(&mut self.tables, filter).ok());
        let mut counters = Counters { matched, ..Counters::default() };
        // After the rules: what has matched is on its way to a leaf, or was there.
        if let (Some(band), Ok(qdiscs)) = (installed.band, tc::list(&mut self.route)) {
            let leaf = |link: &Link| shape::leaf_of(&qdiscs, link.index, band);
            // One that is gone was taken away by another program, and its numbers with it.
            let leaves: Option<Vec<&Qdisc>> = installed.leaves.iter().map(leaf).collect();
            let sum = |count: fn(&Qdisc) -> u64| leaves.iter().flatten().map(|leaf| count(leaf)).sum();
            if leaves.is_some() {
                counters.dropped = Some(sum(|leaf| leaf.drops.into()));
                counters.shaped = Some(sum(|leaf| {
                    u64::from(leaf.packets) + u64::from(leaf.drops) + u64::from(leaf.waiting)
                }));
            }
        }
        counters
    }
}

/// Whether the kernel refused because it has no expression `queue`.
fn lacks_queue(error: &NetlinkError) -> bool {
    error.needs() == Some(KernelPart::Queue)
        && matches!(error.errno(), Some(Errno::ENOENT | Errno::EOPNOTSUPP))
}

/// Keeps an error, but not one that says that what was to be removed is gone already.
fn keep(errors: &mut Vec<NetError>, outcome: Result<(), NetlinkError>) {
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
