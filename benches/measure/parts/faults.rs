//! Fault in, fault out: from the command to an effect that a probe sees, from the cancel to none, from `kill -9`
//! to none, from SIGTERM to a deregistered instance. Beside the same effect made by a script as AWS's
//! documents do it.
//!
//! Ours goes the whole way: SendCommand, control channel, sidecar, effect. The script's time begins when it is
//! started; the agent that would call it, and its package manager, cost nothing here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use effects::disk::space::Space;
use nix::sys::signal::Signal;

use crate::Options;
use crate::cloud::{Cloud, Sidecar};
use crate::figures::{Better, Row, STILL_THERE, Statistic};
use crate::ground::{ECHO, Ground, NEAR, TARGET, call};
use crate::machine;
use crate::probe::{NEVER, Probe};
use crate::process::{Running, ms, until};
use crate::script::{self, Script};

mod watch;

use watch::MIB;
pub(crate) use watch::Watch;

/// What ends within this has ended: the limit for everything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Port of the first probe on this side.
const PORT: u16 = 7200;

/// How a fault is made.
pub(crate) enum Means {
    /// A document, sent to the sidecar.
    Document { name: &'static str, parameters: Vec<(&'static str, String)> },
    /// `taskfault inject`, with these words.
    Inject(String),
    /// A script, and what undoes it whatever became of it.
    Script { text: String, undo: String },
}

/// One fault and how to see it.
pub(crate) struct Fault {
    pub name: &'static str,
    pub ours: Means,
    /// Where a restart of the sidecar would take longer than what is measured: used for kill -9 alone.
    pub killed: Option<Means>,
    pub peer: Option<(&'static str, Means)>,
    pub watch: Watch,
    pub note: &'static str,
}

/// How often each thing is done.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    pub part: &'static str,
    /// In and out, ours.
    pub cycles: usize,
    pub peer_cycles: usize,
    pub peer_kills: usize,
    pub kills: usize,
    pub terminations: usize,
    /// From then on no round begins, but for the first of each kind.
    pub until: Option<Instant>,
}

impl Rounds {
    /// So many rounds, as far as there is time.
    fn of(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let until = self.until;
        (0..count).take_while(move |round| *round == 0 || until.is_none_or(|until| Instant::now() < until))
    }

    /// The same with half of the time that is left.
    fn first_half(self) -> Rounds {
        let now = Instant::now();
        let until = self.until.map(|until| now + until.saturating_duration_since(now) / 2);
        Rounds { until, ..self }
    }
}

/// The sidecar and what runs beside it.
pub(crate) struct Fixture {
    cloud: Cloud,
    sidecar: Option<Sidecar>,
    state: PathBuf,
    child: Option<Running>,
    script: Option<Script>,
    command: String,
}

impl Fixture {
    pub(crate) fn new(state: PathBuf) -> Fixture {
        let cloud = Cloud::start();
        let sidecar = Some(Sidecar::start(&cloud, &state));
        Fixture { cloud, sidecar, state, child: None, script: None, command: String::new() }
    }

    /// Starts the fault; the moment before.
    fn begin(&mut self, means: &Means) -> Instant {
        self.cloud.forget();
        let _ = std::fs::remove_file(script::DONE);
        let now = Instant::now();
        match means {
            Means::Document { name, parameters } => {
                let mut given: Vec<(&str, &str)> = parameters.iter().map(|(n, v)| (*n, v.as_str())).collect();
                if *name != "AWSFIS-Run-Kill-Process" {
                    given.push(("DurationSeconds", "600"));
                }
                let instance = self.sidecar.as_ref().unwrap().instance.clone();
                self.command = self.cloud.send(&instance, name, &given);
            }
            Means::Inject(words) => {
                let mut command = Command::new(machine::taskfault());
                command.arg("inject").args(words.split(' ')).env("TASKFAULT_STATE_DIR", &self.state);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                self.child = Some(Running(command.spawn().unwrap()));
            }
            Means::Script { text, .. } => self.script = Some(Script::start(text)),
        }
        now
    }

    /// Waits until the effect is seen; how long after `began`. A script of a hundred steps stumbles packets long
    /// before its last rule: only from that one on they count.
    fn seen(&self, means: &Means, watch: &mut Watch, began: Instant) -> Option<Duration> {
        let from = match means {
            Means::Script { text, .. } if text.contains(script::DONE) => {
                until(PATIENCE, || std::fs::exists(script::DONE).unwrap_or(false))?
            }
            _ => began,
        };
        watch.seen(from, PATIENCE).map(|time| time + (from - began))
    }

