//! From the start of the process to the first accepted heartbeat and the open channel; and its end.
//!
//! The stock agent is in no registry, so it cannot be measured here. Its figures were measured once with
//! version 3.3 on the same kind of machine (linux/amd64, local endpoints), and are quoted.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use taskfault::identity::key::InstanceKey;

use crate::Options;
use crate::cloud::{Cloud, Sidecar};
use crate::figures::{Better, Row, Statistic};
use crate::ground;
use crate::machine;
use crate::process::ms;

/// The time of a start is that of its RSA key, and that is luck: fewer would measure the luck of a run.
const STARTS: usize = 60;
const BUSY_STOPS: usize = 5;
pub(crate) const STOCK: &str = "stock agent 3.3";
const SOURCE: &str = "measured once elsewhere, local endpoints";

pub(crate) fn run(options: Options) {
    ground::loopback_up();
    let starts = if options.full { 3 * STARTS } else { STARTS };
    let folder = machine::scratch();
    let cloud = Cloud::start();
    let mut times = Times::default();
    for number in 0..starts {
        let state = folder.path().join(format!("state-{number}"));
        fresh(&cloud, &state, &mut times);
    }
    let row = |case: &str| Row::new("start", case, "ms", Better::Less);
    row("first heartbeat")
        .ours(times.heartbeat)
        .quoted(STOCK, 1100.0, SOURCE)
        .aim(Statistic::Median, 110.0)
        .note("from the start of the process, an RSA key of 2048 bits made on the way; ours has registered by then too, the stock agent had done so before (0.1 s and its key)")
        .emit();
    row("first heartbeat, less the wait for the key").ours(times.without_key).emit();
    row("container restarted: first heartbeat")
        .ours(times.again)
        .note("kill -9 before: the key and the instance are those of the earlier life")
        .emit();
    row("control channel open").ours(times.channel).quoted(STOCK, 1110.0, SOURCE).emit();
    row("an RSA key of 2048 bits")
        .ours(keys(starts))
        .note("alone, on an idle core: luck decides how many primes are tried")
        .emit();
    row("SIGTERM to deregistered").ours(times.deregistered).emit();
    let mut busy = Vec::new();
    for number in 0..BUSY_STOPS {
        busy.push(busy_stop(&folder.path().join(format!("busy-{number}"))));
    }
    row("SIGTERM to the end of the process, idle").ours(times.ended).emit();
    row("SIGTERM to the end of the process, one command runs")
        .ours(busy)
        .quoted(STOCK, 7000.0, SOURCE)
        .aim(Statistic::Median, 700.0)
        .note("ours undoes the fault, answers the command and deregisters; the stock agent does none of it")
        .emit();
}

#[derive(Default)]
struct Times {
    heartbeat: Vec<f64>,
    without_key: Vec<f64>,
    channel: Vec<f64>,
    again: Vec<f64>,
    deregistered: Vec<f64>,
    ended: Vec<f64>,
}

/// A first start, a kill, a second start, a clean end.
fn fresh(cloud: &Cloud, state: &std::path::Path, times: &mut Times) {
    cloud.forget();
    let mut first = Sidecar::launch(cloud, state);
    let activated = cloud.answered("CreateActivation").at;
    let registered = cloud.answered("RegisterManagedInstance").at;
    let heartbeat = cloud.answered("UpdateInstanceInformation").at;
    let channel = first.channel_opens(cloud).at;
    times.heartbeat.push(ms(heartbeat - first.began));
    // Registering is one call; what passes before it beyond that is the wait for the key.
    times.without_key.push(ms((heartbeat - first.began) - (registered - activated)));
    times.channel.push(ms(channel - first.began));
    first.process.signal(Signal::SIGKILL);
    first.process.end();
    cloud.forget();
    let mut second = Sidecar::launch(cloud, state);
    times.again.push(ms(cloud.answered("UpdateInstanceInformation").at - second.began));
    second.channel_opens(cloud);
    let (deregistered, ended) = stop(cloud, &mut second);
    times.deregistered.push(deregistered);
    times.ended.push(ended);
}

/// Time from SIGTERM to the accepted deregistration, and to the end of the process.
fn stop(cloud: &Cloud, sidecar: &mut Sidecar) -> (f64, f64) {
    let asked = Instant::now();
    sidecar.process.signal(Signal::SIGTERM);
    let deregistered = cloud.answered("DeregisterManagedInstance").at - asked;
    assert_eq!(sidecar.process.end(), Some(0));
    (ms(deregistered), ms(asked.elapsed()))
}

fn busy_stop(state: &std::path::Path) -> f64 {
    let mut cloud = Cloud::start();
    let mut sidecar = Sidecar::start(&cloud, state);
    let parameters = [("DurationSeconds", "600"), ("CPU", "1"), ("LoadPercent", "10")];
    cloud.send(&sidecar.instance, "AWSFIS-Run-CPU-Stress", &parameters);
    cloud.wait(|event| event.what.starts_with("< reply ") && event.outcome.starts_with("InProgress"));
    std::thread::sleep(Duration::from_millis(100));
    stop(&cloud, &mut sidecar).1
}

fn keys(count: usize) -> Vec<f64> {
    let one = |_| {
        let began = Instant::now();
        InstanceKey::generate().unwrap();
        ms(began.elapsed())
    };
    (0..count).map(one).collect()
}
