//! The sets of a filter's targets, and how any set of ours is filled.

use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::SetFlags;

use super::family::Family;
use super::filter::Filter;
use crate::net::netlink::Request;
use crate::net::nft::set::{Element, Set};

/// Attributes hold 64 KiB at most, and an address of IPv6 as an element takes 36 bytes, one of our flows 40;
/// both ends of a range are in one message.
const ITEMS_PER_MESSAGE: usize = 800;

/// The requests that make both sets of a family, with all targets in them.
pub(super) fn targets(filter: &Filter, family: Family) -> Vec<Request<NetfilterMessage>> {
    let (table, singles, ranges) =
        (filter.table(), family.singles(&filter.name), family.ranges(&filter.name));
    let mut requests = vec![table.add_set(&singles, family.keys(), SetFlags::empty())];
    requests.extend(add_singles(filter, family, filter.singles(family)));
    requests.push(table.add_set(&ranges, family.keys(), SetFlags::Interval));
    requests.extend(add_ranges(filter, family));
    requests
}

pub(super) fn add_singles(
    filter: &Filter,
    family: Family,
    addresses: impl Iterator<Item = u128>,
) -> Vec<Request<NetfilterMessage>> {
    let element = |address| [Element::single(family.bytes(address))];
    fill(filter, &family.singles(&filter.name), addresses.map(element))
}

fn add_ranges(filter: &Filter, family: Family) -> Vec<Request<NetfilterMessage>> {
    let (set, ranges) = (family.ranges(&filter.name), family.of(&filter.targets).wide());
    fill_ranges(filter, &set, ranges, |address| family.bytes(address), |last| family.after(last))
}

/// The requests that put ranges into a set of intervals: `key` makes an element of a number, `after` the number behind
/// another, if there is one.
pub(super) fn fill_ranges<K: AsRef<[u8]>>(
    filter: &Filter,
    set: &Set,
    ranges: impl Iterator<Item = (u128, u128)>,
    key: impl Fn(u128) -> K,
    after: impl Fn(u128) -> Option<u128>,
) -> Vec<Request<NetfilterMessage>> {
    let elements = |(first, last)| {
        // The end is the first that is no more in it; a range to the very last has none.
        let end = after(last).map(|end| Element { ends_interval: true, ..Element::single(key(end)) });
        [Some(Element::single(key(first))), end].into_iter().flatten()
    };
    fill(filter, set, ranges.map(elements))
}

/// The requests that put items into a set, of one or more elements each.
pub(super) fn fill<K: AsRef<[u8]>>(
    filter: &Filter,
    set: &Set,
    items: impl Iterator<Item = impl IntoIterator<Item = Element<K>>>,
) -> Vec<Request<NetfilterMessage>> {
    let (table, mut items) = (filter.table(), items.fuse());
    let next = || -> Vec<Element<K>> { items.by_ref().take(ITEMS_PER_MESSAGE).flatten().collect() };
    std::iter::repeat_with(next)
        .take_while(|elements| !elements.is_empty())
        .map(|elements| table.add_elements(set, &elements))
        .collect()
}
