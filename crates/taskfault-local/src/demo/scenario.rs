//! The parts of the demo, in order. Each checks what it shows.

use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_ssm::types::PingStatus;
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

use super::api::Api;
use super::environment::{Aws, SPEED, Watched};
use super::neighbours::Neighbours;
use super::screen::Screen;
use super::{DemoError, Seen};
use crate::stage::{Namespaces, Stage};
use crate::up::{Change, ServiceSpec, TaskEvent};
use experiment::run::client::Fis;
use experiment::traffic::DEFAULT_RATE;
use record::Second;
use record::{Command, Record, short};

const CLUSTER: &str = "ecs-blueprint-infra";
const SERVICE: &str = "fis-service";
const DESIRED_TASKS: u32 = 3;
const TASKS: usize = DESIRED_TASKS as usize;
const DEFINITION: &str = include_str!("data/task-definition.json");
/// The published templates, as users start them too.
const CPU_STRESS: &str = include_str!("../../../../deploy/compose/cpu-stress.json");
const KILL_PROCESS: &str = include_str!("../../../../deploy/compose/kill-process.json");

/// Seconds before, between and after the experiments.
const QUIET: usize = 8;
/// During the CPU stress P95 is at least so many times what it was before.
const SLOWER: f64 = 1.3;
/// The stressed task used at least so much of its core, in percent, as seen from outside; on a busy machine so much.
const LOADED: f64 = 50.0;
const LOADED_WHERE_BUSY: f64 = 10.0;
/// The service has recovered after so many seconds in a row without a failure.
const RECOVERED: usize = 4;

/// Limits for a hang; everything takes a fraction of them.
const START: Duration = Duration::from_secs(60);
const SHUTDOWN: Duration = Duration::from_secs(60);
const RECOVERY_SECONDS: usize = 60;
/// Until the service is at rest: a busy machine takes longer, and a queue must drain.
const SETTLE_SECONDS: usize = 45;
/// With a load that is too much for the machine it is tried so long, and then with half of it, down to the least.
const PATIENCE_SECONDS: usize = 15;
const LEAST_RATE: f64 = 5.0;
/// At rest P95 is below this, in milliseconds: a request costs 20 ms of CPU.
const AT_REST_MS: f64 = 250.0;

const POLL: Duration = Duration::from_millis(100);

/// Runs all parts.
pub(super) async fn run(
    screen: &Screen,
    namespaces: Namespaces,
    neighbours: &Neighbours,
    folder: &Path,
    seen: &Seen,
) -> Result<(), DemoError> {
    let began = Instant::now();
    screen.heading("taskfault: an ECS service of three tasks, FIS, and an AWS of its own");
    let rate = neighbours.rate();
    if neighbours.are_busy() {
        screen.note(&format!(
            "{}. The load is {rate} requests per second instead of {DEFAULT_RATE}",
            neighbours.text()
        ));
    }
    let outer_uid = namespaces.outer_uid;
    let stage = Stage::build(namespaces).await?;
    screen
        .done("namespaces", &format!("user {outer_uid} is root in here; nothing of the machine is touched"));
    let aws = Aws::start(stage, folder).await?;
    seen.by(&aws.handle);
    screen.done("local AWS", &format!("{}, inside only", aws.endpoint));
    let (events, mut watched_events) = (aws.events(), aws.events());
    let mut watched = Watched::start(screen, &aws.handle, events, SERVICE, rate)?;
    let spec = ServiceSpec { cluster: CLUSTER.into(), name: SERVICE.into(), count: DESIRED_TASKS };
    aws.serve(DEFINITION, &spec)?;
    let api = Api::at(&aws.endpoint)?;
    let fis = Fis::at(&aws.endpoint)?;
    tokio::select! {
        started = timeout(START, start(screen, &api, &watched)) => {
            started.map_err(|_| too_long("the service is not up", START))??;
        }
        broken = too_many_end(&mut watched_events) => return Err(broken),
    }
    screen.heading("The service at rest");
    screen.seconds_heading();
    rest(screen, &mut watched).await?;
    let stressed = stress(screen, &aws, &fis, &mut watched, neighbours).await?;
    let replaced = kill(screen, &aws, &fis, &mut watched).await?;
    watched.stop().await;
    clean_end(screen, &api, aws).await?;
    screen
        .heading(&format!("All of it happened, in {:.0} s. Nothing is left.", began.elapsed().as_secs_f64()));
    screen.note(&format!("task {} had the stress, task {} was replaced", short(&stressed), short(&replaced)));
    Ok(())
}

