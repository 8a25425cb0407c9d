//! Every network fault, many times over, in one process: refused at each message in turn, killed at any
//! instant, in random sequences. The kernel is read over netlink, after each step.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::{Duration, Instant};

use crate::faults::{late, soon};
use crate::ground::{FAR, FAR_6, Ground, OTHER_PORT, PORT, Running, rounds, until};
use crate::model::Model;
use crate::undo::Random;

/// Name and test.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("every_message_refused_in_turn", every_message_refused_in_turn),
    ("faults_of_a_stopped_process_end_on_time", faults_of_a_stopped_process_end_on_time),
    ("kill_9_of_every_fault_in_set_up_and_undo", kill_9_of_every_fault_in_set_up_and_undo),
    ("random_sequences_equal_the_fold_of_the_live", random_sequences_equal_the_fold_of_the_live),
];

/// Every fault, on one interface and on all.
const FAULTS: [&str; 12] = [
    "delay 20 egress eth0 10.9.0.2,fd09::2",
    "delay 40 egress ALL ALL",
    "delay 60 ingress eth0 10.9.0.2,fd09::2",
    "delay 80 ingress lo,eth0,eth1 ALL",
    "loss 30 egress eth0 10.0.0.0/8,fd00::/8",
    "loss 50 egress lo,eth0,eth1 10.9.0.3",
    "loss 70 ingress eth0 10.9.0.2,fd09::2",
    "loss 100 ingress ALL ALL",
    "hole 80 egress tcp",
    "hole 81 ingress tcp",
    "hole 53 egress udp",
    "hole 54 ingress udp",
];

/// Two namespaces, and a second interface that nobody listens on.
fn ground() -> Ground {
    let ground = Ground::new();
    ground.near(&["ip", "link", "add", "eth1", "type", "ifb"]);
    ground.near(&["ip", "link", "set", "eth1", "up"]);
    // Until the kernel knows that nobody else has them, addresses still change.
    until("all addresses are settled", || {
        ground.near(&["ip", "-6", "address", "show", "tentative"]).is_empty()
    });
    ground
}

fn player(ground: &Ground) -> Running {
    ground.start(&["/mnt/suite", "probe", "play"])
}

/// What the kernel has once it has settled: interfaces that have just come up still change by themselves.
pub(crate) fn settled(player: &mut Running) -> String {
    let mut last = player.ask("state");
    until("the interfaces have settled", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = player.ask("state");
        // An address that the kernel still looks for a double of stands like that for a second or two.
        std::mem::replace(&mut last, now.clone()) == now && !now.contains("Tentative")
    });
    last
}

/// Starts and ends a fault that shapes nothing: before it starts, what earlier lives left is removed.
fn heal(player: &mut Running) {
    assert_eq!(player.ask("add heal loss 1 ingress lo 127.0.0.9"), "ok");
    assert_eq!(player.ask("end heal"), "ok");
}

/// A process that is stopped undoes nothing, and holds its tables: so the kernel ends what time ends.
fn faults_of_a_stopped_process_end_on_time() {
    let ground = ground();
    let mut player = player(&ground);
    let before = settled(&mut player);
    let began = Instant::now();
    assert_eq!(player.ask("lasts 15"), "ok");
    // One address of each family, everything on a port, a range, and what comes in: dropped, and delayed.
    let faults = [
        "delay 100 egress eth0 10.9.0.2",
        "loss 100 egress eth0 fd09::/64",
        "hole 7001 egress udp",
        "loss 100 ingress lo ALL",
        "delay 100 ingress eth0 10.9.0.3",
    ];
    for (number, words) in faults.iter().enumerate() {
        assert_eq!(player.ask(&format!("add {number} {words}")), "ok", "{words}");
    }
    assert_eq!(player.ask("lasts 3600"), "ok");
    assert_eq!(player.ask("add long hole 7000 egress udp"), "ok");
    // A heartbeat that comes late shortens what the kernel has; one in time prolongs it.
    assert_eq!(player.ask("until long 2"), "ok");
    assert_eq!(player.ask("until long 15"), "ok");
    player.signal("STOP");
    let answers = || {
        [
            ground.icmp(FAR[0]),
            ground.icmp(FAR_6[0]),
            ground.exchange("udp", FAR[1], OTHER_PORT),
            ground.icmp("127.0.0.1"),
            ground.icmp(FAR[1]),
            ground.exchange("udp", FAR[1], PORT),
        ]
    };
    let [delayed, lost, hole, incoming, delayed_in, moved] = answers();
    assert!(began.elapsed() < Duration::from_secs(15), "too slow a machine to tell");
    late(delayed, "what leaves, of a stopped process");
    late(delayed_in, "what comes in, of a stopped process");
    assert_eq!([lost, hole, incoming, moved], [None; 4]);
    until("everything is free", || answers().iter().all(|answer| answer.is_some_and(|ms| ms < 95.0)));
    assert!(began.elapsed() > Duration::from_secs(15), "over before its time: {:?}", began.elapsed());
    player.signal("CONT");
    for number in ["0", "1", "2", "3", "4", "long"] {
        assert_eq!(player.ask(&format!("end {number}")), "ok");
    }
    assert_eq!(player.ask("state"), before);
    soon(ground.icmp(FAR[0]), "ping afterwards");
}

