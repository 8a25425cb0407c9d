//! Which packets of the targets are meant: rules of the [match chain](super::match_chain) that let through those that
//! are not, by protocol, ports and peers, and the sets that they look into.

use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::SetFlags;

use super::family::Family;
use super::filter::Filter;
use super::rule::{Rule, Side};
use super::target_sets::fill_ranges;
use crate::net::netlink::Request;
use crate::net::nft::set::{KeyType, Keys, Set};
use faults::network_source::{Ports, Protocol};

/// The ports of one side that are meant, or are not.
struct SidePorts<'a> {
    side: Side,
    ranges: &'a [(u16, u16)],
    set: Set,
}

const PORT_KEYS: Keys<'static> = Keys { parts: &[KeyType::Port], length: 2 };
const LAST_PORT: u128 = u16::MAX as u128;

/// The rules that let through what is not meant, in order.
pub(super) fn let_through(filter: &Filter) -> Vec<Rule> {
    let (hook, selected) = (filter.hook(), &filter.selected);
    let mut rules = Vec::new();
    match selected.protocol {
        Some(protocol) => rules.push(Rule::default().other_protocol(protocol).accept()),
        // Nothing else has ports.
        None if !selected.ports.is_empty() => rules.push(Rule::default().neither_tcp_nor_udp().accept()),
        None => {}
    }
    let meant = sides(filter, &selected.ports, "ports", 10);
    if !meant.is_empty() {
        let misses = |rule: Rule, it: &SidePorts<'_>| rule.port_of(hook, it.side).miss(&it.set);
        rules.push(meant.iter().fold(Rule::default(), misses).accept());
    }
    for it in sides(filter, &selected.exclude_ports, "not_ports", 12) {
        let protocols =
            selected.protocol.map_or_else(|| vec![Protocol::Tcp, Protocol::Udp], |only| vec![only]);
        let found =
            |protocol| Rule::default().protocol(protocol).port_of(hook, it.side).find(&it.set).accept();
        rules.extend(protocols.into_iter().map(found));
    }
    let found = |(family, set): (Family, Set)| Rule::default().peer_address(hook, family).find(&set).accept();
    rules.extend(excluded(filter).map(found));
    let whole = Family::ALL.into_iter().filter(|family| family.of(&selected.excluded).is_everything());
    rules.extend(whole.map(|family| Rule::default().family(hook, family).accept()));
    rules
}

/// All sets of the filter's selection.
pub(super) fn sets(filter: &Filter) -> Vec<Set> {
    let ports = all_ports(filter).into_iter().map(|it| it.set);
    ports.chain(excluded(filter).map(|(_, set)| set)).collect()
}

/// The requests that make these sets, with all that is in them.
pub(super) fn install(filter: &Filter) -> Vec<Request<NetfilterMessage>> {
    let table = filter.table();
    let mut requests = Vec::new();
    for it in all_ports(filter) {
        requests.push(table.add_set(&it.set, PORT_KEYS, SetFlags::Interval));
        let ranges = it.ranges.iter().map(|(first, last)| (u128::from(*first), u128::from(*last)));
        let key = |port: u128| u16::try_from(port).unwrap_or(u16::MAX).to_be_bytes();
        requests
            .extend(fill_ranges(filter, &it.set, ranges, key, |last| (last < LAST_PORT).then(|| last + 1)));
    }
    for (family, set) in excluded(filter) {
        let ranges = family.of(&filter.selected.excluded);
        requests.push(table.add_set(&set, family.keys(), SetFlags::Interval));
        let all = ranges.singles().map(|address| (address, address)).chain(ranges.wide());
        requests.extend(fill_ranges(
            filter,
            &set,
            all,
            |address| family.bytes(address),
            |last| family.after(last),
        ));
    }
    requests
}

fn all_ports(filter: &Filter) -> Vec<SidePorts<'_>> {
    let mut all = sides(filter, &filter.selected.ports, "ports", 10);
    all.extend(sides(filter, &filter.selected.exclude_ports, "not_ports", 12));
    all
}

/// The sides that have ports. `id` is the first number of their sets within a change.
fn sides<'a>(filter: &Filter, ports: &'a Ports, what: &str, id: u32) -> Vec<SidePorts<'a>> {
    let set = |side: &str, id| Set { name: format!("{}_{what}_{side}", filter.name), id };
    let all = [
        SidePorts { side: Side::Remote, ranges: &ports.remote, set: set("remote", id) },
        SidePorts { side: Side::Local, ranges: &ports.local, set: set("local", id + 1) },
    ];
    all.into_iter().filter(|it| !it.ranges.is_empty()).collect()
}

/// The families with addresses that are left out, and their sets.
fn excluded(filter: &Filter) -> impl Iterator<Item = (Family, Set)> + '_ {
    let all = Family::ALL.into_iter().zip(14_u32..);
    let named = |(family, id): (Family, u32)| {
        let ranges = family.of(&filter.selected.excluded);
        let some = ranges.singles().next().is_some() || ranges.wide().next().is_some();
        some.then(|| (family, Set { name: format!("{}_not_{}", filter.name, family.suffix()), id }))
    };
    all.filter_map(named)
}
