//! The rules for packets that have come through the [`gate`](super::gate): first what is let through all the
//! same, then what becomes of the rest.

use super::expression::Expressions;
use super::place::{Family, Hook};
use super::{Act, Filter};
use faults::network_source::Protocol;

/// All rules of the filter's second chain, in order.
pub(super) fn rules(filter: &Filter) -> Vec<Expressions> {
    let hook = filter.hook();
    let mut all = match hook {
        // Nothing is known of sockets there.
        Hook::Arrival => Family::ALL.map(|family| super::own::let_through(filter, family)).to_vec(),
        _ => vec![Expressions::default().group(filter.spared_group).accept()],
    };
    // Without neighbour discovery no address of IPv6 is reached, the spared ones neither.
    all.push(Expressions::default().neighbour_discovery(hook).accept());
    all.extend(filter.spared.iter().map(|address| Expressions::default().peer(hook, *address).accept()));
    let on_links: Vec<Expressions> = match &filter.links {
        // Where the chain itself is on them they need not be asked for.
        Some(links) if !hook.is_on_links() => {
            links.iter().map(|link| Expressions::default().link(hook, link.index)).collect()
        }
        _ => vec![Expressions::default()],
    };
    let affected = on_links.iter().flat_map(|base| share(filter, base));
    all.extend(affected.map(|rule| act(rule, filter.act)));
    all
}

/// The rules for the share of flows on one interface: one for each kind of packet, because only TCP and UDP
/// have ports that tell flows apart.
fn share(filter: &Filter, base: &Expressions) -> Vec<Expressions> {
    let (hook, percent) = (filter.hook(), filter.flows_percent);
    if percent == 100 {
        return vec![base.clone()];
    }
    let of_family = |family| {
        let base = base.clone().family(hook, family);
        match filter.port {
            Some(_) => vec![base.flows(family, true, percent)],
            None => vec![
                base.clone().protocol(Protocol::Tcp).flows(family, true, percent),
                base.clone().protocol(Protocol::Udp).flows(family, true, percent),
                base.neither_tcp_nor_udp().flows(family, false, percent),
            ],
        }
    };
    Family::ALL.into_iter().flat_map(of_family).collect()
}

fn act(rule: Expressions, act: Act) -> Expressions {
    match act {
        Act::Class(class) => rule.count().set_priority(class),
        Act::Redirect { class, link } => rule.count().set_priority(class).forward(link),
        Act::Drop => rule.count().drop(),
        Act::DropShare(percent) => rule.by_chance(percent).count().drop(),
    }
}
