//! What the three network faults have in common: whom, where, which way, and how much of it. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Parameter, ParameterError};

/// As many as the rules of a fault are known to hold (they take one transaction of some 10 MB).
const MOST_SOURCES: usize = 65_536;
/// No host name is longer (RFC 1035).
const LONGEST_NAME: usize = 253;
/// `IFNAMSIZ` less the zero byte.
const LONGEST_INTERFACE: usize = 15;

/// Which packets: those that leave the task, or those that come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Egress,
    Ingress,
}

impl FromStr for Direction {
    type Err = ParameterError;

    fn from_str(word: &str) -> Result<Self, ParameterError> {
        match word {
            "egress" => Ok(Direction::Egress),
            "ingress" => Ok(Direction::Ingress),
            _ => Err(wrong("traffic type", word, "egress or ingress")),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Direction::Egress => "egress",
            Direction::Ingress => "ingress",
        })
    }
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// Its number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }
}

impl FromStr for Protocol {
    type Err = ParameterError;

    fn from_str(word: &str) -> Result<Self, ParameterError> {
        match word {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            _ => Err(wrong("protocol", word, "tcp or udp")),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

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
    /// Address and prefix are read apart: `IpNet`'s own reading takes `010.0.0.1/8`, which some read as octal.
    pub fn parse(word: &str) -> Option<Net> {
        let Some((address, prefix)) = word.split_once('/') else {
            return word.parse().ok().map(Net::single);
        };
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| digits)?;
        Some(Net(IpNet::new(address.parse().ok()?, prefix).ok()?.trunc()))
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

    /// Its first and its last address.
    pub fn range(&self) -> (IpAddr, IpAddr) {
        (self.0.network(), self.0.broadcast())
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

/// An AWS service that is reached at published prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    DynamoDb,
    S3,
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Service::DynamoDb => "DYNAMODB",
            Service::S3 => "S3",
        })
    }
}

/// What a service stands for in a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefixes {
    pub service: Service,
    pub nets: Vec<Net>,
    /// In words: of which region, from which list, and how old that is.
    pub origin: String,
}

impl fmt::Display for Prefixes {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (count, ending) = (self.nets.len(), if self.nets.len() == 1 { "" } else { "es" });
        write!(formatter, "{} ({count} prefix{ending} {})", self.service, self.origin)
    }
}

/// One source of FIS: the other side of the traffic that is meant, whichever way it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    All,
    /// Becomes [`Source::Prefixes`] before the fault starts.
    Service(Service),
    Prefixes(Prefixes),
    Net(Net),
    /// A host name, looked up when the fault starts and again while it lives.
    Name(String),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::All => formatter.write_str("ALL"),
            Source::Service(service) => service.fmt(formatter),
            Source::Prefixes(prefixes) => prefixes.fmt(formatter),
            Source::Net(net) => net.fmt(formatter),
            Source::Name(name) => formatter.write_str(name),
        }
    }
}

impl FromStr for Source {
    type Err = ParameterError;

    fn from_str(word: &str) -> Result<Self, ParameterError> {
        match word {
            "ALL" => return Ok(Source::All),
            "DYNAMODB" => return Ok(Source::Service(Service::DynamoDb)),
            "S3" => return Ok(Source::Service(Service::S3)),
            _ => {}
        }
        if let Some(net) = Net::parse(word) {
            return Ok(Source::Net(net));
        }
        if is_name(word) {
            return Ok(Source::Name(word.to_owned()));
        }
        Err(wrong("sources", word, "IPv4 or IPv6 addresses, CIDRs, host names, ALL, DYNAMODB or S3"))
    }
}

/// Labels of letters, digits and hyphens; the last one not a number, or it would be a mistyped address.
fn is_name(word: &str) -> bool {
    let word = word.strip_suffix('.').unwrap_or(word);
    let good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = word.rsplit('.').next().unwrap_or_default();
    word.len() <= LONGEST_NAME && word.split('.').all(good) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// A list with commas and no blanks, as FIS has it.
///
/// # Errors
/// The first word that is none of the kinds, or too many.
pub fn parse_sources(list: &str) -> Result<Vec<Source>, ParameterError> {
    let sources = list.split(',').map(str::parse).collect::<Result<Vec<Source>, _>>()?;
    if sources.len() > MOST_SOURCES {
        return Err(wrong("sources", &format!("{} of them", sources.len()), "at most 65536"));
    }
    Ok(sources)
}

/// Which interfaces a fault is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interfaces {
    /// That of the default route.
    Default,
    /// All but loopback, `docker*` and `br*`, as FIS means it.
    All,
    Named(Vec<String>),
}

impl FromStr for Interfaces {
    type Err = ParameterError;

    fn from_str(list: &str) -> Result<Self, ParameterError> {
        match list {
            "DEFAULT" => return Ok(Interfaces::Default),
            "ALL" => return Ok(Interfaces::All),
            _ => {}
        }
        let names: Vec<String> = list.split(',').map(str::to_owned).collect();
        let good = |name: &String| {
            (1..=LONGEST_INTERFACE).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b))
        };
        match names.iter().find(|name| !good(name)) {
            Some(name) => Err(wrong(
                "interface",
                name,
                "DEFAULT, ALL, or names of at most 15 letters, digits, - _ and .",
            )),
            None => Ok(Interfaces::Named(names)),
        }
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Interfaces::Default => formatter.write_str("DEFAULT"),
            Interfaces::All => formatter.write_str("ALL"),
            Interfaces::Named(names) => formatter.write_str(&names.join(",")),
        }
    }
}

