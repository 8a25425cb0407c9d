//! Links and their queueing disciplines: our `prio` root with spare bands, and a netem leaf per band.
//!
//! Passive by itself: only packets whose priority names a class of ours reach a leaf, and only rules of the
//! [`classify`](super::classify) table set such priorities. Formats: `linux/rtnetlink.h`,
//! `linux/pkt_sched.h`; the bytes are those that `tc` of iproute2 6.1 sends.

use std::fs;
use std::time::Duration;

use super::ifb;
use super::socket::{Netlink, WireError};
use super::wire::{self, CREATE, EXCLUSIVE, Message, REPLACE};

/// The handle of our root on every link, `7f17:`.
pub const ROOT_HANDLE: u32 = 0x7f17_0000;
/// All bands that a prio can have (`TCQ_PRIO_BANDS`); its priomap uses the first three.
pub const BANDS: u16 = 16;
/// The first class that no traffic reaches by itself.
pub const FIRST_SPARE: u16 = 4;

pub(super) const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_QDISC: u16 = 36;
const DELETE_QDISC: u16 = 37;
const GET_QDISC: u16 = 38;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STATS2: u16 = 7;
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const IFLA_IFNAME: u16 = 3;
/// `TC_H_ROOT`.
const ROOT: u32 = 0xffff_ffff;
/// `IFF_UP` and `IFF_LOOPBACK`.
pub(super) const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;
/// `struct tcmsg` and `struct ifinfomsg`.
const TC_HEADER: usize = 20;
pub(super) const LINK_HEADER: usize = 16;

/// What every prio has unless told otherwise: by type of service to one of the first three bands, so that
/// traffic that no fault is meant for is queued as `pfifo_fast` would.
const PRIOMAP: [u8; 16] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
/// One tick of the packet scheduler (`PSCHED_SHIFT` 6).
const TICK_NANOSECONDS: u128 = 64;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
    pub loopback: bool,
    /// Whether it is the [`ifb`](super::ifb) of an effect.
    pub ours: bool,
}

/// One queueing discipline, as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    pub index: u32,
    /// 0 for one that the kernel attached by itself.
    pub handle: u32,
    pub parent: u32,
    pub kind: String,
    /// Its parameters in the kernel's own form.
    pub options: Vec<u8>,
    pub packets: u32,
    pub drops: u32,
}

impl Qdisc {
    /// Whether it is a root of ours, of this life or an earlier one.
    pub fn is_ours(&self) -> bool {
        self.parent == ROOT && self.kind == "prio" && self.handle == ROOT_HANDLE
    }
}

/// What a netem leaf does to the packets that reach it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Netem {
    /// Packets that wait at once; more are dropped.
    pub limit: u32,
    pub delay: Duration,
    /// Delays spread evenly over this much more or less.
    pub jitter: Duration,
    /// Share of packets that are lost, 0–1.
    pub loss: f64,
}

/// All links of this network namespace.
///
/// # Errors
/// The kernel refused the list.
pub fn links(route: &mut Netlink) -> Result<Vec<Link>, WireError> {
    let answers = route.dump(Message::new("list the network interfaces", GET_LINK, 0, &[0; LINK_HEADER]))?;
    Ok(answers.iter().filter(|answer| answer.kind == NEW_LINK).filter_map(|a| link(&a.body)).collect())
}

fn link(body: &[u8]) -> Option<Link> {
    let flags = wire::number_32(body.get(8..)?)?;
    let attributes = body.get(LINK_HEADER..)?;
    let name = wire::words(wire::find(attributes, IFLA_IFNAME)?);
    let index = wire::number_32(body.get(4..)?)?;
    let (up, loopback) = (flags & UP != 0, flags & LOOPBACK != 0);
    Some(Link { index, name, up, loopback, ours: ifb::is_ours(attributes) })
}

/// All queueing disciplines of this network namespace, but for those that the kernel hides.
///
/// # Errors
/// The kernel refused the list.
pub fn qdiscs(route: &mut Netlink) -> Result<Vec<Qdisc>, WireError> {
    let answers = route.dump(Message::new("list the queueing disciplines", GET_QDISC, 0, &[0; TC_HEADER]))?;
    Ok(answers.iter().filter(|answer| answer.kind == NEW_QDISC).filter_map(|a| qdisc(&a.body)).collect())
}

