//! `run --with FILE`: one experiment on a service that is started for it and ended with it.
//!
//! The service is a `taskfault-local up` in a process of its own, because that lives in namespaces from which neither
//! the port of the local AWS nor the published one can be reached. It ends when its standard input does, so also if
//! this process is killed.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use experiment::run::{LOADED, LoadUrl, RunOptions, above_status, run};
use serde_json::Value;

use crate::up::special_image;

/// The service of a run.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(next_help_heading = "A service for this run alone")]
pub struct WithOptions {
    /// Start the service of this task definition first, as `up` does, in the cluster and under the name of the
    /// TEMPLATE's target, and end it afterwards. Without --load the load goes to its first port mapping
    #[arg(long = "with", value_name = "FILE", group = LOADED)]
    pub definition: Option<PathBuf>,
    /// Desired count of its tasks
    #[arg(long, value_name = "N", default_value_t = 3, requires = "definition",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Make durations of experiments and periods of alarms so many times shorter: at 15, PT5M takes 20 s
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = speed, requires = "definition")]
    pub speed: f64,
}

/// A factor by which time is shortened.
///
/// # Errors
/// What it must be.
pub fn speed(text: &str) -> Result<f64, String> {
    let speed: Option<f64> = text.parse().ok().filter(|speed| (1.0..=1000.0).contains(speed));
    speed.ok_or_else(|| "a speed is a number from 1 to 1000".to_owned())
}

