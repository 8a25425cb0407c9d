//! The sets of a filter's targets, and how any set of ours is filled.

use super::place::{Family, Set};
use super::{Filter, kind};
use crate::net::wire::{self, CREATE, Message};

/// `NFT_SET_INTERVAL`.
const INTERVAL: u32 = 4;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;
/// Attributes hold 64 KiB at most; both ends of a range of IPv6 take 72 bytes, one of our flows less.
const ITEMS_PER_MESSAGE: usize = 800;

/// The messages that make both sets of a family, with all targets in them.
pub(super) fn targets(filter: &Filter, family: Family) -> Vec<Message> {
    let (singles, ranges) = (family.singles(&filter.name), family.ranges(&filter.name));
    let mut messages = vec![address_set(filter, family, &singles, 0)];
    messages.extend(add_singles(filter, family, filter.singles(family)));
    messages.push(address_set(filter, family, &ranges, INTERVAL));
    messages.extend(add_ranges(filter, family));
    messages
}

pub(super) fn new_set(filter: &Filter, set: &Set) -> Message {
    let what = format!("add the set {}", set.name);
    filter.table().message(what, kind::NEW_SET, CREATE).with(2, &wire::text(&set.name))
}

fn address_set(filter: &Filter, family: Family, set: &Set, flags: u32) -> Message {
    new_set(filter, set)
        .with(3, &flags.to_be_bytes())
        .with(4, &family.key_type().to_be_bytes())
        .with(5, &family.address_length().to_be_bytes())
        // Needs a number within the change, even where it is only ever named.
        .with(10, &set.number.to_be_bytes())
        // For nft, which prints it: the keys are in the network's order.
        .with(13, &[0, 4, 2, 0, 0, 0])
}

pub(super) fn add_singles(
    filter: &Filter,
    family: Family,
    addresses: impl Iterator<Item = u128>,
) -> Vec<Message> {
    let all: Vec<u128> = addresses.collect();
    fill(filter, &family.singles(&filter.name), &all, |elements, address| {
        element(elements, &family.bytes(*address), 0);
    })
}

fn add_ranges(filter: &Filter, family: Family) -> Vec<Message> {
    let all: Vec<(u128, u128)> = family.of(&filter.reach).wide().collect();
    fill(filter, &family.ranges(&filter.name), &all, |elements, (first, last)| {
        element(elements, &family.bytes(*first), 0);
        // The end is the first that is no more in it; a range to the very last address has none.
        if let Some(end) = family.after(*last) {
            element(elements, &family.bytes(end), INTERVAL_END);
        }
    })
}

/// The messages that put items into a set; `write` appends the elements of one.
pub(super) fn fill<T>(
    filter: &Filter,
    set: &Set,
    items: &[T],
    write: impl Fn(&mut Vec<u8>, &T),
) -> Vec<Message> {
    let message = |items: &[T]| {
        let mut elements = Vec::new();
        items.iter().for_each(|item| write(&mut elements, item));
        filter
            .table()
            .message(format!("add to the set {}", set.name), kind::NEW_ELEMENT, CREATE)
            .with(2, &wire::text(&set.name))
            .nest(3, &elements)
    };
    items.chunks(ITEMS_PER_MESSAGE).map(message).collect()
}

pub(super) fn element(elements: &mut Vec<u8>, key: &[u8], flags: u32) {
    wire::nested_with(elements, 1, |element| {
        if flags != 0 {
            wire::attribute(element, 3, &flags.to_be_bytes());
        }
        wire::nested_with(element, 1, |data| wire::attribute(data, 1, key));
    });
}