fn qdisc(body: &[u8]) -> Option<Qdisc> {
    let attributes = body.get(TC_HEADER..)?;
    let stats = wire::find(attributes, TCA_STATS2).unwrap_or_default();
    let number = |kind, offset: usize| wire::number_32(wire::find(stats, kind)?.get(offset..)?);
    Some(Qdisc {
        index: wire::number_32(body.get(4..)?)?,
        handle: wire::number_32(body.get(8..)?)?,
        parent: wire::number_32(body.get(12..)?)?,
        kind: wire::words(wire::find(attributes, TCA_KIND)?),
        options: wire::find(attributes, TCA_OPTIONS).unwrap_or_default().to_vec(),
        packets: number(TCA_STATS_BASIC, 8).unwrap_or_default(),
        drops: number(TCA_STATS_QUEUE, 8).unwrap_or_default(),
    })
}

/// The root of the link, out of all disciplines.
pub fn root_of(qdiscs: &[Qdisc], index: u32) -> Option<&Qdisc> {
    qdiscs.iter().find(|qdisc| qdisc.index == index && qdisc.parent == ROOT)
}

/// Makes our prio the root of `link`. `replacing` a root that somebody made needs to be said.
pub fn add_root(link: &Link, replacing: bool) -> Message {
    let mut options = u32::from(BANDS).to_ne_bytes().to_vec();
    options.extend(PRIOMAP);
    // The empty nest that tc appends to structs with attributes after them.
    wire::attribute(&mut options, TCA_OPTIONS, &[]);
    let flags = if replacing { CREATE | REPLACE } else { CREATE | EXCLUSIVE };
    let what = format!("make a prio the root of {}", link.name);
    named(what, flags, link.index, ROOT_HANDLE, ROOT, "prio").with(TCA_OPTIONS, &options)
}

/// Asks for a discipline without the parameters it cannot do without. The kernel refuses either way and
/// changes nothing: with ENOENT if it does not have that kind, with EINVAL if it has.
pub fn ask_for(link: &Link, kind: &str) -> Message {
    let what = format!("find the queueing discipline {kind} in the kernel");
    named(what, CREATE | EXCLUSIVE, link.index, ROOT_HANDLE, ROOT, kind)
}

/// Takes our root from the link; the kernel then attaches its default again.
pub fn remove_root(link: &Link) -> Message {
    let what = format!("remove the prio root of {}", link.name);
    Message::new(what, DELETE_QDISC, 0, &header(link.index, ROOT_HANDLE, ROOT))
}

/// Puts a root back that the kernel once described.
pub fn put_root(link: &Link, kind: &str, handle: u32, options: &[u8]) -> Message {
    let what = format!("put the {kind} root of {} back", link.name);
    let message = named(what, CREATE | REPLACE, link.index, handle, ROOT, kind);
    if options.is_empty() { message } else { message.with(TCA_OPTIONS, options) }
}

/// The class of our root that the band is, as a packet's priority names it.
pub fn class(band: u16) -> u32 {
    ROOT_HANDLE | u32::from(band)
}

/// A handle of its own for the leaf of each band.
fn leaf_handle(band: u16) -> u32 {
    ROOT_HANDLE + (u32::from(band) << 16)
}

/// Puts a netem into the band of our root.
pub fn add_leaf(link: &Link, band: u16, netem: Netem) -> Message {
    let what = format!("add a netem to {}", link.name);
    named(what, CREATE | EXCLUSIVE, link.index, leaf_handle(band), class(band), "netem")
        .with(TCA_OPTIONS, &netem_options(netem))
}

/// `struct tc_netem_qopt`.
fn netem_options(netem: Netem) -> Vec<u8> {
    // Rounded as tc does; all ones means every packet.
    let loss = (netem.loss * f64::from(u32::MAX)).round() as u32;
    let (gap, duplicate) = (0, 0);
    [ticks(netem.delay), netem.limit, loss, gap, duplicate, ticks(netem.jitter)]
        .iter()
        .flat_map(|number| number.to_ne_bytes())
        .collect()
}

/// Delays up to 274 s fit; the longest that a fault may ask for is 120 s.
fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() / TICK_NANOSECONDS).unwrap_or(u32::MAX)
}

/// Takes the netem out of the band.
pub fn remove_leaf(link: &Link, band: u16) -> Message {
    let what = format!("remove a netem from {}", link.name);
    Message::new(what, DELETE_QDISC, 0, &header(link.index, leaf_handle(band), class(band)))
}

