//! Our scheme of queueing disciplines: a `prio` root with spare bands on a link, and a netem leaf per band.
//!
//! Passive by itself: only packets whose priority names a class of ours reach a leaf, and only rules of the
//! [`classify`](super::classify) table set such priorities. The bytes are those that `tc` of iproute2 6.1
//! sends.

use std::time::Duration;

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::TcHandle;

use super::kernel_part::KernelPart;
use super::link::Link;
use super::netlink::{Purpose, Request};
use super::tc::netem::{self, Netem};
use super::tc::prio::{self, Prio};
use super::tc::{self, Place, Qdisc};
use super::uapi::pkt_sched::TCQ_PRIO_BANDS;

/// The handle of our root on every link.
pub const ROOT_HANDLE: TcHandle = TcHandle { major: 0x7f17, minor: 0 };
/// All bands of our root; its priomap uses the first three.
pub const BANDS: u16 = TCQ_PRIO_BANDS;
/// The first class that no traffic reaches by itself.
pub const FIRST_SPARE: u16 = 4;

/// What every prio has unless told otherwise: by type of service to one of the first three bands, so that
/// traffic that no fault is meant for is queued as `pfifo_fast` would.
const PRIO: Prio = Prio { bands: BANDS as u32, priomap: [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1] };

const ROOT: Place = Place { handle: ROOT_HANDLE, parent: TcHandle::ROOT };

/// Whether a discipline is a root of ours, of this life or an earlier one.
pub fn is_ours(qdisc: &Qdisc) -> bool {
    qdisc.parent == TcHandle::ROOT && qdisc.kind == prio::KIND && qdisc.handle == ROOT_HANDLE
}

/// The root of the link, out of all disciplines.
pub fn root_of(qdiscs: &[Qdisc], index: u32) -> Option<&Qdisc> {
    qdiscs.iter().find(|qdisc| qdisc.index == index && qdisc.parent == TcHandle::ROOT)
}

/// Makes our prio the root of `link`. `replacing` where the link has a root that the kernel did not attach
/// by itself: it refuses to add another to that.
pub fn add_root(link: &Link, replacing: bool) -> Request<RouteNetlinkMessage> {
    let purpose = Purpose::needing(KernelPart::Prio, format!("make a prio the root of {}", link.name));
    let make = if replacing { tc::replace } else { tc::add };
    make(purpose, link, ROOT, prio::KIND, Some(PRIO.options()))
}

/// Asks for a discipline without the parameters it cannot do without. The kernel refuses either way and
/// changes nothing: with ENOENT if it does not have that kind, with EINVAL if it has.
fn ask_for(link: &Link, part: KernelPart, kind: &str) -> Request<RouteNetlinkMessage> {
    let text = format!("find the queueing discipline {kind} in the kernel");
    tc::add(Purpose::needing(part, text), link, ROOT, kind, None)
}

/// Asks for each discipline that we use, as [`ask_for`] does.
pub fn ask_for_all(link: &Link) -> [Request<RouteNetlinkMessage>; 2] {
    [ask_for(link, KernelPart::Prio, prio::KIND), ask_for(link, KernelPart::Netem, netem::KIND)]
}

/// Takes our root from the link; the kernel then attaches its default again.
pub fn remove_root(link: &Link) -> Request<RouteNetlinkMessage> {
    tc::remove(format!("remove the prio root of {}", link.name).into(), link, ROOT)
}

/// Puts a root back that the kernel once described.
pub fn put_root(link: &Link, kind: &str, handle: TcHandle, options: &[u8]) -> Request<RouteNetlinkMessage> {
    let purpose = format!("put the {kind} root of {} back", link.name).into();
    let options = (!options.is_empty()).then(|| options.to_vec());
    tc::replace(purpose, link, Place { handle, parent: TcHandle::ROOT }, kind, options)
}

/// The class of our root that the band is, as a packet's priority names it.
pub fn class(band: u16) -> TcHandle {
    TcHandle { minor: band, ..ROOT_HANDLE }
}

/// A handle of its own for the leaf of each band.
fn leaf_handle(band: u16) -> TcHandle {
    TcHandle { major: ROOT_HANDLE.major + band, minor: 0 }
}

fn leaf(band: u16) -> Place {
    Place { handle: leaf_handle(band), parent: class(band) }
}

/// Puts a netem into the band of our root.
pub fn add_leaf(link: &Link, band: u16, netem: Netem) -> Request<RouteNetlinkMessage> {
    let purpose = Purpose::needing(KernelPart::Netem, format!("add a netem to {}", link.name));
    tc::add(purpose, link, leaf(band), netem::KIND, Some(netem.options()))
}

