//! Network effects: packets that come late, or never.
//!
//! Which packets is said by [`classify`] (nf_tables), what becomes of them by [`shape`] (prio and netem); the
//! tables are tied to a socket of ours, so that the kernel ends the effect even after kill -9. Packets that
//! come in are delayed behind an [`ifb`]. What was there before is kept by [`baseline`]; [`target`] turns names
//! into addresses; [`lifeline`] is never cut, nor are [`own_flows`]; [`live`] is what all effects of this
//! process share; [`namespace`] is what all processes share. Must not know what a document or a report is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::task::capabilities::Capabilities;
use faults::network_source::{Direction, Interfaces, Protocol, Source};

pub mod baseline;
pub mod classify;
pub mod ifb;
pub mod interface;
pub mod lifeline;
mod live;
mod namespace;
pub mod own_flows;
pub mod shape;
pub mod socket;
pub mod target;
pub mod wire;

use classify::{Act, Filter};
use live::{Live, Placed, Shaped, Wanted};
use shape::{Link, Netem};
use target::Reach;

/// What is to become of the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// They come later by `delay`, give or take `jitter`.
    Delay { delay: Duration, jitter: Duration },
    /// This share of them is lost, 1–100 %.
    Lose { percent: u8 },
}

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkPlan {
    /// One word; the effect's chain and sets in the table begin with it.
    pub name: &'static str,
    pub work: Work,
    pub direction: Direction,
    /// Whose interfaces; None is every one, loopback too.
    pub interfaces: Option<Interfaces>,
    /// The other side of the traffic.
    pub sources: Vec<Source>,
    /// Only packets to this port.
    pub port: Option<(Protocol, u16)>,
    /// Share of flows, 1–100 %.
    pub flows_percent: u8,
}

/// Where an effect takes place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Where the roots that somebody made are noted.
    pub state_dir: PathBuf,
    /// Addresses to let through beside [`lifeline::ALWAYS`].
    pub spared: Vec<IpAddr>,
}

/// What was counted for an effect. None where it could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that the rules matched. A large send counts as the one packet that it is before segmentation.
    pub matched: Option<u64>,
    /// Packets that netem dropped: the lost ones, and those that its queue had no room for.
    pub dropped: Option<u64>,
}

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
    #[error("{error}{}", hint(.error))]
    Kernel {
        #[from]
        error: socket::WireError,
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
            if error.errno() == Some(nix::errno::Errno::ENOENT) && error.to_string().contains("queueing discipline"))
    }
}

/// What to do about it, where a part of the kernel is missing.
fn hint(error: &socket::WireError) -> &'static str {
    use nix::errno::Errno;
    let said = error.to_string();
    match error.errno() {
        Some(Errno::ENOENT) if said.contains("netem") => {
            "; the kernel has no netem: load sch_netem on the instance (modprobe sch_netem)"
        }
        Some(Errno::ENOENT) if said.contains("prio") => {
            "; the kernel has no prio: load sch_prio on the instance (modprobe sch_prio)"
        }
        Some(Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::EINVAL)
            if said.contains("create the nf_tables table") =>
        {
            "; the kernel needs nf_tables with the inet family and owned tables (Linux 5.12 or later)"
        }
        Some(Errno::EOPNOTSUPP) if said.contains("the ifb") || said.contains("an ifb") => {
            "; to delay packets that come in the kernel needs an ifb: load it on the instance (modprobe ifb)"
        }
        Some(Errno::EOPNOTSUPP | Errno::ENOENT) if said.contains("egress hook") => {
            "; to delay packets that come in the kernel needs the egress hook of nf_tables (Linux 5.16 or later, \
             CONFIG_NETFILTER_EGRESS)"
        }
        Some(Errno::EPERM) => "; CAP_NET_ADMIN is not effective in this network namespace",
        _ => "",
    }
}

/// A running effect. Dropping it undoes it.
#[derive(Debug)]
pub struct NetworkEffect {
    placed: Option<Placed>,
    /// The interfaces it is shaped on or watches, by name.
    interfaces: Vec<String>,
    /// Packets that wait in netem at once.
    queue_limit: Option<u32>,
}

impl NetworkEffect {
    /// Checks everything, then starts. Looks names up first, so it may take as long as DNS does; the rest
    /// takes milliseconds. When it returns, packets are affected.
    ///
    /// # Errors
    /// [`NetError`]; everything is as it was before, unless the error says otherwise.
    pub fn start(plan: &NetworkPlan, environment: &Environment) -> Result<NetworkEffect, NetError> {
        if !Capabilities::read().net_admin {
            return Err(NetError::NotPermitted);
        }
        let spared: Vec<IpAddr> = lifeline::ALWAYS.into_iter().chain(environment.spared.clone()).collect();
        let reach = target::resolve(&plan.sources, &spared)?;
        let links = interface::choose(plan.interfaces.as_ref())?;
        let wanted = wanted(plan, &links, reach, spared);
        let queue_limit = wanted.shaped.queue_limit();
        let mut live = live::lock();
        let mut here = match live.take() {
            Some(here) => here,
            None => Live::open(&environment.state_dir)?,
        };
        let placed = here.place(wanted);
        settle(&mut live, here);
        let interfaces = links.into_iter().map(|link| link.name).collect();
        Ok(NetworkEffect { placed: Some(placed?), interfaces, queue_limit })
    }