fn every_message_refused_in_turn() {
    let ground = ground();
    let mut player = player(&ground);
    let before = settled(&mut player);
    let (mut refused, mut twice) = (0, 0);
    for words in FAULTS {
        // One message alone, or it and all after it.
        for all_after in [false, true] {
            let mut reached = 0;
            for first in 1.. {
                assert!(first < 100, "{words}: no end");
                let last = if all_after { 1_000 } else { first };
                assert_eq!(player.ask(&format!("refuse {first} {last}")), "ok");
                let added = player.ask(&format!("add 1 {words}"));
                let ended = if added == "ok" { player.ask("end 1") } else { String::new() };
                let sent: u32 = player.ask("sent").parse().unwrap();
                assert_eq!(player.ask("refuse 0 0"), "ok");
                let what = format!("{words}, message {first} of {sent}: {added}; {ended}");
                let state = player.ask("state");
                if sent < first {
                    assert_eq!(
                        (added.as_str(), ended.as_str(), state),
                        ("ok", "ok", before.clone()),
                        "{what}"
                    );
                    break;
                }
                reached += 1;
                refused += u32::from(added != "ok" || ended != "ok");
                assert!(!state.contains("table "), "{what}: {state}");
                if added != "ok" {
                    assert!(added.contains("ENOBUFS"), "{what}");
                    if added.contains("undoing what had been done failed too") {
                        assert!(all_after && added.matches("ENOBUFS").count() >= 2, "{what}");
                        twice += 1;
                    } else {
                        assert_eq!(state, before, "{what}");
                    }
                } else if ended != "ok" {
                    assert!(
                        ended.starts_with("could not undo it all") && ended.contains("ENOBUFS"),
                        "{what}"
                    );
                } else {
                    // Refused in something that undoing can do without: the counters.
                    assert_eq!(state, before, "{what}");
                }
                if state != before {
                    heal(&mut player);
                    assert_eq!(player.ask("state"), before, "{what}");
                }
            }
            assert!(reached >= 5, "{words}: only {reached} messages");
        }
    }
    println!("     {refused} refusals, {twice} of them with the undoing refused too");
    assert!(twice >= 8, "the undoing was refused only {twice} times");
}

/// How long one round of a churn takes on this machine, from its set-up to the next: kills that are spread over
/// less never land in its undo. Ends the player.
fn round_of(player: &mut Running, words: &str) -> Duration {
    let began = Instant::now();
    player.tell(&format!("churn {words}"));
    // `a`, `h`, `e`, and the `a` of the next round.
    player.lines.read_exact(&mut [0; 4]).unwrap();
    let round = began.elapsed();
    player.signal_now();
    round
}

fn kill_9_of_every_fault_in_set_up_and_undo() {
    let ground = ground();
    let mut random = Random(11);
    let mut phases = [0; 3];
    let mut current = player(&ground);
    let before = settled(&mut current);
    let windows = FAULTS.map(|words| {
        let window = 2 * round_of(&mut current, words);
        current = player(&ground);
        until("the table is gone", || !current.ask("state").contains("table "));
        heal(&mut current);
        window.max(Duration::from_millis(40))
    });
    for round in 0..5 * rounds() {
        for (words, window) in FAULTS.into_iter().zip(windows) {
            current.tell(&format!("churn {words}"));
            // Some have done nothing yet, some a hundred rounds.
            let window = u64::try_from(window.as_micros()).unwrap();
            std::thread::sleep(Duration::from_micros(random.below(window)));
            current.signal_now();
            let mut said = Vec::new();
            current.lines.read_to_end(&mut said).unwrap();
            drop(current);
            for (count, letter) in phases.iter_mut().zip(*b"ahe") {
                *count += u32::from(said.last() == Some(&letter));
            }
            current = player(&ground);
            until("the table is gone", || !current.ask("state").contains("table "));
            if round == 0 {
                crate::faults::soon(ground.icmp(FAR[0]), words);
            }
            heal(&mut current);
            assert_eq!(current.ask("state"), before, "{words}, round {round}");
        }
    }
    let [setting_up, held, undoing] = phases;
    let all = 5 * rounds() * u32::try_from(FAULTS.len()).unwrap();
    println!(
        "     {all} kills: {setting_up} while setting up, {held} while it lived, {undoing} while undoing"
    );
    assert!(setting_up > 0 && undoing > 0);
}

/// Adds, ends, refuses a fourteenth, kills; after each step the kernel has what lives and nothing else.
fn random_sequences_equal_the_fold_of_the_live() {
    let ground = ground();
    let mut random = Random(2026);
    let mut current = player(&ground);
    let before = settled(&mut current);
    let (mut steps, mut kills) = (0, 0);
    for sequence in 0..60 * rounds() {
        let mut model = Model::default();
        for number in 0..4 + random.below(12) {
            steps += 1;
            if random.below(3) == 0 && !model.is_empty() {
                let ended = model.end(random.place(model.len()));
                assert_eq!(current.ask(&format!("end {ended}")), "ok");
            } else {
                let words = FAULTS[random.place(FAULTS.len())];
                let said = current.ask(&format!("add {number} {words}"));
                if model.has_no_band() && said.starts_with("13 shaped network faults live already") {
                    continue;
                }
                assert_eq!(said, "ok");
                model.add(number, words);
            }
            let state = current.ask("state");
            let found: BTreeSet<String> = Model::of_ours(&state);
            assert_eq!(found, model.expected(), "sequence {sequence}");
        }
        if random.below(8) == 0 {
            kills += 1;
            current.signal_now();
            drop(current);
            current = player(&ground);
            until("the table is gone", || !current.ask("state").contains("table "));
            heal(&mut current);
        } else {
            while !model.is_empty() {
                let ended = model.end(random.place(model.len()));
                assert_eq!(current.ask(&format!("end {ended}")), "ok");
            }
        }
        assert_eq!(current.ask("state"), before, "sequence {sequence}");
    }
    println!("     {} sequences, {steps} steps, {kills} kills", 60 * rounds());
}
