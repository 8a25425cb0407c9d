//! The table that says which packets an effect is for: an `inet` table of nf_tables, ours alone.
//!
//! It carries the owner flag: the kernel removes it when the socket that made it is closed, whoever closes
//! it. Each effect has a chain and two sets of its own in it, known by name, so that effects come and go
//! without knowing each other. Formats: `linux/netfilter/nf_tables.h`.

use std::net::IpAddr;

use super::socket::{Netlink, WireError};
use super::target::{Ranges, Reach};
use super::wire::{self, APPEND, CREATE, EXCLUSIVE, Message};
use crate::fault::network_source::{Direction, Protocol};

mod expression;

use expression::{Expressions, Family};

/// The table's name.
pub const TABLE: &str = "taskfault";
/// Above the conntrack hooks, where mangling is done (`NF_IP_PRI_MANGLE`). Later effects come after earlier
/// ones, so that the last to speak of a packet is the newest.
pub const FIRST_PRIORITY: i32 = -150;

const NFPROTO_INET: u8 = 1;
/// `NFT_TABLE_F_OWNER`.
const OWNER: u32 = 2;
/// `NFT_SET_INTERVAL`.
const INTERVAL: u32 = 4;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;
/// Local hooks: packets for this machine, packets of this machine.
const LOCAL_IN: u32 = 1;
const LOCAL_OUT: u32 = 3;
/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;

/// Attributes hold 64 KiB at most; a range of IPv6 takes 72 bytes.
const RANGES_PER_MESSAGE: usize = 800;

/// Message types of subsystem 10.
mod kind {
    const TABLES: u16 = 10 << 8;
    pub(super) const NEW_TABLE: u16 = TABLES;
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
    /// Interfaces by index; None is all of them.
    pub links: Option<Vec<u32>>,
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
}

/// The messages that make the table. It belongs to the socket that sends them.
pub fn create_table() -> Vec<Message> {
    let message = new(format!("create the nf_tables table {TABLE}"), kind::NEW_TABLE, CREATE | EXCLUSIVE)
        .with(1, &wire::text(TABLE))
        .with(2, &OWNER.to_be_bytes());
    vec![message]
}

/// The messages that put the filter to work, for one change.
pub fn create(filter: &Filter) -> Vec<Message> {
    let mut messages = Vec::new();
    for family in Family::ALL {
        if let Some(ranges) = family.of(&filter.reach).listed() {
            messages.push(new_set(&filter.name, family));
            messages.extend(add_ranges(&filter.name, family, ranges));
        }
    }
    messages.push(new_chain(filter));
    messages.extend(rules(filter).iter().map(|expressions| new_rule(&filter.name, expressions)));
    messages
}

/// The messages that take the filter away, for one change.
pub fn remove(filter: &Filter) -> Vec<Message> {
    let name = wire::text(&filter.name);
    let message = |kind| {
        let what = format!("remove the filter {}", filter.name);
        new(what, kind, 0).with(1, &wire::text(TABLE))
    };
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
        .flat_map(|(family, ranges)| add_ranges(&filter.name, family, ranges))
        .collect()
}

/// Packets that the filter has matched so far.
///
/// # Errors
/// The kernel refused the question.
pub fn matched(tables: &mut Netlink, name: &str) -> Result<u64, WireError> {
    let question = new(format!("read the counters of {name}"), kind::GET_RULE, 0)
        .with(1, &wire::text(TABLE))
        .with(2, &wire::text(name));
    let rules = tables.dump(question)?;
    Ok(rules.iter().filter_map(|rule| expression::counted(rule.body.get(4..)?, name)).sum())
}

fn new(what: String, kind: u16, flags: u16) -> Message {
    // struct nfgenmsg: family, version 0, resource 0.
    Message::new(what, kind, flags, &[NFPROTO_INET, 0, 0, 0])
}

fn new_chain(filter: &Filter) -> Message {
    let (hook, kind_of_chain) = match (filter.direction, filter.act) {
        (Direction::Egress, Act::Class(_)) => (LOCAL_OUT, "route"),
        (Direction::Egress, _) => (LOCAL_OUT, "filter"),
        (Direction::Ingress, _) => (LOCAL_IN, "filter"),
    };
    let mut place = Vec::new();
    wire::attribute(&mut place, 1, &hook.to_be_bytes());
    wire::attribute(&mut place, 2, &filter.priority.to_be_bytes());
    new(format!("add the chain {}", filter.name), kind::NEW_CHAIN, CREATE)
        .with(1, &wire::text(TABLE))
        .with(3, &wire::text(&filter.name))
        .with(7, &wire::text(kind_of_chain))
        .with(5, &ACCEPT.to_be_bytes())
        .nest(4, &place)
}

