//! What `taskfault-local run` is asked, and what it answers with: its exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use super::load_url::LoadUrl;
use crate::traffic::DEFAULT_RATE;

/// The arguments of `taskfault-local run`.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct RunOptions {
    /// A file with what `aws fis create-experiment-template --cli-input-json` takes, or the id (EXT…) of a
    /// template that is there
    #[arg(value_name = "TEMPLATE")]
    pub template: String,
    /// Write report.html and report.json to this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Where taskfault-local listens
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL", default_value = "http://127.0.0.1:4566")]
    pub endpoint: String,
    /// How long to go on watching after the experiment, so that the report shows the recovery
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub watch_after: u32,
    /// Load the service: GET this, from five seconds before the experiment until the end of --watch-after. Given
    /// several times, or if the name has several addresses, requests go round; only http://
    #[arg(long, value_name = "URL")]
    pub load: Vec<LoadUrl>,
    /// Requests per second of --load, sent whatever became of those before them; up to 1000
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RATE, value_parser = rate, requires = "load")]
    pub rate: f64,
    /// Exit with 7 if more than this share of the requests failed, from the start of the experiment on
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "load")]
    pub max_failed: Option<f64>,
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
    /// It completed, but more requests failed than `--max-failed` allows.
    TooManyFailed = 7,
    /// Ctrl-C stopped it: 128 and the number of SIGINT.
    Interrupted = 130,
}

/// The table of exit codes, for the help text.
pub const EXIT_CODES: &str = "\
With --load the report has requests, errors and response times (P50, P95, P99) second by second: five seconds of
rest, the experiment, and --watch-after. The service must answer with success (2xx) before anything is started.
A request has a second to connect and two to be answered; each is a connection of its own.

Exit codes:
    0  the experiment completed
    1  the template file could not be read, nothing answered at --load, or the report could not be written
    2  bad options
    3  stopped: by an alarm, by StopExperiment, by the safety lever
    4  failed
    5  refused: the template, or its start; nothing was done
    6  no taskfault-local at the endpoint, or it went away
    7  completed, but more requests failed than --max-failed allows
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
        use Outcome::{Broken, Completed, Failed, Interrupted, Refused, Stopped, TooManyFailed, Unreachable};
        let mut codes = Vec::new();
        for outcome in [Completed, Broken, Stopped, Failed, Refused, Unreachable, TooManyFailed, Interrupted]
        {
            let code = outcome as u8;
            assert!(EXIT_CODES.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))));
            codes.push(code);
        }
        codes.dedup();
        assert_eq!(codes.len(), 8);
    }
    #[test]
    fn rates_and_shares_have_limits() {
        assert_eq!((rate("30"), rate("0.5"), percent("0")), (Ok(30.0), Ok(0.5), Ok(0.0)));
        for wrong in ["0", "-1", "1001", "NaN", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert!(percent("101").is_err() && percent("1%").is_err());
    }
}
