//! How a chain at the ingress hook knows packets of our own connections: from what our sockets send.
//!
//! A packet that comes in has no socket yet, so its group cannot be asked for. One that leaves has: a chain
//! at the egress hook of the interface notes the flow of each packet of ours, turned round, in a set of the same
//! table, before the packet is on its way. So the answer to the very first packet of a new connection is known
//! already. What is open when the fault starts is put in beforehand.

use netlink_packet_netfilter::NetfilterMessage;

use super::family::Family;
use super::filter::Filter;
use super::rule::Rule;
use super::target_sets::fill;
use crate::net::netlink::Request;
use crate::net::nft::chain::{Base, Hook};
use crate::net::nft::set::Element;
use crate::net::own_flows::Flow;

/// A connection of ours that is silent for so long is not ours any more; the control channel says something
/// every few minutes.
const FORGOTTEN_AFTER_MS: u64 = 2 * 60 * 60 * 1000;
/// As many as there are ports; more is nothing that we have open.
const MOST_FLOWS: u32 = 65_535;

/// The requests that make the sets, with the flows that are known, and the chain that fills them.
pub(super) fn learn(filter: &Filter) -> Vec<Request<NetfilterMessage>> {
    let (table, chain) = (filter.table(), format!("{}_own", filter.name));
    let mut requests = Vec::new();
    for family in Family::ALL {
        let set = family.own_flows(&filter.name);
        requests.push(table.add_dynamic_set(&set, family.flow_keys(), MOST_FLOWS, FORGOTTEN_AFTER_MS));
        let flows = filter.own_flows.iter().filter(|flow| family.has(flow.peer.ip()));
        let element = |flow| [Element::single(key(flow))];
        requests.extend(fill(filter, &set, flows.map(element)));
    }
    let base = Base { kind: "filter", hook: Hook::Egress, priority: 0, devices: filter.link_names() };
    requests.push(table.add_base_chain(&chain, &base));
    for family in Family::ALL {
        let rule = Rule::default()
            .group(filter.exempt_group)
            .flow(Hook::Egress, family)
            .note(&family.own_flows(&filter.name));
        requests.push(table.add_rule(&chain, &rule.0));
    }
    requests
}

/// The rule that lets packets of flows in the set through.
pub(super) fn let_through(filter: &Filter, family: Family) -> Rule {
    Rule::default().flow(Hook::Ingress, family).find(&family.own_flows(&filter.name)).accept()
}

/// As it stands in the set: address of the peer, protocol, port of the peer, our port, each in whole words.
fn key(flow: &Flow) -> Vec<u8> {
    let mut key = match flow.peer.ip() {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    key.extend([flow.protocol.number(), 0, 0, 0]);
    for port in [flow.peer.port(), flow.own_port] {
        key.extend(port.to_be_bytes());
        key.extend([0; 2]);
    }
    key
}
