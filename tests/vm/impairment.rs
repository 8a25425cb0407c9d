//! What a bad line does, ports and protocols of any network fault, and resets: against what `tc` and `nft` say, and
//! what comes of it.

use crate::faults::{ends_clean, late, soon};
use crate::ground::{FAR, FAR_6, Ground, OTHER_PORT, PORT};

/// Name and test.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("an_impairment_is_what_tc_shows", an_impairment_is_what_tc_shows),
    ("an_impairment_hits_its_targets_alone", an_impairment_hits_its_targets_alone),
    ("an_impairment_of_what_comes_in", an_impairment_of_what_comes_in),
    ("a_rate_is_a_rate", a_rate_is_a_rate),
    ("ports_and_protocols_choose", ports_and_protocols_choose),
    ("peers_that_are_left_out_are", peers_that_are_left_out_are),
    ("new_connections_are_refused", new_connections_are_refused),
    ("established_connections_are_reset", established_connections_are_reset),
];

/// The netem of the fault as `tc` prints it, and the netem that `tc` itself makes of the same words.
fn an_impairment_is_what_tc_shows() {
    let ground = Ground::new();
    let before = ground.state();
    ground.near(&["ip", "link", "add", "d0", "type", "dummy"]);
    let with_dummy = ground.state();
    for (ours, of_tc) in [
        ("--delay-milliseconds 100 --jitter-milliseconds 10", "delay 100ms 10ms"),
        (
            "--delay-milliseconds 100 --jitter-milliseconds 10 --delay-correlation-percent 25",
            "delay 100ms 10ms 25%",
        ),
        (
            "--delay-milliseconds 100 --jitter-milliseconds 10 --distribution normal",
            "delay 100ms 10ms distribution normal",
        ),
        ("--loss-percent 0.5 --loss-correlation-percent 30", "loss 0.5% 30%"),
        (
            "--burst-begins-percent 1 --burst-ends-percent 25 --burst-loss-percent 70 --loss-percent 0.1",
            "loss gemodel 1% 25% 70% 0.1%",
        ),
        // tc sends this correlation only beside another one.
        (
            "--delay-milliseconds 100 --jitter-milliseconds 10 --delay-correlation-percent 25 --duplicate-percent 2 \
             --duplicate-correlation-percent 10",
            "delay 100ms 10ms 25% duplicate 2% 10%",
        ),
        (
            "--delay-milliseconds 50 --reorder-percent 25 --reorder-correlation-percent 50 --reorder-gap 5",
            "delay 50ms reorder 25% 50% gap 5",
        ),
        ("--corrupt-percent 0.1 --corrupt-correlation-percent 5", "corrupt 0.1% 5%"),
        ("--rate-kilobits 1000 --rate-overhead-bytes 20", "rate 1mbit 20"),
        ("--profile 3g", "delay 250ms loss 1.5% rate 750kbit"),
    ] {
        let sources = format!("--sources {}", FAR[0]);
        let fault = ground.inject(&format!("network-impairment --duration 60s {sources} {ours}"));
        let mut command = vec!["tc", "qdisc", "add", "dev", "d0", "root", "netem", "limit", "1000"];
        command.extend(of_tc.split(' '));
        ground.near(&command);
        let shown = ground.near(&["tc", "qdisc", "show"]);
        // From the delay on: limits are ours to choose, and seeds (of newer kernels) are chance.
        let words = |dev: &str| -> Vec<String> {
            let line = shown.lines().find(|line| line.contains("netem") && line.contains(dev)).unwrap();
            let after = line.split_once(" limit ").unwrap().1;
            let until_seed = after.split(" seed ").next().unwrap();
            until_seed.split_whitespace().skip(1).map(str::to_owned).collect()
        };
        assert_eq!(words("dev eth0"), words("dev d0"), "{ours}: {shown}");
        ground.near(&["tc", "qdisc", "delete", "dev", "d0", "root"]);
        ends_clean(&ground, fault, &with_dummy);
    }
    ground.near(&["ip", "link", "delete", "d0"]);
    assert_eq!(ground.state(), before);
}