    /// Ends it as its user does; the moment before.
    fn end(&mut self, means: &Means) -> Instant {
        let now = Instant::now();
        match means {
            Means::Document { .. } => self.cloud.cancel(&self.command),
            Means::Inject(_) => self.child.as_ref().unwrap().signal(Signal::SIGINT),
            Means::Script { .. } => self.script.as_ref().unwrap().terminate(),
        }
        now
    }

    /// Kills who made it; the moment before.
    fn kill_9(&mut self, means: &Means) -> Instant {
        let now = Instant::now();
        match means {
            Means::Document { .. } => self.sidecar.as_ref().unwrap().process.signal(Signal::SIGKILL),
            Means::Inject(_) => self.child.as_ref().unwrap().signal(Signal::SIGKILL),
            Means::Script { .. } => self.script.as_mut().unwrap().kill_9(),
        }
        now
    }

    /// Waits until what was ended has ended, and tidies up what a script left.
    fn settle(&mut self, means: &Means, killed: bool) {
        match means {
            Means::Document { .. } if killed => {
                self.sidecar = None;
                self.sidecar = Some(Sidecar::start(&self.cloud, &self.state));
            }
            Means::Document { .. } => drop(self.cloud.ended(&self.command)),
            Means::Inject(_) => drop(self.child.take().map(|mut child| child.end())),
            Means::Script { undo, .. } => {
                drop(self.script.take());
                script::undo_now(undo);
                // What was killed gives its memory and its files back in a moment of its own.
                thread::sleep(Duration::from_millis(if killed { 300 } else { 50 }));
            }
        }
    }

    /// SIGTERM while the fault lives: until it is gone from Systems Manager. A new sidecar follows.
    fn terminate(&mut self) -> f64 {
        let now = Instant::now();
        let mut sidecar = self.sidecar.take().unwrap();
        sidecar.process.signal(Signal::SIGTERM);
        let deregistered = self.cloud.answered("DeregisterManagedInstance").at - now;
        sidecar.process.end();
        self.sidecar = Some(Sidecar::start(&self.cloud, &self.state));
        ms(deregistered)
    }

    /// One life, from begin to end: time in, time out.
    fn cycle(&mut self, means: &Means, watch: &mut Watch) -> Option<(f64, f64)> {
        watch.arm();
        let began = self.begin(means);
        let seen = self.seen(means, watch, began);
        let ended = self.end(means);
        let gone = watch.gone(ended, PATIENCE);
        self.settle(means, false);
        Some((ms(seen?), ms(gone?)))
    }

    /// A life that ends by kill -9: what was left.
    fn killed(&mut self, means: &Means, watch: &mut Watch) -> AfterKill {
        watch.arm();
        let began = self.begin(means);
        let seen = self.seen(means, watch, began);
        let killed = self.kill_9(means);
        let gone = watch.gone(killed, NEVER);
        self.settle(means, true);
        match (seen, gone) {
            (None, _) => AfterKill::NotSeen,
            (Some(_), Some(time)) => AfterKill::Gone(ms(time)),
            (Some(_), None) => AfterKill::Stays,
        }
    }
}

/// What became of an effect whose maker was killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum AfterKill {
    /// Gone after so many ms.
    Gone(f64),
    /// Still there after [`NEVER`].
    Stays,
    /// It was not seen before, so nothing can be said.
    NotSeen,
}

/// The times of those that are gone, and in words what became of the others.
fn after_kills(outcomes: &[AfterKill]) -> (Vec<f64>, String) {
    let times = outcomes.iter().filter_map(|outcome| match outcome {
        AfterKill::Gone(time) => Some(*time),
        AfterKill::Stays | AfterKill::NotSeen => None,
    });
    let count = |wanted: AfterKill| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    let (stay, unseen) = (count(AfterKill::Stays), count(AfterKill::NotSeen));
    let mut said = match stay {
        0 => String::new(),
        stay => format!("{STILL_THERE} after 1 s, {stay} of {} times", outcomes.len() - unseen),
    };
    if unseen > 0 {
        said += &format!(" ({unseen} times not seen at all)");
    }
    (times.collect(), said)
}

