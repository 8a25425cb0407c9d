//! Kernels that lack what network faults are made of, and tasks that ask for a service's addresses.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use crate::ground::{FAR, Ground, OTHER_PORT, PORT, run};

/// Name and test.
pub(crate) const TESTS: &[(&str, fn())] = &[
    ("a_kernel_without_netem_is_said_and_left_alone", a_kernel_without_netem_is_said_and_left_alone),
    ("a_kernel_without_nf_tables_is_said_and_left_alone", a_kernel_without_nf_tables_is_said_and_left_alone),
    ("a_kernel_without_prio_is_said_and_left_alone", a_kernel_without_prio_is_said_and_left_alone),
    ("the_prefixes_of_s3_are_its_targets", the_prefixes_of_s3_are_its_targets),
];

/// Modules that the kernel cannot have while this lives.
#[must_use = "the module is back when this is dropped"]
struct Withheld(&'static str);

const RULES: &str = "/etc/modprobe.d/withheld.conf";

impl Withheld {
    fn new(module: &'static str) -> Withheld {
        // Those that need it come first; what one takes away may set another free.
        while loaded(module) {
            let before = fs::read_to_string("/proc/modules").unwrap();
            let family = if module == "nf_tables" { "nf" } else { module };
            for line in before.lines() {
                let name = line.split(' ').next().unwrap();
                if name == module || name.starts_with(family) {
                    let _ = Command::new("rmmod").arg(name).output();
                }
            }
            let after = fs::read_to_string("/proc/modules").unwrap();
            assert_ne!(before, after, "{module} is in use");
        }
        fs::create_dir_all("/etc/modprobe.d").unwrap();
        fs::write(RULES, format!("install {module} /bin/false\n")).unwrap();
        Withheld(module)
    }
}

impl Drop for Withheld {
    fn drop(&mut self) {
        let _ = fs::remove_file(RULES);
        run("modprobe", &[self.0]);
    }
}

fn loaded(module: &str) -> bool {
    let modules = fs::read_to_string("/proc/modules").unwrap();
    modules.lines().any(|line| line.split(' ').next() == Some(module))
}

/// What can be seen of the namespace without nf_tables.
fn seen(ground: &Ground) -> String {
    ground.near(&["tc", "qdisc", "show"]) + &ground.near(&["ip", "-o", "link", "show"])
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const LATENCY: [&str; 4] = ["network-latency", "--duration", "60s", "--sources=10.9.0.2"];
const LOSS: [&str; 4] = ["network-packet-loss", "--duration", "60s", "--sources=10.9.0.2"];
const HOLE: [&str; 5] = ["network-blackhole-port", "--duration", "1s", "--port=443", "--traffic-type=egress"];
const HOLE_IN: [&str; 5] =
    ["network-blackhole-port", "--duration", "1s", "--port=443", "--traffic-type=ingress"];

/// Every one of the faults says `missing` and nothing has changed.
fn all_refuse(ground: &Ground, faults: &[&[&str]], missing: &str) {
    let before = seen(ground);
    for fault in faults {
        let output = ground.try_near(&[&["/mnt/taskfault", "inject"], *fault].concat());
        let said = words(&output);
        assert_eq!(output.status.code(), Some(1), "{fault:?}: {said}");
        assert!(said.contains(missing), "{fault:?}: {said}");
        assert_eq!(seen(ground), before, "{fault:?}");
    }
    assert!(!std::path::Path::new(&ground.state_dir).join("qdisc-baseline.json").exists());
}

/// Black holes are rules, and need no queueing discipline.
fn holes_work(ground: &Ground) {
    for hole in [HOLE, HOLE_IN] {
        let output = ground.try_near(&[&["/mnt/taskfault", "inject"], &hole[..]].concat());
        assert!(output.status.success(), "{}", words(&output));
    }
}

fn doctor(ground: &Ground) -> String {
    let before = seen(ground);
    let said = words(&ground.try_near(&["/mnt/taskfault", "doctor", "--state-dir", &ground.state_dir]));
    assert_eq!(seen(ground), before);
    said
}

/// The line of a fault, or of a finding.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.lines().rev().find(|line| line.split_whitespace().nth(1) == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn a_kernel_without_netem_is_said_and_left_alone() {
    let ground = Ground::new();
    let _withheld = Withheld::new("sch_netem");
    all_refuse(&ground, &[&LATENCY, &LOSS], "the kernel has no netem: load sch_netem");
    let said = doctor(&ground);
    for fault in ["network-latency", "network-packet-loss"] {
        assert!(line(&said, fault).contains("load sch_netem"), "{said}");
    }
    // What needs no netem works, and that is said too.
    assert!(line(&said, "network-packet-loss").contains("for incoming traffic it will work"), "{said}");
    assert!(line(&said, "network-blackhole-port").contains("will work here"), "{said}");
    holes_work(&ground);
}

fn a_kernel_without_prio_is_said_and_left_alone() {
    let ground = Ground::new();
    let _withheld = Withheld::new("sch_prio");
    all_refuse(&ground, &[&LATENCY, &LOSS], "the kernel has no prio: load sch_prio");
    holes_work(&ground);
    let said = doctor(&ground);
    assert!(line(&said, "network-latency").contains("load sch_prio"), "{said}");
}

fn a_kernel_without_nf_tables_is_said_and_left_alone() {
    let ground = Ground::new();
    let _withheld = Withheld::new("nf_tables");
    all_refuse(&ground, &[&LATENCY, &LOSS, &HOLE, &HOLE_IN], "nf_tables");
    let said = doctor(&ground);
    for fault in ["network-latency", "network-packet-loss", "network-blackhole-port"] {
        assert!(
            line(&said, fault).contains("will not work: ") && line(&said, fault).contains("nf_tables"),
            "{said}"
        );
    }
    assert!(line(&said, "cpu-stress").contains("will work here"), "{said}");
}

/// `publish ADDRESS PREFIX`: plays the publisher of AWS's list, whose S3 has this prefix in eu-west-1.
pub(crate) fn publish(address: &str, prefix: &str) {
    let listener = TcpListener::bind(address).unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    let body = format!(
        r#"{{"syncToken":"1","createDate":"2026-11-21-12-00-00","prefixes":[
        {{"ip_prefix":"{prefix}","region":"eu-west-1","service":"S3","network_border_group":"eu-west-1"}},
        {{"ip_prefix":"10.9.0.0/24","region":"eu-west-2","service":"S3","network_border_group":"eu-west-2"}}],
        "ipv6_prefixes":[{{"ipv6_prefix":"fd09::2/128","region":"eu-west-1","service":"S3","network_border_group":"x"}}]}}"#
    );
    for mut stream in listener.incoming().flatten() {
        let _ = stream.read(&mut [0; 4096]);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
}