fn an_impairment_hits_its_targets_alone() {
    let ground = Ground::new();
    let before = ground.state();
    let fault = ground.inject(&format!(
        "network-impairment --duration 60s --delay-milliseconds 100 --distribution pareto --burst-begins-percent 20 \
         --burst-ends-percent 50 --sources {},{}",
        FAR[0], FAR_6[0]
    ));
    // Of each packet 2/7 are in a burst, and lost: 57 of 200; six standard deviations, and bursts, allow 25 to 90.
    let mut answers = 0;
    for _ in 0..40 {
        if let time @ Some(_) = ground.icmp(FAR[0]) {
            late(time, "a packet to a target");
            answers += 1;
        }
    }
    assert!((15..40).contains(&answers), "{answers} of 40 came back");
    soon(ground.icmp(FAR[1]), "a bystander");
    assert_eq!(ground.burst(&format!("{}:{PORT}", FAR[1]), 20), 20, "a bystander");
    let said = ends_clean(&ground, fault, &before);
    assert!(said.contains("bursts of losses (begun by 20 %, ended by 50 %, 100 % lost in them"), "{said}");
    assert!(said.contains("of them lost ("), "{said}");
}

fn an_impairment_of_what_comes_in() {
    let ground = Ground::new();
    let before = ground.state();
    let fault = ground.inject(&format!(
        "network-impairment --duration 60s --delay-milliseconds 100 --traffic-type ingress --sources {} --protocol udp",
        FAR[0]
    ));
    late(ground.exchange("udp", FAR[0], PORT), "an answer of a target");
    soon(ground.exchange("tcp", FAR[0], PORT), "another protocol");
    soon(ground.exchange("udp", FAR[1], PORT), "a bystander");
    ends_clean(&ground, fault, &before);
}

