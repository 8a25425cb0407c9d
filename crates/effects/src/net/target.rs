//! From the sources of a fault to ranges of addresses: literal ones, and names looked up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};

use thiserror::Error;

use crate::task::denied::{Denied, DeniedTargets};
use faults::network_source::{Net, Source};

/// Ranges of one family, first and last address each, sorted, not touching each other. Addresses are
/// numbers; those of IPv4 are below 2³².
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    ranges: Vec<(u128, u128)>,
    everything: bool,
}

impl Ranges {
    /// All addresses of the family.
    pub fn everything() -> Ranges {
        Ranges { ranges: Vec::new(), everything: true }
    }

    /// Whether these are all addresses of the family.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// The ranges that are one address each, in order.
    pub fn singles(&self) -> impl Iterator<Item = u128> + '_ {
        self.ranges.iter().filter(|(first, last)| first == last).map(|(address, _)| *address)
    }

    /// The ranges that are more than one address, in order.
    pub fn wide(&self) -> impl Iterator<Item = (u128, u128)> + '_ {
        self.ranges.iter().copied().filter(|(first, last)| first != last)
    }

    /// Whether the address is in it.
    pub fn covers(&self, address: u128) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        self.everything || after.checked_sub(1).is_some_and(|last| self.ranges[last].1 >= address)
    }

    fn merged(mut ranges: Vec<(u128, u128)>, last_of_all: u128) -> Ranges {
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                // Neighbours too: the end of one would be the start of the next.
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        if merged.first() == Some(&(0, last_of_all)) {
            return Ranges::everything();
        }
        Ranges { ranges: merged, everything: false }
    }
}

/// Which addresses an effect is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetSet {
    /// Addresses of IPv4.
    pub v4: Ranges,
    /// Addresses of IPv6.
    pub v6: Ranges,
}

impl TargetSet {
    /// All addresses there are.
    pub fn everything() -> TargetSet {
        TargetSet { v4: Ranges::everything(), v6: Ranges::everything() }
    }

    /// The addresses of all that was found together.
    pub fn of_all(found: &[Found]) -> TargetSet {
        TargetSet::of(&found.iter().flat_map(|found| found.nets.iter().copied()).collect::<Vec<_>>())
    }

    /// The addresses of all `nets` together.
    pub fn of(nets: &[Net]) -> TargetSet {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net.range() {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((number_v4(first), number_v4(last))),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((first.to_bits(), last.to_bits())),
                // Both ends of a net are of its family.
                _ => {}
            }
        }
        let last_v4 = number_v4(Ipv4Addr::BROADCAST);
        TargetSet { v4: Ranges::merged(v4, last_v4), v6: Ranges::merged(v6, u128::MAX) }
    }

    /// Whether the address is in it.
    pub fn covers(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.v4.covers(number(address)),
            IpAddr::V6(_) => self.v6.covers(number(address)),
        }
    }
}

/// An address as the ranges have it.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => number_v4(v4),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address that a number of the ranges is.
pub fn address_of(is_v4: bool, number: u128) -> IpAddr {
    match u32::try_from(number) {
        Ok(v4) if is_v4 => Ipv4Addr::from_bits(v4).into(),
        _ => Ipv6Addr::from_bits(number).into(),
    }
}

fn number_v4(address: Ipv4Addr) -> u128 {
    u128::from(address.to_bits())
}

/// Why the targets of a fault cannot be had.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    /// DNS has no address for these names.
    #[error("these sources have no address: {0}; check the names, and that DNS works in this task")]
    NoAddress(String),
    /// A service was not replaced by its prefixes.
    #[error(
        "the source {0} stands for the address prefixes of an AWS service, which were not looked up; \
         name the service's endpoint or its CIDRs instead"
    )]
    NoPrefixes(String),
    /// An address that no fault may cut.
    #[error(
        "the source {0} is always let through: without it this task has no metadata and no credentials; name other sources"
    )]
    Exempt(IpAddr),
    /// Addresses that the platform team has denied.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// One source, with the addresses that it stands for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// As it was asked for.
    pub source: Source,
    /// Those of a name are single addresses.
    pub nets: Vec<Net>,
}

