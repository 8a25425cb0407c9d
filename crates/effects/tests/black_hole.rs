//! A black hole for what leaves, on this kernel: on every interface, and silent where the kernel can be.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use effects::net::{Environment, NetError, NetworkEffect, NetworkPlan, Work};
use faults::network_source::{Direction, Protocol, Selection, Source};

mod own_network;

use own_network::in_own_network;

#[test]
fn it_holds_on_interfaces_that_come_later() {
    in_own_network(play);
}

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "{words}");
}

/// Packets that have left by the interface `d0`.
fn left() -> u64 {
    let interfaces = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = interfaces.lines().find(|line| line.trim_start().starts_with("d0:")).unwrap();
    // Eight columns of what came in, then bytes and packets of what left.
    line.split_whitespace().nth(10).unwrap().parse().unwrap()
}

fn play() {
    const COUNT: u64 = 50;
    ip("link set lo up");
    let folder = tempfile::tempdir().unwrap();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let (here, port) = (receiver.local_addr().unwrap(), receiver.local_addr().unwrap().port());
    let plan = NetworkPlan {
        name: "hole",
        work: Work::Discard,
        direction: Direction::Egress,
        interfaces: None,
        sources: vec![Source::All],
        port: Some((Protocol::Udp, port)),
        selection: Selection::default(),
        flows_percent: 100,
        lasts: Duration::from_secs(600),
    };
    let environment = Environment { state_dir: folder.path().to_owned(), ..Environment::default() };
    let effect = match NetworkEffect::start(&plan, &environment) {
        Ok(effect) => effect,
        Err(error @ NetError::NotPermitted) => return println!("SKIP: {error}"),
        Err(error) => panic!("{error}"),
    };
    let told = effect.tells_senders();
    println!("senders are told: {told}");
    let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
    let send = |to: &str, told: bool| {
        let sent = sender.send_to(b"x", (to, port));
        let is_told = sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
        assert!(is_told == told && (told || sent.is_ok()), "{sent:?}");
    };
    send(&here.ip().to_string(), told);
    assert!(receiver.recv(&mut [0]).is_err(), "lost on an interface that was there");
    // A neighbour behind an interface that was not there.
    ip("link add d0 type veth peer name d1");
    ip("link set d1 up");
    ip("address add 10.8.0.1/24 dev d0");
    ip("link set d0 up");
    ip("neighbour add 10.8.0.2 lladdr 02:00:00:00:00:02 dev d0");
    let before = left();
    (0..COUNT).for_each(|_| send("10.8.0.2", told));
    // Now and then the kernel sends something of its own.
    assert!(left() - before < COUNT, "lost on an interface that came later");
    let (counters, undone) = effect.undo();
    undone.unwrap();
    assert_eq!(counters.matched, Some(1 + COUNT));
    let before = left();
    (0..COUNT).for_each(|_| send("10.8.0.2", false));
    assert!(left() - before >= COUNT);
    send(&here.ip().to_string(), false);
    assert!(receiver.recv(&mut [0]).is_ok());
}
