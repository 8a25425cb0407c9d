//! Delay and loss, asked and achieved; the shaped faults in and out. In the virtual machine, whose kernel
//! (Debian's 6.1) has prio and netem. Its CPU is emulated, ten times slower than a real one: the delays are
//! true on an idle machine, the times in and out are upper bounds.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::faults::{Fault, Fixture, Means, Rounds, document, measure, packets};
use crate::Options;
use crate::figures::{Better, Row, Statistic};
use crate::ground::{BYSTANDER, ECHO, Ground, NEAR, TARGET};
use crate::machine;
use crate::probe::{Packet, Probe};
use crate::process::{Running, ms, until};
use crate::script::{self, Script};
use nix::sys::signal::Signal;

const DELAYS_MS: [u64; 4] = [20, 50, 100, 200];
const LOSSES_PERCENT: [u32; 3] = [5, 20, 50];
/// One of each for the script too.
const PEER_DELAY_MS: u64 = 100;
const PEER_LOSS_PERCENT: u32 = 20;
const DELAYED: usize = 400;
const LOST: usize = 20_000;
const SCRIPT: &str = "tc as AWS's script has it";

pub(crate) fn run(options: Options) {
    if std::env::var_os("TASKFAULT_VM").is_none() {
        return boot(options);
    }
    let _ground = Ground::new();
    for delay in DELAYS_MS {
        delayed(delay);
    }
    for loss in LOSSES_PERCENT {
        lost(loss, options.full);
    }
    let folder = machine::scratch();
    let mut fixture = Fixture::new(folder.path().join("state"));
    // The script's hundred calls of tc take most of a minute here.
    let (cycles, kills, peer_kills) = if options.full { (100, 500, 3) } else { (6, 20, 0) };
    let rounds = Rounds { part: "netem", cycles, peer_cycles: 1, peer_kills, kills, terminations: 1 };
    for fault in shaped() {
        measure(&mut fixture, fault, rounds);
    }
}

/// Boots the virtual machine on this part; its rows come over its console.
fn boot(options: Options) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/bench-vm");
    let mut command = Command::new(script);
    command.arg(std::env::current_exe().unwrap()).arg(machine::taskfault()).args(["inside", "netem"]);
    if options.full {
        command.arg("--full");
    }
    // It ends by itself a little before this part would be broken off: nothing else would end it then.
    let limit = super::find("netem").map_or(Duration::ZERO, |part| part.limit(options));
    command.env("VM_PATIENCE", limit.as_secs().saturating_sub(5).to_string());
    let mut child = Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    for line in BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok) {
        match serde_json::from_str::<Row>(&line) {
            Ok(row) => row.emit(),
            Err(_) => eprintln!("{line}"),
        }
    }
    assert_eq!(child.end(), Some(0), "the virtual machine");
}

/// An `inject` whose fault is in force.
struct Injected(Running);

impl Injected {
    /// Returns once it says that it has started: on a slow machine a packet may be late, or lost, before that, and no
    /// packet of before may count.
    fn start(words: &str) -> Injected {
        let mut command = Command::new(machine::taskfault());
        command.arg("inject").args(words.split(' ')).env("TASKFAULT_STATE_DIR", "/tmp/inject");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut injected = Injected(Running(command.spawn().unwrap()));
        let mut said = BufReader::new(injected.0.0.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with(words.split(' ').next().unwrap()) && !injected.0.has_ended(), "{line}");
        // Whatever else it says is not waited for, and does not fill the pipe.
        thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        injected
    }

    fn end(mut self) {
        self.0.signal(Signal::SIGINT);
        self.0.end();
    }
}

fn probe(port: u16, to: &str, gap: Duration, late: Duration) -> Probe {
    Probe::start(
        format!("{NEAR}:{port}").parse().unwrap(),
        format!("{to}:{ECHO}").parse().unwrap(),
        gap,
        late,
    )
}

/// Round trips of the packets that are sent from now on, once the last of them is back or lost.
fn collect(probe: &Probe, count: usize, gap: Duration, longest: Duration) -> Vec<Packet> {
    let from = Instant::now();
    let mut to = from + gap.mul_f64(count as f64);
    thread::sleep(to - from);
    // A slow machine sends fewer; the number is what counts.
    while probe.between(from, to).len() < count {
        thread::sleep(Duration::from_millis(50));
        to = Instant::now();
    }
    thread::sleep(longest);
    probe.between(from, to)
}

fn round_trips(packets: &[Packet]) -> Vec<f64> {
    packets.iter().filter_map(|packet| packet.round_trip).map(ms).collect()
}

