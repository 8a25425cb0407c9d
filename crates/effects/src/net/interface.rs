//! Which interfaces a fault is for: those of the default routes, all, or some by name.

use thiserror::Error;

use super::link::Link;
use super::netlink::{NetlinkError, Route};
use super::{ifb, routes};
use faults::network_source::Interfaces;

/// What FIS leaves out of ALL.
const NOT_IN_ALL: [&str; 3] = ["lo", "docker", "br"];

/// Why there is no such interface.
#[derive(Debug, Error)]
pub enum InterfaceError {
    /// DEFAULT without a default route; carries the interfaces there are.
    #[error("there is no default route, so there is no DEFAULT interface; name one of {0}")]
    NoDefault(String),
    /// An interface that does not exist.
    #[error("there is no interface {name} here; there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What exists.
        known: String,
    },
    /// An interface that takes no packets.
    #[error("the interface {0} is down")]
    Down(String),
    /// ALL means nothing here; carries the interfaces there are.
    #[error("ALL leaves no interface here; name one of {0}")]
    None(String),
    /// The kernel did not list the interfaces.
    #[error(transparent)]
    Kernel(#[from] NetlinkError),
}

/// The interfaces among all `links` that `requested` names.
///
/// # Errors
/// One that is not there, or is down; none at all.
pub fn choose(
    route: &mut Route,
    requested: &Interfaces,
    links: &[Link],
) -> Result<Vec<Link>, InterfaceError> {
    let defaults = match requested {
        Interfaces::Default => routes::default_interfaces(route)?,
        _ => Vec::new(),
    };
    pick(requested, links, &defaults)
}

fn pick(requested: &Interfaces, links: &[Link], defaults: &[u32]) -> Result<Vec<Link>, InterfaceError> {
    // An interface that a fault made is not one of the task.
    let links: Vec<&Link> = links.iter().filter(|link| !ifb::is_ours(link)).collect();
    let known = links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
    let named = |name: &str| {
        let found = links.iter().find(|link| link.name == name).copied().cloned();
        let link = found.ok_or(InterfaceError::Unknown { name: name.to_owned(), known: known.clone() })?;
        if link.up { Ok(link) } else { Err(InterfaceError::Down(link.name)) }
    };
    match requested {
        Interfaces::Default => {
            let found: Vec<&Link> = links.into_iter().filter(|link| defaults.contains(&link.index)).collect();
            let first = found.first().ok_or(InterfaceError::NoDefault(known.clone()))?;
            let up: Vec<Link> = found.iter().copied().filter(|link| link.up).cloned().collect();
            if up.is_empty() { Err(InterfaceError::Down(first.name.clone())) } else { Ok(up) }
        }
        Interfaces::All => {
            let in_all = |link: &Link| !NOT_IN_ALL.iter().any(|start| link.name.starts_with(start));
            let chosen: Vec<_> = links.into_iter().filter(|link| link.up && in_all(link)).cloned().collect();
            if chosen.is_empty() { Err(InterfaceError::None(known)) } else { Ok(chosen) }
        }
        Interfaces::Named(names) => {
            let mut chosen = names.iter().map(|name| named(name)).collect::<Result<Vec<_>, _>>()?;
            chosen.sort_by_key(|link| link.index);
            chosen.dedup();
            Ok(chosen)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(names: &[&str]) -> Vec<Link> {
        let link = |(index, name): (u32, &&str)| match *name {
            "taskfault-in" => ifb::link(),
            name => Link {
                index,
                name: name.trim_start_matches('!').to_owned(),
                up: !name.starts_with('!'),
                loopback: name == "lo",
                kind: None,
                address: Vec::new(),
            },
        };
        (1..).zip(names).map(link).collect()
    }

    /// `defaults` are the numbers of interfaces, which are counted from 1.
    fn chosen(requested: &str, names: &[&str], defaults: &[u32]) -> Result<String, String> {
        let picked =
            pick(&requested.parse().unwrap(), &links(names), defaults).map_err(|error| error.to_string())?;
        Ok(picked.into_iter().map(|link| link.name).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn the_keywords_of_fis_mean_what_fis_means() {
        let names = ["lo", "eth0", "docker0", "br-1", "ecs-eth0", "!eth1"];
        assert_eq!(chosen("DEFAULT", &names, &[2]), Ok("eth0".into()));
        assert_eq!(chosen("ALL", &names, &[]), Ok("eth0,ecs-eth0".into()));
        assert_eq!(chosen("ecs-eth0,lo,lo", &names, &[]), Ok("lo,ecs-eth0".into()));
    }

    #[test]
    fn an_interface_that_a_fault_made_is_not_there() {
        let names = ["lo", "eth0", "taskfault-in"];
        assert_eq!(chosen("ALL", &names, &[]), Ok("eth0".into()));
        let refused = chosen("taskfault-in", &names, &[]).unwrap_err();
        assert_eq!(refused, "there is no interface taskfault-in here; there are lo, eth0");
    }

    #[test]
    fn a_refusal_lists_what_is_there() {
        let refused = |requested, names: &[&str]| chosen(requested, names, &[]).unwrap_err();
        assert_eq!(refused("eth9", &["lo", "eth0"]), "there is no interface eth9 here; there are lo, eth0");
        assert_eq!(refused("eth0", &["!eth0"]), "the interface eth0 is down");
        let down = chosen("DEFAULT", &["lo", "!eth0"], &[2]).unwrap_err();
        assert_eq!(down, "the interface eth0 is down");
        assert!(refused("DEFAULT", &["lo"]).starts_with("there is no default route"));
        assert!(refused("ALL", &["lo"]).starts_with("ALL leaves no interface"));
    }

    #[test]
    fn every_interface_of_a_default_route_is_meant() {
        let names = ["lo", "eth0", "eth1", "!eth2"];
        assert_eq!(chosen("DEFAULT", &names, &[2, 3, 4]), Ok("eth0,eth1".into()));
    }
}
