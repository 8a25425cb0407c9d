//! Delay and loss, asked and achieved; the shaped faults in and out. In the virtual machine, whose kernel
//! (Debian's 6.1) has prio and netem. Its CPU is emulated, ten times slower than a real one: the delays are
//! true on an idle machine, the times in and out are upper bounds.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::faults::{Fault, Fixture, Means, Rounds, document, measure, packets};
use crate::Options;
use crate::figures::{Better, NEVER, OURS, Row, Statistic};
use crate::ground::{BYSTANDER, ECHO, Ground, NEAR, TARGET};
use crate::machine;
use crate::probe::{Packet, Probe};
use crate::process::{Running, ms, until};
use crate::script::{self, Script};
use nix::sys::signal::Signal;

const DELAYS_MS: [u64; 4] = [20, 50, 100, 200];
const LOSSES_PERCENT: [u32; 3] = [5, 20, 50];
const SHAPED: usize = 3;
/// One of each for the script too.
const PEER_DELAY_MS: u64 = 100;
const PEER_LOSS_PERCENT: u32 = 20;
const DELAYED: usize = 400;
const LOST: usize = 20_000;
/// What booting and ending take of this part's share, on a machine of half the speed.
const AROUND: Duration = Duration::from_secs(40);
const SCRIPT: &str = "tc as AWS's script has it";
/// How long packets are sent through the script's rules at most.
const PEER: Duration = Duration::from_secs(30);

pub(crate) fn run(options: Options) {
    if std::env::var_os("TASKFAULT_VM").is_none() {
        return boot(options);
    }
    let limit = super::find("netem").map_or(Duration::ZERO, |part| part.limit(options));
    let mut time = Time {
        end: Instant::now() + limit.saturating_sub(AROUND),
        left: DELAYS_MS.len() + LOSSES_PERCENT.len() + SHAPED,
    };
    let _ground = Ground::new();
    for delay in DELAYS_MS {
        delayed(delay, time.share());
    }
    for loss in LOSSES_PERCENT {
        lost(loss, options.full, time.share());
    }
    let folder = machine::scratch();
    let mut fixture = Fixture::new(folder.path().join("state"));
    let (cycles, kills, peer_kills) = if options.full { (100, 500, 3) } else { (6, 20, 0) };
    for fault in shaped(options.full) {
        let until = Some(time.share());
        let rounds =
            Rounds { part: "netem", cycles, peer_cycles: 1, peer_kills, kills, terminations: 1, until };
        measure(&mut fixture, fault, rounds);
    }
}

/// What is left of the part's time, for so many measurements that are still to come: on a slow machine each has fewer
/// rounds or packets, and none is lost.
struct Time {
    end: Instant,
    left: usize,
}

