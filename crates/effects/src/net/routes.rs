//! Routes: by which interface the kernel sends packets out, as it says itself when it is asked.

use std::net::IpAddr;

use nix::errno::Errno;
use rtnetlink::packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NlasIterator, ParseableParametrized,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteLwEnCapType, RouteMessage, RouteType,
};
use rtnetlink::packet_route::rule::{RuleHeader, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::{NetlinkError, Request, Route};

/// A route of the kernel's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where its prefix begins. None is the beginning of all addresses.
    pub destination: Option<IpAddr>,
    /// Whether it is one of IPv4.
    pub is_v4: bool,
    /// How many bits of the destination count.
    pub prefix_length: u8,
    /// `RT_TABLE_*`; a number above 255 is 252 here.
    pub table: u8,
    /// Whether packets leave by it, rather than being refused or being for this machine.
    pub is_unicast: bool,
    /// The numbers of the interfaces that it leads out by: several where it has several next hops.
    pub interfaces: Vec<u32>,
}

/// All routes of both families.
///
/// # Errors
/// The kernel refused the list.
pub fn list(route: &mut Route) -> Result<Vec<Entry>, NetlinkError> {
    let every_route = RouteNetlinkMessage::GetRoute(RouteMessage::default());
    let listed: Vec<Listed> = route.dump(Request::new("list the routes", 0, every_route))?;
    Ok(listed.into_iter().map(|listed| listed.0).collect())
}

/// The interfaces of all default routes of the main table, of IPv4 and of IPv6, by number and without doubles.
///
/// # Errors
/// The kernel refused the list.
pub fn default_interfaces(route: &mut Route) -> Result<Vec<u32>, NetlinkError> {
    Ok(interfaces_of_defaults(&list(route)?))
}

fn interfaces_of_defaults(entries: &[Entry]) -> Vec<u32> {
    let is_default = |entry: &&Entry| {
        entry.is_unicast && entry.prefix_length == 0 && entry.table == RouteHeader::RT_TABLE_MAIN
    };
    let mut all: Vec<u32> =
        entries.iter().filter(is_default).flat_map(|entry| entry.interfaces.clone()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The number of the interface by which a packet to `address` leaves: that of loopback where the address is one of
/// this machine. None where there is no way to it.
///
/// # Errors
/// The kernel could not be asked.
pub fn way_to(route: &mut Route, address: IpAddr) -> Result<Option<u32>, NetlinkError> {
    let mut message = RouteMessage::default();
    let (family, bits) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, u32::BITS),
        IpAddr::V6(_) => (AddressFamily::Inet6, u128::BITS),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = u8::try_from(bits).unwrap_or(u8::MAX);
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::from(address))];
    let question =
        Request::new(format!("find the way to {address}"), 0, RouteNetlinkMessage::GetRoute(message));
    match route.ask::<Listed>(question) {
        // A route that refuses has none.
        Ok(Listed(entry)) => Ok(entry.interfaces.first().copied()),
        // No route, or one that refuses.
        Err(error) if error.errno().is_some_and(is_no_way) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_no_way(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL | Errno::EAFNOSUPPORT
    )
}

/// Whether the choice of a route depends on more than the address: there are rules beside the three of the kernel's
/// own, so that a socket's source address, mark or user may lead it elsewhere.
pub fn depend_on_more(route: &mut Route) -> bool {
    let every_rule = RouteNetlinkMessage::GetRule(RuleMessage::default());
    let tables: Vec<RuleTable> =
        route.dump(Request::new("list the routing rules", 0, every_rule)).unwrap_or_default();
    tables.iter().any(|table| !OWN_TABLES.contains(&table.0))
}

/// `RT_TABLE_DEFAULT`, `RT_TABLE_MAIN`, `RT_TABLE_LOCAL`.
const OWN_TABLES: std::ops::RangeInclusive<u8> = 253..=255;

/// The table that a rule leads to.
struct RuleTable(u8);

impl NetlinkDeserializable for RuleTable {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<RuleTable, DecodeError> {
        Ok(RuleTable(RuleHeader::parse(payload)?.table))
    }
}

/// A route as a dump, or an answer, describes it.
struct Listed(Entry);

impl NetlinkDeserializable for Listed {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Listed, DecodeError> {
        let header = RouteHeader::parse(payload)?;
        let mut entry = Entry {
            destination: None,
            is_v4: header.address_family == AddressFamily::Inet,
            prefix_length: header.destination_prefix_length,
            table: header.table,
            is_unicast: header.kind == RouteType::Unicast,
            interfaces: Vec::new(),
        };
        let refuses = matches!(
            header.kind,
            RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw
        );
        let attributes = payload.get(header.buffer_len()..).unwrap_or_default();
        for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
            let parameters = (header.address_family, header.kind, RouteLwEnCapType::None);
            // What cannot be read is nothing that is asked for here.
            match RouteAttribute::parse_with_param(&attribute, parameters) {
                Ok(RouteAttribute::Destination(RouteAddress::Inet(v4))) => {
                    entry.destination = Some(v4.into())
                }
                Ok(RouteAttribute::Destination(RouteAddress::Inet6(v6))) => {
                    entry.destination = Some(v6.into())
                }
                Ok(RouteAttribute::Oif(index)) if !refuses => entry.interfaces.push(index),
                Ok(RouteAttribute::MultiPath(hops)) if !refuses => {
                    entry.interfaces.extend(hops.iter().map(|hop| hop.interface_index));
                }
                _ => {}
            }
        }
        Ok(Listed(entry))
    }
}

/// Reads bytes as a route that the kernel lists.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = Listed::deserialize(&NetlinkHeader::default(), bytes);
}

#[cfg(test)]
mod tests {
    use super::super::link;
    use super::*;

    fn default_by(interfaces: &[u32], table: u8, is_unicast: bool) -> Entry {
        let interfaces = interfaces.to_vec();
        Entry { destination: None, is_v4: true, prefix_length: 0, table, is_unicast, interfaces }
    }

    #[test]
    fn every_default_route_counts_and_nothing_else_does() {
        let net = Entry { prefix_length: 24, ..default_by(&[9], 254, true) };
        let entries = [
            default_by(&[3, 4], 254, true),
            default_by(&[2], 254, true),
            Entry { is_v4: false, ..default_by(&[4], 254, true) },
            // Another table's; and IPv6's route of last resort, which rejects.
            default_by(&[7], 252, true),
            default_by(&[1], 254, false),
            net,
        ];
        assert_eq!(interfaces_of_defaults(&entries), [2, 3, 4]);
    }

    #[test]
    fn this_machine_is_behind_its_loopback() {
        let mut route = Route::open().unwrap();
        let links = link::list(&mut route).unwrap();
        let loopback = links.iter().find(|link| link.loopback).unwrap();
        if !loopback.up {
            println!("SKIP: loopback is down");
            return;
        }
        assert_eq!(way_to(&mut route, "127.255.0.2".parse().unwrap()).unwrap(), Some(loopback.index));
        let entries = list(&mut route).unwrap();
        let own_net = |entry: &Entry| entry.destination == "127.0.0.0".parse().ok();
        assert!(entries.iter().any(|entry| own_net(entry) && entry.interfaces == [loopback.index]));
    }
}
