//! As many targets as a fault may have, in one change of the kernel's rules, read back. In a network namespace
//! of the test's own, on the kernel that is there: it needs nf_tables and no netem.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use effects::net::socket::{Family, Netlink};
use effects::net::wire::{self, Message};
use effects::net::{Environment, NetworkEffect, NetworkPlan, Work};
use faults::network_source::{Direction, parse_sources};
use nix::sched::{CloneFlags, unshare};

const COUNT: u32 = 65_536;
/// Message types of nf_tables.
const GET_TABLE: u16 = 10 << 8 | 1;
const GET_ELEMENTS: u16 = 10 << 8 | 13;
const NFPROTO_INET: u8 = 1;

fn v4(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0b00_0000 + 2 * n)
}

fn v6(n: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits((0xfd0b << 112) + 2 * u128::from(n))
}

#[test]
fn every_target_arrives_in_the_kernel_in_one_change() {
    // A thread of its own: the others keep their network.
    std::thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("SKIP: a network namespace cannot be made here: {error}");
            return;
        }
        play();
    })
    .join()
    .unwrap();
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
        flows_percent: 100,
    };
    let environment = Environment { state_dir: folder.path().to_owned(), spared: Vec::new() };
    let effect = match NetworkEffect::start(&plan, &environment) {
        Ok(effect) => effect,
        Err(error) if error.to_string().contains("CAP_NET_ADMIN") => return println!("SKIP: {error}"),
        Err(error) => panic!("{error}"),
    };
    let expected_v4: BTreeSet<Vec<u8>> = (0..COUNT / 2).map(|n| v4(n).octets().to_vec()).collect();
    let expected_v6: BTreeSet<Vec<u8>> = (0..COUNT / 2).map(|n| v6(n).octets().to_vec()).collect();
    assert!(beginnings("many_1_v4") == expected_v4, "the set of IPv4 is another");
    assert!(beginnings("many_1_v6") == expected_v6, "the set of IPv6 is another");
    effect.undo().1.unwrap();
    let tables = Netlink::open(Family::Netfilter).unwrap();
    assert_eq!(dump(tables, Message::new("list tables", GET_TABLE, 0, &[0; 4])).len(), 0);
}

/// Where the ranges of a set begin.
fn beginnings(set: &str) -> BTreeSet<Vec<u8>> {
    let question = Message::new("list the elements", GET_ELEMENTS, 0, &[NFPROTO_INET, 0, 0, 0])
        .with(1, &wire::text("taskfault"))
        .with(2, &wire::text(set));
    let answers = dump(Netlink::open(Family::Netfilter).unwrap(), question);
    let elements = answers
        .iter()
        .filter_map(|body| wire::find(&body[4..], 3))
        .flat_map(|list| wire::attributes(list).map(|(_, element)| element));
    // Those with the flag of an end only end a range.
    let begins = elements.filter(|element| {
        wire::find(element, 3).is_none_or(|flags| flags.last().is_none_or(|last| last & 1 == 0))
    });
    begins.map(|element| wire::find(wire::find(element, 1).unwrap(), 1).unwrap().to_vec()).collect()
}

fn dump(mut socket: Netlink, question: Message) -> Vec<Vec<u8>> {
    socket.dump(question).unwrap().into_iter().map(|answer| answer.body).collect()
}