impl Found {
    /// Whether it names the address itself, rather than a CIDR that has it.
    pub fn names(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.is_single() && net.range().0 == address)
    }
}

/// The addresses of `sources` now. Looks names up, which takes as long as DNS takes.
///
/// # Errors
/// Every name that has no address; a source that is one of `exempt`, or has an address in it that is `denied`; a
/// service without a list.
pub fn resolve(
    sources: &[Source],
    exempt: &[IpAddr],
    denied: &DeniedTargets,
) -> Result<Vec<Found>, TargetError> {
    let found = addresses_of(sources, exempt)?;
    let denied = denied.look_up(look_up)?;
    for one in &found {
        denied.check(&one.source.to_string(), &one.nets)?;
    }
    Ok(found)
}

fn addresses_of(sources: &[Source], exempt: &[IpAddr]) -> Result<Vec<Found>, TargetError> {
    let (mut all, mut missing) = (Vec::with_capacity(sources.len()), Vec::new());
    for source in sources {
        let nets = match source {
            Source::All => return Ok(vec![Found { source: Source::All, nets: everything() }]),
            Source::Service(service) => return Err(TargetError::NoPrefixes(service.to_string())),
            Source::Prefixes(prefixes) => prefixes.nets.clone(),
            Source::Net(net) => vec![*net],
            Source::Name(name) => look_up(name).into_iter().map(Net::single).collect(),
        };
        match (source, nets.is_empty()) {
            (Source::Name(name), true) => missing.push(name.as_str()),
            _ => all.push(Found { source: source.clone(), nets }),
        }
    }
    if !missing.is_empty() {
        return Err(TargetError::NoAddress(missing.join(", ")));
    }
    match exempt.iter().find(|address| all.iter().any(|found| found.names(**address))) {
        Some(address) => Err(TargetError::Exempt(*address)),
        None => Ok(all),
    }
}

/// All addresses of both families.
fn everything() -> Vec<Net> {
    ["0.0.0.0/0", "::/0"].into_iter().filter_map(Net::parse).collect()
}

/// The addresses that the names among `sources` have now, but for those that are `denied`; names that have none now
/// are passed over. None while it cannot be told what is denied.
pub fn look_up_again(sources: &[Source], denied: &DeniedTargets) -> Vec<IpAddr> {
    let denied = match denied.look_up(look_up) {
        Ok(denied) => denied,
        Err(error) => {
            tracing::warn!(%error, "the fault goes on with the addresses that it has");
            return Vec::new();
        }
    };
    let allowed = |address: &IpAddr| {
        let is_denied = denied.covers(*address);
        if is_denied {
            tracing::warn!(%address, "a name stands for an address that is denied; the fault leaves it alone");
        }
        !is_denied
    };
    let names = sources.iter().filter_map(|source| match source {
        Source::Name(name) => Some(name),
        _ => None,
    });
    names.flat_map(|name| look_up(name)).filter(allowed).collect()
}

