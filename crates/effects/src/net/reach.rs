//! Whether packets to what a fault is for pass its interfaces at all, by the kernel's own routes: a fault whose
//! target is behind another interface would wait for packets that never come.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::net::IpAddr;

use thiserror::Error;

use super::link::Link;
use super::netlink::{NetlinkError, Route};
use super::routes::{self, Entry};
use super::target::{Found, address_of, number};
use faults::network_source::{Direction, Net, Source};

/// Most questions to the kernel for one fault; each takes some 5 µs. Of what is left no more is known.
const MOST_QUESTIONS: usize = 512;
/// Most sources that are named in one sentence.
const MOST_NAMED: usize = 3;

/// A fault that would touch nothing.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "the fault would touch no packet: {0}; name the interface that leads there, or the addresses that packets really \
     go to"
)]
pub struct OutOfReach(String);

/// What keeps packets to a source away from the fault's interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Elsewhere {
    /// No route.
    NoWay,
    /// It is this machine, or this task.
    Loopback(String),
    /// They leave by this interface.
    Other(String),
}

impl Elsewhere {
    /// Whether packets from the source cannot come in by the fault's interfaces either, whatever way they take.
    fn holds_for_ingress(&self) -> bool {
        !matches!(self, Elsewhere::Other(_))
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Elsewhere::NoWay => formatter.write_str("has no route here"),
            Elsewhere::Loopback(name) => {
                write!(formatter, "is this task itself, over {name} (its own address, or a proxy's)")
            }
            Elsewhere::Other(name) => write!(formatter, "is reached over {name}"),
        }
    }
}

/// What is known of the routes of this network namespace.
struct Routes<'a> {
    route: &'a mut Route,
    /// All links, to name them.
    links: &'a [Link],
    /// Where the kernel's choice may change from one address to the next: where the prefix of a route begins, and
    /// the address after its end.
    edges: [BTreeSet<u128>; 2],
    questions: usize,
}

/// Compares `found` with the interfaces of the fault, `chosen` out of `links`. Gives what of it is not reached, in
/// words, if the rest is. Where the kernel cannot be asked nothing is said.
///
/// # Errors
/// Nothing of it is reached, and no rule or direction of the traffic could change that.
pub(super) fn check(
    route: &mut Route,
    direction: Direction,
    found: &[Found],
    chosen: &[Link],
    links: &[Link],
) -> Result<Option<String>, OutOfReach> {
    let Ok(entries) = routes::list(route) else { return Ok(None) };
    let mut routes = Routes { route, links, edges: edges(&entries), questions: 0 };
    let mut missed = Vec::new();
    for found in found {
        match routes.elsewhere(found, chosen) {
            Ok(Some(elsewhere)) => missed.push((found, elsewhere)),
            Ok(None) => {}
            Err(_) => return Ok(None),
        }
        if routes.questions >= MOST_QUESTIONS {
            break;
        }
    }
    if missed.is_empty() {
        return Ok(None);
    }
    let text = sentence(&missed, chosen);
    let is_sure = |(_, elsewhere): &(&Found, Elsewhere)| {
        direction == Direction::Egress || elsewhere.holds_for_ingress()
    };
    if missed.len() == found.len() && missed.iter().all(is_sure) && !routes::depend_on_more(routes.route) {
        return Err(OutOfReach(text));
    }
    Ok(Some(text))
}

impl Routes<'_> {
    /// Where packets to it go, if to none of its addresses they leave by an interface of `chosen`.
    fn elsewhere(&mut self, found: &Found, chosen: &[Link]) -> Result<Option<Elsewhere>, NetlinkError> {
        let mut reasons = Vec::new();
        for net in &found.nets {
            let mut of_net = Vec::new();
            for address in self.samples(net) {
                self.questions += 1;
                match routes::way_to(self.route, address)? {
                    Some(index) if chosen.iter().any(|link| link.index == index) => return Ok(None),
                    Some(index) => of_net.push(self.other(index)),
                    None => of_net.push(Elsewhere::NoWay),
                }
                if self.questions >= MOST_QUESTIONS {
                    return Ok(None);
                }
            }
            // Loopback is somewhere in every wide net, and hardly what is meant.
            reasons.extend(of_net.into_iter().max_by_key(|reason| match reason {
                Elsewhere::Loopback(_) => 0,
                Elsewhere::NoWay => 1,
                Elsewhere::Other(_) => 2,
            }));
        }
        // A name has an address of a family without routes more often than not.
        Ok(reasons.into_iter().max_by_key(|reason| match reason {
            Elsewhere::NoWay => 0,
            Elsewhere::Loopback(_) => 1,
            Elsewhere::Other(_) => 2,
        }))
    }

    fn other(&self, index: u32) -> Elsewhere {
        match self.links.iter().find(|link| link.index == index) {
            Some(link) if link.loopback => Elsewhere::Loopback(link.name.clone()),
            Some(link) => Elsewhere::Other(link.name.clone()),
            None => Elsewhere::Other(format!("interface {index}")),
        }
    }

    /// Addresses of the net, one for each part of it that one route is for.
    fn samples(&self, net: &Net) -> Vec<IpAddr> {
        let (first, last) = net.range();
        let is_v4 = first.is_ipv4();
        let within = self.edges[usize::from(!is_v4)].range(number(first)..=number(last));
        let begin = if net.is_everything() { None } else { Some(number(first)) };
        begin.into_iter().chain(within.copied()).map(|number| address_of(is_v4, number)).collect()
    }
}