impl Time {
    /// Until when the next of them may take.
    fn share(&mut self) -> Instant {
        let now = Instant::now();
        let left = u32::try_from(self.left.max(1)).unwrap_or(u32::MAX);
        self.left = self.left.saturating_sub(1);
        now + self.end.saturating_duration_since(now) / left
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
    ///
    /// # Errors
    /// It says something else, or nothing until then; in words.
    fn start(words: &str, until: Instant) -> Result<Injected, String> {
        let mut command = Command::new(machine::taskfault());
        command.arg("inject").args(words.split(' ')).env("TASKFAULT_STATE_DIR", "/tmp/inject");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut injected = Injected(Running(command.spawn().unwrap()));
        let mut said = BufReader::new(injected.0.0.stderr.take().unwrap());
        let (tell, told) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = said.read_line(&mut line).map(|_| tell.send(line));
            // Whatever else it says is not waited for, and does not fill the pipe.
            std::io::copy(&mut said, &mut std::io::sink())
        });
        let line = told
            .recv_timeout(until.saturating_duration_since(Instant::now()))
            .map_err(|_| "it did not say in time that it has started".to_owned())?;
        let begun = words.split(' ').next().is_some_and(|name| line.starts_with(&format!("{name}: ")));
        if begun && !injected.0.has_ended() { Ok(injected) } else { Err(line.trim().to_owned()) }
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

/// The packets that are sent from now on, once the last of them is back or lost: so many, or what can be had until then.
fn collect(probe: &Probe, count: usize, gap: Duration, longest: Duration, until: Instant) -> Vec<Packet> {
    let from = Instant::now();
    let mut to = (from + gap.mul_f64(count as f64)).min(until);
    thread::sleep(to.saturating_duration_since(from));
    // A slow machine sends fewer; the number is what counts.
    while probe.between(from, to).len() < count && to < until {
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

/// None of no values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A row for a fault that did not come into force, or could not be seen.
fn never(case: String, unit: &str, better: Better, why: &str) {
    Row::new("netem", case, unit, better).said(OURS, format!("{NEVER} measured: {why}")).emit();
}

fn delayed(delay: u64, until: Instant) {
    let gap = Duration::from_millis(4);
    let longest = Duration::from_millis(delay + 300);
    let stream = probe(7300, TARGET, gap, Duration::from_millis(delay / 2));
    let bystander = probe(7301, BYSTANDER, gap * 4, Duration::from_millis(delay));
    thread::sleep(Duration::from_millis(300));
    let case = format!("delay of {delay} ms: achieved");
    let soon = Instant::now() + until.saturating_duration_since(Instant::now()) / 3;
    let Some(before) = median(round_trips(&collect(&stream, DELAYED, gap, longest, soon))) else {
        return never(
            case,
            "ms",
            Better::Near(delay as f64),
            "no packet came back in time without the fault",
        );
    };
    let beyond = |packets: &[Packet]| -> Vec<f64> {
        round_trips(packets).into_iter().map(|time| time - before).collect()
    };
    let words = format!(
        "network-latency --duration 600s --delay-milliseconds {delay} --jitter-milliseconds 0 --sources {TARGET}"
    );
    let fault = match Injected::start(&words, until) {
        Ok(fault) => fault,
        Err(why) => return never(case, "ms", Better::Near(delay as f64), &why),
    };
    let from = Instant::now();
    let ours = beyond(&collect(&stream, DELAYED, gap, longest, until));
    let beside = round_trips(&bystander.between(from, Instant::now() - longest));
    fault.end();
    let mut row = Row::new("netem", case, "ms", Better::Near(delay as f64))
        .ours(ours)
        .aim(Statistic::Median, 1.0)
        .note(format!("round trips, less the median of those before the fault ({before:.2} ms)"));
    if delay == PEER_DELAY_MS {
        let _ = std::fs::remove_file(script::DONE);
        let script = Script::start(&script::shape(&format!("delay {delay}ms")));
        rules_are_there();
        row = row.peer(SCRIPT, beyond(&collect(&stream, DELAYED, gap, longest, Instant::now() + PEER)));
        drop(script);
        script::undo_now(script::TC_UNDO);
    }
    row.emit();
    Row::new("netem", format!("delay of {delay} ms: a bystander's round trip"), "ms", Better::Less)
        .ours(beside)
        .emit();
}

fn lost(percent: u32, with_peer: bool, until: Instant) {
    let gap = Duration::from_micros(400);
    let longest = Duration::from_millis(1000);
    let stream = probe(7302, TARGET, gap, longest);
    let share = |packets: &[Packet]| {
        let lost = packets.iter().filter(|packet| packet.round_trip.is_none()).count();
        100.0 * lost as f64 / packets.len() as f64
    };
    let (case, asked) = (format!("loss of {percent} %: achieved"), f64::from(percent));
    thread::sleep(Duration::from_millis(300));
    let soon = Instant::now() + until.saturating_duration_since(Instant::now()) / 5;
    let before = share(&collect(&stream, LOST / 10, gap, longest, soon));
    let words = format!("network-packet-loss --duration 600s --loss-percent {percent} --sources {TARGET}");
    let bystander = probe(7303, BYSTANDER, gap * 4, longest);
    let fault = match Injected::start(&words, until) {
        Ok(fault) => fault,
        Err(why) => return never(case, "%", Better::Near(asked), &why),
    };
    let (from, dropped) = (Instant::now(), dropped_by_machine());
    let packets = collect(&stream, LOST, gap, longest, until);
    // What the machine itself loses under this load, on the same way and at the same time.
    let (beside, dropped) =
        (share(&bystander.between(from, Instant::now() - longest)), dropped_by_machine() - dropped);
    // So far is the figure of a true fault by chance alone, 99 times of 100.
    let chance = 2.576 * (asked * (100.0 - asked) / packets.len() as f64).sqrt();
    let mut row = Row::new("netem", case, "%", Better::Near(asked))
        .ours(vec![share(&packets)])
        .aim(Statistic::Worst, (0.05 * asked).max(chance))
        .note(format!(
            "one figure of {} packets, by chance ± {chance:.2}; without the fault {before:.2} %, a bystander beside it \
             {beside:.2} %, {dropped} packets dropped by the machine",
            packets.len()
        ));
    fault.end();
    if with_peer && percent == PEER_LOSS_PERCENT {
        let _ = std::fs::remove_file(script::DONE);
        let script = Script::start(&script::shape(&format!("loss {percent}%")));
        rules_are_there();
        row = row.peer(SCRIPT, vec![share(&collect(&stream, LOST, gap, longest, Instant::now() + PEER))]);
        drop(script);
        script::undo_now(script::TC_UNDO);
    }
    row.emit();
}

/// Packets that found no room in a CPU's backlog, of all interfaces, so far.
fn dropped_by_machine() -> u64 {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    let second = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().filter_map(second).sum()
}

/// The shaped faults. Beside AWS's script only where there is time: its hundred calls of tc take most of a minute on an
/// emulated CPU, more than such a fault's share.
fn shaped(with_script: bool) -> [Fault; SHAPED] {
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
    let tc = |netem: &str| {
        let means = || Means::Script { text: script::shape(netem), undo: script::TC_UNDO.into() };
        with_script.then(|| (SCRIPT, means()))
    };
    let note = "emulated CPU; a packet every 1 ms; kill -9 of taskfault inject";
    [
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
            peer: tc("delay 100ms"),
            watch: watch(7310),
            note,
        },
        Fault {
            name: "network-packet-loss 100 %, egress",
            ours: document("AWSFIS-Run-Network-Packet-Loss-Sources", &loss),
            killed: Some(Means::Inject(format!(
                "network-packet-loss --duration 600s --loss-percent 100 --sources {TARGET}"
            ))),
            peer: tc("loss 100%"),
            watch: watch(7311),
            note,
        },
    ]
}
