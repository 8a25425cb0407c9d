//! Many targets: how long it takes to install them, and what a packet to somebody else pays for them. Beside
//! u32 filters, one process for each and in one batch.
//!
//! The kernel of this machine need not have prio and netem for it: what grows with the targets is the
//! matching. So an effect that needs no shaping is installed whole (loss of what comes in), and the packets of
//! a bystander go through the egress rules that a latency has, without its leaf.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use effects::net::classify::{self, Action, Filter, Selected};
use effects::net::netlink::{Route, Tables};
use effects::net::target::{self, TargetSet};
use effects::net::{Environment, NetworkEffect, NetworkPlan, Work, lifeline, link, shape};
use effects::task::denied::DeniedTargets;
use faults::network_source::{Direction, Net, Selection, Source};

use crate::Options;
use crate::figures::{Better, OURS, Row, Statistic};
use crate::ground::{BYSTANDER, Ground, NEIGHBOUR, SINK, call};
use crate::machine;
use crate::process::ms;

const COUNTS: [u32; 4] = [1, 1_000, 10_000, 65_536];
const INSTALLS: usize = 10;
const ROUNDS: usize = 7;
/// One measurement of packets.
const SPELL: Duration = Duration::from_millis(150);
/// u32 filters of one priority: a table of the kernel holds no more than 2,047.
const PER_PRIORITY: u32 = 2_000;
/// One process for each target takes so long that more are not tried.
const MOST_ONE_BY_ONE: u32 = 1_000;
const BATCH: &str = "tc -batch, u32";
const ONE_BY_ONE: &str = "tc u32, one by one";
const NFT: &str = "nft -f, one set";

pub(crate) fn run(options: Options) {
    let _ground = Ground::new();
    let folder = machine::scratch();
    for count in COUNTS {
        install(count, folder.path());
    }
    for count in COUNTS {
        packets(count, if options.full { 3 * ROUNDS } else { ROUNDS }, folder.path());
    }
}

fn addresses(count: u32) -> Vec<Ipv4Addr> {
    // Every other one: neighbours would be merged into a range. Those between are the bystanders' next door.
    let first = u32::from(Ipv4Addr::new(10, 128, 0, 0));
    (0..count).map(|number| Ipv4Addr::from(first + 2 * number)).collect()
}

fn sources(count: u32) -> Vec<Source> {
    addresses(count).into_iter().map(|address| Source::Net(Net::single(address.into()))).collect()
}

/// Time to install, until packets are matched.
fn install(count: u32, folder: &std::path::Path) {
    let mut row = Row::new("targets", format!("{count} targets: install"), "ms", Better::Less);
    let (mut ours, mut batch, mut nft, mut trouble) = (Vec::new(), Vec::new(), Vec::new(), None);
    let (batch_file, nft_file) = (folder.join("batch"), folder.join("nft"));
    fs::write(&batch_file, filters(count).join("\n")).unwrap();
    fs::write(&nft_file, ruleset(count)).unwrap();
    let plan = NetworkPlan {
        name: "targets",
        work: Work::Lose { percent: 100 },
        direction: Direction::Ingress,
        interfaces: "eth0".parse().ok(),
        sources: sources(count),
        port: None,
        selection: Selection::default(),
        flows_percent: 100,
        lasts: Duration::from_secs(60),
    };
    let environment = Environment { state_dir: folder.into(), ..Environment::default() };
    for _ in 0..INSTALLS {
        let began = Instant::now();
        match NetworkEffect::start(&plan, &environment) {
            Ok(effect) => {
                ours.push(ms(began.elapsed()));
                effect.undo().1.unwrap();
            }
            Err(error) => trouble = Some(error.to_string()),
        }
        nft.push(timed("nft", &["-f", nft_file.to_str().unwrap()]));
        call("nft", &["delete", "table", "inet", "peer"]);
        root();
        batch.push(timed("tc", &["-batch", batch_file.to_str().unwrap()]));
        no_root();
    }
    row = match trouble {
        Some(trouble) => row.said(OURS, trouble),
        None => row.ours(ours),
    };
    row = row.peer(NFT, nft).peer(BATCH, batch);
    row = match count <= MOST_ONE_BY_ONE {
        true => row.peer(ONE_BY_ONE, vec![one_by_one(count)]),
        false => row.said(ONE_BY_ONE, "not tried: a process for each"),
    };
    if count == 65_536 {
        row = row.aim(Statistic::Median, 150.0);
    }
    row.note("ours: from the list to rules that match, interface looked up, claim and table made").emit();
}

/// The root that u32 filters hang on, where there is no prio.
fn root() {
    call("tc", &["qdisc", "add", "dev", "eth0", "root", "handle", "1:", "htb", "default", "30"]);
    for class in ["1:2", "1:30"] {
        let words =
            ["class", "add", "dev", "eth0", "parent", "1:", "classid", class, "htb", "rate", "40gbit"];
        call("tc", &words);
    }
}

fn no_root() {
    call("tc", &["qdisc", "del", "dev", "eth0", "root"]);
}