/// The leaf of the band, out of all disciplines.
pub fn leaf_of(qdiscs: &[Qdisc], index: u32, band: u16) -> Option<&Qdisc> {
    qdiscs.iter().find(|qdisc| qdisc.index == index && qdisc.handle == leaf_handle(band))
}

fn named(what: String, flags: u16, index: u32, handle: u32, parent: u32, kind: &str) -> Message {
    Message::new(what, NEW_QDISC, flags, &header(index, handle, parent)).with(TCA_KIND, &wire::text(kind))
}

/// `struct tcmsg`.
fn header(index: u32, handle: u32, parent: u32) -> Vec<u8> {
    [0, index, handle, parent, 0].iter().flat_map(|number: &u32| number.to_ne_bytes()).collect()
}

/// Packets that may wait in a netem at once, so that it never drops by itself: what the link can send within
/// the longest delay in packets of 500 bytes, at least netem's default and at most 4 million (each costs
/// memory only while it waits).
pub fn queue_limit(longest: Duration, megabits_per_second: u64) -> u32 {
    let bytes = longest.as_millis() * u128::from(megabits_per_second) * 125;
    u32::try_from(bytes / 500).unwrap_or(u32::MAX).clamp(1_000, 4_000_000)
}

/// The speed that the link says it has, in Mbit/s; virtual ones say none and count as 10 Gbit/s.
pub fn speed(link: &Link) -> u64 {
    const UNKNOWN: u64 = 10_000;
    let said = fs::read_to_string(format!("/sys/class/net/{}/speed", link.name)).unwrap_or_default();
    said.trim().parse().ok().filter(|speed| *speed > 0).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link { index: 3, name: "d0".into(), up: true, loopback: false, ours: false }
    }

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn sent(message: Message) -> Vec<u8> {
        let mut bytes = message.acknowledged().finish(0);
        bytes[8..16].fill(0);
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
            loss: 0.0,
        };
        let golden = "4c 00 00 00 24 00 05 06 00 00 00 00 00 00 00 00 00 00 00 00 03 00 00 00 \
                      00 00 1b 7f 04 00 17 7f 00 00 00 00 0a 00 01 00 6e 65 74 65 6d 00 00 00 \
                      1c 00 02 00 08 af 2f 00 d0 07 00 00 00 00 00 00 00 00 00 00 00 00 00 00 5a 62 02 00";
        assert_eq!(sent(add_leaf(&link(), 4, netem)), hex(golden));
    }

    /// As above: the options of `tc qdisc add dev d0 parent 7f17:4 netem limit 1000 loss 7%`.
    #[test]
    fn a_loss_is_what_tc_sends() {
        let netem = Netem { limit: 1_000, delay: Duration::ZERO, jitter: Duration::ZERO, loss: 0.07 };
        let golden = "00 00 00 00 e8 03 00 00 1f 85 eb 11 00 00 00 00 00 00 00 00 00 00 00 00";
        assert_eq!(netem_options(netem), hex(golden));
        let all = Netem { loss: 1.0, ..netem };
        assert_eq!(netem_options(all)[8..12], [0xff; 4], "100 % is all ones");
    }

    #[test]
    fn handles_of_root_and_leaves_differ() {
        let mut handles: Vec<_> = (FIRST_SPARE..=BANDS).map(leaf_handle).collect();
        handles.push(ROOT_HANDLE);
        let count = handles.len();
        handles.sort_unstable();
        handles.dedup();
        assert_eq!((handles.len(), count), (14, 14));
        assert_eq!(class(16), 0x7f17_0010);
    }

    #[test]
    fn the_queue_holds_what_a_link_sends_within_the_delay() {
        assert_eq!(queue_limit(Duration::ZERO, 10_000), 1_000, "netem's default");
        assert_eq!(queue_limit(Duration::from_millis(200), 10_000), 500_000);
        assert_eq!(queue_limit(Duration::from_secs(240), 100_000), 4_000_000);
    }

    #[test]
    fn the_links_of_this_machine_can_be_read() {
        let mut route = Netlink::open(super::super::socket::Family::Route).unwrap();
        let links = links(&mut route).unwrap();
        assert!(links.iter().any(|link| link.loopback && link.name == "lo"), "{links:?}");
        qdiscs(&mut route).unwrap();
    }
}