    /// The interfaces it is on.
    pub fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    /// How many packets may wait in netem at once; None where there is none.
    pub fn queue_limit(&self) -> Option<u32> {
        self.queue_limit
    }

    /// Adds addresses to its targets; gives how many were new.
    ///
    /// # Errors
    /// The kernel refused; the targets are those of before.
    pub fn extend(&mut self, addresses: &[IpAddr]) -> Result<usize, NetError> {
        match (&mut self.placed, &mut *live::lock()) {
            (Some(placed), Some(live)) => live.extend(placed, addresses),
            _ => Ok(0),
        }
    }

    /// Undoes it and gives what was counted.
    ///
    /// # Errors
    /// All that could not be undone, in one sentence.
    pub fn undo(mut self) -> (Counters, Result<(), NetError>) {
        self.end()
    }

    fn end(&mut self) -> (Counters, Result<(), NetError>) {
        let Some(placed) = self.placed.take() else { return (Counters::default(), Ok(())) };
        let mut live = live::lock();
        // Taken only now: whoever has nothing to end must not end what the others share.
        let Some(mut here) = live.take() else { return (Counters::default(), Ok(())) };
        let (counters, errors) = here.remove(placed);
        settle(&mut live, here);
        let outcome = match errors.is_empty() {
            true => Ok(()),
            false => Err(NetError::Undo(live::sentence(&errors))),
        };
        (counters, outcome)
    }
}

impl Drop for NetworkEffect {
    fn drop(&mut self) {
        if let (_, Err(error)) = self.end() {
            tracing::error!(%error, "a network effect was dropped");
        }
    }
}

/// Keeps what is shared if something lives, else closes it.
fn settle(live: &mut Option<Live>, here: Live) {
    if here.is_idle() {
        here.close();
    } else {
        *live = Some(here);
    }
}

/// What the plan means on these interfaces.
fn wanted(plan: &NetworkPlan, links: &[Link], reach: Reach, spared: Vec<IpAddr>) -> Wanted {
    let speeds = links.iter().map(shape::speed);
    let shaped = match (plan.direction, plan.work) {
        (Direction::Egress, work) => {
            Shaped::Leaving(links.iter().cloned().zip(speeds.map(|speed| netem(work, speed))).collect())
        }
        // All of them wait behind the one ifb.
        (Direction::Ingress, Work::Delay { .. }) => Shaped::Arriving(netem(plan.work, speeds.sum())),
        (Direction::Ingress, Work::Lose { .. }) => Shaped::Nowhere,
    };
    let act = match plan.work {
        Work::Lose { percent } if percent < 100 => Act::DropShare(percent),
        _ => Act::Drop,
    };
    let own_flows = match shaped {
        Shaped::Arriving(_) => own_flows::open(),
        _ => Vec::new(),
    };
    let filter = Filter {
        name: plan.name.to_owned(),
        direction: plan.direction,
        priority: classify::FIRST_PRIORITY,
        // Every interface needs no rule for each.
        links: plan.interfaces.as_ref().map(|_| links.to_vec()),
        reach,
        added: BTreeSet::new(),
        port: plan.port,
        flows_percent: plan.flows_percent,
        act,
        spared,
        spared_group: lifeline::GROUP,
        own_flows,
    };
    Wanted { filter, shaped }
}

/// The netem for the work, where so many Mbit/s come along.
fn netem(work: Work, speed: u64) -> Netem {
    let nothing = Duration::ZERO;
    match work {
        Work::Delay { delay, jitter } => {
            Netem { limit: shape::queue_limit(delay + jitter, speed), delay, jitter, loss: 0.0 }
        }
        Work::Lose { percent } => {
            let limit = shape::queue_limit(nothing, 0);
            Netem { limit, delay: nothing, jitter: nothing, loss: f64::from(percent) / 100.0 }
        }
    }
}

/// Whether an effect could be started here, as far as can be told without touching an interface: makes the
/// table and lets it go, and asks whether prio and netem are there.
///
/// # Errors
/// What is missing. Also if a living process has a fault here, for then nothing can be tried.
pub fn probe() -> Result<(), NetError> {
    if !Capabilities::read().net_admin {
        return Err(NetError::NotPermitted);
    }
    namespace::try_parts()
}

/// Whether packets that come in could be delayed here beside that, as far as can be told without touching an
/// interface.
///
/// # Errors
/// What is missing. Also if a living process has a fault here.
pub fn probe_ingress_latency() -> Result<(), NetError> {
    namespace::try_redirection()
}

/// Puts back what an earlier life left in this network namespace, if no living process has a fault in it.
/// Gives the names of the interfaces.
///
/// # Errors
/// The kernel refused, or a living process has a fault here.
pub fn tidy_up(environment: &Environment) -> Result<Vec<String>, NetError> {
    namespace::tidy_up(&environment.state_dir)
}
