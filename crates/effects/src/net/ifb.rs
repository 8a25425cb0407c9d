//! The interface behind which packets that come in wait: an ifb of ours.
//!
//! A link delays only what leaves by it. So packets that are meant are sent out by an ifb, shaped there as on
//! any link, and the ifb gives them back as if they had just come in by the link they came by. Without the
//! rules that send them there it is inert. It is known by name, kind and address, all of which it has from its
//! first instant, so that one which an earlier life left is found whenever that life ended. Its number is ours
//! too: so it can be removed by whoever made it and knows nothing else, and the numbers of other interfaces are
//! what they would be without it.

use nix::errno::Errno;

use super::shape::{LINK_HEADER, Link, NEW_LINK, UP};
use super::socket::{Netlink, WireError};
use super::wire::{self, CREATE, EXCLUSIVE, Message};

const NAME: &str = "taskfault-in";
const INDEX: u32 = 0x7f17;
const KIND: &str = "ifb";
/// Locally administered; the rest spells "taskf".
const ADDRESS: [u8; 6] = [0x02, 0x74, 0x61, 0x73, 0x6b, 0x66];
/// No interface can have the address of a group.
const NO_ADDRESS: [u8; 6] = [0x01, 0, 0, 0, 0, 0];

const DELETE_LINK: u16 = 17;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `IN6_ADDR_GEN_MODE_NONE`.
const NO_ADDRESSES: u8 = 1;

/// Whether a link with these attributes is ours.
pub fn is_ours(attributes: &[u8]) -> bool {
    let kind = wire::find(attributes, IFLA_LINKINFO).and_then(|info| wire::find(info, IFLA_INFO_KIND));
    wire::find(attributes, IFLA_IFNAME).is_some_and(|name| wire::words(name) == NAME)
        && kind.is_some_and(|kind| wire::words(kind) == KIND)
        && wire::find(attributes, IFLA_ADDRESS) == Some(&ADDRESS)
}

/// It, once it has been made.
pub fn link() -> Link {
    Link { index: INDEX, name: NAME.into(), up: true, loopback: false, ours: true }
}

/// The message that makes it, if the kernel has ifb and no interface of that name.
pub fn create() -> Message {
    new(format!("make the ifb {NAME}"), ADDRESS)
}

/// Makes it take packets.
///
/// # Errors
/// The kernel refused.
pub fn start(route: &mut Netlink) -> Result<(), WireError> {
    // It must not get addresses of IPv6, and with them routes.
    match route.request(without_addresses()) {
        // A kernel without IPv6 gives it none anyway.
        Err(error) if error.errno() == Some(Errno::EAFNOSUPPORT) => {}
        outcome => outcome?,
    }
    let what = format!("bring up {NAME}");
    route.request(Message::new(what, NEW_LINK, 0, &header(INDEX, UP)))
}

/// Removes it with all that is on it.
pub fn remove(ifb: &Link) -> Message {
    Message::new(format!("remove the ifb {}", ifb.name), DELETE_LINK, 0, &header(ifb.index, 0))
}

/// Whether the kernel can make one. Nothing changes.
///
/// # Errors
/// It has none.
pub fn ask_for(route: &mut Netlink) -> Result<(), WireError> {
    // It looks at the kind first, and then refuses the address.
    match route.request(new("make an ifb".into(), NO_ADDRESS)) {
        Err(error) if error.errno() == Some(Errno::EADDRNOTAVAIL) => Ok(()),
        // One of ours: a process that lives or lived could make it.
        Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
        outcome => outcome,
    }
}

fn new(what: String, address: [u8; 6]) -> Message {
    let mut info = Vec::new();
    wire::attribute(&mut info, IFLA_INFO_KIND, KIND.as_bytes());
    Message::new(what, NEW_LINK, CREATE | EXCLUSIVE, &header(INDEX, 0))
        .with(IFLA_ADDRESS, &address)
        .with(IFLA_IFNAME, &wire::text(NAME))
        .with(IFLA_LINKINFO, &info)
}

fn without_addresses() -> Message {
    let (mut mode, mut families) = (Vec::new(), Vec::new());
    wire::attribute(&mut mode, IFLA_INET6_ADDR_GEN_MODE, &[NO_ADDRESSES]);
    wire::attribute(&mut families, libc::AF_INET6 as u16, &mode);
    let what = format!("keep {NAME} without addresses");
    Message::new(what, NEW_LINK, 0, &header(INDEX, 0)).with(IFLA_AF_SPEC, &families)
}

/// `struct ifinfomsg`: `flags` are set, no others are touched.
fn header(index: u32, flags: u32) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::super::shape;
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn sent(message: Message) -> String {
        hex(&message.finish(0)[16..])
    }

    #[test]
    fn only_one_with_all_three_marks_is_ours() {
        let message = |address| new("try".into(), address).finish(0)[16 + LINK_HEADER..].to_vec();
        assert!(is_ours(&message(ADDRESS)));
        assert!(!is_ours(&message(NO_ADDRESS)));
        let other = Message::new("try", NEW_LINK, 0, &[])
            .with(IFLA_ADDRESS, &ADDRESS)
            .with(IFLA_IFNAME, &wire::text(NAME));
        assert!(!is_ours(&other.finish(0)[16..]), "a veth of that name");
        assert!(!is_ours(&[]));
    }

    #[test]
    fn whether_the_kernel_has_ifb_can_be_asked_without_making_one() {
        let mut route = Netlink::open(super::super::socket::Family::Route).unwrap();
        let names = |route: &mut Netlink| -> Vec<_> {
            shape::links(route).unwrap().into_iter().map(|link| link.name).collect()
        };
        let before = names(&mut route);
        match ask_for(&mut route) {
            Ok(()) => {}
            Err(error) => {
                let known = [Errno::EPERM, Errno::EOPNOTSUPP];
                assert!(error.errno().is_some_and(|errno| known.contains(&errno)), "{error}");
            }
        }
        assert_eq!(names(&mut route), before);
    }

    /// strace of ip (iproute2 6.1.0, Debian 12), with the number of ours for that which the interface had there:
    /// `ip link add taskfault-in address 02:74:61:73:6b:66 type ifb`,
    /// `ip link set taskfault-in addrgenmode none`, `ip link set taskfault-in up`, `ip link del taskfault-in`.
    #[test]
    fn messages_are_what_ip_sends() {
        let nothing = "00000000";
        let set = |flags: &str| format!("{nothing}177f0000{flags}{flags}");
        assert_eq!(
            sent(new("try".into(), ADDRESS)),
            [
                &set(nothing),
                "0a000100027461736b660000110003007461736b6661756c742d696e00000000",
                "0c0012000700010069666200"
            ]
            .concat()
        );
        let mode = "10001a000c000a000500080001000000";
        assert_eq!(sent(without_addresses()), set(nothing) + mode);
        assert_eq!(hex(&header(INDEX, UP)), set("01000000"));
        assert_eq!(sent(remove(&link())), set(nothing));
    }
}
