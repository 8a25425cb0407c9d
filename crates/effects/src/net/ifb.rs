//! The interface behind which packets that come in wait: an ifb of ours.
//!
//! A link delays only what leaves by it. So packets that match are sent out by an ifb, shaped there as on
//! any link, and the ifb gives them back as if they had just come in by the link they came by. Without the
//! rules that send them there it is inert. It is known by name, kind and address, all of which it has from its
//! first instant, so that one which an earlier life left is found whenever that life ended. Its number is ours
//! too: so it can be removed by whoever made it and knows nothing else, and the numbers of other interfaces are
//! what they would be without it.

use nix::errno::Errno;
use rtnetlink::packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::kernel_part::KernelPart;
use super::link::Link;
use super::netlink::{NetlinkError, Purpose, Request, Route};

const NAME: &str = "taskfault-in";
const INDEX: u32 = 0x7f17;
const KIND: InfoKind = InfoKind::Ifb;
/// Locally administered; the rest spells "taskf".
const ADDRESS: [u8; 6] = [0x02, 0x74, 0x61, 0x73, 0x6b, 0x66];
/// No interface can have the address of a group.
const NO_ADDRESS: [u8; 6] = [0x01, 0, 0, 0, 0, 0];

/// Whether a link is our ifb, of this life or an earlier one.
pub fn is_ours(link: &Link) -> bool {
    link.name == NAME && link.kind == Some(KIND) && link.address == ADDRESS
}

/// It, once it has been made.
pub fn link() -> Link {
    Link {
        index: INDEX,
        name: NAME.into(),
        up: true,
        loopback: false,
        kind: Some(KIND),
        address: ADDRESS.into(),
    }
}

/// The request that makes it, if the kernel has ifb and no interface of that name.
pub fn create() -> Request<RouteNetlinkMessage> {
    new(format!("make the ifb {NAME}"), ADDRESS)
}

/// Makes it take packets.
///
/// # Errors
/// The kernel refused.
pub fn start(route: &mut Route) -> Result<(), NetlinkError> {
    // It must not get addresses of IPv6, and with them routes.
    match route.request(without_addresses()) {
        // A kernel without IPv6 gives it none anyway.
        Err(error) if error.errno() == Some(Errno::EAFNOSUPPORT) => {}
        outcome => outcome?,
    }
    route.request(bring_up())
}

/// Removes it with all that is on it.
pub fn remove(ifb: &Link) -> Request<RouteNetlinkMessage> {
    let purpose = Purpose::needing(KernelPart::Ifb, format!("remove the ifb {}", ifb.name));
    Request::new(purpose, 0, RouteNetlinkMessage::DelLink(message(ifb.index)))
}

/// Whether the kernel can make one. Nothing changes.
///
/// # Errors
/// It has none.
pub fn ask_for(route: &mut Route) -> Result<(), NetlinkError> {
    // It looks at the kind first, and then refuses the address.
    match route.request(new("make an ifb".into(), NO_ADDRESS)) {
        Err(error) if error.errno() == Some(Errno::EADDRNOTAVAIL) => Ok(()),
        // One of ours: a process that lives or lived could make it.
        Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
        outcome => outcome,
    }
}

fn new(purpose: String, address: [u8; 6]) -> Request<RouteNetlinkMessage> {
    let mut message = message(INDEX);
    message.attributes = vec![
        LinkAttribute::Address(address.into()),
        LinkAttribute::IfName(NAME.into()),
        LinkAttribute::LinkInfo(vec![kind()]),
    ];
    let purpose = Purpose::needing(KernelPart::Ifb, purpose);
    Request::new(purpose, NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewLink(message))
}

/// Its kind as ip sends it: without the zero byte that the crate's own attribute has.
fn kind() -> LinkInfo {
    LinkInfo::Other(DefaultNla::new(libc::IFLA_INFO_KIND, KIND.to_string().into_bytes()))
}

fn without_addresses() -> Request<RouteNetlinkMessage> {
    let mut message = message(INDEX);
    let inet6 = vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)];
    message.attributes = vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(inet6)])];
    let purpose = format!("keep {NAME} without addresses");
    Request::new(purpose, 0, RouteNetlinkMessage::NewLink(message))
}

fn bring_up() -> Request<RouteNetlinkMessage> {
    let mut message = message(INDEX);
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    Request::new(format!("bring up {NAME}"), 0, RouteNetlinkMessage::NewLink(message))
}

fn message(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

#[cfg(test)]
mod tests {
    use super::super::link;
    use super::*;

    /// What stands after the header of the message.
    fn sent(request: Request<RouteNetlinkMessage>) -> String {
        let mut bytes = Vec::new();
        request.encode(0, 0, &mut bytes);
        bytes[16..].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn only_one_with_all_three_marks_is_ours() {
        assert!(is_ours(&super::link()));
        assert!(!is_ours(&Link { address: NO_ADDRESS.into(), ..super::link() }));
        assert!(!is_ours(&Link { kind: Some(InfoKind::Veth), ..super::link() }), "a veth of that name");
        assert!(!is_ours(&Link { name: "ifb0".into(), ..super::link() }));
    }

    #[test]
    fn whether_the_kernel_has_ifb_can_be_asked_without_making_one() {
        let mut route = Route::open().unwrap();
        let names = |route: &mut Route| -> Vec<_> {
            link::list(route).unwrap().into_iter().map(|link| link.name).collect()
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
        assert_eq!(sent(bring_up()), set("01000000"));
        assert_eq!(sent(remove(&super::link())), set(nothing));
    }
}
