//! The tables that say which packets an effect is for: of nf_tables, ours alone.
//!
//! They carry the owner flag: the kernel removes them when the socket that made them is closed, whoever closes
//! it. Effects on packets that leave, and drops, share one `inet` table, where each has a chain and two sets of
//! its own, known by name, so that effects come and go without knowing each other. An effect that sends what
//! comes in elsewhere has a `netdev` table to itself. Formats: `linux/netfilter/nf_tables.h`.

use std::net::IpAddr;

use super::own_flows::Flow;
use super::shape::Link;
use super::socket::{Netlink, WireError};
use super::target::{Ranges, Reach};
use super::wire::{self, APPEND, CREATE, EXCLUSIVE, Message};
use crate::fault::network_source::{Direction, Protocol};

mod expression;
mod own;
mod place;
mod rule;

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
/// `NFT_SET_INTERVAL`.
const INTERVAL: u32 = 4;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;
/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;

/// Attributes hold 64 KiB at most; a range of IPv6 takes 72 bytes.
const RANGES_PER_MESSAGE: usize = 800;

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
    pub reach: Reach,
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
    for family in Family::ALL {
        if let Some(ranges) = family.of(&filter.reach).listed() {
            messages.push(new_set(filter, family));
            messages.extend(add_ranges(filter, family, ranges));
        }
    }
    messages.push(new_chain(filter, &filter.name, filter.hook(), filter.priority));
    messages.extend(rule::all(filter).iter().map(|rule| new_rule(filter, &filter.name, rule)));
    messages
}

/// The messages that take the filter away, for one change.
pub fn remove(filter: &Filter) -> Vec<Message> {
    let table = filter.table();
    let name = wire::text(&filter.name);
    let message = |kind| table.message(format!("remove the filter {}", filter.name), kind, 0);
    if filter.hook() == Hook::Arrival {
        return vec![message(kind::DELETE_TABLE)];
    }
    let mut messages =
        vec![message(kind::DELETE_RULE).with(2, &name), message(kind::DELETE_CHAIN).with(3, &name)];
    for family in Family::ALL {
        if family.of(&filter.reach).listed().is_some() {
            messages.push(message(kind::DELETE_SET).with(2, &wire::text(&family.set(&filter.name))));
        }
    }
    messages
}

/// The messages that add addresses to the filter's sets. None of them may be covered already.
pub fn extend(filter: &Filter, more: &Reach) -> Vec<Message> {
    Family::ALL
        .into_iter()
        .filter(|family| family.of(&filter.reach).listed().is_some())
        .filter_map(|family| Some((family, family.of(more).listed()?)))
        .flat_map(|(family, ranges)| add_ranges(filter, family, ranges))
        .collect()
}

/// Packets that the filter has matched so far.
///
/// # Errors
/// The kernel refused the question.
pub fn matched(tables: &mut Netlink, filter: &Filter) -> Result<u64, WireError> {
    let name = &filter.name;
    let question = filter
        .table()
        .message(format!("read the counters of {name}"), kind::GET_RULE, 0)
        .with(2, &wire::text(name));
    let rules = tables.dump(question)?;
    Ok(rules.iter().filter_map(|rule| expression::counted(rule.body.get(4..)?, name)).sum())
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
        port: None,
        flows_percent: 100,
        act: Act::Redirect { class: 0, link: link.index },
        spared: Vec::new(),
        spared_group: 0,
        own_flows: Vec::new(),
    };
    create(&nobody)
}

fn new_chain(filter: &Filter, name: &str, hook: Hook, priority: i32) -> Message {
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
    filter
        .table()
        .message(format!("add the chain {name} {}", hook.words()), kind::NEW_CHAIN, CREATE)
        .with(3, &wire::text(name))
        .with(7, &wire::text(kind_of_chain))
        .with(5, &ACCEPT.to_be_bytes())
        .nest(4, &place)
}

fn new_set(filter: &Filter, family: Family) -> Message {
    let set = family.set(&filter.name);
    filter
        .table()
        .message(format!("add the set {set}"), kind::NEW_SET, CREATE)
        .with(2, &wire::text(&set))
        .with(3, &INTERVAL.to_be_bytes())
        .with(4, &family.key_type().to_be_bytes())
        .with(5, &family.address_length().to_be_bytes())
        // Needs a number within the change, even where it is only ever named.
        .with(10, &family.set_number().to_be_bytes())
        // For nft, which prints it: the keys are in the network's order.
        .with(13, &[0, 4, 2, 0, 0, 0])
}

fn add_ranges(filter: &Filter, family: Family, ranges: &Ranges) -> Vec<Message> {
    let set = family.set(&filter.name);
    ranges
        .chunks(RANGES_PER_MESSAGE)
        .map(|ranges| {
            let mut elements = Vec::new();
            for (first, last) in ranges {
                element(&mut elements, &family.bytes(*first), 0);
                // The end is the first that is no more in it; a range to the very last address has none.
                if let Some(end) = family.after(*last) {
                    element(&mut elements, &family.bytes(end), INTERVAL_END);
                }
            }
            add_elements(filter, &set, &elements)
        })
        .collect()
}

fn add_elements(filter: &Filter, set: &str, elements: &[u8]) -> Message {
    filter
        .table()
        .message(format!("add targets to the set {set}"), kind::NEW_ELEMENT, CREATE)
        .with(2, &wire::text(set))
        .nest(3, elements)
}

fn element(elements: &mut Vec<u8>, key: &[u8], flags: u32) {
    let (mut data, mut inner) = (Vec::new(), Vec::new());
    wire::attribute(&mut data, 1, key);
    if flags != 0 {
        wire::attribute(&mut inner, 3, &flags.to_be_bytes());
    }
    wire::nested(&mut inner, 1, &data);
    wire::nested(elements, 1, &inner);
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