/// Measures one fault and hands over its rows.
pub(crate) fn measure(fixture: &mut Fixture, mut fault: Fault, rounds: Rounds) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut tries = rounds.peer_cycles;
    for _ in rounds.first_half().of(rounds.cycles) {
        ours.extend(fixture.cycle(&fault.ours, &mut fault.watch));
        if let Some((_, means)) = fault.peer.as_ref().filter(|_| tries > 0) {
            let found = fixture.cycle(means, &mut fault.watch);
            // What has no effect here has none the next time.
            tries = if found.is_some() { tries - 1 } else { 0 };
            theirs.extend(found);
        }
    }
    let row = |what: &str, unit: &str| {
        Row::new(rounds.part, format!("{}: {what}", fault.name), unit, Better::Less).note(fault.note)
    };
    let column = |pairs: &[(f64, f64)], second: bool| {
        pairs.iter().map(|pair| if second { pair.1 } else { pair.0 }).collect::<Vec<f64>>()
    };
    let peer = |row: Row, second: bool| match &fault.peer {
        Some((name, _)) if theirs.is_empty() => row.said(name, "no effect was seen"),
        Some((name, _)) => row.peer(name, column(&theirs, second)),
        None => row,
    };
    let once = matches!(fault.watch, Watch::Victim { .. });
    let inward = row("command to effect", "ms").ours(column(&ours, false)).aim(Statistic::P99, 50.0);
    peer(inward, false).emit();
    if once {
        return;
    }
    let outward = row("cancel to none", "ms").ours(column(&ours, true)).aim(Statistic::P99, 50.0);
    peer(outward, true).emit();
    let means = fault.killed.as_ref().unwrap_or(&fault.ours);
    let kills: Vec<_> = rounds.of(rounds.kills).map(|_| fixture.killed(means, &mut fault.watch)).collect();
    let (times, words) = after_kills(&kills);
    let mut killed = row("kill -9 to none", "ms").ours(times).words(words).aim(Statistic::P99, 10.0);
    if let Some((name, means)) = fault.peer.as_ref().filter(|_| !theirs.is_empty() && rounds.peer_kills > 0) {
        let kills: Vec<_> = (0..rounds.peer_kills).map(|_| fixture.killed(means, &mut fault.watch)).collect();
        let (times, words) = after_kills(&kills);
        killed = killed.peer(name, times).words(words);
    }
    killed.emit();
    if matches!(fault.ours, Means::Document { .. }) && rounds.terminations > 0 {
        let mut terminations = Vec::new();
        for _ in 0..rounds.terminations {
            fault.watch.arm();
            let began = fixture.begin(&fault.ours);
            fault.watch.seen(began, PATIENCE).expect("the effect is seen before the end");
            terminations.push(fixture.terminate());
        }
        row("SIGTERM to deregistered", "ms").ours(terminations).emit();
    }
}

pub(crate) fn document(name: &'static str, parameters: &[(&'static str, &str)]) -> Means {
    let parameters = parameters.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Means::Document { name, parameters }
}

/// A stream of packets from this port of ours to the far side's echo and back.
pub(crate) fn packets(port: u16, gap: Duration, late: Duration, in_a_row: usize) -> Watch {
    let local: SocketAddr = format!("{NEAR}:{port}").parse().unwrap();
    let remote: SocketAddr = format!("{TARGET}:{ECHO}").parse().unwrap();
    Watch::Packets(Probe::start(local, remote, gap, late).sure_after(in_a_row))
}

pub(crate) fn run(options: Options) {
    let _ground = Ground::new();
    let folder = machine::scratch();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    call("mount", &["-t", "tmpfs", "-o", "size=256m", "none", disk.to_str().unwrap()]);
    let state = disk.join("state");
    let mut fixture = Fixture::new(state.clone());
    let cycles = if options.full { 100 } else { 20 };
    let rounds = Rounds {
        part: "fault",
        cycles,
        peer_cycles: 10,
        peer_kills: 3,
        kills: cycles,
        terminations: 3,
        until: None,
    };
    for fault in resources(&disk, folder.path()) {
        measure(&mut fixture, fault, rounds);
    }
    let rounds = Rounds { kills: 100, ..rounds };
    for fault in network() {
        measure(&mut fixture, fault, rounds);
    }
}

fn stress(options: &str) -> Option<(&'static str, Means)> {
    machine::has("stress-ng")
        .then(|| ("stress-ng", Means::Script { text: script::stress(options), undo: "true".into() }))
}

