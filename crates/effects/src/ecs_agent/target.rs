//! Sources of a fault as the agent takes them, addresses and CIDRs only, and the addresses that it must let
//! through: those of metadata and credentials, and of our own way to the service.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::time::Duration;

use crate::net::{self, endpoints};
use crate::task::Task;
use crate::task::denied::Denied;
use faults::network_source::{Net, Source};

/// Where ECS gives metadata and credentials, IPv4 and IPv6.
const ALWAYS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
];
/// How long a fault waits for the addresses of the control channel's endpoints. Those that it has connections to are
/// known without DNS.
const DNS_PATIENCE: Duration = Duration::from_secs(5);

/// What a fault is for, and what it must not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Addresses and CIDRs.
    pub sources: Vec<String>,
    /// Addresses and CIDRs that are let through.
    pub exempt: Vec<String>,
}

impl Targets {
    /// Whether an address of IPv6 is among them.
    pub fn has_v6(&self) -> bool {
        self.sources.iter().chain(&self.exempt).any(|word| word.contains(':'))
    }

    /// Those of IPv4 alone; None if nothing of what was asked for is left.
    #[must_use]
    pub fn without_v6(&self) -> Option<Targets> {
        let of = |words: &[String]| words.iter().filter(|word| !word.contains(':')).cloned().collect();
        let left = Targets { sources: of(&self.sources), exempt: of(&self.exempt) };
        (self.sources.is_empty() || !left.sources.is_empty()).then_some(left)
    }
}

/// Why there are no targets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// None of these sources has an address.
    #[error("these sources have no address: {0}; check the names, and that DNS works in this task")]
    NoAddress(String),
    /// A service whose prefixes are not there.
    #[error(
        "the source {0} stands for the address prefixes of an AWS service, which were not looked up: name the \
         service's CIDRs instead"
    )]
    Service(String),
    /// A source that must be let through.
    #[error(
        "the source {0} is always let through: without it this task has no metadata, no credentials or no way to \
         Systems Manager; name other sources"
    )]
    Exempt(String),
    /// Addresses that the platform team has denied.
    #[error(transparent)]
    Denied(#[from] Denied),
}

/// Looks everything up, now and once: the agent cannot extend a fault that runs. Takes as long as DNS takes.
///
/// # Errors
/// [`TargetError`], with every source that it is about.
pub fn resolve(sources: &[Source], task: &Task) -> Result<Targets, TargetError> {
    let exempt = exempt(task);
    let sources = addresses(sources, task.ecs_agent.has_v6)?;
    check_denied(&sources, task)?;
    match sources.iter().find(|source| exempt.contains(source)) {
        Some(source) => Err(TargetError::Exempt(source.clone())),
        None => Ok(Targets { sources, exempt }),
    }
}

