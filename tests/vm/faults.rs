//! What each fault does, and that nothing of it stays.

use crate::ground::{FAR, FAR_6, Ground, PORT, until};

/// Name and test.
pub const TESTS: &[(&str, fn())] = &[
    ("latency_on_loopback_ends_with_kill_9", latency_on_loopback_ends_with_kill_9),
    ("latency_is_for_its_targets_only", latency_is_for_its_targets_only),
];

/// More than any exchange takes here without a fault, less than any with the delay of 100 ms.
const SOON_MS: f64 = 60.0;
const DELAYED_MS: f64 = 95.0;

fn soon(time: Option<f64>, what: &str) {
    assert!(time.is_some_and(|ms| ms < SOON_MS), "{what} took {time:?} ms");
}

fn late(time: Option<f64>, what: &str) {
    assert!(time.is_some_and(|ms| ms > DELAYED_MS), "{what} took {time:?} ms");
}

fn latency_on_loopback_ends_with_kill_9() {
    let ground = Ground::new();
    let before = ground.state();
    let fault = ground.inject(
        "network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0 --interface lo --sources 127.0.0.5",
    );
    late(ground.icmp("127.0.0.5"), "ping under latency");
    soon(ground.icmp("127.0.0.2"), "ping of a bystander");
    fault.signal("KILL");
    until("the table is gone", || !ground.state().contains("table"));
    soon(ground.icmp("127.0.0.5"), "ping after kill -9");
    assert!(ground.state().contains("prio 7f17:"), "the tree stays, inert");
    // The next life puts it back.
    let next = ground.inject("network-packet-loss --duration 60s --interface lo --sources 127.0.0.9");
    next.signal("TERM");
    let (code, said) = next.end();
    assert_eq!(code, Some(143), "{said}");
    assert_eq!(ground.state(), before);
}

fn latency_is_for_its_targets_only() {
    let ground = Ground::new();
    let before = ground.state();
    let fault = ground.inject(&format!(
        "network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0 --sources {},{}",
        FAR[0], FAR_6[0]
    ));
    for (target, bystander) in [(FAR[0], FAR[1]), (FAR_6[0], FAR_6[1])] {
        late(ground.icmp(target), "ping of a target");
        soon(ground.icmp(bystander), "ping of a bystander");
        for protocol in ["udp", "tcp"] {
            late(ground.exchange(protocol, target, PORT), protocol);
            soon(ground.exchange(protocol, bystander, PORT), protocol);
        }
    }
    fault.signal("INT");
    let (code, said) = fault.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("all of them delayed") && said.contains("cancelled after"), "{said}");
    assert_eq!(ground.state(), before);
}
