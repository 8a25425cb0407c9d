//! The rules of a filter: first what is let through, then what is meant.

use super::expression::Expressions;
use super::place::{Family, Hook};
use super::{Act, Filter};
use crate::fault::network_source::Protocol;

/// All rules of the filter's chain, in order.
pub(super) fn all(filter: &Filter) -> Vec<Expressions> {
    let hook = filter.hook();
    let mut all = match hook {
        // Nothing is known of sockets there.
        Hook::Arrival => Family::ALL.map(|family| super::own::let_through(filter, family)).to_vec(),
        _ => vec![Expressions::default().group(filter.spared_group).accept()],
    };
    // Without neighbour discovery no address of IPv6 is reached, the spared ones neither.
    all.push(Expressions::default().neighbour_discovery(hook).accept());
    all.extend(filter.spared.iter().map(|address| Expressions::default().peer(hook, *address).accept()));
    let links: Vec<Option<u32>> = match &filter.links {
        // Where the chain itself is on them they need not be asked for.
        Some(links) if !hook.is_on_links() => links.iter().map(|link| Some(link.index)).collect(),
        _ => vec![None],
    };
    for link in links {
        for family in Family::ALL {
            all.extend(meant(filter, link, family));
        }
    }
    all
}

/// The rules for one family on one interface: three where a share of flows is asked for, because only TCP
/// and UDP have ports that tell flows apart.
fn meant(filter: &Filter, link: Option<u32>, family: Family) -> Vec<Expressions> {
    let (hook, ranges) = (filter.hook(), family.of(&filter.reach));
    let mut base = Expressions::default();
    if let Some(index) = link {
        base = base.link(hook, index);
    }
    base = match ranges.listed() {
        Some(_) => base.in_set(hook, family, &filter.name),
        None => base.family(hook, family),
    };
    if let Some((protocol, port)) = filter.port {
        base = base.port(protocol, port);
    }
    let kinds: Vec<Expressions> = match (filter.flows_percent, filter.port) {
        (100, _) => vec![base],
        (share, Some(_)) => vec![base.flows(family, true, share)],
        (share, None) => vec![
            base.clone().protocol(Protocol::Tcp).flows(family, true, share),
            base.clone().protocol(Protocol::Udp).flows(family, true, share),
            base.neither_tcp_nor_udp().flows(family, false, share),
        ],
    };
    kinds.into_iter().map(|rule| act(rule, filter.act)).collect()
}

fn act(rule: Expressions, act: Act) -> Expressions {
    match act {
        Act::Class(class) => rule.count().set_priority(class),
        Act::Redirect { class, link } => rule.count().set_priority(class).forward(link),
        Act::Drop => rule.count().drop(),
        Act::DropShare(percent) => rule.by_chance(percent).count().drop(),
    }
}
