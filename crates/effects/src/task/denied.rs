//! Who no network fault may hit, as the platform team has said. Addresses and names; must not know how packets are
//! matched.

use std::net::IpAddr;

use faults::glob::Glob;
use faults::network_source::{Net, Source};
use faults::{ParameterError, network_source::parse_sources};

/// Names them: IPv4, IPv6, CIDRs and host names, with commas between.
pub const DENY_TARGETS_VARIABLE: &str = "TASKFAULT_DENY_TARGETS";

/// Who no network fault may hit; nobody by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeniedTargets(Vec<Source>);

/// A value of [`DENY_TARGETS_VARIABLE`] that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address, nor a CIDR, nor a host name")]
pub struct NotATarget(String);

/// Why a fault may not have its targets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It would hit one of them.
    #[error(
        "the target {asked} has {denied} in it, which {DENY_TARGETS_VARIABLE} forbids; name other sources"
    )]
    Hit {
        /// The source, as it was asked for, or what it stands for.
        asked: String,
        /// What is forbidden, as the variable has it.
        denied: String,
    },
    /// A name has no address now, so no fault can be kept away from it.
    #[error(
        "{DENY_TARGETS_VARIABLE} forbids {0}, which has no address now, so a network fault could hit it unnoticed; \
         check that DNS works in this task, or take the name out"
    )]
    NoAddress(String),
}

/// Who is denied, with the addresses that this stands for now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeniedNets(Vec<(String, Net)>);

impl DeniedTargets {
    /// Reads a list with commas; blanks around its words do not count.
    ///
    /// # Errors
    /// [`NotATarget`] with the first word that is none.
    pub fn parse(list: &str) -> Result<DeniedTargets, NotATarget> {
        let one = |word: &str| {
            let read = parse_sources(word).map_err(|_: ParameterError| ());
            match read.as_deref() {
                // Not the words that stand for services: their addresses change, and nobody could say what is denied.
                Ok([source @ (Source::Net(_) | Source::Name(_))]) => Ok(source.clone()),
                _ => Err(NotATarget(word.chars().take(80).collect())),
            }
        };
        list.split(',').map(|word| one(word.trim())).collect::<Result<_, _>>().map(DeniedTargets)
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses a fault for requests that ask for hosts like `pattern`, where one of the denied is such a host. Which way
    /// its packets take, by a proxy for instance, does not matter. A pattern for all hosts means none by name.
    ///
    /// # Errors
    /// [`Denied::Hit`]
    pub fn check_host(&self, pattern: &Glob) -> Result<(), Denied> {
        let text = pattern.to_string();
        let address: Option<IpAddr> = text.trim_matches(['[', ']']).parse().ok();
        let is_meant = |name: &str| {
            let spelled = [name.to_owned(), format!("{name}."), format!("[{name}]")];
            spelled.iter().any(|name| pattern.matches_any_case(name))
        };
        let is_hit = |source: &&Source| match source {
            Source::Name(name) => is_meant(name),
            Source::Net(net) if net.is_single() => is_meant(&net.range().0.to_string()),
            Source::Net(net) => address.is_some_and(|address| net.covers(address.to_canonical())),
            Source::All | Source::Service(_) | Source::Prefixes(_) => false,
        };
        match self.0.iter().find(is_hit) {
            Some(denied) if !pattern.is_all() => Err(Denied::Hit { asked: text, denied: denied.to_string() }),
            _ => Ok(()),
        }
    }

    /// With the addresses of now; `look_up` gives those of a name.
    ///
    /// # Errors
    /// [`Denied::NoAddress`]
    pub fn look_up(&self, look_up: impl Fn(&str) -> Vec<IpAddr>) -> Result<DeniedNets, Denied> {
        let mut nets = Vec::new();
        for source in &self.0 {
            match source {
                Source::Net(net) => nets.push((net.to_string(), *net)),
                Source::Name(name) => {
                    let found = look_up(name);
                    if found.is_empty() {
                        return Err(Denied::NoAddress(name.clone()));
                    }
                    let shown = |address: IpAddr| format!("{name} ({address})");
                    nets.extend(found.into_iter().map(|one| (shown(one), Net::single(one))));
                }
                // `parse` takes no others.
                Source::All | Source::Service(_) | Source::Prefixes(_) => {}
            }
        }
        Ok(DeniedNets(nets))
    }
}

impl DeniedNets {
    /// Whether the address is denied.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(_, net)| net.covers(address))
    }

    /// Refuses a target `asked` for that stands for `nets` where any of these is denied, be it in part.
    ///
    /// # Errors
    /// [`Denied::Hit`]
    pub fn check(&self, asked: &str, nets: &[Net]) -> Result<(), Denied> {
        let hit = self.0.iter().find(|(_, denied)| nets.iter().any(|net| net.overlaps(denied)));
        match hit {
            Some((denied, _)) => Err(Denied::Hit { asked: asked.to_owned(), denied: denied.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(denied: &str, asked: &str) -> Result<(), Denied> {
        let addresses = |name: &str| match name {
            "db.internal" => vec!["10.0.5.7".parse().unwrap(), "fd00::7".parse().unwrap()],
            _ => Vec::new(),
        };
        let denied = DeniedTargets::parse(denied).unwrap().look_up(addresses)?;
        denied.check(asked, &[Net::parse(asked).unwrap()])
    }

    #[test]
    fn whatever_has_a_denied_address_in_it_is_refused() {
        for asked in ["10.0.5.7", "10.0.0.0/8", "0.0.0.0/0", "10.0.5.0/28", "fd00::/8"] {
            let refused = check("192.0.2.0/24, db.internal", asked).unwrap_err().to_string();
            assert!(
                refused.contains(asked) && refused.contains("which TASKFAULT_DENY_TARGETS forbids"),
                "{refused}"
            );
        }
        for asked in ["10.0.6.0/24", "192.0.3.0/24", "::/127", "10.0.5.8/29"] {
            assert_eq!(check("192.0.2.0/24,db.internal", asked), Ok(()), "{asked}");
        }
        assert!(check("10.0.0.0/8", "10.1.2.3").is_err(), "a part of what is denied");
    }

    #[test]
    fn a_pattern_for_hosts_means_those_that_match() {
        let denied = DeniedTargets::parse("db.internal,192.0.2.7,10.0.0.0/8,fd00::7").unwrap();
        let check = |pattern: &str| denied.check_host(&Glob::parse(pattern, |_| true).unwrap());
        for pattern in [
            "db.internal",
            "DB.internal.",
            "*.internal",
            "d*",
            "192.0.2.7",
            "192.0.*",
            "10.1.2.3",
            "[fd00::7]",
        ] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
        for pattern in ["*", "**", "web.internal", "192.0.3.*", "11.1.2.3", "db.internal.example.com"] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
        let refused = check("*.internal").unwrap_err().to_string();
        assert!(refused.starts_with("the target *.internal has db.internal in it"), "{refused}");
    }

    #[test]
    fn a_name_without_an_address_denies_all() {
        assert_eq!(check("gone.internal", "10.0.0.1"), Err(Denied::NoAddress("gone.internal".into())));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for list in ["", "10.0.0.1,", "10.0.0.0/33", "ALL", "S3", "a b", "10.0.0.1;10.0.0.2"] {
            assert!(DeniedTargets::parse(list).is_err(), "{list}");
        }
    }
}
