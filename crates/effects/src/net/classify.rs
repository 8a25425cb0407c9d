//! The tables that say which packets an effect is for: of nf_tables, ours alone.
//!
//! They carry the owner flag: the kernel removes them when the socket that made them is closed, whoever closes
//! it. Effects on packets that leave, and drops, share one `inet` table, where each has two chains and some sets
//! of its own, known by name, so that effects come and go without knowing each other: the [`prefilter`] at the
//! hook, which all packets pass, and the [`match_chain`] behind it. An effect that sends what comes in elsewhere
//! has a `netdev` table to itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::Expressions;
use rtnetlink::packet_route::tc::TcHandle;

use super::kernel_part::KernelPart;
use super::link::Link;
use super::netlink::{NetlinkError, Purpose, Request, Tables};
use super::nft::chain::{Base, Hook, NAT};
use super::nft::expression::{Queue, TcpReset};
use super::nft::table::Owner;
use super::target::{TargetSet, number};
use faults::network_source::{Direction, Protocol};

mod deadline;
mod exempt_flows;
mod family;
mod filter;
mod match_chain;
mod prefilter;
mod rule;
mod selection;
mod target_sets;

pub use filter::{Action, Filter, Selected, TABLE};

/// Above the conntrack hooks, where mangling is done. Later effects come after earlier ones, so that the last to
/// speak of a packet is the newest.
pub const FIRST_PRIORITY: i32 = libc::NF_IP_PRI_MANGLE;

/// Just before the place where connections are usually sent elsewhere. The first to do so decides, so later effects come
/// before earlier ones.
pub const FIRST_NAT_PRIORITY: i32 = libc::NF_IP_PRI_NAT_DST;
/// The kernel takes no chain that sends connections elsewhere before connections are tracked.
pub const LAST_NAT_PRIORITY: i32 = libc::NF_IP_PRI_CONNTRACK + 1;

/// An address of no machine (RFC 5737).
const TEST_NET: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A message about nf_tables.
type TablesRequest = Request<NetfilterMessage>;

/// The requests that make the shared table. It belongs to the socket that sends them.
pub fn create_table() -> Vec<TablesRequest> {
    vec![filter::shared_table().create_owned()]
}

/// Who has the shared table; None if nobody has made it.
///
/// # Errors
/// The kernel refused the question.
pub fn owner(tables: &mut Tables) -> Result<Option<Owner>, NetlinkError> {
    filter::shared_table().owner(tables)
}

/// Whether a living process keeps its roots, though it may have no effect.
///
/// # Errors
/// The kernel refused the question.
pub fn is_kept(tables: &mut Tables) -> Result<bool, NetlinkError> {
    Ok(matches!(filter::kept_table().owner(tables)?, Some(Owner::Socket(_))))
}

/// The requests that give the claim up, with all that is in the shared table, and keep the roots instead, for one
/// change. Who keeps them already (`is_keeper`) goes on.
pub fn rest(is_keeper: bool) -> Vec<TablesRequest> {
    let keep = (!is_keeper).then(|| filter::kept_table().create_owned());
    let give_up = filter::shared_table().delete("give up the claim on the network namespace".into());
    keep.into_iter().chain([give_up]).collect()
}

/// The requests that put the filter to work, for one change.
pub fn create(filter: &Filter) -> Vec<TablesRequest> {
    let (table, match_chain) = (filter.table(), filter.match_chain());
    let mut requests = Vec::new();
    if filter.hook() == Hook::Ingress {
        requests.push(table.create_owned());
        requests.extend(exempt_flows::learn(filter));
    }
    for family in filter.listed() {
        requests.extend(target_sets::targets(filter, family));
    }
    requests.extend(selection::install(filter));
    requests.extend(deadline::install(filter));
    requests.push(table.add_chain(&match_chain));
    requests.extend(match_chain::rules(filter).iter().map(|rule| add_rule(filter, rule)));
    requests.push(table.add_base_chain(&filter.name, &base(filter)));
    requests.extend(prefilter_rules(filter));
    requests
}

/// The request that adds a rule to the match chain.
fn add_rule(filter: &Filter, rule: &rule::Rule) -> TablesRequest {
    let chain = filter.match_chain();
    let request = filter.table().add_rule(&chain, &rule.0);
    let part = match rule.0.last() {
        Some(Expressions::Other { expression_type, .. }) if expression_type == Queue::NAME => {
            KernelPart::Queue
        }
        Some(Expressions::Other { expression_type, .. }) if expression_type == TcpReset::NAME => {
            KernelPart::Reject
        }
        _ => return request,
    };
    Request { purpose: Purpose::needing(part, format!("add a rule to the chain {chain}")), ..request }
}

