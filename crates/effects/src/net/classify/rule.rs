//! A rule in words of a filter: which packets go on, and what becomes of them.

use std::net::{IpAddr, SocketAddr};

use netlink_packet_netfilter::nftables::{Expressions, MetaKey, Operator, Register};
use rtnetlink::packet_route::tc::TcHandle;

use super::family::Family;
use crate::net::nft::chain::Hook;
use crate::net::nft::expression::{
    self, Counter, Forward, Hash, Header, HostToNetwork, Queue, Random, TcpReset, ToPort, Update,
};
use crate::net::nft::set::Set;
use faults::network_reset::Connections;
use faults::network_source::{Direction, Protocol};

/// The register of values that are used at once.
const FIRST: Register = Register::Reg1;
/// Where the ports begin in a transport header, and how long one is, in bytes.
const SOURCE_PORT: u32 = 0;
const DESTINATION_PORT: u32 = 2;
const PORT: u32 = 2;
/// Where the flags of TCP are, in bytes, and those that say what a packet is to its connection (RFC 9293, 3.1).
const TCP_FLAGS: u32 = 13;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// The types of ICMPv6 from router solicitation to redirect (RFC 4861).
const NEIGHBOUR_DISCOVERY: (u8, u8) = (133, 137);
/// What shares are of.
const HUNDRED: u32 = 100;
/// The protocol number of ICMPv6 (RFC 4443).
const ICMP_V6: u8 = 58;
/// The number of a queue that nobody listens to.
const UNHEARD: u16 = 29_798;
/// Any number: the same for all, so that a flow's fate is the same in every effect of the same share.
const SEED: u32 = 0x7466;

/// One side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Remote,
    Local,
}

/// The expressions of one rule, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule(pub(super) Vec<Expressions>);

impl Rule {
    fn then(mut self, step: impl Into<Expressions>) -> Self {
        self.0.push(step.into());
        self
    }

    fn meta_is(self, key: MetaKey, value: &[u8]) -> Self {
        self.then(expression::load_meta(key, FIRST)).compare(Operator::Equal, value)
    }

    fn compare(self, operator: Operator, value: &[u8]) -> Self {
        self.then(expression::compare(FIRST, operator, value))
    }

    /// Packets of sockets that were made with this file-system group.
    pub(super) fn group(self, group: u32) -> Self {
        self.meta_is(MetaKey::SocketGroupId, &group.to_ne_bytes())
    }

    pub(super) fn neighbour_discovery(self, hook: Hook) -> Self {
        let (first, last) = NEIGHBOUR_DISCOVERY;
        let kind = (0, 1);
        self.family(hook, Family::V6)
            .meta_is(MetaKey::L4Proto, &[ICMP_V6])
            .then(expression::load_payload(Header::Transport, kind.0, kind.1, FIRST))
            .compare(Operator::GreatherThanEqual, &[first])
            .compare(Operator::LessThanEqual, &[last])
    }

    pub(super) fn family(self, hook: Hook, family: Family) -> Self {
        self.family_of(hook).compare(Operator::Equal, &family.own_key(hook))
    }

    /// Loads the family of the packet.
    pub(super) fn family_of(self, hook: Hook) -> Self {
        let key = if hook.is_on_devices() { MetaKey::EtherTypeProtocol } else { MetaKey::Nfproto };
        self.then(expression::load_meta(key, FIRST))
    }

    /// Loads the address of the other side. Only packets of this family.
    pub(super) fn peer_address(self, hook: Hook, family: Family) -> Self {
        self.family(hook, family).peer_address_of(hook, family)
    }

    /// Loads the address of the other side of a packet that is known to be of this family.
    pub(super) fn peer_address_of(self, hook: Hook, family: Family) -> Self {
        let (offset, length) = (family.peer_offset(direction(hook)), family.address_length());
        self.then(expression::load_payload(Header::Network, offset, length, FIRST))
    }