/// Takes the netem out of the band.
pub fn remove_leaf(link: &Link, band: u16) -> Request<RouteNetlinkMessage> {
    tc::remove(format!("remove a netem from {}", link.name).into(), link, leaf(band))
}

/// The leaf of the band, out of all disciplines.
pub fn leaf_of(qdiscs: &[Qdisc], index: u32, band: u16) -> Option<&Qdisc> {
    qdiscs.iter().find(|qdisc| qdisc.index == index && qdisc.handle == leaf_handle(band))
}

/// The bands of our root on the link that have a netem, out of all disciplines.
pub fn bands_with_leaf(qdiscs: &[Qdisc], index: u32) -> impl Iterator<Item = u16> {
    (FIRST_SPARE..=BANDS).filter(move |band| leaf_of(qdiscs, index, *band).is_some())
}

/// Packets that may wait in a netem at once, so that it never drops by itself: what the link can send within
/// the longest delay in packets of 500 bytes, at least netem's default and at most 4 million (each costs
/// memory only while it waits).
pub fn queue_limit(longest: Duration, megabits_per_second: u64) -> u32 {
    let bytes = longest.as_millis() * u128::from(megabits_per_second) * 125;
    u32::try_from(bytes / 500).unwrap_or(u32::MAX).clamp(1_000, 4_000_000)
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::NLM_F_ACK;

    use super::super::link;
    use super::super::netlink::Route;
    use super::*;

    fn link() -> Link {
        Link { index: 3, name: "d0".into(), up: true, loopback: false, kind: None, address: Vec::new() }
    }

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn sent(request: Request<RouteNetlinkMessage>) -> Vec<u8> {
        let mut bytes = Vec::new();
        request.encode(NLM_F_ACK, 0, &mut bytes);
        bytes
    }

    /// strace of tc (iproute2 6.1.0, Debian 12): `tc qdisc add dev d0 root handle 7f17: prio bands 16
    /// priomap 1 2 2 2 1 2 0 0 1 1 1 1 1 1 1 1`, with sequence number and port set to 0.
    #[test]
    fn a_prio_root_is_what_tc_sends() {
        let golden = "4c 00 00 00 24 00 05 06 00 00 00 00 00 00 00 00 00 00 00 00 03 00 00 00 \
                      00 00 17 7f ff ff ff ff 00 00 00 00 09 00 01 00 70 72 69 6f 00 00 00 00 \
                      1c 00 02 00 10 00 00 00 01 02 02 02 01 02 00 00 01 01 01 01 01 01 01 01 04 00 02 00";
        assert_eq!(sent(add_root(&link(), false)), hex(golden));
    }

    /// As above: `tc qdisc add dev d0 parent 7f17:4 handle 7f1b: netem limit 2000 delay 200ms 10ms`.
    #[test]
    fn a_delay_is_what_tc_sends() {
        let netem = Netem {
            limit: 2_000,
            delay: Duration::from_millis(200),
            jitter: Duration::from_millis(10),
            ..Netem::default()
        };
        let golden = "4c 00 00 00 24 00 05 06 00 00 00 00 00 00 00 00 00 00 00 00 03 00 00 00 \
                      00 00 1b 7f 04 00 17 7f 00 00 00 00 0a 00 01 00 6e 65 74 65 6d 00 00 00 \
                      1c 00 02 00 08 af 2f 00 d0 07 00 00 00 00 00 00 00 00 00 00 00 00 00 00 5a 62 02 00";
        assert_eq!(sent(add_leaf(&link(), 4, netem)), hex(golden));
    }

    #[test]
    fn handles_of_root_and_leaves_differ() {
        let mut handles: Vec<u32> = (FIRST_SPARE..=BANDS).map(|band| leaf_handle(band).into()).collect();
        handles.push(ROOT_HANDLE.into());
        let count = handles.len();
        handles.sort_unstable();
        handles.dedup();
        assert_eq!((handles.len(), count), (14, 14));
        assert_eq!(u32::from(class(16)), 0x7f17_0010);
    }

    #[test]
    fn the_queue_holds_what_a_link_sends_within_the_delay() {
        assert_eq!(queue_limit(Duration::ZERO, 10_000), 1_000, "netem's default");
        assert_eq!(queue_limit(Duration::from_millis(200), 10_000), 500_000);
        assert_eq!(queue_limit(Duration::from_secs(240), 100_000), 4_000_000);
    }

    #[test]
    fn the_links_of_this_machine_can_be_read() {
        let mut route = Route::open().unwrap();
        let links = link::list(&mut route).unwrap();
        assert!(links.iter().any(|link| link.loopback && link.name == "lo"), "{links:?}");
        tc::list(&mut route).unwrap();
    }
}
