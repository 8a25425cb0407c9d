//! Nothing stays: after kill -9 at any instant, after a refusal at any step, beside other people's roots.

use crate::faults::{late, soon};
use crate::ground::{FAR, Ground, rounds, until};

/// Name and test.
pub const TESTS: &[(&str, fn())] = &[
    ("every_step_refused_in_turn", every_step_refused_in_turn),
    ("latency_on_loopback_ends_with_kill_9", latency_on_loopback_ends_with_kill_9),
    ("kill_9_at_any_instant", kill_9_at_any_instant),
    ("random_sequences_equal_the_fold_of_the_live", random_sequences_equal_the_fold_of_the_live),
    ("roots_of_others_are_put_back", roots_of_others_are_put_back),
    ("roots_of_others_come_back_after_kill_9", roots_of_others_come_back_after_kill_9),
    ("roots_that_cannot_be_put_back_are_left_alone", roots_that_cannot_be_put_back_are_left_alone),
];

/// A generator of which only the seed matters: failures can be played again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Starts a fault and ends it by a signal: what an earlier life left is gone after that.
fn next_life(ground: &Ground) {
    let next = ground.inject("network-packet-loss --duration 60s --interface lo --sources 127.0.0.9");
    next.signal("TERM");
    let (code, said) = next.end();
    assert_eq!(code, Some(143), "{said}");
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
    next_life(&ground);
    assert_eq!(ground.state(), before);
}

fn kill_9_at_any_instant() {
    let ground = Ground::new();
    let before = ground.state();
    let mut random = Random(7);
    for round in 0..20 * rounds() {
        let fault = ground.start(&[
            "/mnt/taskfault",
            "inject",
            "network-latency",
            "--duration",
            "1s",
            "--delay-milliseconds",
            "100",
            "--sources",
            FAR[0],
        ]);
        std::thread::sleep(std::time::Duration::from_millis(random.below(200)));
        // Dropped: killed, and waited for.
        drop(fault);
        until("the table is gone", || !ground.state().contains("table"));
        soon(ground.icmp(FAR[0]), &format!("ping after round {round}"));
    }
    next_life(&ground);
    assert_eq!(ground.state(), before);
}

/// strace makes the kernel refuse the first, the second, the third … message of a whole life.
fn every_step_refused_in_turn() {
    let kinds = ["delay 100 egress eth0 10.9.0.2", "hole 80 ingress tcp", "hole 80 egress udp"];
    for words in kinds.into_iter().take(rounds() as usize) {
        let ground = Ground::new();
        let before = ground.state();
        let (mut steps, mut refused) = (0, 0);
        loop {
            steps += 1;
            assert!(steps < 60, "{words}: no end");
            let inject = format!("inject=sendto:error=ENOBUFS:when={steps}");
            let log = "/tmp/strace.log";
            let mut player = ground.start(&[
                "strace",
                "-qq",
                "-o",
                log,
                "-e",
                "trace=sendto",
                "-e",
                &inject,
                "/mnt/suite",
                "probe",
                "play",
            ]);
            let added = player.ask(&format!("add 1 {words}"));
            let ended = if added == "ok" { player.ask("end 1") } else { String::new() };
            drop(player.input.take());
            player.end();
            let what = format!("{words}, message {steps}: {added}; {ended}");
            if !std::fs::read_to_string(log).unwrap().contains("INJECTED") {
                assert_eq!((added.as_str(), ended.as_str(), ground.state()), ("ok", "ok", before), "{what}");
                break;
            }
            refused += u32::from(added != "ok" || ended != "ok");
            assert!(!ground.state().contains("table"), "{what}");
            if ended == "ok" || ended.is_empty() {
                // Refused at its start, or in something that undoing can do without: counters.
                assert_eq!(ground.state(), before, "{what}");
            } else {
                assert!(ended.starts_with("could not undo it all") && ended.contains("ENOBUFS"), "{what}");
                next_life(&ground);
                assert_eq!(ground.state(), before, "{what}");
            }
        }
        assert!(refused >= 5, "{words}: only {refused} of {steps} messages could be refused");
    }
}

