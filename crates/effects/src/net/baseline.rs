//! What was the root of a link before us, whether it can be put back exactly, and the note of it on disk.
//!
//! A root that the kernel attached by itself has handle 0 and comes back when ours is removed. One that
//! another program installed is put back from the kernel's own description of it, if it is of a kind without classes;
//! others are refused before anything is touched. The note is for the next life: kill -9 leaves our root,
//! inert, and the memory of what was there would be gone with us.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rtnetlink::packet_route::tc::TcHandle;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::link::Link;
use super::netlink::{NetlinkError, Route};
use super::shape;
use super::tc::Qdisc;
use crate::state_folder;

/// The note's name in the state folder.
const FILE: &str = "qdisc-baseline.json";

/// Kinds whose description by the kernel, sent back to it, makes the same discipline again.
const EXACT: [&str; 7] = ["bfifo", "codel", "fq", "fq_codel", "noqueue", "pfifo", "pfifo_fast"];

/// A discipline for each queue of the device; those that the kernel attached come back with it.
const MANY_QUEUES: &str = "mq";

/// What a link had as its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "root")]
pub enum Baseline {
    /// Whatever the kernel attaches by itself.
    Default,
    /// One that another program installed.
    Made {
        /// As `TCA_KIND` has it.
        kind: String,
        /// Major number in the upper 16 bits.
        handle: u32,
        /// `TCA_OPTIONS`, byte by byte as the kernel gave it.
        options: Vec<u8>,
    },
}

/// A root that could not be put back, so that it is not taken away.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "the root queueing discipline of {link} is {kind} with handle {major:x}:, installed by another program, and \
     could not be put back exactly afterwards; name another interface, or remove it (tc qdisc del dev {link} root)"
)]
pub struct NotExact {
    link: String,
    kind: String,
    major: u16,
}

/// The note may be there and cannot be read.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error(
    "the state folder {} does not answer, and may have a note of what our root queueing disciplines stand in for; they \
     stay, inert, until the next start", folder.display()
)]
pub struct NotRead {
    folder: PathBuf,
}

impl Baseline {
    /// What `root` is, if it can be put back. `all` are the disciplines of the network namespace.
    ///
    /// # Errors
    /// It cannot.
    pub fn of(link: &Link, root: Option<&Qdisc>, all: &[Qdisc]) -> Result<Baseline, NotExact> {
        match root {
            None => Ok(Baseline::Default),
            Some(root) if root.handle == TcHandle::UNSPEC => Ok(Baseline::Default),
            Some(root) if EXACT.contains(&root.kind.as_str()) || is_plain(root, all) => Ok(Baseline::Made {
                kind: root.kind.clone(),
                handle: root.handle.into(),
                options: root.options.clone(),
            }),
            Some(root) => {
                Err(NotExact { link: link.name.clone(), kind: root.kind.clone(), major: root.handle.major })
            }
        }
    }

    /// Puts it back in place of our root.
    ///
    /// # Errors
    /// The kernel refused; our root is still there, inert.
    pub fn restore(&self, route: &mut Route, link: &Link) -> Result<(), NetlinkError> {
        match self {
            Baseline::Default => route.request(shape::remove_root(link)),
            Baseline::Made { kind, handle, options } => {
                route.request(shape::put_root(link, kind, (*handle).into(), options))
            }
        }
    }
}

/// Whether a discipline of many queues has those below it that the kernel attached, one for each queue.
fn is_plain(root: &Qdisc, all: &[Qdisc]) -> bool {
    let below: Vec<&Qdisc> = all
        .iter()
        .filter(|qdisc| qdisc.index == root.index && qdisc.parent.major == root.handle.major)
        .filter(|qdisc| qdisc.parent != TcHandle::ROOT)
        .collect();
    let has = |minor: usize| below.iter().any(|qdisc| usize::from(qdisc.parent.minor) == minor);
    root.kind == MANY_QUEUES
        && !below.is_empty()
        && below.iter().all(|qdisc| qdisc.handle == TcHandle::UNSPEC && qdisc.kind == below[0].kind)
        // A queue from which the discipline was removed has none that is listed.
        && (1..=below.len()).all(has)
}

/// Links by name, with what they had: the note on disk.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The network namespace it speaks of, as `/proc/self/ns/net` names it. A note of another one is nothing
    /// to us.
    namespace: String,
    links: BTreeMap<String, Baseline>,
}

