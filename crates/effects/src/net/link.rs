//! Network interfaces, as `linux/rtnetlink.h` and `linux/if_link.h` have them.

use std::fs;

use rtnetlink::packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NlasIterator, ParseableParametrized,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkHeader, LinkInfo, LinkMessage};

use super::netlink::{NetlinkError, Request, Route};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// At most 15 bytes.
    pub name: String,
    /// Whether it is administratively up (`IFF_UP`).
    pub up: bool,
    /// Whether it is the loopback interface (`IFF_LOOPBACK`).
    pub loopback: bool,
    /// What kind of virtual interface it is; None for one of hardware.
    pub kind: Option<InfoKind>,
    /// Its hardware address.
    pub address: Vec<u8>,
}

/// All links of this network namespace.
///
/// # Errors
/// The kernel refused the list.
pub fn list(route: &mut Route) -> Result<Vec<Link>, NetlinkError> {
    let every_link = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let listed: Vec<Listed> = route.dump(Request::new("list the network interfaces", 0, every_link))?;
    Ok(listed.into_iter().filter_map(|listed| listed.0).collect())
}

/// The speed of the link by its driver, in Mbit/s; virtual links have none and count as 10 Gbit/s.
pub fn speed(link: &Link) -> u64 {
    const UNKNOWN: u64 = 10_000;
    let text = fs::read_to_string(format!("/sys/class/net/{}/speed", link.name)).unwrap_or_default();
    text.trim().parse().ok().filter(|speed| *speed > 0).unwrap_or(UNKNOWN)
}

/// A link as a dump describes it; None where something has no name.
struct Listed(Option<Link>);

impl NetlinkDeserializable for Listed {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Listed, DecodeError> {
        let header = LinkHeader::parse(payload)?;
        let attributes = payload.get(header.buffer_len()..).unwrap_or_default();
        Ok(Listed(link(&header, &attributes_of(&header, attributes))))
    }
}

/// Those attributes that can be read: of the hundred that a newer kernel may give a link, one that is new in
/// form must not hide the link.
fn attributes_of(header: &LinkHeader, bytes: &[u8]) -> Vec<LinkAttribute> {
    let attributes = NlasIterator::new(bytes).map_while(Result::ok);
    let family = header.interface_family;
    attributes.filter_map(|attribute| LinkAttribute::parse_with_param(&attribute, family).ok()).collect()
}

fn link(header: &LinkHeader, attributes: &[LinkAttribute]) -> Option<Link> {
    let name = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    let kind = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => info.iter().find_map(|info| match info {
            LinkInfo::Kind(kind) => Some(kind.clone()),
            _ => None,
        }),
        _ => None,
    });
    let address = attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(address) => Some(address.clone()),
        _ => None,
    });
    Some(Link {
        index: header.index,
        name,
        up: header.flags.contains(LinkFlags::Up),
        loopback: header.flags.contains(LinkFlags::Loopback),
        kind,
        address: address.unwrap_or_default(),
    })
}

/// Reads bytes as a link that the kernel lists.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = Listed::deserialize(&NetlinkHeader::default(), bytes);
}
