//! Where chains are called, and the families of addresses: what depends on them in a rule.

use std::net::IpAddr;

use super::super::target::{Ranges, Reach};
use faults::network_source::Direction;

/// Where a chain is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// For packets of this machine's sockets, before they are routed.
    Output,
    /// For packets to this machine's sockets, after they were routed.
    Input,
    /// For all that comes in by a link, before anything else.
    Arrival,
    /// For all that leaves by a link, after everything else.
    Departure,
}

impl Hook {
    /// Its number in its kind of table.
    pub(super) fn number(self) -> u32 {
        match self {
            Hook::Output => 3,
            Hook::Input | Hook::Departure => 1,
            Hook::Arrival => 0,
        }
    }

    /// Whether its chains are on links, rather than on the whole namespace.
    pub(super) fn is_on_links(self) -> bool {
        matches!(self, Hook::Arrival | Hook::Departure)
    }

    /// For errors.
    pub(super) fn words(self) -> &'static str {
        match self {
            Hook::Output => " to the output hook",
            Hook::Input => " to the input hook",
            Hook::Arrival => " to the ingress hook",
            Hook::Departure => " to the egress hook",
        }
    }

    pub(super) fn direction(self) -> Direction {
        match self {
            Hook::Output | Hook::Departure => Direction::Egress,
            Hook::Input | Hook::Arrival => Direction::Ingress,
        }
    }
}

/// A set of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) name: String,
    /// Within the change that makes it.
    pub(super) number: u32,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    pub(super) fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// As link layers name it, in the network's order.
    pub(super) fn ether_type(self) -> [u8; 2] {
        match self {
            Family::V4 => [0x08, 0x00],
            Family::V6 => [0x86, 0xdd],
        }
    }

    pub(super) fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Family::V4)
    }

    /// The number that `nft` gives the type of the addresses, so that it can print them.
    pub(super) fn key_type(self) -> u32 {
        match self {
            Family::V4 => 7,
            Family::V6 => 8,
        }
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
    pub(super) fn singles(self, name: &str) -> Set {
        Set { name: format!("{name}_{}", self.suffix()), number: self.ordinal() }
    }

    /// The filter's set for ranges of this family.
    pub(super) fn ranges(self, name: &str) -> Set {
        Set { name: format!("{name}_{}_ranges", self.suffix()), number: 2 + self.ordinal() }
    }

    /// The set of our own flows for this family.
    pub(super) fn own(self, name: &str) -> Set {
        Set { name: format!("{name}_own_{}", self.suffix()), number: 4 + self.ordinal() }
    }

    fn suffix(self) -> &'static str {
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
    pub(super) fn words_after_address(self) -> [u32; 3] {
        match self {
            Family::V4 => [9, 10, 11],
            Family::V6 => [2, 13, 14],
        }
    }

    pub(super) fn of(self, reach: &Reach) -> &Ranges {
        match self {
            Family::V4 => &reach.v4,
            Family::V6 => &reach.v6,
        }
    }

    /// The address as it stands in a header.
    pub(super) fn bytes(self, address: u128) -> Vec<u8> {
        let bytes = address.to_be_bytes();
        bytes[bytes.len() - self.address_length() as usize..].to_vec()
    }

    /// The next address, if there is one.
    pub(super) fn after(self, address: u128) -> Option<u128> {
        match self {
            Family::V4 => (address < u128::from(u32::MAX)).then(|| address + 1),
            Family::V6 => address.checked_add(1),
        }
    }
}
