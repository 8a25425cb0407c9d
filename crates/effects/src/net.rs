//! Network effects: packets that come late, or never.
//!
//! Which packets is said by [`classify`] (nf_tables), what becomes of them by [`shape`] (prio and netem); the
//! tables are tied to a socket of ours, so that the kernel ends the effect even after kill -9. Packets that
//! come in are delayed behind an [`ifb`]. What was there before is kept by [`baseline`]; [`target`] turns names
//! into addresses, and `reach` asks the kernel's [`routes`] for them; [`lifeline`] is never cut, nor are
//! [`own_flows`] and [`endpoints`]. What all effects of this process have in common is in `shared`, what all processes
//! have in `namespace`.
//!
//! What the kernel is told, and says, is in [`link`], [`tc`] and [`nft`]: the messages of rtnetlink's family
//! over the blocking sockets of [`netlink`], with what that family lacks from the headers in [`uapi`]. Must not
//! know what a document or a report is.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::task::capabilities::Capabilities;
use crate::task::denied::DeniedTargets;
use faults::network_impairment::{self, Distribution, Impairment};
use faults::network_reset::Connections;
use faults::network_source::{Direction, Interfaces, Net, Protocol, Selection, Source};

pub mod baseline;
pub mod classify;
pub mod connections;
pub mod endpoints;
mod error;
pub mod ifb;
pub mod interface;
pub mod kernel_part;
pub mod lifeline;
pub mod link;
mod namespace;
pub mod netlink;
pub mod nft;
pub mod own_flows;
mod reach;
mod roots;
pub mod routes;
pub mod shape;
mod shared;
pub mod target;
pub mod tc;
pub mod uapi;

pub use error::NetError;
pub use shared::{Counters, Deadline};

use classify::{Action, Filter, Selected};
use link::Link;
use netlink::Route;
use shared::{Installed, Shaping, Shared, Spec};
use target::{Found, TargetSet};
use tc::netem::spread::{self, Spread};
use tc::netem::{Bursts, Chance, Netem, Rate};

/// How long a fault waits for the addresses of the control channel's endpoints: they are for connections that others
/// make for us, and ours are known without them.
const DNS_PATIENCE: Duration = Duration::from_millis(500);
/// For so long the end of a delay waits for packets that are still on their way: a longer delay would keep the command
/// that it belongs to, and the end of the task.
pub const MOST_WAIT: Duration = Duration::from_secs(5);
/// How often is looked whether they have gone.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What is to become of the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// They come later.
    Delay {
        /// By how much, on average.
        delay: Duration,
        /// How much more or less, evenly spread.
        jitter: Duration,
    },
    /// A share of them is lost.
    Lose {
        /// 1–100.
        percent: u8,
    },
    /// What a bad line does to them.
    Impair(Impairment),
    /// TCP connections are reset, by rules alone.
    Reset(Connections),
    /// All of them are lost, by rules alone: it needs no interface, and holds on those that come later.
    Discard,
    /// New connections go to this port of ours, by rules alone. Our own sockets are let through, and so are addresses
    /// that faults always let through, unless they are named.
    ToPort(u16),
}

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkPlan {
    /// One word; the effect's chain and sets in the table begin with it.
    pub name: &'static str,
    /// What is done to the packets that match.
    pub work: Work,
    /// Whether packets that leave or packets that come in match.
    pub direction: Direction,
    /// Whose interfaces; None is every one, loopback too, which only rules can have: [`Work::Discard`], and what comes
    /// in and is lost.
    pub interfaces: Option<Interfaces>,
    /// The other side of the traffic.
    pub sources: Vec<Source>,
    /// Only packets to this port.
    pub port: Option<(Protocol, u16)>,
    /// Which of those packets.
    pub selection: Selection,
    /// Share of flows, 1–100 %.
    pub flows_percent: u8,
    /// How long it lasts at most: the kernel ends it then, a second after whoever holds it should have.
    pub lasts: Duration,
}