fn new_set(name: &str, family: Family) -> Message {
    let set = family.set(name);
    new(format!("add the set {set}"), kind::NEW_SET, CREATE)
        .with(1, &wire::text(TABLE))
        .with(2, &wire::text(&set))
        .with(3, &INTERVAL.to_be_bytes())
        .with(4, &family.key_type().to_be_bytes())
        .with(5, &family.address_length().to_be_bytes())
        // Needs a number within the change, even where it is only ever named.
        .with(10, &family.set_number().to_be_bytes())
        // For nft, which prints it: the keys are in the network's order.
        .with(13, &[0, 4, 2, 0, 0, 0])
}

fn add_ranges(name: &str, family: Family, ranges: &Ranges) -> Vec<Message> {
    let set = family.set(name);
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
            new(format!("add targets to the set {set}"), kind::NEW_ELEMENT, CREATE)
                .with(1, &wire::text(TABLE))
                .with(2, &wire::text(&set))
                .nest(3, &elements)
        })
        .collect()
}

fn element(elements: &mut Vec<u8>, address: &[u8], flags: u32) {
    let (mut key, mut inner) = (Vec::new(), Vec::new());
    wire::attribute(&mut key, 1, address);
    if flags != 0 {
        wire::attribute(&mut inner, 3, &flags.to_be_bytes());
    }
    wire::nested(&mut inner, 1, &key);
    wire::nested(elements, 1, &inner);
}

fn new_rule(chain: &str, expressions: &Expressions) -> Message {
    new(format!("add a rule to the chain {chain}"), kind::NEW_RULE, CREATE | APPEND)
        .with(1, &wire::text(TABLE))
        .with(2, &wire::text(chain))
        .nest(4, &expressions.encode())
}

/// The rules of the filter: first what is let through, then what is meant.
fn rules(filter: &Filter) -> Vec<Expressions> {
    let mut all = vec![
        Expressions::default().group(filter.spared_group).accept(),
        // Without neighbour discovery no address of IPv6 is reached, the spared ones neither.
        Expressions::default().neighbour_discovery().accept(),
    ];
    all.extend(
        filter.spared.iter().map(|address| Expressions::default().peer(filter.direction, *address).accept()),
    );
    let links: Vec<Option<u32>> = match &filter.links {
        Some(links) => links.iter().copied().map(Some).collect(),
        None => vec![None],
    };
    for link in links {
        for family in Family::ALL {
            all.extend(meant(filter, link, family));
        }
    }
    all
}

/// The rules for one family on one interface: three where a share of flows is asked for, because only TCP
/// and UDP have ports that tell flows apart.
fn meant(filter: &Filter, link: Option<u32>, family: Family) -> Vec<Expressions> {
    let ranges = family.of(&filter.reach);
    let mut base = Expressions::default();
    if let Some(index) = link {
        base = base.link(filter.direction, index);
    }
    base = match ranges.listed() {
        Some(_) => base.in_set(filter.direction, family, &filter.name),
        None => base.family(family),
    };
    if let Some((protocol, port)) = filter.port {
        base = base.port(protocol, port);
    }
    let kinds: Vec<Expressions> = match (filter.flows_percent, filter.port) {
        (100, _) => vec![base],
        (share, Some(_)) => vec![base.flows(family, true, share)],
        (share, None) => vec![
            base.clone().protocol(Protocol::Tcp).flows(family, true, share),
            base.clone().protocol(Protocol::Udp).flows(family, true, share),
            base.neither_tcp_nor_udp().flows(family, false, share),
        ],
    };
    kinds.into_iter().map(|rule| act(rule, filter.act)).collect()
}

fn act(rule: Expressions, act: Act) -> Expressions {
    match act {
        Act::Class(class) => rule.count().set_priority(class),
        Act::Drop => rule.count().drop(),
        Act::DropShare(percent) => rule.by_chance(percent).count().drop(),
    }
}

#[cfg(test)]
mod tests;
