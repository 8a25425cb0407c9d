//! What `taskfault-local run` is asked, and what it answers with: its exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::load_url::LoadUrl;
use crate::traffic::DEFAULT_RATE;

/// The arguments of `taskfault-local run`.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(group = clap::ArgGroup::new(LOADED).multiple(true))]
pub struct RunOptions {
    /// A file with what `aws fis create-experiment-template --cli-input-json` takes, or the id (EXT…) of a
    /// template that is there
    #[arg(value_name = "TEMPLATE")]
    pub template: String,
    /// Where taskfault-local listens
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", default_value = "http://127.0.0.1:4566")]
    pub endpoint: String,
    /// How long to wait until taskfault-local and the service of --load answer; 0 does not wait
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub wait: u32,
    /// How long to go on watching after the experiment, so that the report shows the recovery
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub watch_after: u32,

    /// Load the service: GET this, from five seconds before the experiment until the end of --watch-after. Given
    /// several times, or if the name has several addresses, requests go round; only http://
    #[arg(long, value_name = "URL", group = LOADED, help_heading = "Load")]
    pub load: Vec<LoadUrl>,
    /// Requests per second of --load, sent whatever became of those before them; up to 1000
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RATE, value_parser = rate, requires = LOADED,
        help_heading = "Load")]
    pub rate: f64,

    /// At most this share of the requests fails, from the start of the experiment on
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = LOADED, help_heading = GATE)]
    pub max_failed: Option<f64>,
    /// P95 of the answers during the experiment is at most this
    #[arg(long, value_name = "MILLISECONDS", value_parser = positive, requires = LOADED, help_heading = GATE)]
    pub max_p95: Option<f64>,
    /// The service has recovered so soon after the fault was over: five seconds in a row without a failure, with
    /// P95 of the answers as before (at most twice that and 20 ms) and as many tasks as before
    #[arg(long, value_name = "SECONDS", value_parser = positive, help_heading = GATE)]
    pub recover_within: Option<f64>,
    /// P95 of the answers during the experiment is at most --max-slowdown times that of an earlier run, whose
    /// report.json this is
    #[arg(long, value_name = "FILE", requires = LOADED, help_heading = GATE)]
    pub baseline: Option<PathBuf>,
    /// How many times slower than --baseline is still good
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = positive, requires = "baseline",
        help_heading = GATE)]
    pub max_slowdown: f64,

    /// Write report.html and report.json to this folder
    #[arg(long, value_name = "DIR", help_heading = "Results")]
    pub report: Option<PathBuf>,
    /// Write a test case for the experiment and each threshold to this file, as XML of JUnit
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub junit: Option<PathBuf>,
    /// Append a summary in Markdown to this file, $GITHUB_STEP_SUMMARY for instance; - is standard output
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub summary: Option<PathBuf>,
    /// Print the result as JSON. Progress goes to standard error then, as with --summary -
    #[arg(long, help_heading = "Results")]
    pub json: bool,
}

/// The group of the options that bring a load: what is asked of one needs one of these. Another program's options may
/// belong to it.
pub const LOADED: &str = "loaded";

/// The heading of the thresholds, with what they have in common.
const GATE: &str = "Thresholds: exit code 7 if one of them is missed";

impl RunOptions {
    /// Whether `--summary` is to go to standard output.
    pub(super) fn prints_summary(&self) -> bool {
        self.summary.as_deref().is_some_and(|file| file == Path::new("-"))
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "it must be a number above 0".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.1..=1000.0).contains(rate));
    rate.ok_or_else(|| "requests per second are a number from 0.1 to 1000".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "a share in percent is a number from 0 to 100".to_owned())
}

/// What a `run` came to, and its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every action did what it should.
    Completed = 0,
    /// The run itself failed: the template file cannot be read, nothing answers the load, the report cannot be
    /// written. (2 is for bad options.)
    Broken = 1,
    /// By a stop condition, by StopExperiment, by the safety lever.
    Stopped = 3,
    /// FIS ended the experiment as `failed`: an action could not do what it should.
    Failed = 4,
    /// The service did not take the template, or did not start the experiment.
    Refused = 5,
    /// There is no taskfault-local at the endpoint, or it went away.
    Unreachable = 6,
    /// It completed, but a threshold was missed: `--max-failed`, `--max-p95`, `--recover-within`, `--baseline`.
    ThresholdMissed = 7,
    /// Ctrl-C stopped it: 128 and the number of SIGINT.
    Interrupted = 130,
}

/// Examples and the table of exit codes, for the help text.
pub const AFTER_HELP: &str = "\
Examples:
  One experiment, watched for ten seconds more:
    taskfault-local run cpu-stress.json --report out
  As a gate: clients fail and wait no more than this, and not for longer:
    taskfault-local run kill-process.json --load http://127.0.0.1:8080/ \\
        --max-failed 5 --max-p95 250 --recover-within 10 --junit out/junit.xml
  All in one command: starts a service of three tasks, loads it, ends it:
    taskfault-local run cpu-stress.json --with task-definition.json \\
        --speed 15 --report out
  No more than twice as slow under the fault as the build before:
    taskfault-local run cpu-stress.json --load http://127.0.0.1:8080/ \\
        --baseline before/report.json --report out

With --load the report has requests, errors and response times (P50, P95, P99)
second by second: five seconds of rest, the experiment, and --watch-after. The
service must answer with success (2xx) before anything is started. A request
has a second to connect and two to be answered; each is a connection of its own.

Exit codes:
    0  the experiment completed, and every threshold was kept
    1  the template file could not be read, nothing answered at --load, or a
       result could not be written
    2  bad options
    3  stopped: by an alarm, by StopExperiment, by the safety lever
    4  failed
    5  refused: the template, or its start; nothing was done
    6  no taskfault-local at the endpoint, or it went away
    7  completed, but a threshold was missed
  130  stopped by Ctrl-C or SIGTERM";

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(outcome as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_documented_code() {
        use Outcome::{
            Broken, Completed, Failed, Interrupted, Refused, Stopped, ThresholdMissed, Unreachable,
        };
        let mut codes = Vec::new();
        for outcome in
            [Completed, Broken, Stopped, Failed, Refused, Unreachable, ThresholdMissed, Interrupted]
        {
            let code = outcome as u8;
            assert!(AFTER_HELP.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))));
            codes.push(code);
        }
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), 8);
        assert!(AFTER_HELP.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn rates_and_shares_have_limits() {
        assert_eq!((rate("30"), rate("0.5"), percent("0")), (Ok(30.0), Ok(0.5), Ok(0.0)));
        for wrong in ["0", "-1", "1001", "NaN", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert!(percent("101").is_err() && percent("1%").is_err());
        assert!(positive("0.5") == Ok(0.5) && positive("0").is_err() && positive("inf").is_err());
    }
}