/// Until every task runs, is a managed instance that is Online, and gets requests.
async fn start(screen: &Screen, api: &Api, watched: &Watched<'_>) -> Result<(), DemoError> {
    let began = Instant::now();
    while online(api).await? < TASKS {
        sleep(POLL).await;
    }
    let took = began.elapsed().as_secs_f64();
    screen.done("service", &format!("{TASKS} tasks run, their sidecars are Online after {took:.1} s"));
    while watched.healthy().len() < TASKS {
        sleep(POLL).await;
    }
    screen.done("load", &format!("{} requests per second, whatever the answers do", watched.rate()));
    Ok(())
}

async fn online(api: &Api) -> Result<usize, DemoError> {
    let all = api.instances().await?;
    Ok(all.iter().filter(|instance| instance.ping_status == Some(PingStatus::Online)).count())
}

/// Resolves when so many programs have ended that it is no accident; the service has replaced the first.
async fn too_many_end(events: &mut broadcast::Receiver<TaskEvent>) -> DemoError {
    let mut ended = 0;
    loop {
        let Ok(TaskEvent { task, change, .. }) = events.recv().await else {
            return DemoError::Unmet("the cluster has ended".into());
        };
        match change {
            Change::ContainerEnded { container, exit_code } => {
                ended += 1;
                if ended >= TASKS && exit_code != 0 {
                    let text = format!("{container} of task {task} ended with exit code {exit_code}");
                    return DemoError::Unmet(text);
                }
            }
            Change::FailedToStart { reason } => return DemoError::Unmet(reason),
            _ => {}
        }
    }
}

/// The service at rest: waits for a busy machine, and lowers the load for one that stays busy.
async fn rest(screen: &Screen, watched: &mut Watched<'_>) -> Result<(), DemoError> {
    for second in 1.. {
        watched.second("").await?;
        let last = tail(watched.all(), QUIET);
        let good = last.iter().all(|second| second.failed() == 0) && typical(last) < AT_REST_MS;
        if last.len() >= QUIET && good {
            break;
        }
        let p95 = typical(last);
        if watched.all().len() >= PATIENCE_SECONDS && watched.rate() / 2.0 >= LEAST_RATE {
            watched.halve().await?;
            screen.note(&format!(
                "P95 is {p95:.0} ms without any fault, so the load goes down to {} requests per second",
                watched.rate()
            ));
        }
        require(second < 2 * SETTLE_SECONDS, || {
            format!("P95 is {p95:.0} ms without any fault: this machine is too busy for the demo")
        })?;
    }
    Ok(())
}

/// Until P95 is below `limit` milliseconds again; what it is then.
async fn recovery(watched: &mut Watched<'_>, limit: f64) -> Result<f64, DemoError> {
    for second in 1.. {
        watched.second("").await?;
        let now = typical(tail(watched.all(), 4));
        if second >= QUIET && now < limit {
            return Ok(now);
        }
        require(second < SETTLE_SECONDS, || format!("P95 is still {now:.0} ms {second} s after the stress"))?;
    }
    Ok(0.0)
}