/// For IPv4 and for IPv6.
fn edges(entries: &[Entry]) -> [BTreeSet<u128>; 2] {
    // The address after the unspecified one, which is this machine to the kernel.
    let mut edges = [BTreeSet::from([1]), BTreeSet::from([1])];
    for entry in entries {
        let Some(destination) = entry.destination else { continue };
        let bits = if entry.is_v4 { u32::BITS } else { u128::BITS };
        let (first, below) = (number(destination), bits.saturating_sub(u32::from(entry.prefix_length)));
        let of_family = &mut edges[usize::from(!entry.is_v4)];
        of_family.insert(first);
        let size = 1_u128.checked_shl(below);
        let after = size.and_then(|size| first.checked_add(size));
        of_family.extend(after.filter(|after| !entry.is_v4 || *after <= u128::from(u32::MAX)));
    }
    edges
}

fn sentence(missed: &[(&Found, Elsewhere)], chosen: &[Link]) -> String {
    let mut text = String::new();
    for (found, elsewhere) in missed.iter().take(MOST_NAMED) {
        let before = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{before}{} {elsewhere}", shown(found));
    }
    if let Some(more @ 1..) = missed.len().checked_sub(MOST_NAMED) {
        let _ = write!(text, ", and {more} more");
    }
    let names: Vec<&str> = chosen.iter().map(|link| link.name.as_str()).collect();
    let _ = write!(text, "; the fault is on {}", names.join(", "));
    text
}

/// A source, and of a name the first of its addresses.
fn shown(found: &Found) -> String {
    match (&found.source, found.nets.first()) {
        (Source::Name(name), Some(net)) => format!("{name} ({net})"),
        (source, _) => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(net: &str) -> Entry {
        let (address, prefix) = net.split_once('/').unwrap();
        let destination: IpAddr = address.parse().unwrap();
        Entry {
            destination: Some(destination),
            is_v4: destination.is_ipv4(),
            prefix_length: prefix.parse().unwrap(),
            table: 254,
            is_unicast: true,
            interfaces: vec![2],
        }
    }

    #[test]
    fn a_choice_may_change_where_a_prefix_begins_and_after_its_end() {
        let [v4, v6] = edges(&[entry("10.0.0.0/24"), entry("255.0.0.0/8"), entry("fd00::/64")]);
        let a = 0x0a00_0000;
        assert_eq!(v4.into_iter().collect::<Vec<_>>(), [1, a, a + 256, 0xff00_0000]);
        assert_eq!(v6.len(), 3);
    }

    fn found(word: &str) -> Found {
        let source: Source = word.parse().unwrap();
        let nets = match &source {
            Source::Net(net) => vec![*net],
            _ => vec![Net::parse("127.255.0.2").unwrap()],
        };
        Found { source, nets }
    }

    #[test]
    fn what_is_not_reached_is_said_with_the_reason() {
        let (name, net, other) = (found("db.internal"), found("0.0.0.0/0"), found("10.0.0.1"));
        let missed = [
            (&name, Elsewhere::Loopback("lo".into())),
            (&net, Elsewhere::NoWay),
            (&other, Elsewhere::Other("eth1".into())),
            (&other, Elsewhere::NoWay),
        ];
        let eth0 =
            Link { index: 2, name: "eth0".into(), up: true, loopback: false, kind: None, address: vec![] };
        assert_eq!(
            sentence(&missed, &[eth0]),
            "db.internal (127.255.0.2) is this task itself, over lo (its own address, or a proxy's), 0.0.0.0/0 has \
             no route here, 10.0.0.1 is reached over eth1, and 1 more; the fault is on eth0"
        );
    }

    /// On this machine's own routes.
    #[test]
    fn a_fault_that_reaches_nothing_is_refused() {
        let mut route = Route::open().unwrap();
        let links = super::super::link::list(&mut route).unwrap();
        let Some(loopback) = links.iter().find(|link| link.loopback && link.up) else {
            println!("SKIP: loopback is down");
            return;
        };
        let other = Link { index: 0x7fff, name: "eth9".into(), loopback: false, ..loopback.clone() };
        let mut on = |chosen: &Link, words: &[&str], direction| {
            let found: Vec<Found> = words.iter().map(|word| found(word)).collect();
            check(&mut route, direction, &found, std::slice::from_ref(chosen), &links)
        };
        for direction in [Direction::Egress, Direction::Ingress] {
            let refused = on(&other, &["127.255.0.2"], direction).unwrap_err().to_string();
            assert!(refused.contains("127.255.0.2 is this task itself, over lo"), "{refused}");
            assert_eq!(on(loopback, &["127.255.0.2", "127.0.0.0/8"], direction).unwrap(), None);
        }
        // Loopback is only a part of what has no route, or another one.
        let refused = on(&other, &["64.0.0.0/2"], Direction::Egress).unwrap_err().to_string();
        assert!(!refused.contains("is this task itself"), "{refused}");
        // A range of which only a part is on the interface.
        assert_eq!(on(loopback, &["126.0.0.0/7"], Direction::Egress).unwrap(), None);
    }
}