/// Where an effect takes place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Environment {
    /// Where the roots that other programs installed are noted.
    pub state_dir: PathBuf,
    /// Addresses to let through beside [`lifeline::ALWAYS`].
    pub exempt: Vec<IpAddr>,
    /// Host and port of the control channel's endpoints.
    pub control_hosts: Vec<(String, u16)>,
    /// Who must not be hit.
    pub denied: DeniedTargets,
}

/// What a plan's names stand for, as DNS says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    targets: Vec<Found>,
    excluded: Vec<Found>,
    endpoints: Vec<SocketAddr>,
}

impl Addresses {
    /// Looks them up, which takes as long as DNS does and touches nothing.
    ///
    /// # Errors
    /// A name without an address; a source that no fault may cut, or that is denied.
    pub fn look_up(plan: &NetworkPlan, environment: &Environment) -> Result<Addresses, NetError> {
        if !Capabilities::read().net_admin {
            return Err(NetError::NotPermitted);
        }
        let targets = target::resolve(&plan.sources, &environment.exempt_from(plan), &environment.denied)?;
        let excluded = target::resolve(&plan.selection.exclude_sources, &[], &DeniedTargets::default())?;
        // What is named is meant, and S3 and DynamoDB are elsewhere: then DNS need not be asked for them.
        let is_wide = |found: &Found| match &found.source {
            Source::All => true,
            Source::Net(net) => !net.is_single(),
            Source::Name(_) | Source::Prefixes(_) | Source::Service(_) => false,
        };
        let endpoints = match targets.iter().any(is_wide) {
            true => endpoints::addresses(&environment.control_hosts, DNS_PATIENCE),
            false => Vec::new(),
        };
        Ok(Addresses { targets, excluded, endpoints })
    }

    /// The endpoints that the plan would cut, and may not: those that are somewhere in its targets, rather than being
    /// named. Each costs a rule.
    fn exempt_endpoints(&self, plan: &NetworkPlan, targets: &TargetSet) -> Vec<SocketAddr> {
        let is_hit = |endpoint: &SocketAddr| {
            let port = match (plan.direction, plan.port) {
                (Direction::Egress, Some((Protocol::Tcp, port))) => port == endpoint.port(),
                (_, Some((Protocol::Udp, _))) => false,
                _ => true,
            };
            port && targets.covers(endpoint.ip())
        };
        let is_named = |endpoint: &SocketAddr| self.targets.iter().any(|found| found.names(endpoint.ip()));
        self.endpoints.iter().filter(|endpoint| is_hit(endpoint) && !is_named(endpoint)).copied().collect()
    }
}

impl Environment {
    /// The addresses that the plan lets through, whoever they are of.
    fn exempt_from(&self, plan: &NetworkPlan) -> Vec<IpAddr> {
        let all = lifeline::ALWAYS.into_iter().chain(self.exempt.clone());
        match plan.work {
            // Our own sockets are known without them.
            Work::ToPort(_) => all.filter(|address| !plan.names(*address)).collect(),
            _ => all.collect(),
        }
    }
}

impl NetworkPlan {
    /// Whether a source is this very address.
    fn names(&self, address: IpAddr) -> bool {
        let is_it = |source: &Source| matches!(source, Source::Net(net) if *net == Net::single(address));
        self.sources.iter().any(is_it)
    }
}

impl Work {
    /// How long a packet waits at most.
    fn longest(self) -> Duration {
        match self {
            Work::Delay { delay, jitter } => delay + jitter,
            Work::Impair(Impairment { delay, jitter, distribution, .. }) => match distribution {
                Distribution::Uniform => delay + jitter,
                _ => delay + spread::FURTHEST * jitter,
            },
            Work::Lose { .. } | Work::Reset(_) | Work::Discard | Work::ToPort(_) => Duration::ZERO,
        }
    }
}

/// A running effect. Dropping it undoes it, at once: what waits in netem is lost.
#[derive(Debug)]
#[must_use = "dropped, the fault is undone"]
pub struct NetworkEffect {
    installed: Option<Installed>,
    /// Targets that packets reach by other interfaces, in words.
    unreached: Option<String>,
    /// The interfaces it is shaped on or watches, by name.
    interfaces: Vec<String>,
    /// Packets that wait in netem at once.
    queue_limit: Option<u32>,
    /// How long a packet waits in netem at most.
    longest: Duration,
}