/// The requests that take the filter away, for one change.
pub fn remove(filter: &Filter) -> Vec<TablesRequest> {
    let (table, purpose) = (filter.table(), || format!("remove the filter {}", filter.name).into());
    if filter.hook() == Hook::Ingress {
        return vec![table.delete(purpose())];
    }
    let mut requests = Vec::new();
    for chain in [&filter.name, &filter.match_chain()] {
        requests.push(table.delete_rules(purpose(), chain));
        requests.push(table.delete_chain(purpose(), chain));
    }
    for family in filter.listed() {
        for set in [family.singles(&filter.name), family.ranges(&filter.name)] {
            requests.push(table.delete_set(purpose(), &set));
        }
    }
    for set in selection::sets(filter) {
        requests.push(table.delete_set(purpose(), &set));
    }
    requests.push(table.delete_set(purpose(), &deadline::set(filter)));
    requests
}

/// The filter with more targets, which are [`Filter::lacking`], and the requests that make it so, for one
/// change.
pub fn extend(filter: &Filter, more: &BTreeSet<IpAddr>) -> (Filter, Vec<TablesRequest>) {
    let mut extended = filter.clone();
    extended.added.extend(more);
    let mut requests = Vec::new();
    for family in filter.listed() {
        let new = more.iter().filter(|address| family.has(**address)).map(|address| number(*address));
        requests.extend(target_sets::add_singles(filter, family, new));
    }
    // What all targets have in common may be less than before.
    let purpose = format!("replace the rules of the chain {}", filter.name).into();
    requests.push(filter.table().delete_rules(purpose, &filter.name));
    requests.extend(prefilter_rules(&extended));
    (extended, requests)
}

/// The requests that have the kernel end the filter so long from now, for one change. It must not have ended yet.
pub fn prolong(filter: &Filter, lasts: Duration) -> Vec<TablesRequest> {
    deadline::moved(filter, lasts)
}

/// Packets that the filter has matched so far.
///
/// # Errors
/// The kernel refused the question.
pub fn matched(tables: &mut Tables, filter: &Filter) -> Result<u64, NetlinkError> {
    let purpose = format!("read the counters of {}", filter.name).into();
    filter.table().counted(tables, purpose, &filter.match_chain())
}

/// The requests that find out, for one change that is never to be kept, whether the kernel can redirect what
/// comes in: a table of its own with a rule that no packet meets.
pub fn try_redirection(link: &Link) -> Vec<TablesRequest> {
    let action = Action::Redirect { class: TcHandle::UNSPEC, link: link.index };
    create(&Filter { links: Some(vec![link.clone()]), action, ..unmatched() })
}

/// The requests that find out, for one change that is never to be kept, whether the kernel can lose what leaves in
/// silence: a chain of the shared table that nothing calls.
pub fn try_discard() -> Vec<TablesRequest> {
    let hole = Filter { direction: Direction::Egress, action: Action::Discard, ..unmatched() };
    let table = hole.table();
    let mut requests = vec![table.add_chain(&hole.match_chain())];
    requests.extend(match_chain::rules(&hole).last().map(|rule| add_rule(&hole, rule)));
    requests
}

/// The requests that find out, for one change that is never to be kept, whether the kernel can send connections to a
/// port of ours.
pub fn try_to_port() -> Vec<TablesRequest> {
    let (port, protocol) = (9, Protocol::Tcp);
    let (direction, priority) = (Direction::Egress, FIRST_NAT_PRIORITY);
    let action = Action::ToPort(port);
    create(&Filter { direction, priority, action, port: Some((protocol, port)), ..unmatched() })
}

/// A filter that no packet meets.
fn unmatched() -> Filter {
    Filter {
        name: "try".to_owned(),
        direction: Direction::Ingress,
        priority: 0,
        links: None,
        targets: TargetSet::default(),
        added: [TEST_NET].into(),
        port: None,
        selected: Selected::default(),
        flows_percent: 100,
        action: Action::Drop,
        lasts: Duration::ZERO,
        exempt: Vec::new(),
        exempt_endpoints: Vec::new(),
        exempt_group: 0,
        own_flows: Vec::new(),
    }
}

/// How the filter's first chain is called.
fn base(filter: &Filter) -> Base<'_> {
    let kind = match filter.action {
        Action::Classify(_) => "route",
        Action::ToPort(_) => NAT,
        _ => "filter",
    };
    Base { kind, hook: filter.hook(), priority: filter.priority, devices: filter.link_names() }
}

fn prefilter_rules(filter: &Filter) -> Vec<TablesRequest> {
    let (table, rules) = (filter.table(), prefilter::rules(filter));
    rules.iter().map(|rule| table.add_rule(&filter.name, &rule.0)).collect()
}

#[cfg(test)]
mod tests;
