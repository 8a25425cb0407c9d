//! The tables that say which packets an effect is for: of nf_tables, ours alone.
//!
//! They carry the owner flag: the kernel removes them when the socket that made them is closed, whoever closes
//! it. Effects on packets that leave, and drops, share one `inet` table, where each has two chains and some sets
//! of its own, known by name, so that effects come and go without knowing each other: the [`gate`] at the hook,
//! which all packets pass, and what is [`meant`] behind it. An effect that sends what comes in elsewhere has a
//! `netdev` table to itself. Formats: `linux/netfilter/nf_tables.h`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use super::own_flows::Flow;
use super::shape::Link;
use super::socket::{Netlink, WireError};
use super::target::{Reach, number};
use super::wire::{self, APPEND, CREATE, EXCLUSIVE, Message};
use faults::network_source::{Direction, Protocol};

mod expression;
mod gate;
mod meant;
mod own;
mod place;
mod sets;

use expression::Expressions;
use place::{Family, Hook};

/// The name of the shared table, and the beginning of the others' names.
pub const TABLE: &str = "taskfault";
/// Above the conntrack hooks, where mangling is done (`NF_IP_PRI_MANGLE`). Later effects come after earlier
/// ones, so that the last to speak of a packet is the newest.
pub const FIRST_PRIORITY: i32 = -150;

const NFPROTO_INET: u8 = 1;
const NFPROTO_NETDEV: u8 = 5;
/// `NFT_TABLE_F_OWNER`.
const OWNER: u32 = 2;
/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;

/// An address of no machine (RFC 5737).
const TEST_NET: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Message types of subsystem 10.
mod kind {
    const TABLES: u16 = 10 << 8;
    pub(super) const NEW_TABLE: u16 = TABLES;
    pub(super) const DELETE_TABLE: u16 = TABLES | 2;
    pub(super) const NEW_CHAIN: u16 = TABLES | 3;
    pub(super) const DELETE_CHAIN: u16 = TABLES | 5;
    pub(super) const NEW_RULE: u16 = TABLES | 6;
    pub(super) const GET_RULE: u16 = TABLES | 7;
    pub(super) const DELETE_RULE: u16 = TABLES | 8;
    pub(super) const NEW_SET: u16 = TABLES | 9;
    pub(super) const DELETE_SET: u16 = TABLES | 11;
    pub(super) const NEW_ELEMENT: u16 = TABLES | 12;
}

/// What becomes of the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Their priority names this class.
    Class(u32),
    /// They leave by the link of this index as if they had been sent there, with this class: only for packets
    /// that come in. An ifb gives them back to the link that they came by.
    Redirect { class: u32, link: u32 },
    /// They are dropped, without a word: only for packets that come in.
    Drop,
    /// This share of them is dropped, 1–100 %, packet by packet.
    DropShare(u8),
}

/// Which packets, and what becomes of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// The name of the chain; the sets' names begin with it.
    pub name: String,
    pub direction: Direction,
    /// Where among the other chains of its hook.
    pub priority: i32,
    /// The interfaces; None is all of them, which a redirection cannot have.
    pub links: Option<Vec<Link>>,
    /// The targets that it began with.
    pub reach: Reach,
    /// Those that came since ([`extend`]).
    pub added: BTreeSet<IpAddr>,
    /// Only packets to this port.
    pub port: Option<(Protocol, u16)>,
    /// Share of flows, 1–100 %.
    pub flows_percent: u8,
    pub act: Act,
    /// Addresses that are always let through.
    pub spared: Vec<IpAddr>,
    /// Sockets of this group are always let through.
    pub spared_group: u32,
    /// What such sockets have open already. Only a redirection needs to be told: it sees packets before the
    /// kernel knows their socket.
    pub own_flows: Vec<Flow>,
}

impl Filter {
    fn hook(&self) -> Hook {
        match (self.direction, self.act) {
            (_, Act::Redirect { .. }) => Hook::Arrival,
            (Direction::Egress, _) => Hook::Output,
            (Direction::Ingress, _) => Hook::Input,
        }
    }

    /// Those of `addresses` that are no targets yet.
    pub fn lacking(&self, addresses: &[IpAddr]) -> BTreeSet<IpAddr> {
        let is_new = |address: &IpAddr| !self.reach.covers(*address) && !self.added.contains(address);
        addresses.iter().copied().filter(is_new).collect()
    }

    /// The families whose targets are listed, rather than being everything.
    fn listed(&self) -> impl Iterator<Item = Family> + '_ {
        Family::ALL.into_iter().filter(|family| !family.of(&self.reach).is_everything())
    }

    /// The targets of a family that are single addresses.
    fn singles(&self, family: Family) -> impl Iterator<Item = u128> + '_ {
        let added = self.added.iter().filter(move |address| family.has(**address));
        family.of(&self.reach).singles().chain(added.map(|address| number(*address)))
    }

    fn meant_chain(&self) -> String {
        format!("{}_meant", self.name)
    }

    fn table(&self) -> Table {
        match self.act {
            Act::Redirect { .. } => Table { family: NFPROTO_NETDEV, name: format!("{TABLE}_{}", self.name) },
            _ => Table::shared(),
        }
    }
}

/// One of our tables.
struct Table {
    family: u8,
    name: String,
}

impl Table {
    fn shared() -> Table {
        Table { family: NFPROTO_INET, name: TABLE.into() }
    }

    /// A message about the table, or about something in it.
    fn message(&self, what: String, kind: u16, flags: u16) -> Message {
        // struct nfgenmsg: family, version 0, resource 0.
        Message::new(what, kind, flags, &[self.family, 0, 0, 0]).with(1, &wire::text(&self.name))
    }

