//! What each fault does to whose packets.

use crate::ground::{FAR, FAR_6, Ground, OTHER_PORT, PORT, until};

/// Name and test.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("a_black_hole_stalls_a_connection_in_silence", a_black_hole_stalls_a_connection_in_silence),
    ("a_black_hole_works_on_loopback_too", a_black_hole_works_on_loopback_too),
    ("a_neighbour_cannot_claim_the_network", a_neighbour_cannot_claim_the_network),
    ("a_black_hole_for_what_comes_in", a_black_hole_for_what_comes_in),
    ("a_black_hole_holds_on_every_interface", a_black_hole_holds_on_every_interface),
    ("doctor_tries_and_touches_nothing", doctor_tries_and_touches_nothing),
    ("a_name_is_looked_up", a_name_is_looked_up),
    ("a_share_of_flows", a_share_of_flows),
    ("all_means_all_but_the_lifeline", all_means_all_but_the_lifeline),
    ("latency_is_for_its_targets_only", latency_is_for_its_targets_only),
    ("loss_is_a_share", loss_is_a_share),
    ("what_waits_goes_its_way_at_the_end", what_waits_goes_its_way_at_the_end),
    ("loss_of_what_comes_in", loss_of_what_comes_in),
    ("many_targets", many_targets),
    ("overlapping_faults_have_each_its_own_life", overlapping_faults_have_each_its_own_life),
    ("what_is_not_reached_is_refused_at_the_start", what_is_not_reached_is_refused_at_the_start),
    ("what_matched_and_was_not_shaped_is_said", what_matched_and_was_not_shaped_is_said),
    ("what_cannot_be_is_refused_and_changes_nothing", what_cannot_be_is_refused_and_changes_nothing),
];

/// More than any exchange takes here without a fault, less than any with the delay of 100 ms.
const SOON_MS: f64 = 60.0;
const DELAYED_MS: f64 = 95.0;

pub(crate) fn soon(time: Option<f64>, what: &str) {
    assert!(time.is_some_and(|ms| ms < SOON_MS), "{what} took {time:?} ms");
}

/// It came, however slow this machine is: of what is lost nothing comes.
fn comes(time: Option<f64>, what: &str) {
    assert!(time.is_some(), "{what} is lost");
}

pub(crate) fn late(time: Option<f64>, what: &str) {
    assert!(time.is_some_and(|ms| ms > DELAYED_MS), "{what} took {time:?} ms");
}

/// Ends the fault by a signal and looks that all is as before.
pub(crate) fn ends_clean(ground: &Ground, fault: crate::ground::Running, before: &str) -> String {
    fault.signal("INT");
    let (code, said) = fault.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("cancelled after") && said.contains("undone: rules removed"), "{said}");
    assert_eq!(ground.state(), before);
    said
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
    let shown = ground.near(&["tc", "qdisc", "show", "dev", "eth0"]);
    assert!(shown.contains("qdisc prio 7f17: root refcnt") && shown.contains("delay 100ms"), "{shown}");
    let table = ground.near(&["nft", "list", "ruleset"]);
    for line in ["flags owner", "10.9.0.2", "fd09::2", "meta priority set 7f17:4"] {
        assert!(table.contains(line), "no {line} in {table}");
    }
    let said = ends_clean(&ground, fault, &before);
    assert!(said.contains("all of them delayed"), "{said}");
}

