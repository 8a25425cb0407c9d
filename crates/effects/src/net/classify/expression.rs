//! The expressions that rules are made of, and their bytes.
//!
//! A register holds 16 bytes; the 32-bit registers 8 to 23 lie over the same room in the same order, so that
//! what is loaded into neighbours can be hashed at once.

use std::net::IpAddr;

use super::super::wire;
use super::place::{Family, Hook, Set};
use faults::network_source::{Direction, Protocol};

/// One step of a rule. A comparison that does not hold ends the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// Loads a fact about the packet (`NFT_META_*`) into a register.
    Load { key: u32, register: u32 },
    /// Loads bytes of a header: base 1 is the network header, 2 the transport header.
    Payload { base: u32, offset: u32, length: u32, register: u32 },
    /// Compares a register with a value: equal 0, unequal 1, less 2, at most 3, at least 5.
    Compare { operator: u32, register: u32, value: Vec<u8> },
    /// Keeps the bits of a register that are set in the mask.
    Mask { mask: Vec<u8>, register: u32 },
    /// Looks a register up in a set.
    Lookup { set: Set, register: u32 },
    /// Puts the key that begins in a register into a set, or makes it young again.
    Update { set: Set, register: u32 },
    /// Hashes `length` bytes from a register on, modulo 100.
    Hash { from: u32, length: u32, register: u32 },
    /// A random number modulo 100.
    Random { register: u32 },
    /// Turns a register from the machine's order into the network's, in which comparisons are made.
    NetworkOrder { register: u32 },
    /// Counts packets and bytes.
    Count,
    /// Puts a number into a register.
    Put { value: u32, register: u32 },
    /// Sets the packet's priority from a register.
    SetPriority { register: u32 },
    /// Sends the packet out by the link whose index is in a register. Ends the chain.
    Forward { register: u32 },
    /// Ends the chain.
    Verdict(u32),
    /// Goes on in another chain, and ends with it.
    Goto(String),
}

/// `NFT_META_*`.
mod meta {
    pub(super) const PROTOCOL: u32 = 1;
    pub(super) const PRIORITY: u32 = 2;
    pub(super) const IIF: u32 = 4;
    pub(super) const OIF: u32 = 5;
    pub(super) const SKGID: u32 = 11;
    pub(super) const NFPROTO: u32 = 15;
    pub(super) const L4PROTO: u32 = 16;
}

const EQUAL: u32 = 0;
const UNEQUAL: u32 = 1;
const LESS: u32 = 2;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// `NFT_REG_VERDICT` and the first register for data.
const VERDICT: u32 = 0;
const FIRST: u32 = 1;
/// The first of the registers of 32 bits.
const FIRST_32: u32 = 8;
const DROP: u32 = 0;
/// `NFT_GOTO`.
const GOTO: i32 = -4;
const ACCEPT: u32 = 1;
/// `IPPROTO_ICMPV6`, and its types from router solicitation to redirect.
const ICMP6: u8 = 58;
const NEIGHBOUR_DISCOVERY: (u8, u8) = (133, 137);
/// Any number: the same for all, so that a flow's fate is the same in every effect of the same share.
const SEED: u32 = 0x7466;

/// The steps of one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expressions(pub(super) Vec<Expression>);

impl Expressions {
    fn then(mut self, step: Expression) -> Self {
        self.0.push(step);
        self
    }

    fn fact_is(self, key: u32, value: &[u8]) -> Self {
        self.then(Expression::Load { key, register: FIRST }).compare(EQUAL, value)
    }

    fn compare(self, operator: u32, value: &[u8]) -> Self {
        self.then(Expression::Compare { operator, register: FIRST, value: value.to_vec() })
    }

    /// Packets of sockets that were made with this file-system group.
    pub(super) fn group(self, group: u32) -> Self {
        self.fact_is(meta::SKGID, &group.to_ne_bytes())
    }

    pub(super) fn neighbour_discovery(self, hook: Hook) -> Self {
        let (first, last) = NEIGHBOUR_DISCOVERY;
        self.family(hook, Family::V6)
            .fact_is(meta::L4PROTO, &[ICMP6])
            .then(Expression::Payload { base: TRANSPORT, offset: 0, length: 1, register: FIRST })
            .compare(AT_LEAST, &[first])
            .compare(AT_MOST, &[last])
    }

    pub(super) fn family(self, hook: Hook, family: Family) -> Self {
        match hook.is_on_links() {
            true => self.fact_is(meta::PROTOCOL, &family.ether_type()),
            false => self.fact_is(meta::NFPROTO, &[family.number()]),
        }
    }

    /// Loads the address of the other side. Only packets of this family.
    pub(super) fn peer_address(self, hook: Hook, family: Family) -> Self {
        self.family(hook, family).peer_address_of(hook, family)
    }