impl NetworkEffect {
    /// Looks names up, then installs: [`Addresses::look_up`] and [`NetworkEffect::install`] at once.
    ///
    /// # Errors
    /// As theirs.
    pub fn start(plan: &NetworkPlan, environment: &Environment) -> Result<NetworkEffect, NetError> {
        NetworkEffect::install(plan, Addresses::look_up(plan, environment)?, environment)
    }

    /// Checks everything, then starts, which takes milliseconds. When it returns, packets are affected.
    ///
    /// # Errors
    /// [`NetError`]; everything is as it was before, unless the error says otherwise.
    pub fn install(
        plan: &NetworkPlan,
        addresses: Addresses,
        environment: &Environment,
    ) -> Result<NetworkEffect, NetError> {
        let (mut links, mut unreached) = (Vec::new(), None);
        // Every interface needs none to be there.
        if let Some(interfaces) = &plan.interfaces {
            let mut route = Route::open()?;
            let all = link::list(&mut route)?;
            links = interface::choose(&mut route, interfaces, &all)?;
            unreached = reach::check(&mut route, plan.direction, &addresses.targets, &links, &all)?;
        }
        let targets = TargetSet::of_all(&addresses.targets);
        let exempt = Exempt {
            endpoints: addresses.exempt_endpoints(plan, &targets),
            addresses: environment.exempt_from(plan),
        };
        let selected = Selected {
            protocol: plan.selection.protocol,
            ports: plan.selection.ports.clone(),
            exclude_ports: plan.selection.exclude_ports.clone(),
            excluded: TargetSet::of_all(&addresses.excluded),
        };
        let spec = spec(plan, &links, targets, selected, exempt);
        let queue_limit = spec.shaping.queue_limit();
        let mut shared = shared::lock();
        let mut here = match shared.take() {
            Some(here) => here,
            None => Shared::open(&environment.state_dir)?,
        };
        let installed = here.claim().and_then(|()| here.install(spec));
        *shared = here.settle();
        let interfaces = match plan.interfaces {
            Some(_) => links.into_iter().map(|link| link.name).collect(),
            None => vec!["every interface".to_owned()],
        };
        let longest = plan.work.longest();
        Ok(NetworkEffect { installed: Some(installed?), unreached, interfaces, queue_limit, longest })
    }

    /// Targets that packets reach by other interfaces than those of the effect, with the reasons; None where all are
    /// reached.
    pub fn unreached(&self) -> Option<&str> {
        self.unreached.as_deref()
    }

    /// Whether the sender of a datagram that is lost gets an error, because this kernel has no other way.
    pub fn tells_senders(&self) -> bool {
        let filter = self.installed.as_ref().and_then(|installed| installed.filter.as_ref());
        filter.is_some_and(|filter| (filter.direction, filter.action) == (Direction::Egress, Action::Drop))
    }

    /// The interfaces it is on.
    pub fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    /// Whether an address is one of its targets, also when the effect has ended.
    pub fn target_test(&self) -> impl Fn(IpAddr) -> bool + use<> {
        let filter = self.installed.as_ref().and_then(|installed| installed.filter.as_ref());
        let targets = filter.map(|filter| (filter.targets.clone(), filter.added.clone()));
        move |address| {
            targets
                .as_ref()
                .is_some_and(|(targets, added)| targets.covers(address) || added.contains(&address))
        }
    }

    /// How many packets may wait in netem at once; None where there is none.
    pub fn queue_limit(&self) -> Option<u32> {
        self.queue_limit
    }

    /// What moves the end at which the kernel ends it, to so long from now.
    pub fn deadline(&self) -> Option<Deadline> {
        self.installed.as_ref()?.deadline()
    }

    /// Whether an inert root stays on its interfaces when it has ended ([`KeptRoots`]).
    pub fn leaves_roots(&self) -> bool {
        roots::keeps() && self.installed.as_ref().is_some_and(Installed::has_roots)
    }