fn what_waits_goes_its_way_at_the_end() {
    let ground = Ground::new();
    let before = ground.state();
    for (way, reply) in [("egress", true), ("ingress", true), ("egress", false)] {
        // Longer than the end waits, or shorter.
        let delay = if reply { 2_000 } else { 9_000 };
        let fault = ground.inject(&format!(
            "network-latency --duration 60s --delay-milliseconds {delay} --jitter-milliseconds 0 --traffic-type {way} \
             --sources {}",
            FAR[0]
        ));
        let ping = ground.start(&["ping", "-n", "-c", "1", "-W", "4", FAR[0]]);
        until("it waits", || {
            let qdiscs = ground.near(&["tc", "-s", "qdisc", "show"]);
            qdiscs.split("qdisc netem").nth(1).is_some_and(|netem| !netem.contains("backlog 0b"))
        });
        fault.signal("INT");
        until("the rules are gone", || !ground.near(&["nft", "list", "ruleset"]).contains("network"));
        // No packet is delayed any more, and nobody waits for those that are.
        soon(ground.icmp(FAR[1]), "a bystander, while packets wait");
        let (code, said) = fault.end();
        assert_eq!((code, ground.state()), (Some(130), before.clone()), "{said}");
        assert_eq!(said.contains("1 packets that still waited at the end were lost"), !reply, "{said}");
        assert_eq!(said.contains(r#""lost_packets":1"#), !reply, "{said}");
        let (code, heard) = ping.end();
        assert_eq!(code == Some(0), reply, "{way}: {heard}");
    }
}

fn loss_is_a_share() {
    let ground = Ground::new();
    let before = ground.state();
    let fault = ground
        .inject(&format!("network-packet-loss --duration 60s --loss-percent 40 --sources {}/32", FAR[0]));
    let back = ground.burst(&format!("{}:{PORT}", FAR[0]), 200);
    // 120 of 200 expected; six standard deviations are 42.
    assert!((78..=162).contains(&back), "{back} of 200 came back");
    assert_eq!(ground.burst(&format!("{}:{PORT}", FAR[1]), 20), 20, "a bystander");
    let said = ends_clean(&ground, fault, &before);
    assert!(said.contains("40 % of the packets lost") && said.contains("of them lost ("), "{said}");
}

fn loss_of_what_comes_in() {
    let ground = Ground::new();
    let before = ground.state();
    let fault = ground.inject(&format!(
        "network-packet-loss --duration 60s --loss-percent 40 --traffic-type ingress --sources {},{}",
        FAR[0], FAR_6[0]
    ));
    for target in [format!("{}:{PORT}", FAR[0]), format!("[{}]:{PORT}", FAR_6[0])] {
        let back = ground.burst(&target, 200);
        assert!((78..=162).contains(&back), "{back} of 200 came back from {target}");
    }
    assert_eq!(ground.burst(&format!("{}:{PORT}", FAR[1]), 20), 20, "a bystander");
    assert!(!ground.state().contains("qdisc prio"), "nothing to shape");
    ends_clean(&ground, fault, &before);
}

fn a_share_of_flows() {
    let ground = Ground::new();
    let before = ground.state();
    for (target, flows) in [(format!("{}:{PORT}", FAR[0]), 100), (format!("[{}]:{PORT}", FAR_6[0]), 100)] {
        let fault = ground
            .inject("network-packet-loss --duration 60s --loss-percent 100 --flows-percent 30 --sources ALL");
        let back = ground.burst(&target, flows);
        // 70 expected; six standard deviations are 27.
        assert!((43..=97).contains(&back), "{back} of {flows} flows to {target} live");
        // All packets of a flow, or none.
        let mut stream = None;
        for _ in 0..20 {
            if ground.exchange("tcp", FAR[0], PORT).is_some() {
                stream = Some(());
                break;
            }
        }
        assert!(stream.is_some(), "no connection of 20 came through");
        ends_clean(&ground, fault, &before);
    }
}

fn a_black_hole_stalls_a_connection_in_silence() {
    let ground = Ground::new();
    let before = ground.state();
    let to = format!("{}:{PORT}", FAR[0]);
    let mut stream = ground.start(&["/mnt/suite", "probe", "stream", &to]);
    assert_eq!(stream.line(), "ready");
    assert!(!stream.ask("").starts_with("lost"));
    let fault = ground.inject(&format!(
        "network-blackhole-port --duration 60s --port {PORT} --traffic-type egress --protocol tcp"
    ));
    assert!(!ground.state().contains("qdisc prio"), "nothing to shape");
    let stalled = stream.ask("");
    assert!(
        stalled.starts_with("lost") && stalled.contains("unavailable"),
        "a time-out, nothing else: {stalled}"
    );
    let refused = ground.words_of("tcp", &to);
    assert!(refused.contains("timed out"), "a time-out, no refusal: {refused}");
    assert!(ground.exchange("tcp", FAR_6[0], PORT).is_none(), "IPv6 too");
    comes(ground.exchange("tcp", FAR[0], OTHER_PORT), "another port");
    comes(ground.exchange("udp", FAR[0], PORT), "another protocol");
    ends_clean(&ground, fault, &before);
    comes(ground.exchange("tcp", FAR[0], PORT), "after it");
    let fault = ground.inject(&format!(
        "network-blackhole-port --duration 60s --port {PORT} --traffic-type egress --protocol udp"
    ));
    let words = ground.words_of("udp", &to);
    assert!(words.contains("unavailable"), "sending is no error: {words}");
    comes(ground.exchange("tcp", FAR[0], PORT), "another protocol");
    ends_clean(&ground, fault, &before);
}

/// Every interface is meant, those that come later too, and none has to have a root that could be put back.
fn a_black_hole_holds_on_every_interface() {
    let ground = Ground::new();
    ground.near(&["tc", "qdisc", "add", "dev", "eth0", "root", "handle", "1:", "prio"]);
    let before = ground.state();
    let fault = ground.inject(&format!(
        "network-blackhole-port --duration 60s --port {PORT} --traffic-type egress --protocol udp"
    ));
    assert!(
        ground.exchange("udp", FAR[0], PORT).is_none(),
        "an interface with a root that is not ours to take"
    );
    // The same neighbour by an interface that was not there when the fault began.
    let far = ground.near_name().replace("near", "far");
    let link = ["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", &far];
    ground.near(&link);
    ground.near(&["ip", "link", "set", "eth1", "up"]);
    ground.near(&["ip", "address", "add", "10.8.0.1/24", "dev", "eth1"]);
    ground.far(&["ip", "link", "set", "eth1", "up"]);
    ground.far(&["ip", "address", "add", "10.8.0.2/24", "dev", "eth1"]);
    until("the new interface works", || ground.icmp("10.8.0.2").is_some());
    let mut server =
        ground.start_far(&["/mnt/suite", "probe", "serve", &format!("10.8.0.2:{PORT}"), "10.8.0.2:7009"]);
    assert_eq!(server.line(), "ready");
    comes(ground.exchange("udp", "10.8.0.2", 7009), "another port");
    let words = ground.words_of("udp", &format!("10.8.0.2:{PORT}"));
    assert!(words.contains("unavailable"), "lost, and sending is no error: {words}");
    drop(server);
    ground.near(&["ip", "link", "del", "eth1"]);
    ends_clean(&ground, fault, &before);
}

/// A rule of the user's that comes later has the last word, and the report says so.
fn what_matched_and_was_not_shaped_is_said() {
    let ground = Ground::new();
    let mut proxy = ground.start(&["/mnt/suite", "probe", "serve", "127.0.0.1:7100"]);
    assert_eq!(proxy.line(), "ready");
    ground.near(&["nft", "add table ip user; add chain ip user o { type nat hook output priority -100; }"]);
    let redirect = format!("add rule ip user o tcp dport {PORT} redirect to :7100");
    ground.near(&["nft", &redirect]);
    let to = format!("{}:{PORT}", FAR[0]);
    let mut stream = ground.start(&["/mnt/suite", "probe", "stream", &to]);
    assert_eq!(stream.line(), "ready");
    let fault = ground
        .inject(&format!("network-latency --duration 60s --delay-milliseconds 100 --sources {}", FAR[0]));
    // What became of it is said by the counters below: how long it took depends on this machine.
    assert!(!stream.ask("").starts_with("lost"));
    fault.signal("INT");
    let (_, said) = fault.end();
    assert!(said.contains("none of them was delayed: the fault touched no packet"), "{said}");
    assert!(said.contains("\"touched\":\"nothing\"") && said.contains("\"unshaped_packets\":"), "{said}");
    assert!(said.contains("end in this task, at 127.0.0.1:7100"), "{said}");
}

/// A target behind another interface than the fault's.
fn what_is_not_reached_is_refused_at_the_start() {
    let ground = Ground::new();
    ground.near(&["ip", "link", "add", "eth1", "type", "dummy"]);
    ground.near(&["ip", "link", "set", "eth1", "up"]);
    ground.near(&["ip", "address", "add", "10.8.0.1/24", "dev", "eth1"]);
    let before = ground.state();
    let latency = |words: &str| {
        let command = format!("/mnt/taskfault inject network-latency --duration 1s --sources {words}");
        let output = ground.try_near(&command.split(' ').collect::<Vec<_>>());
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    for (sources, expected) in [
        ("127.255.0.2", "127.255.0.2 is this task itself, over lo"),
        ("10.9.0.1", "10.9.0.1 is this task itself, over lo"),
        ("10.8.0.7", "10.8.0.7 is reached over eth1; the fault is on eth0"),
        ("fd77::1", "fd77::1 has no route here"),
    ] {
        let (code, said) = latency(sources);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("did not start: the fault would touch no packet") && said.contains(expected),
            "{said}"
        );
        assert_eq!(ground.state(), before);
    }
    // What comes in may take another way than what goes out, so that is only a note.
    let (code, said) = latency("10.8.0.7 --traffic-type ingress");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("not reached: 10.8.0.7 is reached over eth1"), "{said}");
    let (code, said) = latency(&format!("10.8.0.7,{}", FAR[0]));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said.matches("not reached: 10.8.0.7 is reached over eth1").count(),
        3,
        "start, note, figures: {said}"
    );
    // DEFAULT is the interface of every default route.
    ground.near(&["ip", "-6", "route", "add", "default", "dev", "eth1"]);
    let (code, said) = latency(&format!("10.8.0.7,{}", FAR[0]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" on eth0, eth1") && !said.contains("not reached"), "{said}");
    // A task of IPv6 alone.
    ground.near(&["ip", "link", "del", "eth1"]);
    ground.near(&["ip", "-4", "address", "flush", "dev", "eth0"]);
    ground.near(&["ip", "-6", "route", "add", "default", "via", FAR_6[0]]);
    let (code, said) = latency("0.0.0.0/0");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("0.0.0.0/0 has no route here; the fault is on eth0"), "{said}");
    let (code, said) = latency("0.0.0.0/0,::/0");
    assert_eq!(code, Some(0), "{said}");
}

