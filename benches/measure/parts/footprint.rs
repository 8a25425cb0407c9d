//! What the sidecar costs the task while nothing happens, and while something does.

use std::collections::VecDeque;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::start::STOCK;
use crate::Options;
use crate::cloud::{Cloud, Sidecar, is_last_reply};
use crate::figures::{Better, Row, Statistic};
use crate::machine;
use crate::process::{cpu_time, memory, ms};
use crate::{ground, process};

const IDLE: Duration = Duration::from_secs(30);
const MANY: usize = 10_000;
/// Commands on their way at once while there are many.
const AT_ONCE: usize = 10;
/// However slow it is, the rest of the benchmark has its turn too.
const MANY_LIMIT: Duration = Duration::from_secs(40);
/// By its proportional set: its two processes share their program's text, which a sum of what is resident would count
/// twice.
const STOCK_IDLE_MB: f64 = 48.0;
const STOCK_EACH_MB: f64 = 12.0;
const SOURCE: &str = "proportional too, measured once elsewhere, two processes and one more for each command";

pub(crate) fn run(_: Options) {
    sizes();
    ground::loopback_up();
    let folder = machine::scratch();
    let mut cloud = Cloud::start();
    let sidecar = Sidecar::start(&cloud, &folder.path().join("state"));
    let pid = sidecar.process.pid();
    thread::sleep(Duration::from_secs(2));
    let row = |case: &str| Row::new("footprint", case, "MiB", Better::Less);
    let idle = memory(pid);
    row("resident, idle").ours(vec![idle.resident]).aim(Statistic::Worst, 8.0).emit();
    row("proportional, idle").ours(vec![idle.proportional]).quoted(STOCK, STOCK_IDLE_MB, SOURCE).emit();
    let before = cpu_time(pid);
    thread::sleep(IDLE);
    let used = ms(cpu_time(pid) - before) * (60.0 / IDLE.as_secs_f64());
    Row::new("footprint", "CPU time of an idle minute", "ms", Better::Less).ours(vec![used]).emit();

    for count in [1, 5, 10] {
        let (stress, shell) = running(&mut cloud, &sidecar, count);
        row(&format!("resident, {count} commands by name"))
            .ours(vec![stress])
            .note(if count == 10 { "of ten, five run and five wait, here as in the stock agent" } else { "" })
            .emit();
        row(&format!("proportional, {count} shell commands, their sh and sleep counted"))
            .ours(vec![shell])
            .quoted(STOCK, STOCK_IDLE_MB + STOCK_EACH_MB * f64::from(count), SOURCE)
            .emit();
    }
    let began = Instant::now();
    let done = many(&mut cloud, &sidecar.instance);
    let took = began.elapsed().as_secs_f64();
    thread::sleep(Duration::from_secs(1));
    row("resident, after many commands")
        .ours(vec![memory(pid).resident])
        .aim(Statistic::Worst, 8.0)
        .note(format!("{done} shell commands in {took:.0} s"))
        .emit();
}

fn sizes() {
    let row = |case: &str| Row::new("footprint", case, "MiB", Better::Less);
    let program = fs::metadata(machine::taskfault()).unwrap().len() as f64 / 1048576.0;
    row("size of the program that is measured here")
        .ours(vec![program])
        .quoted(STOCK, 82.0, "four static programs, without a shell, yum, stress-ng and tc")
        .emit();
    let words = ["image", "inspect", "--format", "{{.Size}} {{.Created}}", "taskfault:latest"];
    let said = Command::new("docker").args(words).output().ok().filter(|output| output.status.success());
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let row = row("size of the image").aim(Statistic::Worst, 10.0);
    match said.as_deref().and_then(|said| said.trim().split_once(' ')) {
        Some((bytes, made)) => {
            let size = bytes.parse::<f64>().unwrap() / 1048576.0;
            row.ours(vec![size]).note(format!("taskfault:latest of {made}, whole and uncompressed"))
        }
        None => row.said(crate::figures::OURS, "no image here: make image"),
    }
    .emit();
}

/// Memory with so many commands on their way: of the sidecar with faults by name, and of it and its children
/// with shell steps.
fn running(cloud: &mut Cloud, sidecar: &Sidecar, count: u32) -> (f64, f64) {
    let pid = sidecar.process.pid();
    let stress = [("DurationSeconds", "600"), ("CPU", "1"), ("LoadPercent", "1")];
    let commands = sent(cloud, sidecar, count, "AWSFIS-Run-CPU-Stress", &stress);
    let by_name = memory(pid).resident;
    end(cloud, &commands);
    let commands = sent(cloud, sidecar, count, "AWS-RunShellScript", &[("commands", "sleep 600")]);
    let family: f64 = process::family(pid).into_iter().map(|pid| memory(pid).proportional).sum();
    end(cloud, &commands);
    (by_name, family)
}

fn sent(
    cloud: &mut Cloud,
    sidecar: &Sidecar,
    count: u32,
    document: &str,
    parameters: &[(&str, &str)],
) -> Vec<String> {
    let commands = (0..count).map(|_| cloud.send(&sidecar.instance, document, parameters)).collect();
    thread::sleep(Duration::from_secs(2));
    commands
}

fn end(cloud: &mut Cloud, commands: &[String]) {
    cloud.forget();
    commands.iter().for_each(|command| cloud.cancel(command));
    for _ in commands {
        cloud.wait(is_last_reply);
    }
}

/// Ten thousand one-line commands; how many were done in time.
fn many(cloud: &mut Cloud, instance: &str) -> usize {
    cloud.forget();
    let (mut sent, mut done, mut open, began) = (0, 0, VecDeque::new(), Instant::now());
    while done < MANY && (began.elapsed() < MANY_LIMIT || !open.is_empty()) {
        while open.len() < AT_ONCE && sent < MANY && began.elapsed() < MANY_LIMIT {
            open.push_back(cloud.send(instance, "AWS-RunShellScript", &[("commands", "echo hello")]));
            sent += 1;
        }
        let ended = cloud.wait(is_last_reply);
        open.retain(|command| !ended.what.contains(command.as_str()));
        done += 1;
    }
    done
}
