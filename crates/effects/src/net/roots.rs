//! The roots that this process has made: on which interfaces, for how many effects, and what comes back in their
//! place.
//!
//! To exchange a root takes the interface out of service for a moment, and bystanders lose packets. So a sidecar
//! keeps its roots, which are inert without rules, from the first shaped fault until its own end. A table that the
//! kernel removes with its owner says so to other processes ([`classify::is_kept`]): these use the roots that they
//! find, and leave them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::baseline::{Baseline, Note};
use super::error::NetError;
use super::link::Link;
use super::netlink::{NetlinkError, Route, Tables};
use super::{classify, ifb, shape, tc};

/// Whether this process keeps its roots when no effect needs them.
static KEEPS: AtomicBool = AtomicBool::new(false);

/// Has this process keep its roots from now on, or not.
pub(super) fn keep(keeps: bool) {
    KEEPS.store(keeps, Ordering::SeqCst);
}

/// Whether this process keeps its roots.
pub(super) fn keeps() -> bool {
    KEEPS.load(Ordering::SeqCst)
}

/// The roots that are ours, by the index of their interface.
#[derive(Debug)]
pub(super) struct Roots {
    all: BTreeMap<u32, Root>,
    state_dir: PathBuf,
}

#[derive(Debug)]
struct Root {
    link: Link,
    before: Before,
    users: u32,
    /// Whether an effect has ever been installed on it.
    has_served: bool,
}

/// What a link had as its root.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Before {
    /// This, which comes back.
    Was(Baseline),
    /// A root of ours that another process keeps, and puts back at its end.
    Kept,
}

impl Root {
    /// Whether it is one to be kept.
    fn can_stay(&self) -> bool {
        self.has_served && self.before != Before::Kept && !ifb::is_ours(&self.link)
    }
}

impl Roots {
    /// None yet. What they replace is noted in this folder.
    pub(super) fn new(state_dir: &Path) -> Roots {
        Roots { all: BTreeMap::new(), state_dir: state_dir.to_owned() }
    }

    /// Where what they replace is noted.
    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the interface of that index has one.
    pub(super) fn has(&self, index: u32) -> bool {
        self.all.contains_key(&index)
    }

    /// Makes our root the root of all links, for one effect more; gives their indices. Everything is looked at, and
    /// noted, before anything is touched. `kept_by_others` says whether another process keeps roots.
    pub(super) fn take<'a>(
        &mut self,
        route: &mut Route,
        links: impl Iterator<Item = &'a Link>,
        kept_by_others: bool,
    ) -> Result<Vec<u32>, NetError> {
        let (links, qdiscs): (Vec<&Link>, _) = (links.collect(), tc::list(route)?);
        let mut new = Vec::new();
        for link in links.iter().filter(|link| !self.has(link.index)) {
            let before = match shape::root_of(&qdiscs, link.index) {
                Some(root) if shape::is_ours(root) => Before::Kept,
                root => Before::Was(Baseline::of(link, root, &qdiscs)?),
            };
            new.push(((*link).clone(), before));
        }
        self.note(&new, kept_by_others)?;
        for (link, before) in new {
            if let Before::Was(baseline) = &before {
                route.request(shape::add_root(&link, *baseline != Baseline::Default))?;
            }
            self.all.insert(link.index, Root { link, before, users: 0, has_served: false });
        }
        for link in &links {
            if let Some(root) = self.all.get_mut(&link.index) {
                root.users += 1;
            }
        }
        Ok(links.iter().map(|link| link.index).collect())
    }

    /// The effect that took them is in the kernel.
    pub(super) fn serve(&mut self, indices: &[u32]) {
        for index in indices {
            if let Some(root) = self.all.get_mut(index) {
                root.has_served = true;
            }
        }
    }

    /// The effect that took them is gone.
    pub(super) fn leave(&mut self, indices: &[u32]) {
        for index in indices {
            if let Some(root) = self.all.get_mut(index) {
                root.users -= 1;
            }
        }
    }

    /// Puts back what was before those that no effect uses, also because a step after the first of them failed. With
    /// `keeping` those that have served stay. `kept_by_others` says whether another process keeps the roots that were
    /// found.
    pub(super) fn give_back(
        &mut self,
        route: &mut Route,
        keeping: bool,
        kept_by_others: bool,
    ) -> Vec<NetError> {
        let is_idle = |root: &Root| root.users == 0 && !(keeping && root.can_stay());
        let idle: Vec<u32> =
            self.all.iter().filter(|(_, root)| is_idle(root)).map(|(index, _)| *index).collect();
        if idle.is_empty() {
            return Vec::new();
        }
        let qdiscs = match tc::list(route) {
            Ok(qdiscs) => qdiscs,
            Err(error) => return vec![error.into()],
        };
        let mut errors = Vec::new();
        for index in idle {
            let Some(root) = self.all.remove(&index) else { continue };
            // Another program may have replaced our root; its own stays.
            if ifb::is_ours(&root.link) || !shape::root_of(&qdiscs, index).is_some_and(shape::is_ours) {
                continue;
            }
            let before = match root.before {
                Before::Was(baseline) => baseline,
                Before::Kept if kept_by_others => continue,
                // Who kept it has gone meanwhile, and could not put it back while we used it.
                Before::Kept => match Note::load(&self.state_dir) {
                    Ok(note) => note.or_default(&root.link.name),
                    Err(error) => {
                        errors.push(error.into());
                        continue;
                    }
                },
            };
            errors.extend(before.restore(route, &root.link).err().map(NetError::from));
        }
        errors
    }

    /// Forgets those that no effect uses and that are gone, because another program or another process of ours took
    /// them away while we had no claim.
    pub(super) fn forget_lost(&mut self, route: &mut Route) -> Result<(), NetlinkError> {
        let qdiscs = tc::list(route)?;
        let is_there = |index| shape::root_of(&qdiscs, index).is_some_and(shape::is_ours);
        self.all.retain(|index, root| root.users > 0 || is_there(*index));
        Ok(())
    }

    /// Writes down what the links had. If it cannot be written, that matters only where our root's removal
    /// alone would not bring it back.
    fn note(&self, new: &[(Link, Before)], kept_by_others: bool) -> Result<(), NetError> {
        let was = |link: &Link, before: &Before| match before {
            // What we made ourselves needs no putting back.
            Before::Was(baseline) if !ifb::is_ours(link) => Some((link.name.clone(), baseline.clone())),
            _ => None,
        };
        let new: Vec<_> = new.iter().filter_map(|(link, before)| was(link, before)).collect();
        if new.is_empty() {
            return Ok(());
        }
        // The other's note may be in the same folder.
        let noted = if kept_by_others { Note::load(&self.state_dir)? } else { Note::default() };
        let old = self.all.values().filter_map(|root| was(&root.link, &root.before));
        let note = noted.with(old.chain(new).collect());
        match note.save(&self.state_dir) {
            Err(source) if note.matters() => Err(NetError::Note { folder: self.state_dir.clone(), source }),
            _ => Ok(()),
        }
    }

    /// Removes the note of what was before them.
    pub(super) fn remove_note(&self) {
        if let Err(error) = Note::remove(&self.state_dir) {
            tracing::warn!(%error, folder = %self.state_dir.display(), "cannot remove the note of the root qdiscs");
        }
    }

    /// Whether others keep roots, given who keeps some here.
    pub(super) fn kept_by_others(tables: &mut Tables, is_keeper: bool) -> bool {
        // If the kernel does not say, nothing is kept.
        !is_keeper && classify::is_kept(tables).unwrap_or(false)
    }
}