    /// Adds addresses to its targets; gives how many were new.
    ///
    /// # Errors
    /// The kernel refused; the targets are those of before.
    pub fn extend(&mut self, addresses: &[IpAddr]) -> Result<usize, NetError> {
        self.installed.as_mut().map_or(Ok(0), |installed| installed.extend(addresses))
    }

    /// Ends it for all packets to come, at once, unless the kernel is just being told something else: then
    /// [`NetworkEffect::undo`] does. Never waits for another effect. Packets that wait in netem stay there until it is
    /// undone.
    pub fn release(&mut self) {
        // What could not be removed is tried again when the rest is, and told then.
        let _ = self.installed.as_mut().map(Installed::release_at_once);
    }

    /// Whether packets wait in its netems, when its rules are gone.
    fn has_waiting(&mut self) -> bool {
        let Some(installed) = &mut self.installed else { return false };
        if !installed.release().is_empty() || self.longest.is_zero() {
            return false;
        }
        shared::lock().as_mut().is_some_and(|shared| shared.waiting(installed) > 0)
    }

    /// Undoes it and gives what was counted. What still waits in netem goes its way first, for at most
    /// [`MOST_WAIT`]: so this may take as long as the delay.
    ///
    /// # Errors
    /// All that could not be undone, in one sentence.
    pub fn undo(mut self) -> (Counters, Result<(), NetError>) {
        let until = Instant::now() + self.longest.min(MOST_WAIT);
        while self.has_waiting() && Instant::now() < until {
            std::thread::sleep(LOOK_AGAIN);
        }
        self.end()
    }