fn a_black_hole_works_on_loopback_too() {
    let ground = Ground::new();
    let before = ground.state();
    let mut server = ground.start(&["/mnt/suite", "probe", "serve", "127.0.0.1:7100", "[::1]:7100"]);
    assert_eq!(server.line(), "ready");
    for way in ["egress", "ingress"] {
        comes(ground.exchange("tcp", "127.0.0.1", 7100), "before");
        let fault =
            ground.inject(&format!("network-blackhole-port --duration 60s --port 7100 --traffic-type {way}"));
        assert!(ground.exchange("tcp", "127.0.0.1", 7100).is_none(), "{way}");
        assert!(ground.exchange("tcp", "::1", 7100).is_none(), "{way}");
        ends_clean(&ground, fault, &before);
    }
}

fn a_black_hole_for_what_comes_in() {
    let ground = Ground::new();
    let before = ground.state();
    let mut server = ground.start(&["/mnt/suite", "probe", "serve", "10.9.0.1:7100", "10.9.0.1:7101"]);
    assert_eq!(server.line(), "ready");
    let ask = |port: u16| ground.far(&["/mnt/suite", "probe", "tcp", &format!("10.9.0.1:{port}")]);
    assert!(!ask(7100).starts_with("lost"));
    let fault = ground.inject("network-blackhole-port --duration 60s --port 7100 --traffic-type ingress");
    assert!(ask(7100).contains("timed out"));
    assert!(!ask(7101).starts_with("lost"));
    let said = ends_clean(&ground, fault, &before);
    assert!(said.contains("packets lost"), "{said}");
}

