//! As many targets as a fault may have, in one change of the kernel's rules, read back. In a network namespace
//! of the test's own, on the kernel that is there: it needs nf_tables and no netem.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use effects::net::netlink::{Request, Tables};
use effects::net::uapi::nf_tables::NFTA_SET_ELEM_LIST_ELEMENTS;
use effects::net::{Environment, NetError, NetworkEffect, NetworkPlan, Work};
use faults::network_source::{Direction, Selection, parse_sources};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementFlags, SetElementList,
    SetElementMessage, TableMessage,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use rtnetlink::packet_core::{
    DecodeError, Emitable, NetlinkDeserializable, NetlinkHeader, NlasIterator, Parseable,
};

mod own_network;

use own_network::in_own_network;

const COUNT: u32 = 65_536;

fn v4(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0b00_0000 + 2 * n)
}

fn v6(n: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits((0xfd0b << 112) + 2 * u128::from(n))
}

#[test]
fn every_target_arrives_in_the_kernel_in_one_change() {
    in_own_network(play);
}

fn play() {
    let folder = tempfile::tempdir().unwrap();
    let words = (0..COUNT / 2).flat_map(|n| [v4(n).to_string(), v6(n).to_string()]).collect::<Vec<_>>();
    assert_eq!(words.len(), COUNT as usize);
    let plan = NetworkPlan {
        name: "many",
        // Dropped by nf_tables itself, so that nothing is shaped.
        work: Work::Lose { percent: 100 },
        direction: Direction::Ingress,
        interfaces: None,
        sources: parse_sources(&words.join(",")).unwrap(),
        port: None,
        selection: Selection::default(),
        flows_percent: 100,
        lasts: Duration::from_secs(60),
    };
    let environment = Environment { state_dir: folder.path().to_owned(), ..Environment::default() };
    let effect = match NetworkEffect::start(&plan, &environment) {
        Ok(effect) => effect,
        Err(error @ NetError::NotPermitted) => return println!("SKIP: {error}"),
        Err(error) => panic!("{error}"),
    };
    let expected_v4: BTreeSet<Vec<u8>> = (0..COUNT / 2).map(|n| v4(n).octets().to_vec()).collect();
    let expected_v6: BTreeSet<Vec<u8>> = (0..COUNT / 2).map(|n| v6(n).octets().to_vec()).collect();
    assert!(beginnings("many_1_v4") == expected_v4, "the set of IPv4 is another");
    assert!(beginnings("many_1_v6") == expected_v6, "the set of IPv6 is another");
    effect.undo().1.unwrap();
    let question = NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() });
    let tables: Vec<NetfilterMessage> = dump(NetfilterProtoFamily::Unspec, question);
    assert_eq!(tables, []);
}

/// Where the ranges of a set begin.
fn beginnings(set: &str) -> BTreeSet<Vec<u8>> {
    let question = NfTablesMessage::GetSetElement(SetElementMessage {
        attributes: vec![SetElementList::Table("taskfault".into()), SetElementList::Set(set.into())],
    });
    let answers: Vec<Elements> = dump(NetfilterProtoFamily::Inet, question);
    answers.iter().flat_map(|answer| &answer.0).filter_map(beginning).collect()
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

/// The key of an element, unless it only ends a range.
fn beginning(element: &ListAttribute<SetElementAttribute>) -> Option<Vec<u8>> {
    let ListAttribute::Element(attributes) = element else { return None };
    let ends = attributes.iter().any(|attribute| {
        matches!(attribute, SetElementAttribute::Flags(flags) if flags.contains(SetElementFlags::IntervalEnd))
    });
    let key = attributes.iter().find_map(|attribute| match attribute {
        SetElementAttribute::Key(DataAttribute::Value(key)) => Some(key.clone()),
        _ => None,
    });
    (!ends).then_some(key?)
}

fn dump<A: NetlinkDeserializable>(family: NetfilterProtoFamily, question: NfTablesMessage) -> Vec<A> {
    let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), question);
    Tables::open().unwrap().dump(Request::new("list what there is", 0, message)).unwrap()
}
