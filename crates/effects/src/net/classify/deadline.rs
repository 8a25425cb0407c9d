//! When the kernel ends a filter by itself: a set whose elements time out, asked at the head of the match chain.
//!
//! A process that is stopped or blocked undoes nothing, and its tables live on. So what comes through the prefilter
//! is matched only while the set has the packet's family. The kernel's clock is monotonic: a jump of the wall clock
//! neither ends a fault nor keeps it.

use std::time::Duration;

use netlink_packet_netfilter::NetfilterMessage;

use super::family::Family;
use super::filter::Filter;
use super::rule::Rule;
use crate::net::netlink::Request;
use crate::net::nft::set::{Element, Set};

/// The owner's own end comes first, and reports what was counted. The kernel's comes so much later.
pub(super) const MARGIN: Duration = Duration::from_secs(1);

/// The set of the families that are still matched.
pub(super) fn set(filter: &Filter) -> Set {
    Set { name: format!("{}_until", filter.name), id: 7 }
}

/// The requests that make the set.
pub(super) fn install(filter: &Filter) -> Vec<Request<NetfilterMessage>> {
    let (table, set) = (filter.table(), set(filter));
    let elements = elements(filter, Some(filter.lasts));
    vec![table.add_timed_set(&set, Family::own_keys(filter.hook())), table.add_elements(&set, &elements)]
}

/// The requests that move the deadline to so long from now.
pub(super) fn moved(filter: &Filter, lasts: Duration) -> Vec<Request<NetfilterMessage>> {
    let (table, set) = (filter.table(), set(filter));
    // The kernel changes no element in place.
    let [old, new] = [None, Some(lasts)].map(|lasts| elements(filter, lasts));
    vec![table.delete_elements(&set, &old), table.add_elements(&set, &new)]
}

/// The rule that lets everything through once the time is over.
pub(super) fn let_through(filter: &Filter) -> Rule {
    Rule::default().family_of(filter.hook()).miss(&set(filter)).accept()
}

fn elements(filter: &Filter, lasts: Option<Duration>) -> [Element<Vec<u8>>; 2] {
    let timeout_ms = lasts.and_then(|lasts| u64::try_from((lasts + MARGIN).as_millis()).ok());
    Family::ALL.map(|family| Element { timeout_ms, ..Element::single(family.own_key(filter.hook())) })
}