fn the_prefixes_of_s3_are_its_targets() {
    let ground = Ground::new();
    let before = ground.state();
    let mut publisher = ground.start_far(&["/mnt/suite", "probe", "publish", "10.9.0.3:80", "10.9.0.2/32"]);
    assert_eq!(publisher.line(), "ready");
    let inject = |variables: &[&str]| {
        let fault = ["network-packet-loss", "--duration", "60s", "--loss-percent", "100", "--sources", "S3"];
        let words = [&["env"], variables, &["/mnt/taskfault", "inject"], &fault[..]].concat();
        let fault = ground.start(&words);
        crate::ground::until("the rules are there", || ground.state().contains("chain loss_1"));
        fault
    };
    let published = "TASKFAULT_IP_RANGES_URL=http://10.9.0.3:80/ip-ranges.json";
    let fault = inject(&["AWS_REGION=eu-west-1", published]);
    assert_eq!(ground.exchange("tcp", FAR[0], PORT), None);
    assert_eq!(ground.exchange("udp", "fd09::2", PORT), None);
    for address in [FAR[1], "fd09::3"] {
        assert!(
            ground.exchange("tcp", address, OTHER_PORT).is_some(),
            "{address} is in no prefix of the region"
        );
    }
    fault.signal("INT");
    let (code, said) = fault.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("to S3 (2 prefixes of eu-west-1, AWS's list of 2026-11-21, "), "{said}");
    assert_eq!(ground.state(), before);
    // Nobody publishes: the list that ships, whole, with its age.
    let fault = inject(&["AWS_REGION=us-east-1", "TASKFAULT_IP_RANGES_URL=http://10.9.0.3:81/"]);
    let rules = ground.near(&["nft", "list", "ruleset"]);
    assert!(rules.contains("52.216.0.0/15") && rules.contains("2600:1fa0:8000::/39"), "{rules}");
    assert!(ground.exchange("tcp", FAR[0], PORT).is_some());
    fault.signal("INT");
    let (_, said) = fault.end();
    assert!(said.contains("that ships with taskfault; AWS's list could not be had: 10.9.0.3:81: "), "{said}");
    assert_eq!(ground.state(), before);
    // Without a region nobody knows whose prefixes are meant.
    let command = [
        "env",
        "-u",
        "AWS_REGION",
        "/mnt/taskfault",
        "inject",
        "network-latency",
        "--duration=9s",
        "--sources=S3",
    ];
    let output = ground.try_near(&command);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("no region is known here: set AWS_REGION"), "{}", words(&output));
    assert_eq!(ground.state(), before);
}