    fn end(&mut self) -> (Counters, Result<(), NetError>) {
        let Some(installed) = self.installed.take() else { return (Counters::default(), Ok(())) };
        let mut shared = shared::lock();
        // Taken only now: whoever has nothing to end must not end what the others share.
        let Some(mut here) = shared.take() else { return (Counters::default(), Ok(())) };
        let (counters, errors) = here.remove(installed);
        *shared = here.settle();
        let outcome = match errors.is_empty() {
            true => Ok(()),
            false => Err(NetError::Undo(shared::sentence(&errors))),
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

/// Keeps the roots of shaped faults, inert, from the first of them until it is dropped.
///
/// Without it each start and each end of a shaped fault that is alone exchanges the root of its interfaces, which
/// loses packets of bystanders.
#[derive(Debug)]
#[must_use = "dropped, the roots are put back"]
pub struct KeptRoots(());

impl KeptRoots {
    /// From now on. One for each process.
    pub fn keep() -> KeptRoots {
        roots::keep(true);
        KeptRoots(())
    }
}

impl Drop for KeptRoots {
    fn drop(&mut self) {
        roots::keep(false);
        let mut shared = shared::lock();
        let Some(mut here) = shared.take() else { return };
        match here.claim() {
            Ok(()) => *shared = here.settle(),
            Err(error) => tracing::warn!(%error, "root queueing disciplines of faults stay, inert"),
        }
    }
}

/// What is let through beside our own sockets.
struct Exempt {
    addresses: Vec<IpAddr>,
    endpoints: Vec<SocketAddr>,
}

/// What the plan means on these interfaces.
fn spec(plan: &NetworkPlan, links: &[Link], targets: TargetSet, selected: Selected, exempt: Exempt) -> Spec {
    let speeds = links.iter().map(link::speed);
    let shaping = match (plan.direction, plan.work) {
        (_, Work::Discard | Work::Reset(_) | Work::ToPort(_)) => Shaping::None,
        (Direction::Egress, work) => {
            Shaping::Outgoing(links.iter().cloned().zip(speeds.map(|speed| netem(work, speed))).collect())
        }
        // All of them wait behind the one ifb.
        (Direction::Ingress, Work::Delay { .. } | Work::Impair(_)) => {
            Shaping::Incoming(netem(plan.work, speeds.sum()))
        }
        (Direction::Ingress, Work::Lose { .. }) => Shaping::None,
    };
    let action = match plan.work {
        Work::Lose { percent } if percent < 100 => Action::DropShare(percent),
        Work::Reset(connections) => Action::Reset(connections),
        Work::Discard if plan.direction == Direction::Egress => Action::Discard,
        Work::ToPort(port) => Action::ToPort(port),
        _ => Action::Drop,
    };
    let own_flows = match shaping {
        Shaping::Incoming(_) => own_flows::open(),
        _ => Vec::new(),
    };
    let filter = Filter {
        name: plan.name.to_owned(),
        direction: plan.direction,
        priority: classify::FIRST_PRIORITY,
        // Every interface needs no rule for each.
        links: plan.interfaces.as_ref().map(|_| links.to_vec()),
        targets,
        added: BTreeSet::new(),
        port: plan.port,
        selected,
        flows_percent: plan.flows_percent,
        action,
        lasts: plan.lasts,
        exempt: exempt.addresses,
        exempt_endpoints: exempt.endpoints,
        exempt_group: lifeline::GROUP,
        own_flows,
    };
    Spec { filter, shaping }
}

/// The netem for the work, where so many Mbit/s come along.
fn netem(work: Work, speed: u64) -> Netem {
    match work {
        Work::Delay { delay, jitter } => {
            Netem { limit: shape::queue_limit(delay + jitter, speed), delay, jitter, ..Netem::default() }
        }
        Work::Impair(impairment) => impaired(impairment, shape::queue_limit(work.longest(), speed)),
        Work::Lose { .. } | Work::Reset(_) | Work::Discard | Work::ToPort(_) => {
            let percent = if let Work::Lose { percent } = work { percent } else { 100 };
            let limit = shape::queue_limit(Duration::ZERO, 0);
            Netem { limit, loss: Chance::of(f64::from(percent) / 100.0), ..Netem::default() }
        }
    }
}

fn impaired(impairment: Impairment, limit: u32) -> Netem {
    let chance = |it: network_impairment::Chance| Chance {
        share: it.share.of_one(),
        correlation: it.correlation.of_one(),
    };
    let bursts = |it: network_impairment::Bursts| Bursts {
        begins: it.begins.of_one(),
        ends: it.ends.of_one(),
        loss: it.lost().of_one(),
    };
    let rate = |kilobits: u64| Rate {
        bytes_per_second: u32::try_from(kilobits * 125).unwrap_or(u32::MAX),
        overhead: impairment.rate_overhead,
    };
    Netem {
        limit,
        delay: impairment.delay,
        jitter: impairment.jitter,
        spread: match impairment.distribution {
            Distribution::Uniform => Spread::Uniform,
            Distribution::Normal => Spread::Normal,
            Distribution::Pareto => Spread::Pareto,
            Distribution::ParetoNormal => Spread::ParetoNormal,
        },
        delay_correlation: impairment.delay_correlation.of_one(),
        loss: chance(impairment.loss),
        bursts: impairment.bursts.happen().then(|| bursts(impairment.bursts)),
        duplicate: chance(impairment.duplicate),
        reorder: chance(impairment.reorder),
        gap: impairment.reorder_gap,
        corrupt: chance(impairment.corrupt),
        rate: (impairment.rate_kilobits > 0).then(|| rate(impairment.rate_kilobits)),
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

/// Whether a black hole for what leaves would be silent here. Without that the sender of a datagram is told.
///
/// # Errors
/// What is missing. Also if a living process has a fault here.
pub fn probe_silence() -> Result<(), NetError> {
    namespace::try_discard()
}

/// Whether connections could be sent to a port of ours here.
///
/// # Errors
/// What is missing. Also if a living process has a fault here.
pub fn probe_to_port() -> Result<(), NetError> {
    if !Capabilities::read().net_admin {
        return Err(NetError::NotPermitted);
    }
    namespace::try_to_port()
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
/// The kernel refused, or something is there and a living process has a fault here.
pub fn tidy_up(environment: &Environment) -> Result<Vec<String>, NetError> {
    namespace::tidy_up(&environment.state_dir)
}
