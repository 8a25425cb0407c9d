//! A one-line shell step: job sent, acknowledged, answered. One, five and ten on their way at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::start::STOCK;
use crate::Options;
use crate::cloud::{Cloud, Event, Sidecar, is_last_reply};
use crate::figures::{Better, Row};
use crate::ground;
use crate::machine;
use crate::process::ms;

const SPELL: Duration = Duration::from_secs(6);
const SOURCE: &str = "measured once elsewhere, local endpoints";

pub(crate) fn run(options: Options) {
    ground::loopback_up();
    let folder = machine::scratch();
    let mut cloud = Cloud::start();
    let sidecar = Sidecar::start(&cloud, &folder.path().join("state"));
    let spell = if options.full { SPELL * 10 } else { SPELL };
    // The first of a life warms up whatever there is to warm.
    round(&mut cloud, &sidecar.instance, 1, Duration::from_millis(500));
    for at_once in [1, 5, 10] {
        let times = round(&mut cloud, &sidecar.instance, at_once, spell);
        let row = |what: &str, unit: &str, better| {
            Row::new("roundtrip", format!("{what}, {at_once} at once"), unit, better)
        };
        let acknowledged = row("sent to acknowledged", "ms", Better::Less).ours(times.acknowledged);
        let answered = row("sent to last reply", "ms", Better::Less).ours(times.answered);
        let rate = row("commands", "1/s", Better::More).ours(vec![times.rate]);
        if at_once == 1 {
            acknowledged.quoted(STOCK, 3.0, "below 3 ms, measured once elsewhere").emit();
            answered.quoted(STOCK, 45.0, SOURCE).emit();
        } else {
            acknowledged.emit();
            answered.emit();
        }
        rate.note("the local AWS uses the same two cores").emit();
    }
}

#[derive(Default)]
struct Times {
    acknowledged: Vec<f64>,
    answered: Vec<f64>,
    rate: f64,
}

/// Keeps `at_once` commands on their way for so long.
fn round(cloud: &mut Cloud, instance: &str, at_once: usize, spell: Duration) -> Times {
    cloud.forget();
    let mut times = Times::default();
    let mut open: BTreeMap<String, Option<Instant>> = BTreeMap::new();
    let began = Instant::now();
    loop {
        while open.len() < at_once && began.elapsed() < spell {
            let command = cloud.send(instance, "AWS-RunShellScript", &[("commands", "echo hello")]);
            open.insert(command, None);
        }
        if open.is_empty() {
            break;
        }
        let event = cloud.wait(|event| event.what.contains("agent_job") || is_last_reply(event));
        note(&mut open, &mut times, &event);
    }
    times.rate = times.answered.len() as f64 / began.elapsed().as_secs_f64();
    times
}

fn note(open: &mut BTreeMap<String, Option<Instant>>, times: &mut Times, event: &Event) {
    let meant = open.iter_mut().find(|(command, _)| event.what.contains(command.as_str()));
    let Some((command, sent)) = meant else { return };
    if event.what.starts_with("> agent_job ") {
        *sent = Some(event.at);
        return;
    }
    let Some(sent) = *sent else { return };
    if event.what.starts_with("< agent_job_ack ") {
        times.acknowledged.push(ms(event.at - sent));
    } else if is_last_reply(event) {
        times.answered.push(ms(event.at - sent));
        let command = command.clone();
        open.remove(&command);
    }
}
