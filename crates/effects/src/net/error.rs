//! Why a network effect could not be started, or not be undone.

use std::path::PathBuf;

use nix::errno::Errno;
use thiserror::Error;

use super::kernel_part::KernelPart;
use super::netlink::NetlinkError;
use super::{baseline, interface, target};

/// Why an effect could not be started, or not be undone.
#[derive(Debug, Error)]
pub enum NetError {
    #[error(
        "this process has no CAP_NET_ADMIN: add it to the sidecar's container (linuxParameters.capabilities.add: \
         NET_ADMIN; EC2 only, Fargate does not grant it)"
    )]
    NotPermitted,
    #[error("{holder} has a network fault in this network namespace; wait for its end, or end it")]
    Claimed { holder: String },
    #[error("could not claim the network namespace: {0}")]
    Claim(std::io::Error),
    #[error("{error}{}", advice(.error))]
    Kernel {
        #[from]
        error: NetlinkError,
    },
    #[error(transparent)]
    Target(#[from] target::TargetError),
    #[error(transparent)]
    NotExact(#[from] baseline::NotExact),
    #[error(transparent)]
    Interface(#[from] interface::InterfaceError),
    #[error(
        "13 shaped network faults live already, and prio has no band for another (16, of which 3 are for everybody else); \
         wait for the end of one"
    )]
    NoBand,
    #[error(
        "the root queueing discipline of an interface was made by somebody, and could not be noted in {} before \
         taking it away: {source}; make the folder writable",
        folder.display()
    )]
    Note { folder: PathBuf, source: std::io::Error },
    #[error("{first}; undoing what had been done failed too: {undoing}")]
    Twice { first: Box<NetError>, undoing: String },
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
