//! What the network effects of this process share: one table, one root per interface, and the bands.
//!
//! Made with the first effect, gone with the last, but for roots that are kept.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use nix::errno::Errno;

use super::classify::{self, Action, Filter};
use super::error::NetError;
use super::kernel_part::KernelPart;
use super::link::Link;
use super::namespace;
use super::netlink::{NetlinkError, Route, Tables};
use super::roots::{self, Roots};
use super::tc::Qdisc;
use super::tc::netem::Netem;
use super::{ifb, shape, tc};

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

/// What is shared, for as long as the guard is held. None where no effect lives and no root is kept.
pub(super) fn lock() -> MutexGuard<'static, Option<Shared>> {
    // Whoever panicked in here left at worst something inert, which the next change finds as it is.
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shared part of all effects.
#[derive(Debug)]
pub(super) struct Shared {
    /// Owns the table, which is the claim on the network namespace as well: the kernel removes it when this closes,
    /// whatever becomes of the process. Behind a lock of its own, so that rules can go while an effect is installed.
    tables: Arc<Mutex<Tables>>,
    route: Route,
    roots: Roots,
    /// Whether the table is there: no effect is installed without it.
    has_claim: bool,
    /// Whether our table says that roots are kept.
    is_keeper: bool,
    /// Whether there is the interface behind which packets that come in wait.
    has_ifb: bool,
    bands: BTreeSet<u16>,
    /// The numbers of the active effects.
    effects: BTreeSet<u32>,
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
    /// Packets that still waited in a netem when it was taken away, and were lost with it.
    pub cut: u64,
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
    /// What its rules had counted when they were removed; None while they are there.
    released: Option<Option<u64>>,
    /// Those of [`Shared`], and not what keeps them open.
    tables: Weak<Mutex<Tables>>,
}

/// Nobody holds the tables for longer than the kernel takes for a change.
fn held(tables: &Mutex<Tables>) -> MutexGuard<'_, Tables> {
    tables.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end at which the kernel ends an effect, whether it still lives or not.
#[derive(Debug, Clone)]
pub struct Deadline {
    filter: Filter,
    tables: Weak<Mutex<Tables>>,
}

impl Deadline {
    /// Moves it to so long from now. Without effect once no effect lives any more.
    ///
    /// # Errors
    /// The kernel refused, or has ended the effect already.
    pub fn set(&self, lasts: Duration) -> Result<(), NetError> {
        match self.tables.upgrade() {
            Some(tables) => Ok(held(&tables).change(classify::prolong(&self.filter, lasts))?),
            None => Ok(()),
        }
    }
}

impl Installed {
    /// Whether it has a root on an interface that is not ours.
    pub(super) fn has_roots(&self) -> bool {
        self.leaves.iter().any(|link| !ifb::is_ours(link))
    }

    /// What moves its end.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        Some(Deadline { filter: self.filter.clone()?, tables: self.tables.clone() })
    }

    /// Removes its rules: from now on no packet comes to its netems. Goes on after errors, and gives them.
    ///
    /// Needs nothing that is held while another effect is installed, which may wait for the state folder.
    pub(super) fn release(&mut self) -> Vec<NetError> {
        match self.tables.upgrade() {
            Some(tables) => self.release_by(&mut held(&tables)),
            None => Vec::new(),
        }
    }

    /// The same where nobody is at the tables right now; None where somebody is.
    pub(super) fn release_at_once(&mut self) -> Option<Vec<NetError>> {
        let Some(tables) = self.tables.upgrade() else { return Some(Vec::new()) };
        let mut tables = match tables.try_lock() {
            Ok(tables) => tables,
            Err(TryLockError::Poisoned(tables)) => tables.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(self.release_by(&mut tables))
    }

    fn release_by(&mut self, tables: &mut Tables) -> Vec<NetError> {
        let mut errors = Vec::new();
        if self.released.is_some() {
            return errors;
        }
        let mut matched = None;
        if let Some(filter) = &self.filter {
            matched = classify::matched(tables, filter).ok();
            keep(&mut errors, tables.change(classify::remove(filter)));
        }
        self.released = Some(matched);
        errors
    }

    /// Adds addresses to its targets; gives how many were new.
    pub(super) fn extend(&mut self, addresses: &[IpAddr]) -> Result<usize, NetError> {
        let (Some(filter), Some(tables)) = (&mut self.filter, self.tables.upgrade()) else { return Ok(0) };
        let new = filter.lacking(addresses);
        if new.is_empty() {
            return Ok(0);
        }
        let (extended, messages) = classify::extend(filter, &new);
        held(&tables).change(messages)?;
        *filter = extended;
        Ok(new.len())
    }
}