    /// Packets to that address, or from it.
    pub(super) fn peer(self, hook: Hook, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.peer_address(hook, Family::V4).compare(Operator::Equal, &v4.octets()),
            IpAddr::V6(v6) => self.peer_address(hook, Family::V6).compare(Operator::Equal, &v6.octets()),
        }
    }

    /// Packets of TCP to that address and port, or from it.
    pub(super) fn tcp_peer(self, hook: Hook, peer: SocketAddr) -> Self {
        let offset = match direction(hook) {
            Direction::Egress => DESTINATION_PORT,
            Direction::Ingress => SOURCE_PORT,
        };
        self.peer(hook, peer.ip())
            .protocol(Protocol::Tcp)
            .then(expression::load_payload(Header::Transport, offset, PORT, FIRST))
            .compare(Operator::Equal, &peer.port().to_be_bytes())
    }

    pub(super) fn link(self, hook: Hook, index: u32) -> Self {
        let key = match direction(hook) {
            Direction::Egress => MetaKey::Oif,
            Direction::Ingress => MetaKey::Iif,
        };
        self.meta_is(key, &index.to_ne_bytes())
    }

    /// Goes on only if the first `length` bits of the address that was loaded are those of `first`. The rest of
    /// the address is lost.
    pub(super) fn within(self, first: &[u8], length: u32) -> Self {
        let kept = |byte: u32| {
            let bits = length.saturating_sub(8 * byte).min(8);
            u8::MAX.checked_shl(8 - bits).unwrap_or(0)
        };
        let mask: Vec<u8> = (0..).take(first.len()).map(kept).collect();
        let all = mask.iter().all(|byte| *byte == u8::MAX);
        let rule = if all { self } else { self.then(expression::mask(FIRST, &mask)) };
        rule.compare(Operator::Equal, first)
    }

    /// Goes on only if what was loaded is in the set.
    pub(super) fn find(self, set: &Set) -> Self {
        self.then(expression::lookup(FIRST, set))
    }

    /// Goes on only if what was loaded is not in the set.
    pub(super) fn miss(self, set: &Set) -> Self {
        self.then(expression::lookup_missing(FIRST, set))
    }

    /// Loads the flow that the packet is of: address of the peer, protocol, port of the peer, our port. Only
    /// packets of this family.
    pub(super) fn flow(self, hook: Hook, family: Family) -> Self {
        let [protocol, peer_port, own_port] = family.words_after_address();
        let (peer_offset, own_offset) = match direction(hook) {
            Direction::Egress => (DESTINATION_PORT, SOURCE_PORT),
            Direction::Ingress => (SOURCE_PORT, DESTINATION_PORT),
        };
        let port = |offset, register| expression::load_payload(Header::Transport, offset, PORT, register);
        self.peer_address(hook, family)
            .then(expression::load_meta(MetaKey::L4Proto, protocol))
            .then(port(peer_offset, peer_port))
            .then(port(own_offset, own_port))
    }

    /// Notes in the set what was loaded.
    pub(super) fn note(self, set: &Set) -> Self {
        self.then(Update { set, key: FIRST })
    }

    pub(super) fn protocol(self, protocol: Protocol) -> Self {
        self.meta_is(MetaKey::L4Proto, &[protocol.number()])
    }

    pub(super) fn other_protocol(self, protocol: Protocol) -> Self {
        self.then(expression::load_meta(MetaKey::L4Proto, FIRST))
            .compare(Operator::NotEqual, &[protocol.number()])
    }

    /// Loads the port of one side of a packet that is known to have ports.
    pub(super) fn port_of(self, hook: Hook, side: Side) -> Self {
        let offset = match (direction(hook), side) {
            (Direction::Egress, Side::Remote) | (Direction::Ingress, Side::Local) => DESTINATION_PORT,
            (Direction::Egress, Side::Local) | (Direction::Ingress, Side::Remote) => SOURCE_PORT,
        };
        self.then(expression::load_payload(Header::Transport, offset, PORT, FIRST))
    }

    /// Packets of TCP connections that can be reset: a reset is not answered with another.
    pub(super) fn connections(self, connections: Connections) -> Self {
        let rule = self.protocol(Protocol::Tcp).tcp_flags(RST, Operator::Equal, 0);
        match connections {
            Connections::All => rule,
            Connections::New => rule.tcp_flags(SYN | ACK, Operator::Equal, SYN),
            Connections::Established => rule.tcp_flags(SYN | ACK, Operator::NotEqual, SYN),
        }
    }

    fn tcp_flags(self, mask: u8, operator: Operator, value: u8) -> Self {
        self.then(expression::load_payload(Header::Transport, TCP_FLAGS, 1, FIRST))
            .then(expression::mask(FIRST, &[mask]))
            .compare(operator, &[value])
    }

    pub(super) fn neither_tcp_nor_udp(self) -> Self {
        self.then(expression::load_meta(MetaKey::L4Proto, FIRST))
            .compare(Operator::NotEqual, &[Protocol::Tcp.number()])
            .compare(Operator::NotEqual, &[Protocol::Udp.number()])
    }

    /// Packets to that port.
    pub(super) fn port(self, protocol: Protocol, port: u16) -> Self {
        self.protocol(protocol)
            .then(expression::load_payload(Header::Transport, DESTINATION_PORT, PORT, FIRST))
            .compare(Operator::Equal, &port.to_be_bytes())
    }

    /// A share of the flows: by a hash of addresses and protocol, and of the ports where there are some.
    pub(super) fn flows(self, family: Family, ports: bool, percent: u8) -> Self {
        const WORD: u32 = u32::BITS / u8::BITS;
        let addresses = 2 * family.address_length();
        let mut words = addresses / WORD;
        let load = expression::load_payload(Header::Network, family.sender_offset(), addresses, word(0));
        let mut rule = self.then(load);
        if ports {
            rule = rule.then(expression::load_payload(Header::Transport, SOURCE_PORT, 2 * PORT, word(words)));
            words += 1;
        }
        rule.then(expression::load_meta(MetaKey::L4Proto, word(words)))
            .then(Hash {
                source: word(0),
                destination: FIRST,
                length: WORD * (words + 1),
                modulus: HUNDRED,
                seed: SEED,
            })
            .below(percent)
    }

    /// A share of the packets, by chance.
    pub(super) fn by_chance(self, percent: u8) -> Self {
        if percent == 100 {
            return self;
        }
        self.then(Random { destination: FIRST, modulus: HUNDRED }).below(percent)
    }

    fn below(self, percent: u8) -> Self {
        self.then(HostToNetwork { register: FIRST })
            .compare(Operator::LessThan, &u32::from(percent).to_be_bytes())
    }

    pub(super) fn count(self) -> Self {
        self.then(Counter::start())
    }

    pub(super) fn set_priority(self, class: TcHandle) -> Self {
        self.then(expression::put(FIRST, &u32::from(class).to_ne_bytes()))
            .then(expression::set_meta(MetaKey::Priority, FIRST))
    }

    pub(super) fn forward(self, link: u32) -> Self {
        self.then(expression::put(FIRST, &link.to_ne_bytes())).then(Forward { device: FIRST })
    }

    /// First packets of connections over TCP. Only packets of TCP.
    pub(super) fn opening(self) -> Self {
        self.tcp_flags(FIN | SYN | RST | ACK, Operator::Equal, SYN)
    }

    pub(super) fn redirect_to(self, port: u16) -> Self {
        self.then(expression::put(FIRST, &port.to_be_bytes())).then(ToPort { port: FIRST })
    }

    pub(super) fn goto(self, chain: &str) -> Self {
        self.then(expression::goto(chain))
    }

    pub(super) fn accept(self) -> Self {
        self.then(expression::accept())
    }

    pub(super) fn drop(self) -> Self {
        self.then(expression::drop())
    }

    pub(super) fn reset(self) -> Self {
        self.then(TcpReset)
    }

    pub(super) fn discard(self) -> Self {
        self.then(Queue { number: UNHEARD })
    }
}

/// The direction of the packets that a hook sees.
fn direction(hook: Hook) -> Direction {
    match hook {
        Hook::Output | Hook::Egress => Direction::Egress,
        Hook::Input | Hook::Prerouting | Hook::Ingress => Direction::Ingress,
    }
}

/// One of the registers of 32 bits, counted from 0.
fn word(number: u32) -> Register {
    Register::from(u32::from(Register::Reg32_00) + number)
}