    /// Loads the address of the other side of a packet that is known to be of this family.
    pub(super) fn peer_address_of(self, hook: Hook, family: Family) -> Self {
        let (offset, length) = (family.peer_offset(hook.direction()), family.address_length());
        self.then(Expression::Payload { base: NETWORK, offset, length, register: FIRST })
    }

    /// Packets to that address, or from it.
    pub(super) fn peer(self, hook: Hook, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.peer_address(hook, Family::V4).compare(EQUAL, &v4.octets()),
            IpAddr::V6(v6) => self.peer_address(hook, Family::V6).compare(EQUAL, &v6.octets()),
        }
    }

    pub(super) fn link(self, hook: Hook, index: u32) -> Self {
        let key = match hook.direction() {
            Direction::Egress => meta::OIF,
            Direction::Ingress => meta::IIF,
        };
        self.fact_is(key, &index.to_ne_bytes())
    }

    /// Goes on only if the first `length` bits of the address that was loaded are those of `first`. The rest of
    /// the address is lost.
    pub(super) fn within(self, first: &[u8], length: u32) -> Self {
        let kept = |byte: u32| {
            let bits = length.saturating_sub(8 * byte).min(8);
            u8::MAX.checked_shl(8 - bits).unwrap_or(0)
        };
        let mask: Vec<u8> = (0..first.len() as u32).map(kept).collect();
        let all = mask.iter().all(|byte| *byte == u8::MAX);
        let rule = if all { self } else { self.then(Expression::Mask { mask, register: FIRST }) };
        rule.compare(EQUAL, first)
    }

    /// Goes on only if what was loaded is in the set.
    pub(super) fn find(self, set: Set) -> Self {
        self.then(Expression::Lookup { set, register: FIRST })
    }

    /// Loads the flow that the packet is of: address of the peer, protocol, port of the peer, our port. Only
    /// packets of this family.
    pub(super) fn flow(self, hook: Hook, family: Family) -> Self {
        let [protocol, peer_port, own_port] = family.words_after_address();
        let (peer_offset, own_offset) = match hook.direction() {
            Direction::Egress => (2, 0),
            Direction::Ingress => (0, 2),
        };
        let port = |offset, register| Expression::Payload { base: TRANSPORT, offset, length: 2, register };
        self.peer_address(hook, family)
            .then(Expression::Load { key: meta::L4PROTO, register: protocol })
            .then(port(peer_offset, peer_port))
            .then(port(own_offset, own_port))
    }

    /// Notes in the set what was loaded.
    pub(super) fn note(self, set: Set) -> Self {
        self.then(Expression::Update { set, register: FIRST })
    }

    pub(super) fn protocol(self, protocol: Protocol) -> Self {
        self.fact_is(meta::L4PROTO, &[protocol.number()])
    }

    pub(super) fn neither_tcp_nor_udp(self) -> Self {
        self.then(Expression::Load { key: meta::L4PROTO, register: FIRST })
            .compare(UNEQUAL, &[Protocol::Tcp.number()])
            .compare(UNEQUAL, &[Protocol::Udp.number()])
    }

    /// Packets to that port.
    pub(super) fn port(self, protocol: Protocol, port: u16) -> Self {
        self.protocol(protocol)
            .then(Expression::Payload { base: TRANSPORT, offset: 2, length: 2, register: FIRST })
            .compare(EQUAL, &port.to_be_bytes())
    }

    /// A share of the flows: by a hash of addresses and protocol, and of the ports where there are some.
    pub(super) fn flows(self, family: Family, ports: bool, percent: u8) -> Self {
        let addresses = 2 * family.address_length();
        let mut next = FIRST_32 + addresses / 4;
        let mut rule = self.then(Expression::Payload {
            base: NETWORK,
            offset: family.sender_offset(),
            length: addresses,
            register: FIRST_32,
        });
        if ports {
            rule = rule.then(Expression::Payload { base: TRANSPORT, offset: 0, length: 4, register: next });
            next += 1;
        }
        rule = rule.then(Expression::Load { key: meta::L4PROTO, register: next });
        let length = 4 * (next + 1 - FIRST_32);
        rule.then(Expression::Hash { from: FIRST_32, length, register: FIRST }).below(percent)
    }

    /// A share of the packets, by chance.
    pub(super) fn by_chance(self, percent: u8) -> Self {
        if percent == 100 {
            return self;
        }
        self.then(Expression::Random { register: FIRST }).below(percent)
    }

    fn below(self, percent: u8) -> Self {
        self.then(Expression::NetworkOrder { register: FIRST })
            .compare(LESS, &u32::from(percent).to_be_bytes())
    }

    pub(super) fn count(self) -> Self {
        self.then(Expression::Count)
    }

    pub(super) fn set_priority(self, class: u32) -> Self {
        self.then(Expression::Put { value: class, register: FIRST })
            .then(Expression::SetPriority { register: FIRST })
    }

    pub(super) fn forward(self, link: u32) -> Self {
        self.then(Expression::Put { value: link, register: FIRST })
            .then(Expression::Forward { register: FIRST })
    }

    pub(super) fn goto(self, chain: &str) -> Self {
        self.then(Expression::Goto(chain.to_owned()))
    }

    pub(super) fn accept(self) -> Self {
        self.then(Expression::Verdict(ACCEPT))
    }

    pub(super) fn drop(self) -> Self {
        self.then(Expression::Verdict(DROP))
    }

    /// The list as a rule carries it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for step in &self.0 {
            let (name, data) = step.encode();
            let mut element = Vec::new();
            wire::attribute(&mut element, 1, &wire::text(name));
            wire::nested(&mut element, 2, &data);
            wire::nested(&mut list, 1, &element);
        }
        list
    }
}