/// The first experiment; the ARN of the task that it hit.
async fn stress(
    screen: &Screen,
    aws: &Aws,
    fis: &Fis,
    watched: &mut Watched<'_>,
    neighbours: &Neighbours,
) -> Result<String, DemoError> {
    screen
        .heading(&format!("1. CPU stress, PERCENT(66) of three tasks, PT5M: {SPEED} times shorter, so 20 s"));
    let before = typical(tail(watched.all(), QUIET));
    let (id, from) = (begin(fis, CPU_STRESS).await?, watched.all().len());
    let status = watched.experiment(fis, &id).await?;
    let during = typical(tail(&watched.all()[from.min(watched.all().len())..], 12));
    require(status == "completed", || format!("the experiment ended as {status}, not as completed"))?;
    let record = aws.handle.record();
    show_faults(screen, &record, &id);
    let task = hit(&record, &id)?;
    let cpu = busiest(&record, &task, &id);
    let least = if neighbours.are_busy() { LOADED_WHERE_BUSY } else { LOADED };
    require(cpu >= least, || format!("the stressed task used {cpu:.0} % of its core at most"))?;
    screen.done("stressed", &format!("task {}: {cpu:.0} % of its core, seen from outside", short(&task)));
    let hardly = format!("P95 was {before:.0} ms before and {during:.0} ms during the stress: hardly slower");
    let slower = during >= SLOWER * before;
    // A busy machine was slow before, too.
    require(slower || neighbours.are_busy(), || hardly.clone())?;
    let after = recovery(watched, (before + during) / 2.0).await?;
    match slower {
        true => screen.done(
            "slower",
            &format!("P95 {before:.0} ms before, {during:.0} ms during, {after:.0} ms after"),
        ),
        false => screen.note(&format!("{hardly}, on a machine that was busy before; {after:.0} ms after")),
    }
    Ok(task)
}

/// The second experiment; the ARN of the task that was killed.
async fn kill(screen: &Screen, aws: &Aws, fis: &Fis, watched: &mut Watched<'_>) -> Result<String, DemoError> {
    screen.heading("2. Kill the application's process in one task, COUNT(1)");
    let (id, from) = (begin(fis, KILL_PROCESS).await?, watched.all().len());
    let status = watched.experiment(fis, &id).await?;
    require(status == "completed", || format!("the experiment ended as {status}, not as completed"))?;
    let task = hit(&aws.handle.record(), &id)?;
    let (mut good, mut seconds) = (0, 0);
    while good < RECOVERED {
        let healthy = watched.healthy();
        let all_there = healthy.len() == TASKS && !healthy.contains(&task);
        let failed = watched.second(if all_there { "" } else { "not all tasks healthy" }).await?.failed();
        good = if all_there && failed == 0 { good + 1 } else { 0 };
        seconds += 1;
        require(seconds < RECOVERY_SECONDS, || format!("the service has not recovered after {seconds} s"))?;
    }
    let record = aws.handle.record();
    show_faults(screen, &record, &id);
    let replacement = record.tasks.iter().find(|it| it.replaces.as_deref() == Some(task.as_str()));
    let replacement =
        replacement.ok_or_else(|| DemoError::Unmet(format!("task {} was not replaced", short(&task))))?;
    screen.done("replaced", &format!("task {} by task {}", short(&task), short(&replacement.arn)));
    let since = &watched.all()[from..];
    let failed: u32 = since.iter().map(Second::failed).sum();
    let worst = since.iter().filter_map(|second| second.p95_ms).fold(0.0, f64::max);
    let now = typical(tail(since, RECOVERED));
    require(failed > 0, || "no request failed, though a task was killed".into())?;
    screen.done("failed", &format!("{failed} requests; worst P95 {worst:.0} ms, {now:.0} ms now"));
    Ok(task)
}

async fn begin(fis: &Fis, template: &str) -> Result<String, DemoError> {
    let template: Map<String, Value> = serde_json::from_str(template)
        .map_err(|error| DemoError::Unmet(format!("a template of the demo: {error}")))?;
    let template = fis.create_template(template).await?;
    let id = fis.start(&template).await?;
    fis.delete_template(&template).await?;
    Ok(id)
}

