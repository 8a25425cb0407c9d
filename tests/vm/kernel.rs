//! What the kernel has in this network namespace, read over netlink: in one line, and quick, so that it can be
//! looked at thousands of times.

use std::fmt::Write as _;

use effects::net::netlink::{Request, Route, Tables};
use effects::net::tc;
use effects::net::uapi::nf_tables::NFTA_SET_ELEM_LIST_ELEMENTS;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, ListAttribute, NfTablesMessage, SetAttribute, SetElementAttribute,
    SetElementFlags, SetElementList, SetElementMessage, SetMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use rtnetlink::packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NlasIterator, Parseable,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};

/// Links, disciplines, addresses, routes, tables, chains and sets: `kind words; kind words; …`. Counters are
/// left out, and what the kernel numbers anew each time.
pub(crate) fn state() -> String {
    let mut route = Route::open().unwrap();
    let mut all = Vec::new();
    let links: Vec<LinkMessage> = ask(&mut route, RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        })
        .collect();
    all.extend(links.iter().map(link));
    for qdisc in tc::list(&mut route).unwrap() {
        let link = links.iter().find(|link| link.header.index == qdisc.index).unwrap();
        let (handle, parent) = (u32::from(qdisc.handle), u32::from(qdisc.parent));
        let options = hex(&qdisc.options);
        all.push(format!("qdisc {} {} {handle:x} {parent:x} {options}", name(link), qdisc.kind));
    }
    for answer in ask(&mut route, RouteNetlinkMessage::GetAddress(AddressMessage::default())) {
        all.push(format!("address {answer:?}"));
    }
    for answer in ask(&mut route, RouteNetlinkMessage::GetRoute(RouteMessage::default())) {
        let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
        let is_kept = |attribute: &&RouteAttribute| {
            matches!(
                attribute,
                RouteAttribute::Destination(_)
                    | RouteAttribute::Oif(_)
                    | RouteAttribute::Gateway(_)
                    | RouteAttribute::Table(_)
            )
        };
        let kept: Vec<_> = route.attributes.iter().filter(is_kept).collect();
        all.push(format!("route {:?} {kept:?}", route.header));
    }
    tables(&mut all);
    all.sort();
    all.join("; ")
}

fn ask(route: &mut Route, question: RouteNetlinkMessage) -> Vec<RouteNetlinkMessage> {
    route.dump(Request::new("list what there is", 0, question)).unwrap()
}

fn link(link: &LinkMessage) -> String {
    let is_kept = |attribute: &&LinkAttribute| {
        matches!(
            attribute,
            LinkAttribute::Address(_)
                | LinkAttribute::Mtu(_)
                | LinkAttribute::Qdisc(_)
                | LinkAttribute::TxQueueLen(_)
                | LinkAttribute::OperState(_)
                | LinkAttribute::LinkInfo(_)
        )
    };
    let kept: Vec<_> = link.attributes.iter().filter(is_kept).collect();
    format!("link {} {:?} {kept:?}", name(link), link.header)
}

fn name(link: &LinkMessage) -> &str {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    });
    name.unwrap()
}

fn tables(all: &mut Vec<String>) {
    let any = NetfilterProtoFamily::Unspec;
    let mut tables = Tables::open().unwrap();
    let question = NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() });
    for (family, answer) in ask_tables(&mut tables, any, question) {
        let NfTablesMessage::NewTable(table) = answer else { continue };
        let name = table.attributes.iter().find_map(|attribute| match attribute {
            TableAttribute::Name(name) => Some(name),
            _ => None,
        });
        all.push(format!("table {family} {}", name.unwrap()));
    }
    let question = NfTablesMessage::GetChain(ChainMessage { attributes: Vec::new() });
    for (family, answer) in ask_tables(&mut tables, any, question) {
        let NfTablesMessage::NewChain(chain) = answer else { continue };
        all.push(format!("chain {family} {}", words(&chain)));
    }
    let question = NfTablesMessage::GetSet(SetMessage { attributes: Vec::new() });
    for (family, answer) in ask_tables(&mut tables, any, question) {
        let NfTablesMessage::NewSet(set) = answer else { continue };
        let names = set.attributes.iter().filter_map(|attribute| match attribute {
            SetAttribute::Table(name) | SetAttribute::Name(name) => Some(name.as_str()),
            _ => None,
        });
        all.push(format!("set {family} {}", names.collect::<Vec<_>>().join(" ")));
    }
}

/// The chain's table and name, the number of its hook and its priority.
fn words(chain: &ChainMessage) -> String {
    let (mut names, mut hook, mut priority) = (Vec::new(), 0, 0);
    for attribute in &chain.attributes {
        match attribute {
            ChainAttribute::Table(name) | ChainAttribute::Name(name) => names.push(name.as_str()),
            ChainAttribute::Hook(place) => {
                for part in place {
                    match part {
                        Hook::Number(number) => hook = u32::from(*number),
                        Hook::Priority(number) => priority = number.cast_signed(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    format!("{} {hook} {priority}", names.join(" "))
}

fn ask_tables(
    tables: &mut Tables,
    family: NetfilterProtoFamily,
    question: NfTablesMessage,
) -> Vec<(u8, NfTablesMessage)> {
    let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), question);
    let answers: Vec<NetfilterMessage> = tables.dump(Request::new("list what there is", 0, message)).unwrap();
    let told = answers.into_iter().filter_map(|answer| match answer.inner {
        NetfilterMessageInner::NfTables(told) => Some((answer.header.family.into(), told)),
        _ => None,
    });
    told.collect()
}

/// How many ranges a set has.
pub(crate) fn ranges(family: u8, table: &str, set: &str) -> usize {
    let question = NfTablesMessage::GetSetElement(SetElementMessage {
        attributes: vec![SetElementList::Table(table.into()), SetElementList::Set(set.into())],
    });
    let message = NetfilterMessage::new(NetfilterHeader::new(family.into(), 0, 0), question);
    let request = Request::new("list elements", 0, message);
    let answers: Vec<Elements> = Tables::open().unwrap().dump(request).unwrap();
    answers.iter().flat_map(|answer| &answer.0).filter(|element| begins(element)).count()
}

/// The elements of one message. Read one by one: the crate formats all of them for each, in case it cannot be
/// read.
struct Elements(Vec<ListAttribute<SetElementAttribute>>);

impl NetlinkDeserializable for Elements {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Elements, DecodeError> {
        let header = NetfilterHeader::parse(payload)?;
        let attributes = NlasIterator::new(&payload[header.buffer_len()..]).map(Result::unwrap);
        let mut elements = Vec::new();
        for list in attributes.filter(|attribute| attribute.kind() == NFTA_SET_ELEM_LIST_ELEMENTS) {
            for element in NlasIterator::new(list.value()) {
                elements.push(ListAttribute::parse(&element?)?);
            }
        }
        Ok(Elements(elements))
    }
}

/// Whether an element begins a range, rather than only ending one.
fn begins(element: &ListAttribute<SetElementAttribute>) -> bool {
    let ListAttribute::Element(attributes) = element else { return false };
    !attributes.iter().any(|attribute| {
        matches!(attribute, SetElementAttribute::Flags(flags) if flags.contains(SetElementFlags::IntervalEnd))
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