impl Expression {
    /// Its name and its attributes, all numbers in the network's order.
    fn encode(&self) -> (&'static str, Vec<u8>) {
        let numbers = |pairs: &[(u16, u32)]| {
            let mut data = Vec::new();
            for (kind, number) in pairs {
                wire::attribute(&mut data, *kind, &number.to_be_bytes());
            }
            data
        };
        match self {
            Expression::Load { key, register } => ("meta", numbers(&[(2, *key), (1, *register)])),
            Expression::SetPriority { register } => ("meta", numbers(&[(2, meta::PRIORITY), (3, *register)])),
            Expression::Payload { base, offset, length, register } => {
                ("payload", numbers(&[(1, *register), (2, *base), (3, *offset), (4, *length)]))
            }
            Expression::Compare { operator, register, value } => {
                let mut data = numbers(&[(1, *register), (2, *operator)]);
                wire::nested(&mut data, 3, &value_of(value));
                ("cmp", data)
            }
            Expression::Mask { mask, register } => {
                // NFT_BITWISE_MASK_XOR is 0.
                let mut data = numbers(&[(1, *register), (2, *register), (6, 0), (3, mask.len() as u32)]);
                wire::nested(&mut data, 4, &value_of(mask));
                wire::nested(&mut data, 5, &value_of(&vec![0; mask.len()]));
                ("bitwise", data)
            }
            Expression::Lookup { set, register } => {
                let mut data = numbers(&[(2, *register)]);
                wire::attribute(&mut data, 1, &wire::text(&set.name));
                wire::attribute(&mut data, 4, &set.number.to_be_bytes());
                ("lookup", data)
            }
            Expression::Update { set, register } => {
                // NFT_DYNSET_OP_UPDATE is 1.
                let mut data = numbers(&[(4, *register), (3, 1)]);
                wire::attribute(&mut data, 1, &wire::text(&set.name));
                wire::attribute(&mut data, 2, &set.number.to_be_bytes());
                ("dynset", data)
            }
            Expression::Forward { register } => ("fwd", numbers(&[(1, *register)])),
            Expression::Hash { from, length, register } => {
                ("hash", numbers(&[(1, *from), (2, *register), (3, *length), (4, 100), (5, SEED), (7, 0)]))
            }
            Expression::Random { register } => {
                ("numgen", numbers(&[(1, *register), (2, 100), (3, 1), (4, 0)]))
            }
            Expression::NetworkOrder { register } => {
                ("byteorder", numbers(&[(1, *register), (2, *register), (3, 1), (4, 4), (5, 4)]))
            }
            Expression::Count => ("counter", Vec::new()),
            Expression::Put { value, register } => {
                let mut data = numbers(&[(1, *register)]);
                wire::nested(&mut data, 2, &value_of(&value.to_ne_bytes()));
                ("immediate", data)
            }
            Expression::Verdict(code) => ("immediate", verdict(&numbers(&[(1, *code)]))),
            Expression::Goto(chain) => {
                let mut code = numbers(&[(1, GOTO as u32)]);
                wire::attribute(&mut code, 2, &wire::text(chain));
                ("immediate", verdict(&code))
            }
        }
    }
}

fn verdict(code: &[u8]) -> Vec<u8> {
    let (mut data, mut verdict) = (Vec::new(), Vec::new());
    wire::attribute(&mut data, 1, &VERDICT.to_be_bytes());
    wire::nested(&mut verdict, 2, code);
    wire::nested(&mut data, 2, &verdict);
    data
}

fn value_of(bytes: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    wire::attribute(&mut data, 1, bytes);
    data
}

/// What the counter of a rule of `chain` says, in packets. `rule` are the attributes of the rule.
pub(super) fn counted(rule: &[u8], chain: &str) -> Option<u64> {
    if wire::words(wire::find(rule, 2)?) != chain {
        return None;
    }
    let mut list = wire::attributes(wire::find(rule, 4)?);
    let counter = list.find_map(|(_, step)| {
        (wire::words(wire::find(step, 1)?) == "counter").then(|| wire::find(step, 2)).flatten()
    })?;
    Some(u64::from_be_bytes(wire::find(counter, 2)?.try_into().ok()?))
}