/// Adds and ends at random; after each step the kernel has what lives and nothing else.
fn random_sequences_equal_the_fold_of_the_live() {
    let ground = Ground::new();
    let before = ground.state();
    let mut random = Random(2026);
    for _ in 0..6 * rounds() {
        let mut player = ground.start(&["/mnt/suite", "probe", "play"]);
        let mut live: Vec<(u64, &str)> = Vec::new();
        for number in 0..8 {
            if !live.is_empty() && random.below(3) == 0 {
                let (ended, _) = live.remove(random.below(live.len() as u64) as usize);
                assert_eq!(player.ask(&format!("end {ended}")), "ok");
            } else {
                let (words, leaf) = [
                    ("delay 20 egress eth0 10.9.0.2", "delay 20ms"),
                    ("loss 30 egress lo 10.0.0.0/8,fd00::/8", "loss 30%"),
                    ("loss 50 ingress eth0 10.9.0.3", ""),
                    ("hole 80 ingress tcp", ""),
                    ("delay 40 egress lo,eth0 ALL", "delay 40ms"),
                ][random.below(5) as usize];
                assert_eq!(player.ask(&format!("add {number} {words}")), "ok");
                live.push((number, leaf));
            }
            let state = ground.state();
            assert_eq!(state.matches("chain play_").count(), live.len(), "{live:?} {state}");
            for (leaf, on) in [("delay 20ms", 1), ("loss 30%", 1), ("delay 40ms", 2)] {
                let expected = on * live.iter().filter(|(_, own)| *own == leaf).count();
                assert_eq!(state.matches(leaf).count(), expected, "{live:?} {state}");
            }
        }
        if random.below(2) == 0 {
            for (number, _) in live {
                assert_eq!(player.ask(&format!("end {number}")), "ok");
            }
            assert_eq!(ground.state(), before);
        } else {
            drop(player);
            until("the table is gone", || !ground.state().contains("table"));
        }
    }
    next_life(&ground);
    assert_eq!(ground.state(), before);
}

/// Roots that people make, and that come back exactly.
const KEPT: &[&str] = &[
    "pfifo_fast",
    "fq_codel",
    "handle 5: fq_codel limit 500 target 7ms noecn",
    "handle 1: pfifo limit 77",
    "bfifo limit 9000",
    "handle 8001: fq maxrate 100mbit",
    "codel limit 300 target 9ms ecn",
];

fn with_root(root: &str) -> Ground {
    let ground = Ground::new();
    let mut words = vec!["tc", "qdisc", "add", "dev", "eth0", "root"];
    words.extend(root.split(' '));
    ground.near(&words);
    ground
}

fn roots_of_others_are_put_back() {
    for root in KEPT {
        let ground = with_root(root);
        let before = ground.state();
        let fault =
            ground.inject("network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0");
        late(ground.icmp(FAR[0]), root);
        fault.signal("TERM");
        let (code, said) = fault.end();
        assert_eq!((code, ground.state()), (Some(143), before), "{root}: {said}");
        assert!(!std::fs::exists(format!("{}/qdisc-baseline.json", ground.state_dir)).unwrap());
    }
}

fn roots_of_others_come_back_after_kill_9() {
    let ground = with_root("handle 5: fq_codel limit 500 target 7ms noecn");
    let before = ground.state();
    let fault = ground.inject("network-latency --duration 60s");
    drop(fault);
    until("the table is gone", || !ground.state().contains("table"));
    assert!(ground.state().contains("prio 7f17:"));
    next_life(&ground);
    assert_eq!(ground.state(), before);
}

fn roots_that_cannot_be_put_back_are_left_alone() {
    for root in
        ["handle 1: htb", "handle 1: prio", "netem delay 1ms", "tbf rate 1gbit burst 10k latency 10ms"]
    {
        let ground = with_root(root);
        // The kernel counts among htb's parameters.
        let state =
            || ground.state().split("direct_packets_stat").map(|part| part.to_owned()).collect::<Vec<_>>();
        let before = state();
        let kind = root.trim_start_matches("handle 1: ").split(' ').next().unwrap();
        let output = ground.try_near(&["/mnt/taskfault", "inject", "network-latency", "--duration", "5s"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!("of eth0 is {kind} with handle")), "{root}: {said}");
        assert_eq!(output.status.code(), Some(1), "{root}");
        assert_eq!((state()[0].as_str(), state().len()), (before[0].as_str(), before.len()), "{root}");
    }
}