/// One line of `tc` for each target.
fn filters(count: u32) -> Vec<String> {
    let filter = |(number, address): (u32, Ipv4Addr)| {
        let priority = 2 + number / PER_PRIORITY;
        format!(
            "filter add dev eth0 parent 1: protocol ip prio {priority} u32 match ip dst {address}/32 flowid 1:2"
        )
    };
    (0..).zip(addresses(count)).map(filter).collect()
}

fn ruleset(count: u32) -> String {
    let elements: Vec<String> = addresses(count).iter().map(ToString::to_string).collect();
    format!(
        "table inet peer {{\n\
         set targets {{\ntype ipv4_addr\nflags interval\nelements = {{ {} }}\n}}\n\
         chain in {{\ntype filter hook input priority 0\nip saddr @targets drop\n}}\n}}\n",
        elements.join(", ")
    )
}

fn timed(program: &str, words: &[&str]) -> f64 {
    let began = Instant::now();
    call(program, words);
    ms(began.elapsed())
}

fn one_by_one(count: u32) -> f64 {
    root();
    let lines = filters(count);
    let began = Instant::now();
    for line in &lines {
        assert!(Command::new("tc").args(line.split(' ')).status().unwrap().success());
    }
    let took = ms(began.elapsed());
    no_root();
    took
}

/// What a packet of a bystander costs with so many targets, beside none: of one that has no prefix in common
/// with the targets, and of one next door to them.
fn packets(count: u32, rounds: usize, folder: &std::path::Path) {
    let sockets = [BYSTANDER, NEIGHBOUR].map(|address| {
        let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
        socket.connect((address, SINK)).unwrap();
        socket
    });
    let batch = folder.join("batch");
    fs::write(&batch, filters(count).join("\n")).unwrap();
    let filter = egress(count);
    let (mut free, mut ours, mut u32s) =
        ([const { Vec::new() }; 2], [const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    let mut trouble = None;
    let measure = |into: &mut [Vec<f64>; 2]| {
        for (socket, costs) in sockets.iter().zip(into) {
            costs.push(cost(socket));
        }
    };
    for _ in 0..rounds {
        root();
        measure(&mut free);
        match installed(&filter) {
            Ok(_table) => measure(&mut ours),
            Err(error) => trouble = Some(error),
        }
        call("tc", &["-batch", batch.to_str().unwrap()]);
        measure(&mut u32s);
        no_root();
    }
    for (place, who) in ["a bystander", "a bystander next door"].into_iter().enumerate() {
        let row = |what: &str, unit: &str| {
            Row::new("targets", format!("{count} targets: {who}'s packet{what}"), unit, Better::Less)
        };
        let with_ours = |row: Row, values: Vec<f64>| match &trouble {
            Some(trouble) => row.said(OURS, trouble.as_str()),
            None => row.ours(values),
        };
        let more = |with: &[f64]| -> Vec<f64> {
            with.iter().zip(&free[place]).map(|(with, without)| 100.0 * (with / without - 1.0)).collect()
        };
        let note = "64 bytes by UDP over veth, from the call to its return";
        with_ours(row("", "µs"), ours[place].clone())
            .peer("u32", u32s[place].clone())
            .peer("no fault", free[place].clone())
            .note(note)
            .emit();
        with_ours(row(", more than without a fault", "%"), more(&ours[place]))
            .peer("u32", more(&u32s[place]))
            .aim(Statistic::Median, 5.0)
            .emit();
    }
}

/// The filter of an egress latency for so many targets.
fn egress(count: u32) -> Filter {
    let mut route = Route::open().unwrap();
    let links = link::list(&mut route).unwrap();
    let link = links.into_iter().find(|link| link.name == "eth0").unwrap();
    let targets =
        TargetSet::of_all(&target::resolve(&sources(count), &[], &DeniedTargets::default()).unwrap());
    Filter {
        name: "bench_1".to_owned(),
        direction: Direction::Egress,
        priority: classify::FIRST_PRIORITY,
        links: Some(vec![link]),
        targets,
        added: BTreeSet::new(),
        port: None,
        selected: Selected::default(),
        flows_percent: 100,
        action: Action::Classify(shape::class(shape::FIRST_SPARE)),
        lasts: Duration::from_secs(3_600),
        exempt: lifeline::ALWAYS.to_vec(),
        exempt_endpoints: Vec::new(),
        exempt_group: lifeline::GROUP,
        own_flows: Vec::new(),
    }
}

/// The table with the filter; gone when dropped.
fn installed(filter: &Filter) -> Result<Tables, String> {
    let mut tables = Tables::open().map_err(|error| error.to_string())?;
    tables.change(classify::create_table()).map_err(|error| error.to_string())?;
    tables.change(classify::create(filter)).map_err(|error| error.to_string())?;
    Ok(tables)
}

/// Microseconds for a packet, as the median of small batches: a machine that is busy interrupts some of them.
fn cost(socket: &UdpSocket) -> f64 {
    const BATCH: u32 = 20;
    let packet = [0; 64];
    let (began, mut batches) = (Instant::now(), Vec::new());
    while began.elapsed() < SPELL {
        let began = Instant::now();
        for _ in 0..BATCH {
            // A queue that is full is no matter of the fault.
            let _ = socket.send(&packet);
        }
        batches.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(BATCH));
    }
    batches.sort_by(f64::total_cmp);
    batches[batches.len() / 2]
}