impl Note {
    /// A note of this network namespace, with these links beside those that it has.
    pub fn with(mut self, links: BTreeMap<String, Baseline>) -> Note {
        self.namespace = namespace();
        self.links.extend(links);
        self
    }

    /// What `folder` has for this network namespace; empty if there is none, or none that can be read. Waits for a
    /// second at most.
    ///
    /// # Errors
    /// The folder does not answer: there may be one.
    pub fn load(folder: &Path) -> Result<Note, NotRead> {
        let path = path(folder);
        let read = match state_folder::in_time(move || state_folder::read(&path)) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(NotRead { folder: folder.to_owned() });
            }
            read => read.ok(),
        };
        let note: Option<Note> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(note.filter(|note| note.namespace == namespace()).unwrap_or_default())
    }

    /// What the link had, as far as that is noted.
    pub fn or_default(&self, link: &str) -> Baseline {
        self.links.get(link).cloned().unwrap_or(Baseline::Default)
    }

    /// Whether something is lost if this is not kept.
    pub fn matters(&self) -> bool {
        self.links.values().any(|baseline| *baseline != Baseline::Default)
    }

    /// Writes it, so that it is whole or not there, even after a crash. Waits for a second at most.
    ///
    /// # Errors
    /// The folder cannot be written to, or does not answer.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        let (folder, bytes) = (folder.to_owned(), serde_json::to_vec(self)?);
        state_folder::in_time(move || {
            state_folder::prepare(&folder)?;
            state_folder::replace_for_good(&folder, FILE, &bytes)
        })
    }

    /// Removes the note from `folder`, if it is there, after what [`Note::save`] still has to write. Waits for a second
    /// at most.
    ///
    /// # Errors
    /// It is there and stays, or the folder does not answer.
    pub fn remove(folder: &Path) -> io::Result<()> {
        let path = path(folder);
        state_folder::in_time(move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

fn namespace() -> String {
    fs::read_link("/proc/self/ns/net").map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Reads bytes as the note of what links had.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = serde_json::from_slice::<Note>(bytes).map(|note| note.matters());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link { index: 2, name: "eth0".into(), up: true, loopback: false, kind: None, address: Vec::new() }
    }

    fn root(kind: &str, handle: u32) -> Qdisc {
        let (options, handle, parent) = (vec![1, 2, 3], handle.into(), TcHandle::ROOT);
        Qdisc { index: 2, handle, parent, kind: kind.into(), options, packets: 0, drops: 0, waiting: 0 }
    }

    #[test]
    fn what_the_kernel_made_by_itself_comes_back_by_itself() {
        for kind in ["noqueue", "mq", "pfifo_fast", "fq_codel", "htb"] {
            assert_eq!(Baseline::of(&link(), Some(&root(kind, 0)), &[]), Ok(Baseline::Default), "{kind}");
        }
        assert_eq!(Baseline::of(&link(), None, &[]), Ok(Baseline::Default));
    }

    #[test]
    fn what_another_program_installed_is_kept_or_refused() {
        let kept = Baseline::of(&link(), Some(&root("fq_codel", 0x1_0000)), &[]).unwrap();
        assert!(matches!(kept, Baseline::Made { handle: 0x1_0000, .. }), "{kept:?}");
        for kind in ["htb", "mq", "prio", "tbf", "netem", "cake", "something-new"] {
            let refused = Baseline::of(&link(), Some(&root(kind, 0x8001_0000)), &[]).unwrap_err().to_string();
            assert!(refused.contains(&format!("of eth0 is {kind} with handle 8001:")), "{refused}");
        }
    }

    #[test]
    fn a_note_is_read_where_it_was_written_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let made = Baseline::of(&link(), Some(&root("fq", 0x1_0000)), &[]).unwrap();
        let note =
            Note::default().with([("eth0".to_string(), made), ("lo".to_string(), Baseline::Default)].into());
        note.save(folder.path()).unwrap();
        assert_eq!(Note::load(folder.path()), Ok(note.clone()));
        assert!(note.matters());
        let elsewhere = Note { namespace: "net:[1]".into(), ..note };
        elsewhere.save(folder.path()).unwrap();
        assert_eq!(Note::load(folder.path()), Ok(Note::default()), "another namespace");
        fs::write(path(folder.path()), "{").unwrap();
        assert_eq!(Note::load(folder.path()), Ok(Note::default()), "broken");
        Note::remove(folder.path()).unwrap();
        Note::remove(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