/// Refuses what has a denied address in it. A fault without sources, a black hole, is for every address.
fn check_denied(sources: &[String], task: &Task) -> Result<(), Denied> {
    if task.denied.is_empty() {
        return Ok(());
    }
    let everything = ["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    let asked = if sources.is_empty() { everything.as_slice() } else { sources };
    let denied = task.denied.look_up(net::target::look_up)?;
    asked
        .iter()
        .filter_map(|word| Some((word, Net::parse(word)?)))
        .try_for_each(|(word, net)| denied.check(word, &[net]))
}

fn addresses(sources: &[Source], has_v6: bool) -> Result<Vec<String>, TargetError> {
    let everything =
        || if has_v6 { vec!["0.0.0.0/0".into(), "::/0".into()] } else { vec!["0.0.0.0/0".into()] };
    let (mut found, mut missing) = (BTreeSet::new(), Vec::new());
    for source in sources {
        match source {
            Source::All => return Ok(everything()),
            Source::Service(service) => return Err(TargetError::Service(service.to_string())),
            Source::Prefixes(prefixes) => {
                let taken = prefixes.nets.iter().filter(|net| has_v6 || net.range().0.is_ipv4());
                found.extend(taken.map(Net::to_string));
            }
            Source::Net(net) => drop(found.insert(net.to_string())),
            Source::Name(name) => match look_up(name, has_v6) {
                none if none.is_empty() => missing.push(name.as_str()),
                some => found.extend(some.into_iter().map(|address| Net::single(address).to_string())),
            },
        }
    }
    if missing.is_empty() {
        Ok(found.into_iter().collect())
    } else {
        Err(TargetError::NoAddress(missing.join(", ")))
    }
}

/// The addresses that no fault may cut. IPv6 only where the task has it: older agents refuse them.
pub fn exempt(task: &Task) -> Vec<String> {
    let has_v6 = task.ecs_agent.has_v6;
    let channel = endpoints::addresses(&task.ecs_agent.control_hosts, DNS_PATIENCE);
    let channel = channel.into_iter().map(|endpoint| endpoint.ip());
    let all: BTreeSet<IpAddr> =
        ALWAYS.into_iter().chain(task.lifelines.iter().copied()).chain(channel).collect();
    let wanted = |address: &IpAddr| !address.is_loopback() && (has_v6 || address.is_ipv4());
    all.into_iter().filter(wanted).map(|address| address.to_string()).collect()
}

fn look_up(name: &str, has_v6: bool) -> Vec<IpAddr> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let found = (bare, 0).to_socket_addrs().map(|all| all.map(|one| one.ip()).collect::<Vec<_>>());
    found.unwrap_or_default().into_iter().filter(|address| has_v6 || address.is_ipv4()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use faults::network_source::{Prefixes, Service, parse_sources};

    fn found(list: &str, has_v6: bool) -> Result<Vec<String>, TargetError> {
        addresses(&parse_sources(list).unwrap(), has_v6)
    }

    #[test]
    fn sources_become_addresses() {
        assert_eq!(found("10.0.0.1,ALL", false), Ok(vec!["0.0.0.0/0".into()]));
        assert_eq!(found("ALL", true), Ok(vec!["0.0.0.0/0".into(), "::/0".into()]));
        assert_eq!(found("localhost,10.0.0.0/8", false), Ok(vec!["10.0.0.0/8".into(), "127.0.0.1".into()]));
        assert_eq!(found("S3", false), Err(TargetError::Service("S3".into())));
        let nets = ["192.0.2.0/28", "2001:db8::/40"].iter().filter_map(|word| Net::parse(word)).collect();
        let s3 = [Source::Prefixes(Prefixes { service: Service::S3, nets, origin: String::new() })];
        assert_eq!(addresses(&s3, false), Ok(vec!["192.0.2.0/28".into()]));
        assert_eq!(addresses(&s3, true), Ok(vec!["192.0.2.0/28".into(), "2001:db8::/40".into()]));
        let missing = found("one.invalid,10.0.0.1,two.invalid", false);
        assert_eq!(missing, Err(TargetError::NoAddress("one.invalid, two.invalid".into())));
    }

    #[test]
    fn metadata_and_control_channel_are_let_through_and_no_target() {
        let mut task = Task { lifelines: vec!["10.9.9.9".parse().unwrap()], ..Task::default() };
        task.ecs_agent.control_hosts = vec![("10.8.8.8".into(), 443), ("127.0.0.1".into(), 443)];
        let exempt = exempt(&task);
        for address in ["169.254.170.2", "10.9.9.9", "10.8.8.8"] {
            assert!(exempt.iter().any(|one| one == address), "{exempt:?}");
            let refused = resolve(&parse_sources(address).unwrap(), &task).unwrap_err();
            assert_eq!(refused, TargetError::Exempt(address.into()));
        }
        assert!(!exempt.iter().any(|one| one.contains(':') || one == "127.0.0.1"), "{exempt:?}");
        task.ecs_agent.has_v6 = true;
        assert!(super::exempt(&task).contains(&"fd00:ec2::23".to_owned()));
    }

    #[test]
    fn what_is_denied_is_refused_also_where_no_source_is_named() {
        use crate::task::denied::DeniedTargets;
        let denied = DeniedTargets::parse("192.0.2.0/24").unwrap();
        let task = Task { denied, ..Task::default() };
        for sources in [&[][..], &[Source::All], &parse_sources("192.0.2.7").unwrap()] {
            let refused = resolve(sources, &task).unwrap_err().to_string();
            assert!(refused.contains("which TASKFAULT_DENY_TARGETS forbids"), "{refused}");
        }
        assert!(resolve(&parse_sources("198.51.100.0/24").unwrap(), &task).is_ok());
    }

    #[test]
    fn without_ipv6_there_may_be_nothing_left() {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let exempt = words(&["169.254.170.2", "fd00:ec2::23"]);
        let both = Targets { sources: words(&["0.0.0.0/0", "::/0"]), exempt: exempt.clone() };
        let left = Targets { sources: words(&["0.0.0.0/0"]), exempt: words(&["169.254.170.2"]) };
        assert_eq!((both.has_v6(), both.without_v6()), (true, Some(left)));
        assert_eq!(Targets { sources: words(&["::/0"]), exempt: exempt.clone() }.without_v6(), None);
        // A black hole has no sources.
        assert!(Targets { sources: Vec::new(), exempt }.without_v6().is_some());
    }
}