/// SIGTERM to every task, and nothing is left of instances and activations.
async fn clean_end(screen: &Screen, api: &Api, mut aws: Aws) -> Result<(), DemoError> {
    screen.heading("3. The service stops: SIGTERM to every task");
    let began = Instant::now();
    let stopped = timeout(SHUTDOWN, aws.shutdown()).await;
    stopped.map_err(|_| too_long("the tasks have not ended", SHUTDOWN))?;
    screen.done("tasks", &format!("ended after {:.1} s", began.elapsed().as_secs_f64()));
    let instances = api.instances().await?.len();
    require(instances == 0, || format!("DescribeInstanceInformation still has {instances} instance(s)"))?;
    screen.done("instances", "gone: DescribeInstanceInformation is empty");
    let activations = api.activations().await?.len();
    require(activations == 0, || format!("DescribeActivations still has {activations} activation(s)"))?;
    screen.done("activations", "gone: DescribeActivations is empty");
    Ok(())
}

/// The task that an experiment picked.
fn hit(record: &Record, experiment: &str) -> Result<String, DemoError> {
    let found = record.experiments.iter().find(|it| it.id == experiment);
    let chosen = found.and_then(|it| it.targets.first()).map_or(&[][..], |target| &target.chosen);
    match chosen {
        [task] => Ok(task.clone()),
        others => Err(DemoError::Unmet(format!("{experiment} picked {} tasks, not one", others.len()))),
    }
}

/// The CPU of a task in the busiest second of an experiment, in percent of one core.
fn busiest(record: &Record, task: &str, experiment: &str) -> f64 {
    let Some(experiment) = record.experiments.iter().find(|it| it.id == experiment) else { return 0.0 };
    let (from, to) = (experiment.started.unwrap_or(0.0), experiment.ended.unwrap_or(f64::INFINITY));
    let samples = record.cpu.iter().filter(|cpu| cpu.task == task).flat_map(|cpu| &cpu.samples);
    let inside = samples.filter(|sample| (from..=to).contains(&sample.at));
    inside.map(|sample| sample.percent).fold(0.0, f64::max)
}

fn show_faults(screen: &Screen, record: &Record, experiment: &str) {
    let Some(it) = record.experiments.iter().find(|it| it.id == experiment) else { return };
    let from = it.started.unwrap_or(0.0);
    let its = |command: &&Command| command.requested >= from;
    for command in record.commands.iter().filter(its) {
        for step in &command.steps {
            if let (Some(asked), Some(achieved)) = (&step.asked, &step.achieved) {
                let title =
                    format!("{} on task {}", command.document, short(command.task.as_deref().unwrap_or("?")));
                screen.quote(&title, &format!("asked     {asked}\nachieved  {achieved}"));
            }
        }
    }
    for note in record.notes.iter().filter(|note| note.at >= from) {
        screen.note(&format!("note: {}", note.text));
    }
}

/// Without the seconds before the first task was healthy: nothing was there to answer.
pub(super) fn trimmed(mut record: Record) -> Record {
    let Some(load) = &record.load else { return record };
    let first = load.seconds.iter().find(|second| second.ok > 0 && second.failed() == 0);
    if let Some(first) = first.map(|second| second.at) {
        let to = record.to;
        record = record.between(first, to);
    }
    record
}

fn tail(seconds: &[Second], most: usize) -> &[Second] {
    &seconds[seconds.len().saturating_sub(most)..]
}

/// P95 of the median second, in milliseconds.
fn typical(seconds: &[Second]) -> f64 {
    let mut all: Vec<f64> = seconds.iter().filter_map(|second| second.p95_ms).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), DemoError> {
    if holds { Ok(()) } else { Err(DemoError::Unmet(otherwise())) }
}

fn too_long(what: &str, limit: Duration) -> DemoError {
    DemoError::Unmet(format!("{what} after {} s", limit.as_secs()))
}
