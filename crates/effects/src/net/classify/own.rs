//! How a chain where packets arrive knows those of our own connections: from what our sockets send.
//!
//! A packet that arrives has no socket yet, so its group cannot be asked for. One that leaves has: a chain
//! where packets leave the interface notes the flow of each packet of ours, turned round, in a set of the same
//! table, before the packet is on its way. So the answer to the very first packet of a new connection is known
//! already. What is open when the fault starts is put in beforehand.

use super::expression::Expressions;
use super::place::{Family, Hook};
use super::sets::{element, fill, new_set};
use super::{Filter, new_chain, new_rule};
use crate::net::own_flows::Flow;
use crate::net::wire::{self, Message};

/// `NFT_SET_EVAL | NFT_SET_TIMEOUT`: rules add to it, and what is not seen again leaves it.
const LEARNING: u32 = 0x20 | 0x10;
/// A connection of ours that is silent for so long is not ours any more; the control channel says something
/// every few minutes.
const FORGOTTEN_AFTER_MILLISECONDS: u64 = 2 * 60 * 60 * 1000;
/// As many as there are ports; more is nothing that we have open.
const MOST_FLOWS: u32 = 65_535;
/// The numbers of `nft` for the types of protocols and ports.
const PROTOCOL_TYPE: u32 = 12;
const PORT_TYPE: u32 = 13;

/// The messages that make the sets, with the flows that are known, and the chain that fills them.
pub(super) fn learn(filter: &Filter) -> Vec<Message> {
    let chain = format!("{}_own", filter.name);
    let mut messages = Vec::new();
    for family in Family::ALL {
        messages.push(own_set(filter, family));
        let flows: Vec<&Flow> = filter.own_flows.iter().filter(|flow| family.has(flow.peer.ip())).collect();
        let set = family.own(&filter.name);
        messages.extend(fill(filter, &set, &flows, |elements, flow| element(elements, &key(flow), 0)));
    }
    messages.push(new_chain(filter, &chain, Some((Hook::Departure, 0))));
    for family in Family::ALL {
        let rule = Expressions::default()
            .group(filter.spared_group)
            .flow(Hook::Departure, family)
            .note(family.own(&filter.name));
        messages.push(new_rule(filter, &chain, &rule));
    }
    messages
}

/// The rule that lets packets of flows in the set through.
pub(super) fn let_through(filter: &Filter, family: Family) -> Expressions {
    Expressions::default().flow(Hook::Arrival, family).find(family.own(&filter.name)).accept()
}

fn own_set(filter: &Filter, family: Family) -> Message {
    let set = family.own(&filter.name);
    let key_type = [family.key_type(), PROTOCOL_TYPE, PORT_TYPE, PORT_TYPE];
    let key_type = key_type.into_iter().fold(0, |all, one| all << 6 | one);
    let (mut description, protocol_and_ports) = (Vec::new(), 3 * 4);
    wire::attribute(&mut description, 1, &MOST_FLOWS.to_be_bytes());
    new_set(filter, &set)
        .with(3, &LEARNING.to_be_bytes())
        .with(4, &key_type.to_be_bytes())
        .with(5, &(family.address_length() + protocol_and_ports).to_be_bytes())
        .with(10, &set.number.to_be_bytes())
        .nest(9, &description)
        .with(11, &FORGOTTEN_AFTER_MILLISECONDS.to_be_bytes())
        // For nft, which prints it: how the key came about.
        .with(13, &[0, 4, 0, 0, 0, 0, 3, 8, 0, 4, 13, 0, 0, 0, 1, 0])
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
