//! Nets: an address with the length of its prefix. Pure.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// An address with the length of its net's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net(IpNet);

impl Net {
    /// The net of one address.
    pub fn single(address: IpAddr) -> Net {
        Net(IpNet::from(address))
    }

    /// `10.0.0.0/8`, `10.0.0.1`, `fd00::/64`; None if it is no such thing. Bits after the prefix count for
    /// nothing, as everywhere in routing, and are forgotten.
    ///
    /// `::ffff:192.0.2.2` is 192.0.2.2: that is what leaves the task, whatever the socket calls it.
    ///
    /// Address and prefix are read apart: `IpNet`'s own reading takes `010.0.0.1/8`, which some read as octal.
    pub fn parse(word: &str) -> Option<Net> {
        let Some((address, prefix)) = word.split_once('/') else {
            return word.parse().ok().map(|address: IpAddr| Net::single(address.to_canonical()));
        };
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| digits)?;
        let net = IpNet::new(address.parse().ok()?, prefix).ok()?.trunc();
        Some(Net(mapped(net).unwrap_or(net)))
    }

    /// Whether it is one address.
    pub fn is_single(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Whether it is all addresses of its family.
    pub fn is_everything(&self) -> bool {
        self.0.prefix_len() == 0
    }

    /// Whether the address is in it.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether there is an address in both.
    pub fn overlaps(&self, other: &Net) -> bool {
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }

    /// Its first and its last address.
    pub fn range(&self) -> (IpAddr, IpAddr) {
        (self.0.network(), self.0.broadcast())
    }
}

/// The IPv4 net that an IPv6 net of mapped addresses stands for.
fn mapped(net: IpNet) -> Option<IpNet> {
    /// Bits in front of the IPv4 address: `::ffff:0:0/96`.
    const IN_FRONT: u8 = 96;
    let prefix = net.prefix_len().checked_sub(IN_FRONT)?;
    match net.addr().to_canonical() {
        address @ IpAddr::V4(_) if net.addr().is_ipv6() => IpNet::new(address, prefix).ok(),
        _ => None,
    }
}

impl fmt::Display for Net {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.is_single() {
            true => self.0.addr().fmt(formatter),
            false => self.0.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_net_has_its_first_and_last_address() {
        let range = |word| {
            let (first, last) = Net::parse(word).unwrap().range();
            format!("{first} {last}")
        };
        assert_eq!(range("10.1.2.3/8"), "10.0.0.0 10.255.255.255");
        assert_eq!(range("10.1.2.3"), "10.1.2.3 10.1.2.3");
        assert_eq!(range("0.0.0.0/0"), "0.0.0.0 255.255.255.255");
        assert_eq!(range("fd00::1/127"), "fd00:: fd00::1");
        assert_eq!(range("::/0"), ":: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    }

    #[test]
    fn a_mapped_address_is_the_address_that_it_maps() {
        let shown = |word| Net::parse(word).unwrap().to_string();
        assert_eq!(shown("::ffff:192.0.2.2"), "192.0.2.2");
        assert_eq!(shown("::ffff:192.0.2.2/120"), "192.0.2.0/24");
        assert_eq!(shown("::ffff:0:0/96"), "0.0.0.0/0");
        assert_eq!(shown("::ffff:0:0/95"), "::fffe:0:0/95");
        assert_eq!(shown("::192.0.2.2"), "::c000:202");
    }

    #[test]
    fn a_net_is_shown_without_the_bits_that_count_for_nothing() {
        let shown = |word| Net::parse(word).unwrap().to_string();
        assert_eq!(shown("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(shown("fd00::7/64"), "fd00::/64");
        assert_eq!(shown("10.1.2.3/32"), "10.1.2.3");
        assert_eq!(shown("0.0.0.9/0"), "0.0.0.0/0");
        assert_eq!(Net::parse("10.1.2.3/8"), Net::parse("10.0.0.0/8"));
    }
}
