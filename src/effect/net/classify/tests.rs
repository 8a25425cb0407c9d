//! Our messages beside those that `nft` sends for the same rules.

use super::*;
use crate::fault::network_source::Net;

const GOLDEN: &str = include_str!("../../../../tests/data/nft-ruleset.hex");

/// The bodies of nft's messages of one type, in order.
fn golden(kind: u16) -> Vec<Vec<u8>> {
    let byte = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let messages =
        GOLDEN.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    messages
        .filter(|(found, _)| *found == (kind & 0xff).to_string())
        .map(|(_, hex)| (0..hex.len()).step_by(2).map(|at| byte(hex, at)).collect())
        .collect()
}

/// The bodies of ours.
fn ours(messages: Vec<Message>, kind: u16) -> Vec<Vec<u8>> {
    let sent = messages.into_iter().flat_map(|message| wire::answers(&message.finish(0)));
    sent.filter(|message| message.kind == kind).map(|message| message.body).collect()
}

fn reach() -> Reach {
    Reach::of(&["10.0.0.0/24", "10.1.0.7", "fd00::/64"].map(|net| Net::parse(net).unwrap()))
}

fn filter() -> Filter {
    Filter {
        name: "x_1".into(),
        direction: Direction::Egress,
        priority: -149,
        links: Some(vec![2]),
        reach: reach(),
        port: None,
        flows_percent: 100,
        act: Act::Class(0x7f17_0004),
        spared: vec!["169.254.170.2".parse().unwrap()],
        spared_group: 29_798,
    }
}

#[test]
fn the_table_is_what_nft_makes() {
    assert_eq!(ours(create_table(), kind::NEW_TABLE), golden(kind::NEW_TABLE));
}

#[test]
fn sets_and_chains_are_what_nft_makes() {
    assert_eq!(ours(create(&filter()), kind::NEW_SET), golden(kind::NEW_SET));
    let dropping = Filter {
        name: "y_2".into(),
        direction: Direction::Ingress,
        priority: -148,
        act: Act::Drop,
        ..filter()
    };
    let chains = [create(&filter()), create(&dropping)].concat();
    assert_eq!(ours(chains, kind::NEW_CHAIN), golden(kind::NEW_CHAIN));
}

#[test]
fn rules_are_what_nft_makes() {
    let rules = ours(create(&filter()), kind::NEW_RULE);
    let golden = golden(kind::NEW_RULE);
    assert_eq!(rules.len(), 5);
    // The second of ours is neighbour discovery, which the capture has not.
    assert_eq!(
        [&rules[0], &rules[2], &rules[3], &rules[4]],
        [&golden[0], &golden[1], &golden[2], &golden[3]]
    );
    let hole = Filter {
        links: None,
        reach: Reach::everything(),
        port: Some((Protocol::Tcp, 443)),
        act: Act::Class(0x7f17_0006),
        ..filter()
    };
    assert_eq!(ours(create(&hole), kind::NEW_RULE)[3], golden[4]);
}

#[test]
fn a_loss_by_chance_is_what_nft_makes() {
    let loss = Filter { direction: Direction::Ingress, act: Act::DropShare(7), ..filter() };
    let expressions = |body: &[u8]| wire::find(&body[4..], 4).map(<[u8]>::to_vec);
    let rule = &ours(create(&loss), kind::NEW_RULE)[3];
    assert_eq!(expressions(rule), expressions(&golden(kind::NEW_RULE)[5]));
}

/// Each element of ours is one of nft's; nft sends one more, the end of nothing at address 0.
#[test]
fn elements_are_those_of_nft() {
    let elements = |bodies: Vec<Vec<u8>>| -> Vec<Vec<Vec<u8>>> {
        let list = |body: &Vec<u8>| wire::find(&body[4..], 3).map(<[u8]>::to_vec).unwrap_or_default();
        bodies.iter().map(|body| wire::attributes(&list(body)).map(|(_, e)| e.to_vec()).collect()).collect()
    };
    let ours = elements(ours(create(&filter()), kind::NEW_ELEMENT));
    let theirs = elements(golden(kind::NEW_ELEMENT));
    assert_eq!((ours.len(), theirs.len()), (2, 2));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours[..], theirs[1..]);
    }
}

#[test]
fn what_is_made_is_removed_by_name() {
    let removed = remove(&filter());
    assert_eq!(ours(removed.clone(), kind::DELETE_RULE).len(), 1);
    assert_eq!(ours(removed.clone(), kind::DELETE_CHAIN).len(), 1);
    assert_eq!(ours(removed, kind::DELETE_SET).len(), 2);
    let everything = Filter { reach: Reach::everything(), ..filter() };
    assert_eq!(ours(remove(&everything), kind::DELETE_SET).len(), 0);
}

#[test]
fn a_share_of_flows_hashes_ports_only_where_there_are_some() {
    let share = Filter { flows_percent: 30, ..filter() };
    // Per family: tcp, udp, the rest.
    assert_eq!(rules(&share).len(), 3 + 2 * 3);
    let hole = Filter { port: Some((Protocol::Udp, 53)), ..share };
    assert_eq!(rules(&hole).len(), 3 + 2);
}

#[test]
fn every_message_stays_within_an_attribute() {
    let nets: Vec<Net> = (0..65_536_u32)
        .map(|n| Net::single(std::net::Ipv6Addr::from_bits((0xfd << 120) | (u128::from(n) * 2)).into()))
        .collect();
    let large = Filter { reach: Reach::of(&nets), ..filter() };
    let messages = ours(create(&large), kind::NEW_ELEMENT);
    assert!(messages.iter().all(|body| body.len() < 65_536), "the length of an attribute has 16 bits");
    let ranges: usize = messages
        .iter()
        .map(|body| wire::attributes(wire::find(&body[4..], 3).unwrap_or_default()).count() / 2)
        .sum();
    assert_eq!(ranges, 65_536);
}