/// Whose traffic a fault is for; the same in latency and packet loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub sources: Vec<Source>,
    pub direction: Direction,
    pub interfaces: Interfaces,
    /// Share of flows, 1–100.
    pub flows_percent: u8,
}

impl Scope {
    /// Checks the words; `flows_percent` is 1–100.
    ///
    /// # Errors
    /// [`ParameterError`] naming what is wrong.
    pub fn new(
        sources: &str,
        direction: &str,
        interfaces: &str,
        flows_percent: u64,
    ) -> Result<Scope, ParameterError> {
        Ok(Scope {
            sources: parse_sources(sources)?,
            direction: direction.parse()?,
            interfaces: interfaces.parse()?,
            flows_percent: super::Range::PERCENT.check("flows-percent", flows_percent)? as u8,
        })
    }
}

fn wrong(name: &'static str, value: &str, accepted: &'static str) -> ParameterError {
    ParameterError::NotOneOf { name, value: value.chars().take(80).collect(), accepted }
}

pub(super) const FLOWS_PERCENT: Parameter = Parameter {
    option: "flows-percent",
    fis: "flowsPercent",
    default: Some("100"),
    range: "1-100",
    unit: "%",
    description: "share of the flows: all packets of a connection, or none",
};

pub(super) const SOURCES: Parameter = Parameter {
    option: "sources",
    fis: "sources",
    default: Some("ALL"),
    range: "a list with commas",
    unit: "",
    description: "the other side: IPv4, IPv6, CIDRs, host names, ALL, DYNAMODB, S3",
};

pub(super) const TRAFFIC_TYPE: Parameter = Parameter {
    option: "traffic-type",
    fis: "",
    default: Some("egress"),
    range: "egress or ingress",
    unit: "",
    description: "packets that leave the task, or that come in",
};

pub(super) const INTERFACE: Parameter = Parameter {
    option: "interface",
    fis: "interface",
    default: Some("DEFAULT"),
    range: "DEFAULT, ALL, or names with commas",
    unit: "",
    description: "DEFAULT is that of the default route, ALL all but loopback and bridges",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        let net = |word| Source::Net(Net::parse(word).unwrap());
        let name = |word: &str| Source::Name(word.to_owned());
        assert_eq!(
            parse_sources("10.0.0.1,10.0.0.0/8,fd00::1,fd00::/64,db.example.com,localhost,S3,DYNAMODB,ALL"),
            Ok(vec![
                net("10.0.0.1"),
                net("10.0.0.0/8"),
                net("fd00::1"),
                net("fd00::/64"),
                name("db.example.com"),
                name("localhost"),
                Source::Service(Service::S3),
                Source::Service(Service::DynamoDb),
                Source::All
            ])
        );
    }

    #[test]
    fn what_is_no_source_is_refused_and_shown() {
        for word in [
            "",
            " ",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "fd00::/129",
            "a b",
            "a..b",
            "-a",
            "a-",
            "$(reboot)",
            "a;b",
            "../x",
            "1",
            "a,",
            "é",
            "fd00::1%eth0",
            "a/b",
        ] {
            let refused = parse_sources(word).unwrap_err().to_string();
            assert!(refused.starts_with("sources is "), "{word}: {refused}");
        }
        assert!(parse_sources(&vec!["a"; 65_536].join(",")).is_ok());
        assert!(parse_sources(&vec!["a"; 65_537].join(",")).is_err());
        assert!(parse_sources(&"a".repeat(64)).is_err(), "a label too long");
    }

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
    fn a_net_is_shown_without_the_bits_that_count_for_nothing() {
        let shown = |word| Net::parse(word).unwrap().to_string();
        assert_eq!(shown("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(shown("fd00::7/64"), "fd00::/64");
        assert_eq!(shown("10.1.2.3/32"), "10.1.2.3");
        assert_eq!(shown("0.0.0.9/0"), "0.0.0.0/0");
        assert_eq!(Net::parse("10.1.2.3/8"), Net::parse("10.0.0.0/8"));
    }

    #[test]
    fn interfaces_are_names_of_the_kernel() {
        assert_eq!("DEFAULT".parse(), Ok(Interfaces::Default));
        assert_eq!("ALL".parse(), Ok(Interfaces::All));
        assert_eq!("eth0,eth1".parse(), Ok(Interfaces::Named(vec!["eth0".into(), "eth1".into()])));
        for list in ["", "eth0,", "a/b", "eth0 eth1", "sixteen-letters-"] {
            assert!(list.parse::<Interfaces>().is_err(), "{list}");
        }
    }

    #[test]
    fn a_share_of_no_flows_is_refused() {
        let refused = Scope::new("ALL", "egress", "DEFAULT", 0).unwrap_err().to_string();
        assert_eq!(refused, "flows-percent is 0; accepted are 1 to 100 %");
        assert!(Scope::new("ALL", "Egress", "DEFAULT", 1).is_err());
    }
}