fn all_means_all_but_the_lifeline() {
    let ground = Ground::new();
    let before = ground.state();
    ground.far(&["ip", "address", "add", "169.254.170.2/32", "dev", "eth0"]);
    let exempt = ["setpriv", "--regid", "29798", "--clear-groups", "/mnt/suite", "probe"];
    for way in ["egress", "ingress"] {
        let fault = ground.inject(&format!(
            "network-packet-loss --duration 60s --loss-percent 100 --sources ALL --traffic-type {way}"
        ));
        assert!(ground.icmp(FAR[0]).is_none() && ground.icmp(FAR_6[0]).is_none(), "{way}");
        // Forget the neighbours: they must be found again under the fault.
        ground.near(&["ip", "neighbour", "flush", "dev", "eth0"]);
        soon(ground.icmp("169.254.170.2"), "the metadata address");
        assert_eq!(
            ground.words_of("tcp", &format!("169.254.170.2:{PORT}")).trim(),
            "lost Connection refused (os error 111)"
        );
        for to in [format!("{}:{PORT}", FAR[0]), format!("[{}]:{PORT}", FAR_6[0])] {
            let mut words = exempt.to_vec();
            words.extend(["tcp", &to]);
            let said = ground.near(&words);
            assert!(!said.starts_with("lost"), "our own sockets, {way}: {said}");
            words[6] = "udp";
            let said = ground.near(&words);
            assert!(!said.starts_with("lost"), "our own DNS, {way}: {said}");
        }
        ends_clean(&ground, fault, &before);
    }
}

