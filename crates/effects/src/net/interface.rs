//! Which interfaces a fault is for: that of the default route, all, or some by name.

use std::fs;

use thiserror::Error;

use super::ifb;
use super::link::{self, Link};
use super::netlink::{NetlinkError, Route};
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

/// The interfaces that `requested` names; with None every one that is up, loopback too.
///
/// # Errors
/// One that is not there, or is down; none at all.
pub fn choose(requested: Option<&Interfaces>) -> Result<Vec<Link>, InterfaceError> {
    let links = link::list(&mut Route::open()?)?;
    pick(requested, links, default_name().as_deref())
}

fn pick(
    requested: Option<&Interfaces>,
    links: Vec<Link>,
    default: Option<&str>,
) -> Result<Vec<Link>, InterfaceError> {
    // An interface that a fault made is not one of the task.
    let links: Vec<Link> = links.into_iter().filter(|link| !ifb::is_ours(link)).collect();
    let known = links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
    let named = |name: &str| {
        let found = links.iter().find(|link| link.name == name).cloned();
        let link = found.ok_or(InterfaceError::Unknown { name: name.to_owned(), known: known.clone() })?;
        if link.up { Ok(link) } else { Err(InterfaceError::Down(link.name)) }
    };
    match requested {
        None => Ok(links.into_iter().filter(|link| link.up).collect()),
        Some(Interfaces::Default) => {
            default.ok_or(InterfaceError::NoDefault(known.clone())).and_then(named).map(|link| vec![link])
        }
        Some(Interfaces::All) => {
            let in_all = |link: &Link| !NOT_IN_ALL.iter().any(|start| link.name.starts_with(start));
            let chosen: Vec<_> = links.iter().filter(|link| link.up && in_all(link)).cloned().collect();
            if chosen.is_empty() { Err(InterfaceError::None(known)) } else { Ok(chosen) }
        }
        Some(Interfaces::Named(names)) => {
            let mut chosen = names.iter().map(|name| named(name)).collect::<Result<Vec<_>, _>>()?;
            chosen.sort_by_key(|link| link.index);
            chosen.dedup();
            Ok(chosen)
        }
    }
}

/// The interface of the default route, of IPv4 if there is one.
fn default_name() -> Option<String> {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    default_v4(&read("/proc/self/net/route")).or_else(|| default_v6(&read("/proc/self/net/ipv6_route")))
}

/// From `/proc/net/route`: interface, destination, gateway, flags, two counts, metric, mask.
fn default_v4(routes: &str) -> Option<String> {
    let defaults = routes.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let all = *columns.get(1)? == "00000000" && *columns.get(7)? == "00000000";
        all.then_some((columns.get(6)?.parse::<u32>().ok()?, columns[0]))
    });
    defaults.min().map(|(_, name)| name.to_owned())
}

/// From `/proc/net/ipv6_route`: destination, its length, source, its length, gateway, metric, two counts,
/// flags, interface. Loopback has the route of last resort, which rejects.
fn default_v6(routes: &str) -> Option<String> {
    let defaults = routes.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let all = columns.first()?.bytes().all(|byte| byte == b'0') && *columns.get(1)? == "00";
        let (metric, name) = (u32::from_str_radix(columns.get(5)?, 16).ok()?, *columns.get(9)?);
        (all && name != "lo").then_some((metric, name))
    });
    defaults.min().map(|(_, name)| name.to_owned())
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

    fn chosen(requested: Option<&str>, names: &[&str], default: Option<&str>) -> Result<String, String> {
        let requested = requested.map(|list| list.parse().unwrap());
        let picked = pick(requested.as_ref(), links(names), default).map_err(|error| error.to_string())?;
        Ok(picked.into_iter().map(|link| link.name).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn the_keywords_of_fis_mean_what_fis_means() {
        let names = ["lo", "eth0", "docker0", "br-1", "ecs-eth0", "!eth1"];
        assert_eq!(chosen(Some("DEFAULT"), &names, Some("eth0")), Ok("eth0".into()));
        assert_eq!(chosen(Some("ALL"), &names, None), Ok("eth0,ecs-eth0".into()));
        assert_eq!(chosen(Some("ecs-eth0,lo,lo"), &names, None), Ok("lo,ecs-eth0".into()));
        assert_eq!(chosen(None, &names, None), Ok("lo,eth0,docker0,br-1,ecs-eth0".into()));
    }

    #[test]
    fn an_interface_that_a_fault_made_is_not_there() {
        let names = ["lo", "eth0", "taskfault-in"];
        assert_eq!(chosen(Some("ALL"), &names, None), Ok("eth0".into()));
        assert_eq!(chosen(None, &names, None), Ok("lo,eth0".into()));
        let refused = chosen(Some("taskfault-in"), &names, None).unwrap_err();
        assert_eq!(refused, "there is no interface taskfault-in here; there are lo, eth0");
    }

    #[test]
    fn a_refusal_lists_what_is_there() {
        let refused = |requested, names: &[&str]| chosen(Some(requested), names, None).unwrap_err();
        assert_eq!(refused("eth9", &["lo", "eth0"]), "there is no interface eth9 here; there are lo, eth0");
        assert_eq!(refused("eth0", &["!eth0"]), "the interface eth0 is down");
        assert!(refused("DEFAULT", &["lo"]).starts_with("there is no default route"));
        assert!(refused("ALL", &["lo"]).starts_with("ALL leaves no interface"));
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_wins() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth1\t00000000\t0101A8C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            ecs-eth0\t02AAFEA9\t01ACFEA9\t0007\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n";
        assert_eq!(default_v4(routes).as_deref(), Some("eth0"));
        assert_eq!(default_v4("Iface\n"), None);
        let zero = "0".repeat(32);
        let routes = format!(
            "fd000000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001 eth0\n\
             {zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000002 00000000 00000003 eth2\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        assert_eq!(default_v6(&routes).as_deref(), Some("eth2"));
    }
}