/// Runs an experiment, with a service of its own if one is asked for.
pub fn perform(with: &WithOptions, options: &RunOptions) -> ExitCode {
    let Some(definition) = &with.definition else { return run(options) };
    let started = Plan::of(definition, with, options).and_then(|plan| plan.start(options));
    match started {
        // The service lives as long as this block.
        Ok((_service, options)) => run(&options),
        Err(why) => {
            eprintln!("taskfault-local: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be started.
#[derive(Debug, PartialEq)]
struct Plan<'a> {
    definition: &'a Path,
    cluster: Option<String>,
    service: Option<String>,
    count: u32,
    speed: f64,
    /// Whether a port is published and loaded.
    publishes: bool,
    /// How many sidecars will come.
    sidecars: u32,
}

impl<'a> Plan<'a> {
    fn of(definition: &'a Path, with: &WithOptions, options: &RunOptions) -> Result<Plan<'a>, String> {
        let (cluster, service) = place(&json(Path::new(&options.template))?);
        let containers = json(definition)?["containerDefinitions"].as_array().cloned().unwrap_or_default();
        let has_port = containers.iter().any(|it| it["portMappings"].get(0).is_some());
        let needs_load =
            options.max_failed.is_some() || options.max_p95.is_some() || options.baseline.is_some();
        if !has_port && options.load.is_empty() && needs_load {
            return Err(format!(
                "{}: no container has a port mapping, so there is no load, and thresholds on answers need one; add a \
                 port mapping or give --load",
                definition.display()
            ));
        }
        Ok(Plan {
            definition,
            cluster,
            service,
            count: with.count,
            speed: with.speed,
            publishes: has_port && options.load.is_empty(),
            sidecars: if containers.iter().any(is_sidecar) { with.count } else { 0 },
        })
    }

    /// Starts it and waits until its sidecars are Online; gives the options of a run at it.
    fn start(&self, options: &RunOptions) -> Result<(Service, RunOptions), String> {
        let mut service = Service::spawn(self.command()?)?;
        let said = said(&mut service.lines, self.publishes);
        let (endpoint, published) = said.ok_or("the service did not start")?;
        let mut options = options.clone();
        options.load.extend(published);
        service.show_lines();
        eprintln!("service of {} at {endpoint}", self.definition.display());
        wait_for_sidecars(&endpoint, self.sidecars, Duration::from_secs(options.wait.into()));
        options.endpoint = endpoint;
        Ok((service, options))
    }

    fn command(&self) -> Result<Command, String> {
        let own = std::env::current_exe().map_err(|error| format!("finding this program: {error}"))?;
        let mut command = Command::new(own);
        command.arg("up").arg(self.definition).args(["--listen", "127.0.0.1:0", "--end-with-stdin"]);
        command.arg("--count").arg(self.count.to_string()).arg("--speed").arg(self.speed.to_string());
        for (option, value) in [("--cluster", &self.cluster), ("--service", &self.service)] {
            if let Some(value) = value {
                command.arg(option).arg(value);
            }
        }
        if self.publishes {
            command.args(["--publish", "0"]);
        }
        // Ctrl-C is for the run: it stops the experiment, and then the service.
        command.process_group(0);
        Ok(command)
    }
}

/// Where the first target of a template with such parameters is: names of cluster and service.
fn place(template: &Value) -> (Option<String>, Option<String>) {
    let name = |parameter: &str| {
        let targets = template["targets"].as_object()?;
        let text = targets.values().find_map(|target| target["parameters"][parameter].as_str())?;
        // An ARN ends in the name.
        text.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
    };
    (name("cluster"), name("service"))
}

/// Whether a container is a sidecar of ours.
fn is_sidecar(container: &Value) -> bool {
    container["image"].as_str().and_then(special_image) == Some("taskfault")
}

fn json(file: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("reading {}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{} is not JSON: {error}", file.display()))
}

/// The `up` of this run. Dropping it ends it, and waits until its tasks have ended.
struct Service {
    process: Child,
    /// It lives as long as this is open.
    input: Option<ChildStdin>,
    lines: Output,
}

/// What it prints, until that is shown.
type Output = Option<Lines<BufReader<ChildStdout>>>;

impl Service {
    fn spawn(mut command: Command) -> Result<Service, String> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.map_err(|error| format!("starting the service: {error}"))?;
        let input = process.stdin.take();
        let lines = process.stdout.take().map(|output| BufReader::new(output).lines());
        Ok(Service { process, input, lines })
    }

    /// Shows what its tasks do, as long as it lives.
    fn show_lines(&mut self) {
        if let Some(lines) = self.lines.take() {
            thread::spawn(move || {
                let lines = lines.map_while(Result::ok);
                lines.for_each(|line| above_status(|| eprintln!("up  {line}")));
            });
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

/// The endpoint, which is the first line, and the published address. None if it ended before.
fn said(lines: &mut Output, publishes: bool) -> Option<(String, Option<LoadUrl>)> {
    let mut lines = lines.as_mut()?.map_while(Result::ok);
    let endpoint = lines.next()?;
    if !publishes {
        return Some((endpoint, None));
    }
    let published =
        lines.find_map(|line| format!("{}/", line.split_once(" leads to port ")?.0).parse().ok())?;
    Some((endpoint, Some(published)))
}

/// Between two looks at the sidecars.
const LOOK: Duration = Duration::from_millis(250);
/// For the answer to one look.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Until so many sidecars are Online. If they do not come, FIS says why.
fn wait_for_sidecars(endpoint: &str, count: u32, patience: Duration) {
    let began = Instant::now();
    while began.elapsed() < patience && online(endpoint).is_none_or(|online| online < count) {
        thread::sleep(LOOK);
    }
}

/// How many sidecars are Online, as the metrics of the page have it.
fn online(endpoint: &str) -> Option<u32> {
    let answer = http_client::blocking::get(&format!("{endpoint}/metrics"), LOOK_LIMIT).ok()?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("taskfault_sidecars{status=\"Online\"} "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_place_is_that_of_a_target_which_has_one() {
        let template = json!({ "targets": {
            "a": { "resourceType": "aws:ec2:instance" },
            "b": { "parameters": { "cluster": "arn:aws:ecs:us-west-2:1:cluster/blue", "service": "web" } },
        }});
        assert_eq!(place(&template), (Some("blue".into()), Some("web".into())));
        let by_tags = json!({ "targets": { "a": { "resourceTags": { "chaos": "yes" } } } });
        assert_eq!(place(&by_tags), (None, None), "the cluster default and the family");
    }

    #[test]
    fn a_speed_shortens() {
        assert!(
            speed("15").is_ok() && speed("0.5").is_err() && speed("1001").is_err() && speed("x").is_err()
        );
    }
}
