//! The families of addresses: what depends on them in a rule.

use std::net::IpAddr;

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::Register;

use crate::net::nft::chain::Hook;
use crate::net::nft::set::{KeyType, Keys, Set};
use crate::net::target::{Ranges, TargetSet};
use crate::net::uapi::if_ether::{ETH_P_IP, ETH_P_IPV6};
use faults::network_source::Direction;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    pub(super) fn protocol(self) -> u8 {
        match self {
            Family::V4 => NetfilterProtoFamily::IPv4.into(),
            Family::V6 => NetfilterProtoFamily::IPv6.into(),
        }
    }

    /// As link layers name it, in the network's order.
    pub(super) fn ether_type(self) -> [u8; 2] {
        let ether_type = match self {
            Family::V4 => ETH_P_IP,
            Family::V6 => ETH_P_IPV6,
        };
        ether_type.to_be_bytes()
    }

    pub(super) fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Family::V4)
    }

    /// What its addresses are as keys of a set.
    pub(super) fn keys(self) -> Keys<'static> {
        let parts: &[KeyType] = match self {
            Family::V4 => &[KeyType::Ipv4Address],
            Family::V6 => &[KeyType::Ipv6Address],
        };
        Keys { parts, length: self.address_length() }
    }

    /// What families themselves are as keys of a set, as the hook knows them.
    pub(super) fn own_keys(hook: Hook) -> Keys<'static> {
        match hook.is_on_devices() {
            true => Keys { parts: &[KeyType::EtherType], length: 2 },
            false => Keys { parts: &[KeyType::NetfilterProtocol], length: 1 },
        }
    }

    /// The family as such a key.
    pub(super) fn own_key(self, hook: Hook) -> Vec<u8> {
        match hook.is_on_devices() {
            true => self.ether_type().to_vec(),
            false => vec![self.protocol()],
        }
    }

    /// What its flows are as keys of a set: address of the peer, protocol, port of the peer, our port.
    pub(super) fn flow_keys(self) -> Keys<'static> {
        const AFTER_ADDRESS: u32 = 3 * u32::BITS / u8::BITS;
        let parts: &[KeyType] = match self {
            Family::V4 => &[KeyType::Ipv4Address, KeyType::Protocol, KeyType::Port, KeyType::Port],
            Family::V6 => &[KeyType::Ipv6Address, KeyType::Protocol, KeyType::Port, KeyType::Port],
        };
        Keys { parts, length: self.address_length() + AFTER_ADDRESS }
    }

    pub(super) fn address_length(self) -> u32 {
        match self {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }

    /// Where the address of the sender lies in the header; that of the receiver follows it.
    pub(super) fn sender_offset(self) -> u32 {
        match self {
            Family::V4 => 12,
            Family::V6 => 8,
        }
    }

    /// Where the address of the other side lies in the header.
    pub(super) fn peer_offset(self, direction: Direction) -> u32 {
        match direction {
            Direction::Egress => self.sender_offset() + self.address_length(),
            Direction::Ingress => self.sender_offset(),
        }
    }

    /// The filter's set for single addresses of this family.
    pub(super) fn singles(self, filter: &str) -> Set {
        Set { name: format!("{filter}_{}", self.suffix()), id: self.ordinal() }
    }

    /// The filter's set for ranges of this family.
    pub(super) fn ranges(self, filter: &str) -> Set {
        Set { name: format!("{filter}_{}_ranges", self.suffix()), id: 2 + self.ordinal() }
    }

    /// The set of our own flows for this family.
    pub(super) fn own_flows(self, filter: &str) -> Set {
        Set { name: format!("{filter}_own_{}", self.suffix()), id: 4 + self.ordinal() }
    }

    pub(super) fn suffix(self) -> &'static str {
        match self {
            Family::V4 => "v4",
            Family::V6 => "v6",
        }
    }

    fn ordinal(self) -> u32 {
        match self {
            Family::V4 => 1,
            Family::V6 => 2,
        }
    }

    /// The registers after an address in the first, one word each, by the names that `nft` has for them.
    pub(super) fn words_after_address(self) -> [Register; 3] {
        match self {
            Family::V4 => [Register::Reg32_01, Register::Reg32_02, Register::Reg32_03],
            Family::V6 => [Register::Reg2, Register::Reg32_05, Register::Reg32_06],
        }
    }

    pub(super) fn of(self, targets: &TargetSet) -> &Ranges {
        match self {
            Family::V4 => &targets.v4,
            Family::V6 => &targets.v6,
        }
    }

    /// The address as it stands in a header.
    pub(super) fn bytes(self, address: u128) -> AddressBytes {
        AddressBytes { bytes: address.to_be_bytes(), length: self.address_length() as usize }
    }

    /// The next address, if there is one.
    pub(super) fn after(self, address: u128) -> Option<u128> {
        match self {
            Family::V4 => (address < u128::from(u32::MAX)).then(|| address + 1),
            Family::V6 => address.checked_add(1),
        }
    }
}

/// An address as it stands in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AddressBytes {
    bytes: [u8; 16],
    /// How many of the bytes are the address, at their end.
    length: usize,
}

impl AsRef<[u8]> for AddressBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.bytes.len() - self.length..]
    }
}
