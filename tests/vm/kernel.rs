//! What the kernel has in this network namespace, read over netlink: in one line, and quick, so that it can be
//! looked at thousands of times.

use std::fmt::Write as _;

use effects::net::shape;
use effects::net::socket::{Family, Netlink};
use effects::net::wire::{self, Message};

const GET_LINK: u16 = 18;
const GET_ADDRESS: u16 = 22;
const GET_ROUTE: u16 = 26;
const TABLES: u16 = 10 << 8;
const GET_TABLE: u16 = TABLES | 1;
const GET_CHAIN: u16 = TABLES | 4;
const GET_SET: u16 = TABLES | 10;
const GET_ELEMENTS: u16 = TABLES | 13;

/// Links, disciplines, addresses, routes, tables, chains and sets: `kind words; kind words; …`. Counters are
/// left out, and what the kernel numbers anew each time.
pub fn state() -> String {
    let mut route = Netlink::open(Family::Route).unwrap();
    let mut all = Vec::new();
    let links = shape::links(&mut route).unwrap();
    for answer in route.dump(Message::new("list links", GET_LINK, 0, &[0; 16])).unwrap() {
        let of = |kind| wire::find(&answer.body[16..], kind).map(hex).unwrap_or_default();
        let name = wire::words(wire::find(&answer.body[16..], 3).unwrap());
        // Header, address, MTU, discipline, queue length, operational state, kind.
        let kept: Vec<_> = [1, 4, 6, 13, 16, 18].into_iter().map(of).collect();
        all.push(format!("link {name} {} {}", hex(&answer.body[..12]), kept.join(",")));
    }
    for qdisc in shape::qdiscs(&mut route).unwrap() {
        let link = links.iter().find(|link| link.index == qdisc.index).unwrap();
        let (handle, parent) = (qdisc.handle, qdisc.parent);
        let options = hex(&qdisc.options);
        all.push(format!("qdisc {} {} {handle:x} {parent:x} {options}", link.name, qdisc.kind));
    }
    for answer in route.dump(Message::new("list addresses", GET_ADDRESS, 0, &[0; 8])).unwrap() {
        all.push(format!("address {}", hex(&answer.body)));
    }
    for answer in route.dump(Message::new("list routes", GET_ROUTE, 0, &[0; 12])).unwrap() {
        let of = |kind| wire::find(&answer.body[12..], kind).map(hex).unwrap_or_default();
        // Header, destination, interface, gateway, table.
        all.push(format!("route {} {},{},{},{}", hex(&answer.body[..12]), of(1), of(4), of(5), of(15)));
    }
    tables(&mut all);
    all.sort();
    all.join("; ")
}

fn tables(all: &mut Vec<String>) {
    let mut tables = Netlink::open(Family::Netfilter).unwrap();
    let text = |body: &[u8], kind| wire::words(wire::find(&body[4..], kind).unwrap_or_default());
    for answer in tables.dump(Message::new("list tables", GET_TABLE, 0, &[0; 4])).unwrap() {
        all.push(format!("table {} {}", answer.body[0], text(&answer.body, 1)));
    }
    for answer in tables.dump(Message::new("list chains", GET_CHAIN, 0, &[0; 4])).unwrap() {
        let place = wire::find(&answer.body[4..], 4).unwrap_or_default();
        let number = |kind| {
            let bytes = wire::find(place, kind).unwrap_or(&[0; 4]);
            i32::from_be_bytes(bytes.try_into().unwrap())
        };
        let (family, table, name) = (answer.body[0], text(&answer.body, 1), text(&answer.body, 3));
        all.push(format!("chain {family} {table} {name} {} {}", number(1), number(2)));
    }
    for answer in tables.dump(Message::new("list sets", GET_SET, 0, &[0; 4])).unwrap() {
        let (family, table) = (answer.body[0], text(&answer.body, 1));
        all.push(format!("set {family} {table} {}", text(&answer.body, 2)));
    }
}

/// How many ranges a set has.
pub fn ranges(family: u8, table: &str, set: &str) -> usize {
    let question = Message::new("list elements", GET_ELEMENTS, 0, &[family, 0, 0, 0])
        .with(1, &wire::text(table))
        .with(2, &wire::text(set));
    let answers = Netlink::open(Family::Netfilter).unwrap().dump(question).unwrap();
    let lists = answers.iter().filter_map(|answer| wire::find(&answer.body[4..], 3));
    // Those with the flag of an end only end one.
    let begins = |element: &[u8]| {
        wire::find(element, 3).is_none_or(|flags| flags.last().is_none_or(|last| last & 1 == 0))
    };
    lists.map(|list| wire::attributes(list).filter(|(_, element)| begins(element)).count()).sum()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