fn a_rate_is_a_rate() {
    let ground = Ground::new();
    let before = ground.state();
    let fault =
        ground.inject(&format!("network-impairment --duration 60s --rate-kilobits 8 --sources {}", FAR[0]));
    // 8 kbit/s are 1,000 bytes a second, and a ping of 200 bytes is 242 with its headers.
    let said = ground.near(&["ping", "-n", "-c", "1", "-s", "200", "-W", "5", FAR[0]]);
    let time: f64 = said.split("time=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((235.0..400.0).contains(&time), "{time} ms");
    soon(ground.icmp(FAR[1]), "a bystander");
    let said = ends_clean(&ground, fault, &before);
    assert!(said.contains("asked 8 kbit/s to"), "{said}");
}

fn ports_and_protocols_choose() {
    let ground = Ground::new();
    let before = ground.state();
    let latency =
        "network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0 --sources ALL";
    for (words, hit, spared) in [
        (
            format!("--ports {PORT}"),
            vec![("tcp", PORT), ("udp", PORT)],
            vec![("tcp", OTHER_PORT), ("udp", OTHER_PORT)],
        ),
        (format!("--ports 1-{},{PORT}-{PORT}", 9), vec![("tcp", PORT)], vec![("tcp", OTHER_PORT)]),
        (
            format!("--exclude-ports {PORT}"),
            vec![("tcp", OTHER_PORT), ("udp", OTHER_PORT)],
            vec![("tcp", PORT), ("udp", PORT)],
        ),
        ("--protocol tcp".to_owned(), vec![("tcp", PORT)], vec![("udp", PORT)]),
        (
            format!("--protocol udp --ports {PORT}"),
            vec![("udp", PORT)],
            vec![("tcp", PORT), ("udp", OTHER_PORT)],
        ),
        // The clients' own ports.
        ("--ports local:1024-65535".to_owned(), vec![("udp", PORT)], vec![]),
        ("--ports local:1-1023".to_owned(), vec![], vec![("udp", PORT), ("tcp", PORT)]),
        ("--exclude-ports local:1024-65535".to_owned(), vec![], vec![("udp", PORT), ("tcp", PORT)]),
    ] {
        let fault = ground.inject(&format!("{latency} {words}"));
        for (protocol, port) in hit {
            late(ground.exchange(protocol, FAR[0], port), &format!("{words}: {protocol} {port}"));
            late(ground.exchange(protocol, FAR_6[0], port), &format!("{words}: {protocol} {port}, IPv6"));
        }
        for (protocol, port) in spared {
            soon(ground.exchange(protocol, FAR[0], port), &format!("{words}: {protocol} {port}"));
            soon(ground.exchange(protocol, FAR_6[0], port), &format!("{words}: {protocol} {port}, IPv6"));
        }
        // What has no ports is meant only where none are asked for.
        let icmp = ground.icmp(FAR[0]);
        if words.starts_with("--exclude-ports") {
            late(icmp, "a ping")
        } else {
            soon(icmp, "a ping")
        }
        ends_clean(&ground, fault, &before);
    }
}

fn peers_that_are_left_out_are() {
    let ground = Ground::new();
    let before = ground.state();
    let fault = ground.inject(&format!(
        "network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0 --sources ALL \
         --exclude-sources {},{}/128",
        FAR[1], FAR_6[1]
    ));
    late(ground.exchange("udp", FAR[0], PORT), "a target");
    late(ground.exchange("udp", FAR_6[0], PORT), "a target");
    soon(ground.exchange("udp", FAR[1], PORT), "one that is left out");
    soon(ground.exchange("udp", FAR_6[1], PORT), "one that is left out");
    let said = ends_clean(&ground, fault, &before);
    assert!(said.contains(", but not "), "{said}");
}

fn new_connections_are_refused() {
    let ground = Ground::new();
    let before = ground.state();
    let mut open = ground.start(&["/mnt/suite", "probe", "stream", &format!("{}:{PORT}", FAR[0])]);
    assert_eq!(open.line(), "ready");
    let fault = ground.inject(&format!(
        "network-reset --duration 60s --connections new --ports {PORT} --sources {},{}",
        FAR[0], FAR_6[0]
    ));
    for to in [format!("{}:{PORT}", FAR[0]), format!("[{}]:{PORT}", FAR_6[0])] {
        let said = ground.words_of("tcp", &to);
        assert!(said.contains("Connection refused"), "{to}: {said}");
    }
    soon(ground.exchange("tcp", FAR[0], OTHER_PORT), "another port");
    soon(ground.exchange("tcp", FAR[1], PORT), "a bystander");
    soon(ground.exchange("udp", FAR[0], PORT), "another protocol");
    // What is open stays.
    let said = open.ask("x");
    assert!(said.parse::<f64>().is_ok(), "{said}");
    let said = ends_clean(&ground, fault, &before);
    assert!(said.contains("packets answered with a reset"), "{said}");
    soon(ground.exchange("tcp", FAR[0], PORT), "after its end");
}

fn established_connections_are_reset() {
    let ground = Ground::new();
    let before = ground.state();
    for (to, sources) in [(format!("{}:{PORT}", FAR[0]), FAR[0]), (format!("[{}]:{PORT}", FAR_6[0]), "ALL")] {
        let mut open = ground.start(&["/mnt/suite", "probe", "stream", &to]);
        assert_eq!(open.line(), "ready");
        let fault = ground
            .inject(&format!("network-reset --duration 60s --connections established --sources {sources}"));
        let said = open.ask("x");
        assert!(said.contains("Connection reset"), "{said}");
        // A handshake ends with a packet that is not its first, so what is opened is reset when it is used.
        let said = ends_clean(&ground, fault, &before);
        assert!(said.contains("one that is silent stays"), "{said}");
    }
}