    fn create(&self) -> Message {
        let what = format!("create the nf_tables table {}", self.name);
        self.message(what, kind::NEW_TABLE, CREATE | EXCLUSIVE).with(2, &OWNER.to_be_bytes())
    }
}

/// The messages that make the shared table. It belongs to the socket that sends them.
pub fn create_table() -> Vec<Message> {
    vec![Table::shared().create()]
}

/// The messages that put the filter to work, for one change.
pub fn create(filter: &Filter) -> Vec<Message> {
    let mut messages = Vec::new();
    if filter.hook() == Hook::Arrival {
        messages.push(filter.table().create());
        messages.extend(own::learn(filter));
    }
    for family in filter.listed() {
        messages.extend(sets::targets(filter, family));
    }
    messages.push(new_chain(filter, &filter.meant_chain(), None));
    messages.extend(meant::rules(filter).iter().map(|rule| new_rule(filter, &filter.meant_chain(), rule)));
    messages.push(new_chain(filter, &filter.name, Some((filter.hook(), filter.priority))));
    messages.extend(gate_rules(filter));
    messages
}

/// The messages that take the filter away, for one change.
pub fn remove(filter: &Filter) -> Vec<Message> {
    let message = |kind| filter.table().message(format!("remove the filter {}", filter.name), kind, 0);
    if filter.hook() == Hook::Arrival {
        return vec![message(kind::DELETE_TABLE)];
    }
    let mut messages = Vec::new();
    for chain in [&filter.name, &filter.meant_chain()] {
        let name = wire::text(chain);
        messages.push(message(kind::DELETE_RULE).with(2, &name));
        messages.push(message(kind::DELETE_CHAIN).with(3, &name));
    }
    for family in filter.listed() {
        for set in [family.singles(&filter.name), family.ranges(&filter.name)] {
            messages.push(message(kind::DELETE_SET).with(2, &wire::text(&set.name)));
        }
    }
    messages
}

/// The filter with more targets, which are [`Filter::lacking`], and the messages that make it so, for one
/// change.
pub fn extend(filter: &Filter, more: &BTreeSet<IpAddr>) -> (Filter, Vec<Message>) {
    let mut extended = filter.clone();
    extended.added.extend(more);
    let mut messages = Vec::new();
    for family in filter.listed() {
        let new = more.iter().filter(|address| family.has(**address)).map(|address| number(*address));
        messages.extend(sets::add_singles(filter, family, new));
    }
    // What all targets have in common may be less than before.
    let what = format!("replace the rules of the chain {}", filter.name);
    messages.push(filter.table().message(what, kind::DELETE_RULE, 0).with(2, &wire::text(&filter.name)));
    messages.extend(gate_rules(&extended));
    (extended, messages)
}

/// Packets that the filter has matched so far.
///
/// # Errors
/// The kernel refused the question.
pub fn matched(tables: &mut Netlink, filter: &Filter) -> Result<u64, WireError> {
    let chain = filter.meant_chain();
    let question = filter
        .table()
        .message(format!("read the counters of {}", filter.name), kind::GET_RULE, 0)
        .with(2, &wire::text(&chain));
    let rules = tables.dump(question)?;
    Ok(rules.iter().filter_map(|rule| expression::counted(rule.body.get(4..)?, &chain)).sum())
}

/// The messages that find out, for one change that is never to be kept, whether the kernel can redirect what
/// comes in: a table of its own with a rule that no packet meets.
pub fn try_redirection(link: &Link) -> Vec<Message> {
    let name = "try".to_owned();
    let nobody = Filter {
        name: name.clone(),
        direction: Direction::Ingress,
        priority: 0,
        links: Some(vec![link.clone()]),
        reach: Reach::default(),
        added: [TEST_NET].into(),
        port: None,
        flows_percent: 100,
        act: Act::Redirect { class: 0, link: link.index },
        spared: Vec::new(),
        spared_group: 0,
        own_flows: Vec::new(),
    };
    create(&nobody)
}

/// A chain, called at a hook with a priority, or only by others.
fn new_chain(filter: &Filter, name: &str, called: Option<(Hook, i32)>) -> Message {
    let chain = |where_to: &str| {
        let what = format!("add the chain {name}{where_to}");
        filter.table().message(what, kind::NEW_CHAIN, CREATE).with(3, &wire::text(name))
    };
    let Some((hook, priority)) = called else { return chain("") };
    let kind_of_chain = match filter.act {
        Act::Class(_) => "route",
        _ => "filter",
    };
    let mut place = Vec::new();
    wire::attribute(&mut place, 1, &hook.number().to_be_bytes());
    wire::attribute(&mut place, 2, &priority.to_be_bytes());
    if hook.is_on_links() {
        let mut names = Vec::new();
        for link in filter.links.iter().flatten() {
            wire::attribute(&mut names, 1, &wire::text(&link.name));
        }
        wire::nested(&mut place, 4, &names);
    }
    chain(hook.words()).with(7, &wire::text(kind_of_chain)).with(5, &ACCEPT.to_be_bytes()).nest(4, &place)
}

fn gate_rules(filter: &Filter) -> impl Iterator<Item = Message> + '_ {
    gate::rules(filter).into_iter().map(|rule| new_rule(filter, &filter.name, &rule))
}

fn new_rule(filter: &Filter, chain: &str, expressions: &Expressions) -> Message {
    filter
        .table()
        .message(format!("add a rule to the chain {chain}"), kind::NEW_RULE, CREATE | APPEND)
        .with(2, &wire::text(chain))
        .nest(4, &expressions.encode())
}

#[cfg(test)]
mod tests;
