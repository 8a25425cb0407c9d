//! Why a network effect could not be started, or not be undone.

use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;

use super::kernel_part::KernelPart;
use super::netlink::NetlinkError;
use super::{baseline, interface, reach, target};

/// Why an effect could not be started, or not be undone.
#[derive(Debug, Error)]
pub enum NetError {
    /// CAP_NET_ADMIN is missing.
    #[error(
        "this process has no CAP_NET_ADMIN: add it to the sidecar's container (linuxParameters.capabilities.add: \
         NET_ADMIN; EC2 only, Fargate does not grant it)"
    )]
    NotPermitted,
    /// Another process has a fault in this network namespace.
    #[error("{holder} has a network fault in this network namespace; wait for its end, or end it")]
    Claimed {
        /// `process 7`, or `another process`.
        holder: String,
    },
    /// The name of our table is that of another program's.
    #[error(
        "there is a table inet taskfault in this network namespace that no taskfault has made; remove it (nft delete \
         table inet taskfault)"
    )]
    TableTaken,
    /// The kernel refused a request, or could not be asked.
    #[error("{error}{}", advice(.error))]
    Kernel {
        /// Its answer.
        #[from]
        error: NetlinkError,
    },
    /// A source has no usable address.
    #[error(transparent)]
    Target(#[from] target::TargetError),
    /// A root would be lost.
    #[error(transparent)]
    NotExact(#[from] baseline::NotExact),
    /// What our roots stand in for cannot be looked up.
    #[error(transparent)]
    NoteNotRead(#[from] baseline::NotRead),
    /// There is no such interface.
    #[error(transparent)]
    Interface(#[from] interface::InterfaceError),
    /// It would touch nothing.
    #[error(transparent)]
    OutOfReach(#[from] reach::OutOfReach),
    /// All bands of the prio are taken.
    #[error(
        "13 shaped network faults live already, and prio has no band for another (16, of which 3 are for all other \
         traffic); wait for the end of one"
    )]
    NoBand,
    /// The root that a link had could not be noted.
    #[error(
        "the root queueing discipline of an interface was installed by another program, and could not be noted in {} \
         before taking it away: {source}; make the folder writable",
        folder.display()
    )]
    Note {
        /// The state folder.
        folder: PathBuf,
        /// Why it cannot be written to.
        source: std::io::Error,
    },
    /// A start failed, and so did its undoing.
    #[error("{first}; undoing what had been done failed too: {undoing}")]
    Twice {
        /// Why the start failed.
        first: Box<NetError>,
        /// Why undoing it failed.
        undoing: String,
    },
    /// Undoing failed; something may be left.
    #[error("could not undo it all: {0}")]
    Undo(String),
}

impl NetError {
    /// Whether only what shapes packets is missing: rules that drop what comes in do without it.
    pub fn concerns_shaping_only(&self) -> bool {
        matches!(self, NetError::Kernel { error }
            if error.errno() == Some(Errno::ENOENT) && error.needs().is_some_and(KernelPart::shapes))
    }
}

/// What to do about it, where a part of the kernel is missing.
fn advice(error: &NetlinkError) -> String {
    let Some(errno) = error.errno() else { return String::new() };
    let advice = match error.needs().and_then(|part| part.advice(errno)) {
        None if errno == Errno::EPERM => Some("CAP_NET_ADMIN is not effective in this network namespace"),
        advice => advice,
    };
    advice.map(|advice| format!("; {advice}")).unwrap_or_default()
}
