//! What a filter is: which packets, and what becomes of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netlink_packet_netfilter::NetfilterProtoFamily;
use rtnetlink::packet_route::tc::TcHandle;

use super::family::Family;
use crate::net::link::Link;
use crate::net::nft::chain::Hook;
use crate::net::nft::table::Table;
use crate::net::own_flows::Flow;
use crate::net::target::{TargetSet, number};
use faults::network_reset::Connections;
use faults::network_source::{Direction, Ports, Protocol};

/// The name of the shared table, and the beginning of the others' names.
pub const TABLE: &str = "taskfault";

/// What becomes of the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Their priority names this class.
    Classify(TcHandle),
    /// They leave by the link of this index as if they had been sent there, with this class: only for packets
    /// that come in. An ifb gives them back to the link that they came by.
    Redirect {
        /// On the link that they leave by.
        class: TcHandle,
        /// The index of that link.
        link: u32,
    },
    /// They are dropped. Without a word where they come in; where they leave, the sender of a datagram gets EPERM.
    Drop,
    /// They are lost, and their sender is not told: only for packets that leave.
    Discard,
    /// They are answered with a reset, and dropped: only for packets of TCP.
    Reset(Connections),
    /// This share of them is dropped, 1–100 %, packet by packet.
    DropShare(u8),
    /// The connection goes to this port of ours. Decided by its first packet alone, so what is open already goes on.
    ToPort(u16),
}

/// Which packets of the targets; all of them by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selected {
    /// Only those of this protocol.
    pub protocol: Option<Protocol>,
    /// Only those of these ports, if there are some.
    pub ports: Ports,
    /// But not those of these.
    pub exclude_ports: Ports,
    /// Not those of these addresses.
    pub excluded: TargetSet,
}

/// Which packets, and what becomes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The name of the prefilter's chain; the names of the match chain and the sets begin with it.
    pub name: String,
    /// Whether packets that leave or packets that come in match.
    pub direction: Direction,
    /// Where among the other chains of its hook.
    pub priority: i32,
    /// The interfaces; None is all of them, which a redirection cannot have.
    pub links: Option<Vec<Link>>,
    /// The targets that it began with.
    pub targets: TargetSet,
    /// Those that came since ([`extend`](super::extend)).
    pub added: BTreeSet<IpAddr>,
    /// Only packets to this port.
    pub port: Option<(Protocol, u16)>,
    /// Which of the packets that are left.
    pub selected: Selected,
    /// Share of flows, 1–100 %.
    pub flows_percent: u8,
    /// What becomes of the packets that match.
    pub action: Action,
    /// How long it matches, from its installation on; the kernel ends it then ([`prolong`](super::prolong)).
    pub lasts: Duration,
    /// Addresses that are always let through.
    pub exempt: Vec<IpAddr>,
    /// Connections over TCP to these are let through as well, whoever makes them.
    pub exempt_endpoints: Vec<SocketAddr>,
    /// Sockets of this group are always let through.
    pub exempt_group: u32,
    /// What such sockets have open already. Only a redirection needs to be told: it sees packets before the
    /// kernel knows their socket.
    pub own_flows: Vec<Flow>,
}

impl Filter {
    pub(super) fn hook(&self) -> Hook {
        match (self.direction, self.action) {
            (_, Action::Redirect { .. }) => Hook::Ingress,
            (Direction::Ingress, Action::ToPort(_)) => Hook::Prerouting,
            (Direction::Egress, _) => Hook::Output,
            (Direction::Ingress, _) => Hook::Input,
        }
    }

    /// Those of `addresses` that are no targets yet.
    pub fn lacking(&self, addresses: &[IpAddr]) -> BTreeSet<IpAddr> {
        let is_new = |address: &IpAddr| !self.targets.covers(*address) && !self.added.contains(address);
        addresses.iter().copied().filter(is_new).collect()
    }

    /// The families whose targets are listed, rather than being everything.
    pub(super) fn listed(&self) -> impl Iterator<Item = Family> + '_ {
        Family::ALL.into_iter().filter(|family| !family.of(&self.targets).is_everything())
    }

    /// The targets of a family that are single addresses.
    pub(super) fn singles(&self, family: Family) -> impl Iterator<Item = u128> + '_ {
        let added = self.added.iter().filter(move |address| family.has(**address));
        family.of(&self.targets).singles().chain(added.map(|address| number(*address)))
    }

    /// The name of the match chain. The suffix is older than that term, and the golden bytes pin it.
    pub(super) fn match_chain(&self) -> String {
        format!("{}_meant", self.name)
    }

    pub(super) fn table(&self) -> Table {
        match self.action {
            Action::Redirect { .. } => {
                Table { family: NetfilterProtoFamily::NetDev, name: format!("{TABLE}_{}", self.name) }
            }
            _ => shared_table(),
        }
    }

    /// The names of the links.
    pub(super) fn link_names(&self) -> Vec<&str> {
        self.links.iter().flatten().map(|link| link.name.as_str()).collect()
    }
}

/// The table that is there for as long as its owner keeps roots; nothing is in it.
pub(super) fn kept_table() -> Table {
    Table { family: NetfilterProtoFamily::Inet, name: format!("{TABLE}_kept") }
}

/// The table of all filters but redirections.
pub(super) fn shared_table() -> Table {
    Table { family: NetfilterProtoFamily::Inet, name: TABLE.into() }
}