impl Shared {
    /// Claims the network namespace by making the table, and tidies up after earlier lives.
    pub(super) fn open(state_dir: &Path) -> Result<Shared, NetError> {
        let mut tables = Tables::open()?;
        namespace::claim(&mut tables)?;
        let mut route = Route::open()?;
        namespace::tidy(&mut tables, &mut route, state_dir)?;
        Ok(Shared {
            tables: Arc::new(Mutex::new(tables)),
            route,
            roots: Roots::new(state_dir),
            has_claim: true,
            is_keeper: false,
            has_ifb: false,
            bands: BTreeSet::new(),
            effects: BTreeSet::new(),
        })
    }

    /// Claims the network namespace anew, after a rest.
    pub(super) fn claim(&mut self) -> Result<(), NetError> {
        if !self.has_claim {
            namespace::claim(&mut held(&self.tables))?;
            self.has_claim = true;
            self.roots.forget_lost(&mut self.route)?;
            // Another process may have had its fault here meanwhile, and been killed.
            let roots = &self.roots;
            namespace::tidy_kept(&mut self.route, roots.state_dir(), |index| roots.has(index))?;
        }
        Ok(())
    }

    /// Puts an effect into the kernel; it works from the last step on, the rules.
    pub(super) fn install(&mut self, spec: Spec) -> Result<Installed, NetError> {
        let mut installed = Installed {
            number: self.effects.last().map_or(1, |last| last + 1),
            tables: Arc::downgrade(&self.tables),
            ..Installed::default()
        };
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
        filter.priority = match (filter.action, &spec.shaping) {
            (Action::ToPort(_), _) => {
                (classify::FIRST_NAT_PRIORITY - number).max(classify::LAST_NAT_PRIORITY)
            }
            (_, Shaping::Incoming(_)) => -number,
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
            let kept_by_others = Roots::kept_by_others(&mut held(&self.tables), self.is_keeper);
            let links = leaves.iter().map(|(link, _)| link);
            installed.roots = self.roots.take(&mut self.route, links, kept_by_others)?;
            self.bands.insert(band);
            installed.band = Some(band);
            let class = shape::class(band);
            filter.action = if incoming { Action::Redirect { class, link } } else { Action::Classify(class) };
            for (link, netem) in &leaves {
                self.route.request(shape::add_leaf(link, band, *netem))?;
                installed.leaves.push(link.clone());
            }
        }
        let created = held(&self.tables).change(classify::create(&filter));
        match created {
            // A firewall's drop does the same, but for what a sender of datagrams is told.
            Err(error) if lacks_queue(&error) => {
                filter.action = Action::Drop;
                held(&self.tables).change(classify::create(&filter))?;
            }
            outcome => outcome?,
        }
        installed.filter = Some(filter);
        self.roots.serve(&installed.roots);
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

    /// How many packets wait in the netems of an effect; none where that cannot be told.
    pub(super) fn waiting(&mut self, installed: &Installed) -> u64 {
        self.leaves(installed).iter().flatten().map(|leaf| u64::from(leaf.waiting)).sum()
    }

    /// Takes an effect out of the kernel, goes on after errors, and gives all of them. When it returns
    /// without one, what the effect had is as it was before.
    pub(super) fn remove(&mut self, mut installed: Installed) -> (Counters, Vec<NetError>) {
        let mut errors = installed.release();
        let counters = self.counters(&installed);
        if let Some(band) = installed.band {
            for link in &installed.leaves {
                keep(&mut errors, self.route.request(shape::remove_leaf(link, band)));
            }
            self.bands.remove(&band);
        }
        self.roots.leave(&installed.roots);
        self.give_roots_back(roots::keeps(), &mut errors);
        self.give_ifb_back(&mut errors);
        self.effects.remove(&installed.number);
        (counters, errors)
    }

    fn give_roots_back(&mut self, keeping: bool, errors: &mut Vec<NetError>) {
        let kept_by_others = Roots::kept_by_others(&mut held(&self.tables), self.is_keeper);
        for error in self.roots.give_back(&mut self.route, keeping, kept_by_others) {
            keep(errors, Err(error));
        }
    }

    /// Removes the ifb if no effect uses it, with its root.
    fn give_ifb_back(&mut self, errors: &mut Vec<NetError>) {
        let ifb = ifb::link();
        if self.has_ifb && !self.roots.has(ifb.index) {
            self.has_ifb = false;
            keep(errors, self.route.request(ifb::remove(&ifb)));
        }
    }

    /// What is left when an effect has come or gone: all of it where one lives, the roots where they are kept, else
    /// nothing.
    pub(super) fn settle(mut self) -> Option<Shared> {
        if !self.effects.is_empty() || self.rest() {
            return Some(self);
        }
        self.close();
        None
    }

    /// Gives the claim up but not the roots, where there are some to be kept.
    fn rest(&mut self) -> bool {
        if !roots::keeps() || self.roots.is_empty() {
            return false;
        }
        if self.has_claim {
            if let Err(error) = held(&self.tables).change(classify::rest(self.is_keeper)) {
                tracing::warn!(%error, "the root queueing disciplines are put back at once");
                return false;
            }
            (self.has_claim, self.is_keeper) = (false, true);
        }
        true
    }

    /// Puts back the roots that were kept, removes the note, since there is nothing left that it speaks of, and
    /// closes the table.
    fn close(mut self) {
        if !self.has_claim {
            return;
        }
        let mut errors = Vec::new();
        self.give_roots_back(false, &mut errors);
        if !errors.is_empty() {
            tracing::error!(error = sentence(&errors), "cannot put root queueing disciplines back");
        }
        if self.roots.is_empty() && !Roots::kept_by_others(&mut held(&self.tables), self.is_keeper) {
            self.roots.remove_note();
        }
    }

    /// What was counted for an effect. Numbers that cannot be read are left out.
    fn counters(&mut self, installed: &Installed) -> Counters {
        let mut counters = Counters { matched: installed.released.flatten(), ..Counters::default() };
        // After the rules: what has matched is on its way to a leaf, or was there.
        if let Some(leaves) = self.leaves(installed) {
            let sum =
                |count: fn(&Qdisc) -> u32| leaves.iter().map(|leaf| u64::from(count(leaf))).sum::<u64>();
            (counters.dropped, counters.cut) = (Some(sum(|leaf| leaf.drops)), sum(|leaf| leaf.waiting));
            counters.shaped =
                Some(sum(|leaf| leaf.packets) + sum(|leaf| leaf.drops) + sum(|leaf| leaf.waiting));
        }
        counters
    }

    /// The netems of an effect that shapes. None if one is gone: another program took it away, and its numbers with
    /// it.
    fn leaves(&mut self, installed: &Installed) -> Option<Vec<Qdisc>> {
        let (band, qdiscs) = (installed.band?, tc::list(&mut self.route).ok()?);
        let leaf = |link: &Link| shape::leaf_of(&qdiscs, link.index, band).cloned();
        installed.leaves.iter().map(leaf).collect()
    }
}

/// Whether the kernel refused because it has no expression `queue`.
fn lacks_queue(error: &NetlinkError) -> bool {
    error.needs() == Some(KernelPart::Queue)
        && matches!(error.errno(), Some(Errno::ENOENT | Errno::EOPNOTSUPP))
}

/// Keeps an error, but not one that says that what was to be removed is gone already.
fn keep(errors: &mut Vec<NetError>, outcome: Result<(), impl Into<NetError>>) {
    let is_gone = |error: &NetError| matches!(error, NetError::Kernel { error } if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENODEV)));
    errors.extend(outcome.map_err(Into::into).err().filter(|error| !is_gone(error)));
}

/// Several errors as one sentence.
pub(super) fn sentence(errors: &[NetError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_go_without_what_others_hold_while_they_install() {
        let tables = Arc::new(Mutex::new(Tables::open().unwrap()));
        let mut installed = Installed { tables: Arc::downgrade(&tables), ..Installed::default() };
        // As an effect does that is being installed, and may wait for the state folder. With it this would wait for
        // ever.
        let _installing = lock();
        let changing = tables.lock().unwrap();
        assert!(installed.release_at_once().is_none(), "another change is under way");
        assert_eq!(installed.released, None);
        drop(changing);
        assert!(installed.release_at_once().is_some());
        assert_eq!(installed.released, Some(None));
    }
}
