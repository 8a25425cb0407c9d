//! The rules for packets that have come through the [prefilter](super::prefilter): first what is let through all the
//! same, then what becomes of the rest.

use super::family::Family;
use super::filter::{Action, Filter};
use super::rule::Rule;
use super::{deadline, exempt_flows, selection};
use crate::net::nft::chain::Hook;
use faults::network_source::Protocol;

/// The index of the loopback interface of every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// All rules of the filter's match chain, in order.
pub(super) fn rules(filter: &Filter) -> Vec<Rule> {
    let hook = filter.hook();
    let mut all = vec![deadline::let_through(filter)];
    match hook {
        // Nothing is known of sockets there.
        Hook::Ingress => all.extend(Family::ALL.map(|family| exempt_flows::let_through(filter, family))),
        _ => all.push(Rule::default().group(filter.exempt_group).accept()),
    }
    // Without neighbour discovery no address of IPv6 is reached, the exempt ones neither.
    all.push(Rule::default().neighbour_discovery(hook).accept());
    all.extend(filter.exempt.iter().map(|address| Rule::default().peer(hook, *address).accept()));
    all.extend(filter.exempt_endpoints.iter().map(|peer| Rule::default().tcp_peer(hook, *peer).accept()));
    all.extend(selection::let_through(filter));
    let on_links: Vec<Rule> = match &filter.links {
        // Where the chain itself is on them they need not be asked for.
        Some(links) if !hook.is_on_devices() => {
            links.iter().map(|link| Rule::default().link(hook, link.index)).collect()
        }
        _ => vec![Rule::default()],
    };
    if matches!(filter.action, Action::ToPort(_)) && is_everything(filter) {
        // What the containers of a task say to each other is meant by nobody who asks for everything.
        all.push(Rule::default().link(hook, LOOPBACK).accept());
    }
    // Before the share: what is not of such a connection needs no hash.
    let of_connections = |base: &Rule| match filter.action {
        Action::Reset(connections) => base.clone().connections(connections),
        _ => base.clone(),
    };
    let affected = on_links.iter().map(of_connections).flat_map(|base| share(filter, &base));
    all.extend(affected.map(|rule| act(rule, filter)));
    all
}

fn is_everything(filter: &Filter) -> bool {
    Family::ALL.into_iter().any(|family| family.of(&filter.targets).is_everything())
}

/// The rules for the share of flows on one interface: one for each kind of packet, because only TCP and UDP
/// have ports that tell flows apart.
fn share(filter: &Filter, base: &Rule) -> Vec<Rule> {
    let (hook, percent) = (filter.hook(), filter.flows_percent);
    if percent == 100 {
        return vec![base.clone()];
    }
    let of_family = |family| {
        let base = base.clone().family(hook, family);
        match filter.port.is_some() || filter.selected.protocol.is_some() {
            true => vec![base.flows(family, true, percent)],
            false => vec![
                base.clone().protocol(Protocol::Tcp).flows(family, true, percent),
                base.clone().protocol(Protocol::Udp).flows(family, true, percent),
                base.neither_tcp_nor_udp().flows(family, false, percent),
            ],
        }
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}

fn act(rule: Rule, filter: &Filter) -> Rule {
    match filter.action {
        Action::Classify(class) => rule.count().set_priority(class),
        Action::Redirect { class, link } => rule.count().set_priority(class).forward(link),
        Action::Drop => rule.count().drop(),
        Action::Discard => rule.count().discard(),
        Action::Reset(_) => rule.count().reset(),
        Action::DropShare(percent) => rule.by_chance(percent).count().drop(),
        Action::ToPort(port) => match filter.port {
            // Where connections were not tracked before, one that is open begins anew for the kernel.
            Some((Protocol::Tcp, _)) => rule.opening().count().redirect_to(port),
            _ => rule.count().redirect_to(port),
        },
    }
}
