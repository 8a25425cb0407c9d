//! Our messages beside those that `nft` sends for the same rules.

use std::time::Duration;

use rtnetlink::packet_core::{NetlinkSerializable, NlasIterator};

use super::*;
use crate::net::own_flows::Flow;
use crate::net::uapi::nf_tables::{
    NFTA_RULE_EXPRESSIONS, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_TIMEOUT,
};
use faults::network_source::{Net, Protocol};

const GOLDEN: &str = include_str!("../../../../../tests/data/nft-ruleset.hex");
/// The subsystem of message types, `NFNL_SUBSYS_NFTABLES`.
const TABLES: u16 = 10 << 8;
const GOLDEN_NETDEV: &str = include_str!("../../../../../tests/data/nft-netdev.hex");

/// Message types, as `linux/netfilter/nf_tables.h` has them.
mod kind {
    pub(super) const NEWTABLE: u16 = 0;
    pub(super) const DELTABLE: u16 = 2;
    pub(super) const NEWCHAIN: u16 = 3;
    pub(super) const DELCHAIN: u16 = 5;
    pub(super) const NEWRULE: u16 = 6;
    pub(super) const DELRULE: u16 = 8;
    pub(super) const NEWSET: u16 = 9;
    pub(super) const DELSET: u16 = 11;
    pub(super) const NEWSETELEM: u16 = 12;
    pub(super) const DELSETELEM: u16 = 14;
}

/// The bodies of nft's messages of one type, in order.
fn golden(kind: u16) -> Vec<Vec<u8>> {
    golden_of(GOLDEN, kind)
}

fn golden_of(capture: &str, kind: u16) -> Vec<Vec<u8>> {
    let byte = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let messages =
        capture.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    messages
        .filter(|(found, _)| *found == kind.to_string())
        .map(|(_, hex)| (0..hex.len()).step_by(2).map(|at| byte(hex, at)).collect())
        .collect()
}

/// The bodies of ours.
fn ours(requests: Vec<TablesRequest>, kind: u16) -> Vec<Vec<u8>> {
    let of_kind = |request: &TablesRequest| request.message.message_type() == TABLES | kind;
    requests.into_iter().filter(of_kind).map(body).collect()
}

/// What stands after the header.
fn body(request: TablesRequest) -> Vec<u8> {
    let mut body = Vec::new();
    request.encode(0, 0, &mut body);
    body.split_off(16)
}

/// The value of the first attribute of that kind.
fn find(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let mut attributes = NlasIterator::new(attributes).map(Result::unwrap);
    attributes.find(|attribute| attribute.kind() == kind).map(|found| found.value().to_vec())
}

/// The value of an attribute of a body, which begins with `struct nfgenmsg`.
fn value(body: &[u8], kind: u16) -> Option<Vec<u8>> {
    find(&body[4..], kind)
}