/// A disk fill, on the disk that `folder` is on: the smallest share of it that takes 1 GiB or more, so that it can
/// be told from what others do there. Where it is no disk, or too full or too large for that, on the tmpfs `else_on`.
fn disk_fill(folder: &Path, else_on: &Path) -> Fault {
    let space = Space::of(folder).unwrap();
    let percent = (100 * (space.used + 1024 * MIB)).div_ceil(space.whole());
    let goal = space.whole() / 100 * percent;
    let filled = goal.saturating_sub(space.used);
    let disk = super::io::Device::of(folder).is_some() && percent < 100 && filled < space.available / 4;
    let (place, percent, filled, watch, note) = if disk {
        let watch = Watch::Level { folder: folder.into(), full: goal - filled / 4, free: goal - filled / 2 };
        let note = "seen: three quarters of 1 GiB or more taken on the disk; none: half of it or less; by taskfault inject, for the document fills the disk of /";
        (folder, percent, filled, watch, note)
    } else {
        let note = "seen: 120 of 128 MiB of a tmpfs taken; none: it is free again (the kernel gives a tmpfs back page by page, 16 ms for a plain close)";
        (else_on, 50, 128 * MIB, Watch::space(else_on, 120 * MIB), note)
    };
    let path = place.to_str().unwrap();
    let text = script::disk_fill(path, filled / 1024);
    Fault {
        name: "disk-fill",
        ours: Means::Inject(format!("disk-fill --duration 600s --percent {percent} --path {path}")),
        killed: None,
        peer: Some(("fallocate", Means::Script { text, undo: format!("rm -f {path}/fillup") })),
        watch,
        note,
    }
}

fn resources(disk: &Path, folder: &Path) -> Vec<Fault> {
    let place = disk.to_str().unwrap();
    let victim = disk.join("bench-victim");
    std::fs::copy("/bin/sleep", &victim).unwrap();
    let fault = |name, ours, peer, watch, note| Fault { name, ours, killed: None, peer, watch, note };
    vec![
        fault(
            "cpu-stress",
            document("AWSFIS-Run-CPU-Stress", &[("CPU", "1"), ("LoadPercent", "100")]),
            stress("--cpu 1 --cpu-method matrixprod --cpu-load 100"),
            Watch::cpu(),
            "seen: 10 ms of CPU time used since; none: 10 ms without any",
        ),
        fault(
            "memory-stress",
            document("AWSFIS-Run-Memory-Stress", &[("Workers", "1"), ("Percent", "1")]),
            stress("--vm 1 --vm-bytes 1%"),
            Watch::memory(),
            "seen: 16 MiB more than before; none: below 4 MiB more",
        ),
        fault(
            "io-stress",
            document("AWSFIS-Run-IO-Stress", &[("Workers", "1"), ("Percent", "50")]),
            stress(&format!("--iomix 1 --iomix-bytes 128m --temp-path {place}")),
            Watch::space(disk, MIB),
            "seen: 1 MiB of the disk taken (a tmpfs); none: it is free again",
        ),
        disk_fill(folder, disk),
        fault(
            "kill-process",
            document("AWSFIS-Run-Kill-Process", &[("ProcessName", "bench-victim"), ("Signal", "SIGTERM")]),
            machine::has("killall").then(|| {
                let text = script::kill_process("bench-victim");
                ("killall", Means::Script { text, undo: "true".into() })
            }),
            Watch::Victim { program: victim, victim: None },
            "",
        ),
    ]
}

fn network() -> Vec<Fault> {
    let port = PORT.to_string();
    let watch = |port| packets(port, Duration::from_micros(200), Duration::from_millis(10), 3);
    let hole = [("Protocol", "udp"), ("Port", port.as_str()), ("TrafficType", "ingress")];
    let iptables =
        Means::Script { text: script::black_hole_ingress(PORT), undo: script::BLACK_HOLE_UNDO.into() };
    let nft = Means::Script { text: script::loss_ingress(), undo: script::NFT_UNDO.into() };
    let loss =
        [("LossPercent", "100"), ("Sources", TARGET), ("TrafficType", "ingress"), ("Interface", "eth0")];
    vec![
        Fault {
            name: "network-blackhole-port, ingress",
            ours: document("AWSFIS-Run-Network-Blackhole-Port", &hole),
            killed: None,
            peer: Some(("iptables", iptables)),
            watch: watch(PORT),
            note: "a packet every 0.2 ms",
        },
        Fault {
            name: "network-packet-loss 100 %, ingress",
            ours: document("AWSFIS-Run-Network-Packet-Loss-Sources", &loss),
            killed: None,
            peer: Some(("nft", nft)),
            watch: watch(PORT + 1),
            note: "a packet every 0.2 ms; the latency and what goes out: part netem",
        },
    ]
}
