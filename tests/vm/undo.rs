//! Nothing stays: after kill -9 at any instant, after a refusal at any step, beside other people's roots.

use crate::faults::{late, soon};
use crate::ground::{FAR, Ground, rounds, until};
use crate::sequences::settled;

/// Name and test.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("latency_on_loopback_ends_with_kill_9", latency_on_loopback_ends_with_kill_9),
    ("kill_9_at_any_instant", kill_9_at_any_instant),
    ("roots_of_others_are_put_back", roots_of_others_are_put_back),
    ("roots_of_others_come_back_after_kill_9", roots_of_others_come_back_after_kill_9),
    ("roots_of_many_queues", roots_of_many_queues),
    ("a_kept_root_costs_bystanders_nothing", a_kept_root_costs_bystanders_nothing),
    ("kept_roots_are_put_back_whoever_comes_between", kept_roots_are_put_back_whoever_comes_between),
    ("one_fault_after_another_is_killed_on_a_kept_root", one_fault_after_another_is_killed_on_a_kept_root),
    ("roots_that_cannot_be_put_back_are_left_alone", roots_that_cannot_be_put_back_are_left_alone),
];

/// A generator of which only the seed matters: failures can be played again.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A place in a list of this length, which is above 0.
    pub(crate) fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

/// Starts a fault and ends it by a signal: what an earlier life left is gone after that.
pub(crate) fn next_life(ground: &Ground) {
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

/// Roots that people make, and that come back exactly.
const KEPT: &[&str] = &[
    "pfifo_fast",
    "handle 9: noqueue",
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

/// A NIC with several queues has an `mq` as its root, with a discipline for each queue below it.
fn roots_of_many_queues() {
    let ground = Ground::new();
    ground.near(&["ip", "link", "add", "nic0", "numtxqueues", "4", "type", "ifb"]);
    ground.near(&["ip", "link", "set", "nic0", "up"]);
    let before = ground.state();
    assert!(before.contains("qdisc mq 0: dev nic0 root"), "{before}");
    assert!(before.contains("dev nic0 parent :4"), "{before}");
    let words = "network-latency --duration 60s --interface eth0,nic0";
    let fault = ground.inject(words);
    fault.signal("TERM");
    let (code, said) = fault.end();
    assert_eq!((code, ground.state()), (Some(143), before.clone()), "{said}");
    // After kill -9 the next life brings it back.
    drop(ground.inject(words));
    until("the table is gone", || !ground.state().contains("table"));
    next_life(&ground);
    assert_eq!(ground.state(), before);
    // One that another program made comes back with those below it that the kernel attaches.
    ground.near(&["tc", "qdisc", "replace", "dev", "nic0", "root", "handle", "1:", "mq"]);
    let by_hand = ground.state();
    let fault = ground.inject(words);
    assert!(!ground.state().contains("qdisc mq 1: dev nic0"));
    fault.signal("TERM");
    let (code, said) = fault.end();
    assert_eq!((code, ground.state()), (Some(143), by_hand), "{said}");
    // One with disciplines of its own below it could not be put back.
    ground.near(&[
        "tc", "qdisc", "replace", "dev", "nic0", "parent", "1:2", "handle", "20:", "pfifo", "limit", "7",
    ]);
    let before = ground.state();
    let mut command = vec!["/mnt/taskfault", "inject"];
    command.extend(words.split(' '));
    let output = ground.try_near(&command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("of nic0 is mq with handle 1:"), "{said}");
    assert_eq!((output.status.code(), ground.state()), (Some(1), before));
}

/// Has a chain at every hook that faults use, in the other namespace. The kernel rewrites its own text when the first
/// chain of a hook comes and when the last one goes; where packets pass that text all the time, QEMU's emulation was
/// seen to go on with the breakpoint of the rewriting for ever (a soft lockup in `__netif_receive_skb_core`).
fn hold_hooks(ground: &Ground) {
    let chain = |table: &str, name: &str, hook: &str| {
        ground.far(&["nft", &format!("add chain {table} {name} {{ type filter hook {hook} priority 0; }}")]);
    };
    ground.far(&["nft", "add table inet hold; add table netdev hold"]);
    for hook in ["prerouting", "input", "output", "postrouting"] {
        chain("inet hold", hook, hook);
    }
    chain("netdev hold", "ingress", "ingress device lo");
}

/// A sidecar exchanges the root of an interface once: what a start and an end do after that is for their targets only.
fn a_kept_root_costs_bystanders_nothing() {
    let ground = Ground::new();
    hold_hooks(&ground);
    let mut player = ground.start(&["/mnt/suite", "probe", "play"]);
    let before = settled(&mut player);
    assert_eq!(player.ask("keep"), "ok");
    let cycle = |player: &mut crate::ground::Running| {
        for (number, words) in
            ["delay 20 egress eth0 10.9.0.2", "loss 30 egress eth0 fd09::2", "delay 20 ingress eth0 10.9.0.2"]
                .iter()
                .enumerate()
        {
            assert_eq!(player.ask(&format!("add {number} {words}")), "ok");
        }
        for number in 0..3 {
            assert_eq!(player.ask(&format!("end {number}")), "ok");
        }
    };
    cycle(&mut player);
    assert!(player.ask("state").contains("qdisc eth0 prio 7f170000"));
    let bystander = ground.start(&["ping", "-n", "-q", "-i", "0.002", FAR[1]]);
    for _ in 0..20 * rounds() {
        cycle(&mut player);
    }
    bystander.signal("INT");
    let (_, said) = bystander.end();
    let number = |word: &str| -> u32 {
        let before = said.split(word).next().unwrap().trim_end();
        before.rsplit([' ', '\n']).next().unwrap().parse().unwrap()
    };
    let (sent, received) = (number("packets transmitted"), number("received"));
    println!("     {sent} packets of a bystander, {received} answers");
    // The last one may be on its way.
    assert!(sent > 100 && sent - received <= 1, "{said}");
    assert_eq!(player.ask("give"), "ok");
    assert_eq!(player.ask("state"), before);
}

/// What a sidecar keeps is used by `inject` and left alone, is inert after a kill, and goes at the sidecar's end.
fn kept_roots_are_put_back_whoever_comes_between() {
    let ground = with_root("handle 5: fq_codel limit 500 target 7ms noecn");
    let before = ground.state();
    let words = "network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0";
    let keeps = |ground: &Ground| {
        let mut player = ground.start(&["/mnt/suite", "probe", "play"]);
        assert_eq!(player.ask("keep"), "ok");
        assert_eq!(player.ask("add 1 delay 20 egress eth0 10.9.0.2"), "ok");
        assert_eq!(player.ask("end 1"), "ok");
        player
    };
    let mut player = keeps(&ground);
    let kept = ground.state();
    assert!(kept.contains("prio 7f17:") && kept.contains("table inet taskfault_kept"), "{kept}");
    // Another process has its fault, and leaves the root and the note.
    let fault = ground.inject(words);
    late(ground.icmp(FAR[0]), "beside a root that is kept");
    // Meanwhile the keeper has none.
    assert!(player.ask("add 2 delay 20 egress eth0 10.9.0.2").contains("has a network fault"));
    fault.signal("TERM");
    let (code, said) = fault.end();
    assert_eq!((code, ground.state()), (Some(143), kept.clone()), "{said}");
    assert_eq!(player.ask("add 3 delay 20 egress eth0 10.9.0.2"), "ok");
    assert_eq!(player.ask("end 3"), "ok");
    assert_eq!(player.ask("give"), "ok");
    assert_eq!(ground.state(), before);
    // The keeper goes while another has its fault: then that one puts the root back.
    let mut player = keeps(&ground);
    let fault = ground.inject(words);
    assert_eq!(player.ask("give"), "ok");
    late(ground.icmp(FAR[0]), "with the root of one that has gone");
    fault.signal("TERM");
    let (code, said) = fault.end();
    assert_eq!((code, ground.state()), (Some(143), before.clone()), "{said}");
    // Another program takes the root away meanwhile: the keeper makes one again, and the other's comes back.
    let mut player = keeps(&ground);
    let other = ["tc", "qdisc", "replace", "dev", "eth0", "root", "handle", "6:", "pfifo", "limit", "70"];
    ground.near(&other);
    assert_eq!(player.ask("add 1 delay 100 egress eth0 10.9.0.2"), "ok");
    late(ground.icmp(FAR[0]), "on a root that was made again");
    assert_eq!(player.ask("end 1"), "ok");
    assert_eq!(player.ask("give"), "ok");
    assert!(ground.state().contains("qdisc pfifo 6: dev eth0 root"), "{}", ground.state());
    // Killed, it leaves the root as after any kill.
    let before = ground.state();
    drop(keeps(&ground));
    until("the table is gone", || !ground.state().contains("table"));
    assert!(ground.state().contains("prio 7f17:"));
    next_life(&ground);
    assert_eq!(ground.state(), before);
}

/// What a killed `inject` leaves on a root that a sidecar keeps is in no one's way, its own or the next one's.
fn one_fault_after_another_is_killed_on_a_kept_root() {
    let ground = Ground::new();
    let before = ground.state();
    let mut player = ground.start(&["/mnt/suite", "probe", "play"]);
    assert_eq!(player.ask("keep"), "ok");
    assert_eq!(player.ask("add 1 delay 20 egress eth0 10.9.0.2"), "ok");
    assert_eq!(player.ask("end 1"), "ok");
    let kept = ground.state();
    for round in 0..6 {
        let fault = ground.inject(
            "network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0 --sources 10.9.0.2",
        );
        late(ground.icmp(FAR[0]), &format!("fault {round}"));
        fault.signal("KILL");
        let _ = fault.end();
        until("the table is gone", || {
            ground.state().matches("table").count() == kept.matches("table").count()
        });
        soon(ground.icmp(FAR[0]), &format!("after kill {round}"));
    }
    assert_eq!(player.ask("give"), "ok");
    assert_eq!(ground.state(), before);
}