/// The elements that a body lists.
fn elements(body: &[u8]) -> Vec<Vec<u8>> {
    let list = value(body, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    NlasIterator::new(&list).map(|element| element.unwrap().value().to_vec()).collect()
}

fn targets(nets: &[&str]) -> TargetSet {
    TargetSet::of(&nets.iter().map(|net| Net::parse(net).unwrap()).collect::<Vec<_>>())
}

fn sorted(mut bodies: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    bodies.sort();
    bodies
}

/// The expressions of each rule.
fn expressions(rules: &[Vec<u8>]) -> Vec<Vec<u8>> {
    rules.iter().map(|body| value(body, NFTA_RULE_EXPRESSIONS).unwrap()).collect()
}

fn filter() -> Filter {
    Filter {
        name: "x_1".into(),
        direction: Direction::Egress,
        priority: -149,
        links: Some(vec![link(2, "eth0")]),
        targets: targets(&["10.0.0.0/22", "10.1.0.7", "fd00::7", "fd00:1::/57"]),
        added: BTreeSet::new(),
        port: None,
        selected: Selected::default(),
        flows_percent: 100,
        action: Action::Classify(class(4)),
        lasts: Duration::from_secs(60),
        exempt: vec!["169.254.170.2".parse().unwrap()],
        exempt_endpoints: Vec::new(),
        exempt_group: 29_798,
        own_flows: Vec::new(),
    }
}

fn link(index: u32, name: &str) -> Link {
    Link { index, name: name.into(), up: true, loopback: false, kind: None, address: Vec::new() }
}

fn class(band: u16) -> TcHandle {
    TcHandle { major: 0x7f17, minor: band }
}

fn redirection() -> Filter {
    let flow = Flow { protocol: Protocol::Tcp, peer: "10.9.0.2:443".parse().unwrap(), own_port: 5_000 };
    Filter {
        name: "x_3".into(),
        direction: Direction::Ingress,
        priority: -3,
        links: Some(vec![link(2, "eth1"), link(3, "eth0")]),
        action: Action::Redirect { class: class(4), link: 4 },
        own_flows: vec![flow],
        ..filter()
    }
}

#[test]
fn the_table_is_what_nft_makes() {
    assert_eq!(ours(create_table(), kind::NEWTABLE), golden(kind::NEWTABLE));
}

fn dropping() -> Filter {
    Filter {
        name: "y_2".into(),
        direction: Direction::Ingress,
        priority: -148,
        action: Action::DropShare(7),
        ..filter()
    }
}

fn hole() -> Filter {
    Filter {
        name: "z_3".into(),
        priority: -147,
        links: None,
        targets: TargetSet::everything(),
        port: Some((Protocol::Tcp, 443)),
        action: Action::Classify(class(6)),
        ..filter()
    }
}

#[test]
fn sets_and_chains_are_what_nft_makes() {
    assert_eq!(sorted(ours(create(&filter()), kind::NEWSET)), sorted(golden(kind::NEWSET)));
    let chains = [create(&filter()), create(&dropping()), create(&hole())].concat();
    assert_eq!(sorted(ours(chains, kind::NEWCHAIN)), sorted(golden(kind::NEWCHAIN)));
}

#[test]
fn rules_are_what_nft_makes() {
    // In the capture: the chains x_1_meant and x_1, of y_2 the match chain, of z_3 both.
    let golden = golden(kind::NEWRULE);
    let mut rules = ours(create(&filter()), kind::NEWRULE);
    assert_eq!(rules.len(), 5 + 4);
    // The third of ours is neighbour discovery, which the capture has not.
    rules.remove(2);
    assert_eq!(rules[..], golden[..8]);
    let loss = ours(create(&dropping()), kind::NEWRULE);
    assert_eq!(loss[4], golden[10]);
    let hole = ours(create(&hole()), kind::NEWRULE);
    assert_eq!(hole.len(), 4 + 2);
    assert_eq!(hole[4..], golden[11..]);
}

#[test]
fn targets_that_are_many_are_looked_up_as_nft_does() {
    // Nothing in common, so that nothing is asked for before.
    let many =
        Filter { targets: targets(&["9.0.0.1", "200.0.0.1", "9.1.0.0/16", "200.1.0.0/16"]), ..filter() };
    let rules = ours(create(&many), kind::NEWRULE);
    assert_eq!(rules[5..], golden(kind::NEWRULE)[8..10]);
}

#[test]
fn what_is_added_widens_the_gate_in_the_same_change() {
    let one = Filter { targets: targets(&["10.1.0.7"]), ..filter() };
    let more = one.lacking(&["10.1.0.7", "10.1.0.8", "fd00::1"].map(|address| address.parse().unwrap()));
    assert_eq!(more.len(), 2);
    let (extended, messages) = extend(&one, &more);
    assert_eq!(extended.lacking(&more.iter().copied().collect::<Vec<_>>()), BTreeSet::new());
    assert_eq!(ours(messages.clone(), kind::NEWSETELEM).len(), 2);
    assert_eq!(ours(messages.clone(), kind::DELRULE).len(), 1);
    // The rules are those that a filter has which had all of them from the start.
    let whole = Filter {
        targets: targets(&["10.1.0.7", "fd00::1"]),
        added: ["10.1.0.8".parse().unwrap()].into(),
        ..filter()
    };
    let of_whole = ours(create(&whole), kind::NEWRULE);
    assert_eq!(expressions(&ours(messages, kind::NEWRULE)), expressions(&of_whole[5..]));
    assert_eq!(ours(remove(&extended), kind::DELSET).len(), 5);
}

/// Each element of ours is one of nft's; nft sends one more, the end of nothing at address 0.
#[test]
fn elements_are_those_of_nft() {
    let elements =
        |bodies: Vec<Vec<u8>>| -> Vec<Vec<Vec<u8>>> { bodies.iter().map(|body| elements(body)).collect() };
    let ours = elements(ours(create(&filter()), kind::NEWSETELEM));
    let theirs = elements(golden(kind::NEWSETELEM));
    assert_eq!((ours.len(), theirs.len()), (5, 5));
    // In the capture both sets of single addresses come first.
    for (ours, theirs) in
        [0, 2, 1, 3, 4].into_iter().zip(theirs).map(|(place, theirs)| (&ours[place], theirs))
    {
        let first = theirs.len() - ours.len();
        assert_eq!(ours[..], theirs[first..]);
    }
}

#[test]
fn what_is_made_is_removed_by_name() {
    let removed = remove(&filter());
    assert_eq!(ours(removed.clone(), kind::DELRULE).len(), 2);
    assert_eq!(ours(removed.clone(), kind::DELCHAIN).len(), 2);
    assert_eq!(ours(removed, kind::DELSET).len(), 5);
    let everything = Filter { targets: TargetSet::everything(), ..filter() };
    assert_eq!(ours(remove(&everything), kind::DELSET).len(), 1);
}

#[test]
fn a_deadline_is_moved_in_one_change() {
    let moved = prolong(&filter(), Duration::from_secs(9));
    let [old, new] = [kind::DELSETELEM, kind::NEWSETELEM].map(|kind| ours(moved.clone(), kind));
    assert_eq!((old.len(), new.len(), elements(&old[0]).len(), elements(&new[0]).len()), (1, 1, 2, 2));
    for element in elements(&new[0]) {
        // A second after the owner's own end.
        assert_eq!(find(&element, NFTA_SET_ELEM_TIMEOUT), Some(10_000_u64.to_be_bytes().to_vec()));
    }
}

#[test]
fn a_share_of_flows_hashes_ports_only_where_there_are_some() {
    let share = Filter { flows_percent: 30, ..filter() };
    // Per family: tcp, udp, the rest.
    assert_eq!(match_chain::rules(&share).len(), 4 + 2 * 3);
    let hole = Filter { port: Some((Protocol::Udp, 53)), ..share };
    assert_eq!(match_chain::rules(&hole).len(), 4 + 2);
}

#[test]
fn every_message_stays_within_an_attribute() {
    // Single addresses, and ranges of two.
    for (length, ends) in [(128, 1), (127, 2)] {
        let net = |n: u32| std::net::Ipv6Addr::from_bits((0xfd << 120) | (u128::from(n) * 4));
        let nets: Vec<Net> =
            (0..65_536).map(|n| Net::parse(&format!("{}/{length}", net(n))).unwrap()).collect();
        let large = Filter { targets: TargetSet::of(&nets), ..filter() };
        let messages = ours(create(&large), kind::NEWSETELEM);
        assert!(messages.iter().all(|body| body.len() < 65_536), "the length of an attribute has 16 bits");
        let elements: usize = messages.iter().map(|body| elements(body).len()).sum();
        // And the deadline of each family.
        assert_eq!(elements, ends * 65_536 + 2);
    }
}

#[test]
fn a_redirection_is_what_nft_makes() {
    let golden = |kind| golden_of(GOLDEN_NETDEV, kind);
    let made = create(&redirection());
    for kind in [kind::NEWTABLE, kind::NEWCHAIN] {
        assert_eq!(sorted(ours(made.clone(), kind)), sorted(golden(kind)));
    }
    assert_eq!(sorted(ours(made.clone(), kind::NEWSET)), sorted(golden(kind::NEWSET)));
    let mut rules = ours(made.clone(), kind::NEWRULE);
    // Two that note our flows, the deadline, two that let them through, then neighbour discovery, which the capture
    // has not.
    rules.remove(5);
    assert_eq!(rules, golden(kind::NEWRULE));
    let own: Vec<_> =
        golden(kind::NEWSETELEM).into_iter().filter(|body| body.windows(3).any(|w| w == b"own")).collect();
    assert_eq!(own.len(), 1);
    let list = |body: &[u8]| value(body, NFTA_SET_ELEM_LIST_ELEMENTS);
    assert!(list(&own[0]).is_some());
    assert_eq!(list(&ours(made, kind::NEWSETELEM)[0]), list(&own[0]));
    assert_eq!(ours(remove(&redirection()), kind::DELTABLE).len(), 1);
}

/// strace of nft 1.0.6 (Debian 12): `nft add rule inet a o ip daddr 10.0.0.9 tcp dport 443 accept`, the expressions.
const GOLDEN_ENDPOINT: &str = "24000180090001006d6574610000000014000280080002000000000f08000100000000012c00018008000100\
     636d700020000280080001000000000108000200000000000c0003800500010002000000340001800c000100\
     7061796c6f616400240002800800010000000001080002000000000108000300000000100800040000000004\
     2c00018008000100636d700020000280080001000000000108000200000000000c000380080001000a000009\
     24000180090001006d6574610000000014000280080002000000001008000100000000012c00018008000100\
     636d700020000280080001000000000108000200000000000c0003800500010006000000340001800c000100\
     7061796c6f616400240002800800010000000001080002000000000208000300000000020800040000000002\
     2c00018008000100636d700020000280080001000000000108000200000000000c0003800600010001bb0000\
     300001800e000100696d6d6564696174650000001c0002800800010000000000100002800c00028008000100\
     00000001";

#[test]
fn an_endpoint_is_let_through_as_nft_does_at_its_port_alone() {
    let golden: Vec<u8> = (0..GOLDEN_ENDPOINT.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&GOLDEN_ENDPOINT[at..at + 2], 16).unwrap())
        .collect();
    let one = Filter { exempt_endpoints: vec!["10.0.0.9:443".parse().unwrap()], ..filter() };
    // The deadline, our group, neighbour discovery, the address of the metadata.
    assert_eq!(expressions(&ours(create(&one), kind::NEWRULE))[4], golden);
    // What comes in has the endpoint's port as its source's.
    let incoming = Filter { direction: Direction::Ingress, action: Action::Drop, ..one };
    let rule = &expressions(&ours(create(&incoming), kind::NEWRULE))[4];
    let differing = rule.iter().zip(&golden).filter(|(ours, theirs)| ours != theirs).count();
    assert_eq!((rule.len(), differing), (golden.len(), 2), "the offsets of address and port");
}