fn a_name_is_looked_up() {
    let ground = Ground::new();
    let before = ground.state();
    // `ip netns exec` shows a namespace its own /etc/hosts.
    let folder = format!("/etc/netns/{}", ground.near_name());
    std::fs::create_dir_all(&folder).unwrap();
    let hosts =
        format!("127.0.0.1 localhost\n{} database.internal\n{} database.internal\n", FAR[0], FAR_6[0]);
    std::fs::write(format!("{folder}/hosts"), hosts).unwrap();
    let fault = ground.inject(
        "network-latency --duration 60s --delay-milliseconds 100 --jitter-milliseconds 0 --sources database.internal",
    );
    late(ground.icmp(FAR[0]), "the name's IPv4 address");
    late(ground.icmp(FAR_6[0]), "the name's IPv6 address");
    soon(ground.icmp(FAR[1]), "a bystander");
    ends_clean(&ground, fault, &before);
}

/// As many as anybody can: in one transaction, on the way out and on the way in, and a bystander pays nothing
/// that is seen here.
fn many_targets() {
    let ground = Ground::new();
    let before = ground.state();
    // Every other address: ranges that do not touch, 32,768 of each family.
    let mut list: Vec<String> = (0..32_767_u32)
        .flat_map(|n| {
            let v4 = std::net::Ipv4Addr::from_bits(0x0b00_0000 + 2 * n);
            [v4.to_string(), format!("fd0b::{:x}:{:x}", n >> 15, (2 * n) & 0xffff)]
        })
        .collect();
    list.extend([FAR[0], FAR_6[0]].map(str::to_owned));
    let list = list.join(",");
    let mut player = ground.start(&["/mnt/suite", "probe", "play"]);
    for (way, family, table) in [("egress", 1, "taskfault"), ("ingress", 5, "taskfault_play_1")] {
        assert_eq!(player.ask(&format!("add 1 delay 100 {way} eth0 {list}")), "ok", "{way}");
        for set in ["play_1_v4", "play_1_v6"] {
            assert_eq!(player.ask(&format!("ranges {family} {table} {set}")), "32768", "{way}");
        }
        for (target, bystander) in [(FAR[0], FAR[1]), (FAR_6[0], FAR_6[1])] {
            late(ground.icmp(target), "a target");
            soon(ground.icmp(bystander), "a bystander");
        }
        assert_eq!(player.ask("end 1"), "ok");
        assert_eq!(ground.state(), before);
    }
}

