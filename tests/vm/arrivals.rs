//! Latency of what comes in: the packets wait behind an ifb.

use crate::faults::{ends_clean, late, soon};
use crate::ground::{FAR, FAR_6, Ground, PORT, until};

/// Name and test.
pub const TESTS: &[(&str, fn())] = &[
    ("addresses_are_added_to_a_live_fault", addresses_are_added_to_a_live_fault),
    ("latency_of_what_comes_in_is_for_its_targets_only", latency_of_what_comes_in_is_for_its_targets_only),
    ("latency_of_what_comes_in_on_all_interfaces", latency_of_what_comes_in_on_all_interfaces),
    ("latency_of_what_comes_in_spares_the_lifeline", latency_of_what_comes_in_spares_the_lifeline),
    ("without_ifb_it_is_refused", without_ifb_it_is_refused),
];

fn latency_of_what_comes_in_is_for_its_targets_only() {
    let ground = Ground::new();
    let before = ground.state();
    let fault = ground.inject(&format!(
        "network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0 --traffic-type ingress \
         --sources {},{}",
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
    // They wait once, not once on each way through the hook.
    assert!(ground.icmp(FAR[0]).is_some_and(|ms| ms < 190.0));
    // What others ask of this side waits as well.
    let asked = ground.far(&["ping", "-n", "-c", "1", "-I", FAR[0], "10.9.0.1"]);
    assert!(asked.contains("time=1"), "{asked}");
    let state = ground.state();
    for line in ["table netdev taskfault_latency_1", "fwd to \"taskfault-in\"", "delay 100ms"] {
        assert!(state.contains(line), "no {line} in {state}");
    }
    assert!(
        !ground.near(&["tc", "qdisc", "show", "dev", "eth0"]).contains("prio"),
        "eth0 itself is not touched"
    );
    assert_eq!(ground.near(&["ip", "-6", "-o", "address", "show", "dev", "taskfault-in"]), "", "no address");
    let said = ends_clean(&ground, fault, &before);
    assert!(said.contains("all of them delayed"), "{said}");
}

fn latency_of_what_comes_in_on_all_interfaces() {
    let ground = Ground::new();
    ground.near(&["ip", "link", "add", "eth1", "type", "dummy"]);
    ground.near(&["ip", "link", "set", "eth1", "up"]);
    let before = ground.state();
    for interfaces in ["ALL", "lo,eth0"] {
        let fault = ground.inject(&format!(
            "network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0 --traffic-type ingress \
             --sources ALL --interface {interfaces}"
        ));
        late(ground.icmp(FAR[0]), interfaces);
        late(ground.icmp(FAR_6[1]), interfaces);
        match interfaces {
            "ALL" => soon(ground.icmp("127.0.0.1"), "loopback is not in ALL"),
            // The question and the answer both come in there.
            _ => assert!(ground.icmp("127.0.0.1").is_some_and(|ms| ms > 190.0), "loopback"),
        }
        ends_clean(&ground, fault, &before);
    }
}

/// One connection of ours from before the fault, one from under it, DNS, metadata, neighbours.
fn latency_of_what_comes_in_spares_the_lifeline() {
    let ground = Ground::new();
    let before = ground.state();
    ground.far(&["ip", "address", "add", "169.254.170.2/32", "dev", "eth0"]);
    let fault = ground.inject(
        "network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0 --traffic-type ingress \
         --sources ALL --flows-percent 100",
    );
    for address in [FAR[0], FAR_6[0]] {
        late(ground.icmp(address), "others");
    }
    ground.near(&["ip", "neighbour", "flush", "dev", "eth0"]);
    soon(ground.icmp("169.254.170.2"), "the metadata address");
    for to in [format!("{}:{PORT}", FAR[0]), format!("[{}]:{PORT}", FAR_6[0])] {
        for protocol in ["tcp", "udp"] {
            let words =
                ["setpriv", "--regid", "29798", "--clear-groups", "/mnt/suite", "probe", protocol, &to];
            soon(ground.near(&words).trim().parse().ok(), &format!("our own {protocol} to {to}"));
        }
    }
    ends_clean(&ground, fault, &before);
}

/// As a name's new addresses are, whichever table the fault's sets are in.
fn addresses_are_added_to_a_live_fault() {
    let ground = Ground::new();
    let before = ground.state();
    let mut player = ground.start(&["/mnt/suite", "probe", "play"]);
    for way in ["egress", "ingress"] {
        assert_eq!(player.ask(&format!("add 1 delay 100 {way} eth0 {}", FAR[0])), "ok");
        soon(ground.icmp(FAR[1]), "not yet a target");
        soon(ground.icmp(FAR_6[1]), "not yet a target");
        assert_eq!(player.ask(&format!("extend 1 {} {} {}", FAR[0], FAR[1], FAR_6[1])), "2 new");
        for target in [FAR[0], FAR[1], FAR_6[1]] {
            late(ground.icmp(target), "a target");
        }
        assert_eq!(player.ask("end 1"), "ok");
        assert_eq!(ground.state(), before);
    }
}

/// While it lives the kernel loads no module that it does not have.
#[must_use = "the kernel loads modules again when this is dropped"]
struct NoModules;

impl NoModules {
    const FILE: &str = "/proc/sys/kernel/modprobe";

    fn begin() -> NoModules {
        std::fs::write(NoModules::FILE, "/bin/false").unwrap();
        NoModules
    }
}

impl Drop for NoModules {
    fn drop(&mut self) {
        let _ = std::fs::write(NoModules::FILE, "/sbin/modprobe");
    }
}

fn without_ifb_it_is_refused() {
    let ground = Ground::new();
    let before = ground.state();
    let words = ["network-latency", "--duration", "5s", "--traffic-type", "ingress"];
    let command = [&["/mnt/taskfault", "inject"][..], &words].concat();
    // All else is there.
    assert!(ground.near(&["/mnt/taskfault", "doctor", "network-latency"]).contains("and ifb for ingress latency"));
    let no_modules = NoModules::begin();
    until("ifb is not loaded", || {
        !std::fs::exists("/sys/module/ifb").unwrap() || ground.try_near(&["rmmod", "ifb"]).status.success()
    });
    let output = ground.try_near(&command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("could not make the ifb taskfault-in: EOPNOTSUPP"), "{said}");
    assert!(said.contains("load it on the instance (modprobe ifb)"), "{said}");
    assert_eq!(ground.state(), before);
    let said = ground.near(&["/mnt/taskfault", "doctor", "network-latency"]);
    assert!(said.contains("ingress latency will not work: could not make an ifb"), "{said}");
    assert!(said.contains("ok network-latency         will work here"), "egress does: {said}");
    drop(no_modules);
    // Somebody else's interface of that name is as good as no ifb in the kernel.
    ground.near(&["ip", "link", "add", "taskfault-in", "type", "dummy"]);
    let before = ground.state();
    let output = ground.try_near(&command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("could not make the ifb taskfault-in: EEXIST"), "{said}");
    assert_eq!(ground.state(), before);
}