/// The addresses that a name has now; none if it has none.
pub fn look_up(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs();
    let mut addresses: Vec<_> = found.map(|all| all.map(|one| one.ip()).collect()).unwrap_or_default();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> DeniedTargets {
        DeniedTargets::default()
    }

    fn nets(words: &[&str]) -> Vec<Net> {
        words.iter().map(|word| Net::parse(word).unwrap()).collect()
    }

    fn ranges(words: &[&str]) -> Vec<(u128, u128)> {
        TargetSet::of(&nets(words)).v4.ranges
    }

    #[test]
    fn ranges_that_overlap_or_touch_become_one() {
        let a = 0x0a00_0000;
        assert_eq!(ranges(&["10.0.0.0/25", "10.0.0.128/25"]), [(a, a + 255)]);
        assert_eq!(ranges(&["10.0.0.0/24", "10.0.0.7"]), [(a, a + 255)]);
        assert_eq!(ranges(&["10.0.0.9", "10.0.0.7"]), [(a + 7, a + 7), (a + 9, a + 9)]);
        let last = u128::from(u32::MAX);
        assert_eq!(ranges(&["255.255.255.255", "0.0.0.0"]), [(0, 0), (last, last)]);
    }

    #[test]
    fn all_of_a_family_is_everything_of_that_family_only() {
        let targets = TargetSet::of(&nets(&["0.0.0.0/1", "128.0.0.0/1"]));
        assert!(targets.v4.is_everything() && !targets.v6.is_everything());
        assert!(targets.covers("9.9.9.9".parse().unwrap()) && !targets.covers("::1".parse().unwrap()));
        assert!(TargetSet::of(&nets(&["::/0"])).v6.is_everything());
    }

    #[test]
    fn single_addresses_are_told_from_ranges() {
        let targets = TargetSet::of(&nets(&["10.0.0.0/30", "10.0.0.9", "10.0.1.1", "10.0.1.2"]));
        let a = 0x0a00_0000;
        assert_eq!(targets.v4.singles().collect::<Vec<_>>(), [a + 9]);
        assert_eq!(targets.v4.wide().collect::<Vec<_>>(), [(a, a + 3), (a + 257, a + 258)]);
        assert!(targets.covers("10.0.1.2".parse().unwrap()) && !targets.covers("10.0.1.3".parse().unwrap()));
    }

    #[test]
    fn names_without_an_address_are_all_said() {
        let sources = [
            Source::Name("one.invalid".into()),
            Source::Name("localhost".into()),
            Source::Name("two.invalid".into()),
        ];
        let error = resolve(&sources, &[], &none()).unwrap_err();
        assert_eq!(error, TargetError::NoAddress("one.invalid, two.invalid".into()));
        let found = TargetSet::of_all(&resolve(&sources[1..2], &[], &none()).unwrap());
        assert!(found.covers("127.0.0.1".parse().unwrap()), "{found:?}");
    }

    #[test]
    fn all_is_every_address() {
        let found = resolve(&[Source::Name("one.invalid".into()), Source::All], &[], &none());
        assert_eq!(found.map(|found| TargetSet::of_all(&found)), Ok(TargetSet::everything()));
    }

    #[test]
    fn the_address_of_the_credentials_is_no_target() {
        let exempt = ["169.254.170.2".parse().unwrap()];
        let alone = [Source::Net(Net::parse("169.254.170.2").unwrap())];
        assert!(matches!(resolve(&alone, &exempt, &none()), Err(TargetError::Exempt(_))));
        // Within a range it is let through, and the range stays.
        let within = [Source::Net(Net::parse("169.254.0.0/16").unwrap())];
        assert!(resolve(&within, &exempt, &none()).is_ok());
    }

    #[test]
    fn everything_has_what_is_denied_in_it() {
        let denied = DeniedTargets::parse("192.0.2.0/24,localhost").unwrap();
        let refused = |sources: &[Source]| resolve(sources, &[], &denied).unwrap_err().to_string();
        let text = refused(&[Source::All]);
        assert!(text.starts_with("the target ALL has 192.0.2.0/24 in it"), "{text}");
        let text = refused(&[Source::Name("localhost".into())]);
        assert!(text.contains("localhost (") && text.contains("TASKFAULT_DENY_TARGETS"), "{text}");
        let elsewhere = [Source::Net(Net::parse("198.51.100.0/24").unwrap())];
        assert!(resolve(&elsewhere, &[], &denied).is_ok());
        let names = [Source::Name("localhost".into())];
        assert!(look_up_again(&names, &denied).is_empty() && !look_up_again(&names, &none()).is_empty());
    }
}