fn overlapping_faults_have_each_its_own_life() {
    let ground = Ground::new();
    let before = ground.state();
    let mut player = ground.start(&["/mnt/suite", "probe", "play"]);
    assert_eq!(player.ask(&format!("add 1 delay 100 egress eth0 {}", FAR[0])), "ok");
    assert_eq!(player.ask(&format!("add 2 loss 100 egress eth0 {},{}", FAR[0], FAR[1])), "ok");
    assert!(ground.icmp(FAR[0]).is_none(), "the newest has the last word");
    assert!(ground.icmp(FAR[1]).is_none());
    assert_eq!(player.ask("end 2"), "ok");
    late(ground.icmp(FAR[0]), "the older one has its packets again");
    soon(ground.icmp(FAR[1]), "nobody has these now");
    assert_eq!(player.ask(&format!("add 3 hole {PORT} egress tcp")), "ok");
    assert_eq!(player.ask("end 1"), "ok");
    soon(ground.icmp(FAR[0]), "the first has ended");
    assert!(ground.exchange("tcp", FAR[0], PORT).is_none(), "the third has not");
    assert_eq!(player.ask("end 3"), "ok");
    assert_eq!(ground.state(), before);
    for number in 1..=13 {
        assert_eq!(player.ask(&format!("add {number} delay 10 egress eth0 {}", FAR[1])), "ok");
    }
    let refused = player.ask(&format!("add 14 delay 10 egress eth0 {}", FAR[1]));
    assert!(refused.starts_with("13 shaped network faults live already"), "{refused}");
    for number in 1..=13 {
        assert_eq!(player.ask(&format!("end {number}")), "ok");
    }
    assert_eq!(ground.state(), before);
}

fn what_cannot_be_is_refused_and_changes_nothing() {
    let ground = Ground::new();
    let before = ground.state();
    for (words, expected) in [
        ("network-latency --duration 5s --sources nobody.invalid", "have no address: nobody.invalid"),
        ("network-latency --duration 5s --sources 169.254.170.2", "is always let through"),
        ("network-latency --duration 5s --interface eth7", "there is no interface eth7"),
        ("network-latency --duration 5s --sources S3", "no region is known here"),
    ] {
        let mut command = vec!["/mnt/taskfault", "inject"];
        command.extend(words.split(' '));
        let output = ground.try_near(&command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words}: {said}");
        assert!(said.contains("did not start") && said.contains(expected), "{words}: {said}");
        assert_eq!(ground.state(), before);
    }
    let output = ground.try_near(&[
        "setpriv",
        "--bounding-set",
        "-net_admin",
        "/mnt/taskfault",
        "inject",
        "network-latency",
        "--duration",
        "5s",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    // Outside ECS there is no agent to turn to either; both are said.
    assert!(said.contains("NET_ADMIN is missing: on EC2 add it to the sidecar's container"), "{said}");
    assert!(said.contains("ECS_AGENT_URI is not set"), "{said}");
    assert_eq!(ground.state(), before);
    let first = ground.inject("network-latency --duration 60s");
    let output = ground.try_near(&["/mnt/taskfault", "inject", "network-packet-loss", "--duration", "5s"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("process {} has a network fault", first.child.id())), "{said}");
    ends_clean(&ground, first, &before);
    // A table of our name that is another program's.
    ground.near(&["nft", "add", "table", "inet", "taskfault"]);
    let output = ground.try_near(&["/mnt/taskfault", "inject", "network-latency", "--duration", "5s"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("that no taskfault has made; remove it (nft delete table"), "{said}");
    ground.near(&["nft", "delete", "table", "inet", "taskfault"]);
    assert_eq!(ground.state(), before);
}

/// A neighbour without NET_ADMIN can have any abstract socket, with a backlog that is full, and is in nobody's way.
fn a_neighbour_cannot_claim_the_network() {
    let ground = Ground::new();
    let before = ground.state();
    let mut neighbour = ground.start(&["/mnt/suite", "probe", "occupy", "taskfault-network"]);
    assert_eq!(neighbour.line(), "full");
    let fault = ground.inject("network-latency --duration 60s --delay-milliseconds 100");
    late(ground.icmp(FAR[0]), "ping beside a neighbour");
    let second = ground.try_near(&["/mnt/taskfault", "inject", "network-latency", "--duration", "5s"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&format!("process {} has a network fault", fault.child.id())), "{said}");
    ends_clean(&ground, fault, &before);
}

fn doctor_tries_and_touches_nothing() {
    let ground = Ground::new();
    let before = ground.state();
    let said = ground.near(&["/mnt/taskfault", "doctor", "network-latency"]);
    assert!(said.contains("and ifb for ingress latency"), "{said}");
    assert!(said.contains("ok network-latency         will work here"), "{said}");
    assert_eq!(ground.state(), before);
}
