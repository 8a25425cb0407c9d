//! The other side of the traffic: addresses, nets, names, services. Pure.

use std::fmt;
use std::str::FromStr;

use super::Net;
use crate::ParameterError;

/// As many as the rules of a fault are known to hold (they take one transaction of some 10 MB).
const MOST_SOURCES: usize = 65_536;
/// No host name is longer (RFC 1035).
const LONGEST_NAME: usize = 253;

/// An AWS service that is reached at published prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Written DYNAMODB.
    DynamoDb,
    /// Written S3.
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
    /// Whose prefixes these are.
    pub service: Service,
    /// The prefixes.
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
    /// Every address.
    All,
    /// Becomes [`Source::Prefixes`] before the fault starts.
    Service(Service),
    /// What a service stands for in a region.
    Prefixes(Prefixes),
    /// An address, or a CIDR.
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
        Err(ParameterError::not_one_of(
            "sources",
            word,
            "IPv4 or IPv6 addresses, CIDRs, host names, ALL, DYNAMODB or S3",
        ))
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
        return Err(ParameterError::not_one_of(
            "sources",
            &format!("{} of them", sources.len()),
            "at most 65536",
        ));
    }
    Ok(sources)
}

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
}