/// Waits for the script's last rule.
fn rules_are_there() {
    until(Duration::from_secs(60), || std::fs::exists(script::DONE).unwrap_or(false))
        .expect("the script's rules");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn delayed(delay: u64) {
    let gap = Duration::from_millis(4);
    let longest = Duration::from_millis(delay + 300);
    let stream = probe(7300, TARGET, gap, Duration::from_millis(delay / 2));
    let bystander = probe(7301, BYSTANDER, gap * 4, Duration::from_millis(delay));
    thread::sleep(Duration::from_millis(300));
    let before = median(round_trips(&collect(&stream, DELAYED, gap, longest)));
    let beyond = |packets: &[Packet]| -> Vec<f64> {
        round_trips(packets).into_iter().map(|time| time - before).collect()
    };
    let fault = Injected::start(&format!(
        "network-latency --duration 600s --delay-milliseconds {delay} --jitter-milliseconds 0 --sources {TARGET}"
    ));
    let from = Instant::now();
    let ours = beyond(&collect(&stream, DELAYED, gap, longest));
    let beside = round_trips(&bystander.between(from, Instant::now() - longest));
    fault.end();
    let mut row =
        Row::new("netem", format!("delay of {delay} ms: achieved"), "ms", Better::Near(delay as f64))
            .ours(ours)
            .aim(Statistic::Median, 1.0)
            .note(format!("round trips, less the median of those before the fault ({before:.2} ms)"));
    if delay == PEER_DELAY_MS {
        let _ = std::fs::remove_file(script::DONE);
        let script = Script::start(&script::shape(&format!("delay {delay}ms")));
        rules_are_there();
        row = row.peer(SCRIPT, beyond(&collect(&stream, DELAYED, gap, longest)));
        drop(script);
        script::undo_now(script::TC_UNDO);
    }
    row.emit();
    Row::new("netem", format!("delay of {delay} ms: a bystander's round trip"), "ms", Better::Less)
        .ours(beside)
        .emit();
}

fn lost(percent: u32, with_peer: bool) {
    let gap = Duration::from_micros(400);
    let longest = Duration::from_millis(1000);
    let stream = probe(7302, TARGET, gap, longest);
    let share = |packets: &[Packet]| {
        let lost = packets.iter().filter(|packet| packet.round_trip.is_none()).count();
        100.0 * lost as f64 / packets.len() as f64
    };
    thread::sleep(Duration::from_millis(300));
    let before = share(&collect(&stream, LOST / 10, gap, longest));
    let words = format!("network-packet-loss --duration 600s --loss-percent {percent} --sources {TARGET}");
    let bystander = probe(7303, BYSTANDER, gap * 4, longest);
    let fault = Injected::start(&words);
    let from = Instant::now();
    let packets = collect(&stream, LOST, gap, longest);
    // What the machine itself loses under this load, on the same way and at the same time.
    let beside = share(&bystander.between(from, Instant::now() - longest));
    let mut row = Row::new(
        "netem",
        format!("loss of {percent} %: achieved"),
        "%",
        Better::Near(f64::from(percent)),
    )
    .ours(vec![share(&packets)])
    .aim(Statistic::Worst, 0.05 * f64::from(percent))
    .note(format!(
        "one figure of {} packets; without the fault {before:.2} %, a bystander beside it {beside:.2} %",
        packets.len()
    ));
    fault.end();
    if with_peer && percent == PEER_LOSS_PERCENT {
        let _ = std::fs::remove_file(script::DONE);
        let script = Script::start(&script::shape(&format!("loss {percent}%")));
        rules_are_there();
        row = row.peer(SCRIPT, vec![share(&collect(&stream, LOST, gap, longest))]);
        drop(script);
        script::undo_now(script::TC_UNDO);
    }
    row.emit();
}

fn shaped() -> Vec<Fault> {
    let echo = ECHO.to_string();
    let watch = |port: u16| packets(port, Duration::from_millis(1), Duration::from_millis(50), 25);
    let latency = [
        ("DelayMilliseconds", "100"),
        ("JitterMilliseconds", "0"),
        ("Sources", TARGET),
        ("TrafficType", "egress"),
        ("Interface", "eth0"),
    ];
    let loss =
        [("LossPercent", "100"), ("Sources", TARGET), ("TrafficType", "egress"), ("Interface", "eth0")];
    let hole = [("Protocol", "udp"), ("Port", echo.as_str()), ("TrafficType", "egress")];
    let tc = |netem: &str| Means::Script { text: script::shape(netem), undo: script::TC_UNDO.into() };
    let note = "emulated CPU; a packet every 1 ms; kill -9 of taskfault inject";
    vec![
        Fault {
            name: "network-blackhole-port, egress",
            ours: document("AWSFIS-Run-Network-Blackhole-Port", &hole),
            killed: Some(Means::Inject(format!(
                "network-blackhole-port --duration 600s --port {ECHO} --protocol udp --traffic-type egress"
            ))),
            peer: Some((
                "nft",
                Means::Script { text: script::black_hole_egress(ECHO), undo: script::NFT_UNDO.into() },
            )),
            watch: watch(7312),
            note,
        },
        Fault {
            name: "network-latency 100 ms, egress",
            ours: document("AWSFIS-Run-Network-Latency-Sources", &latency),
            killed: Some(Means::Inject(format!(
                "network-latency --duration 600s --delay-milliseconds 100 --jitter-milliseconds 0 --sources {TARGET}"
            ))),
            peer: Some((SCRIPT, tc("delay 100ms"))),
            watch: watch(7310),
            note,
        },
        Fault {
            name: "network-packet-loss 100 %, egress",
            ours: document("AWSFIS-Run-Network-Packet-Loss-Sources", &loss),
            killed: Some(Means::Inject(format!(
                "network-packet-loss --duration 600s --loss-percent 100 --sources {TARGET}"
            ))),
            peer: Some((SCRIPT, tc("loss 100%"))),
            watch: watch(7311),
            note,
        },
    ]
}
