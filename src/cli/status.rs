//! `taskfault status`: what is live, as the sidecar wrote it down.
//!
//! The sidecar keeps `status.json` in its state folder, written beside and renamed into place, and removes it
//! when it goes:
//!
//! ```json
//! {"pid": 7, "instance_id": "mi-0123456789abcdef0", "channel": "ssmmessages",
//!  "commands": [{"command_id": "…", "document": "AWSFIS-Run-CPU-Stress", "fault": "cpu-stress",
//!                "since": "2026-11-23T06:40:00Z", "waiting": false,
//!                "started": "cpu-stress: 1 thread at 80.0 % of a core each",
//!                "until": "2026-11-23T06:45:00Z", "heartbeat_until": null}],
//!  "policy": ["TASKFAULT_MAX_PERCENT=80"]}
//! ```
//!
//! Beside it stand the faults of `taskfault inject` in this network namespace ([`super::injected`]), and what a
//! process that was killed left running at the ECS agent.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::injected::{self, Injected};
use crate::sidecar::liveness;
use effects::ecs_agent::ledger::Ledger;
use effects::state_folder;

/// The file in the state folder.
pub const STATUS_FILE: &str = "status.json";

/// Where the sidecar keeps its state unless told otherwise.
pub use crate::config::DEFAULT_STATE_DIR;

/// More than this is no status file of ours.
const MAX_STATUS_BYTES: usize = 1024 * 1024;

/// Options of `taskfault status`.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// State folder of the sidecar
    #[arg(long, env = "TASKFAULT_STATE_DIR", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// For a container's health check: code 0 if a sidecar answers here within a second and is registered, or waits for
    /// its turn because Systems Manager throttles it; 1 if not, and why
    #[arg(long)]
    healthy: bool,
}

/// What a sidecar says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Process id of the sidecar, as it sees itself.
    pub pid: u32,
    /// The managed instance (`mi-…`); empty while it waits to be registered.
    pub instance_id: String,
    /// The channel in use now.
    pub channel: Channel,
    /// Commands that are running.
    pub commands: Vec<ActiveCommand>,
    /// Since when it waits to be registered because Systems Manager throttles it (RFC 3339). It has no instance
    /// then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_since: Option<String>,
    /// The variables of the policy that are set, as `NAME=value`.
    #[serde(default)]
    pub policy: Vec<String>,
}

/// The channel that commands come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The websocket control channel.
    SsmMessages,
    /// The long poll.
    Ec2Messages,
    /// Neither is connected.
    None,
}

impl Channel {
    fn name(self) -> &'static str {
        match self {
            Channel::SsmMessages => "ssmmessages",
            Channel::Ec2Messages => "ec2messages",
            Channel::None => "none",
        }
    }
}

/// One running command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveCommand {
    /// Run Command's id.
    pub command_id: String,
    /// The document's name.
    pub document: String,
    /// The fault it performs, as FIS names it; None for other documents.
    #[serde(default)]
    pub fault: Option<String>,
    /// RFC 3339, UTC.
    pub since: String,
    /// It has not begun: others run before it.
    #[serde(default)]
    pub waiting: bool,
    /// What its fault did when it started, in a line; None while it has not.
    #[serde(default)]
    pub started: Option<String>,
    /// When its fault ends by itself at the latest, RFC 3339.
    #[serde(default)]
    pub until: Option<String>,
    /// When its fault ends unless FIS sends another heartbeat, RFC 3339; None if it does not live on them.
    #[serde(default)]
    pub heartbeat_until: Option<String>,
}

/// Why the status could not be told.
#[derive(Debug, Error)]
enum StatusError {
    #[error("could not read {0}: {1}")]
    Read(PathBuf, io::Error),
    #[error("{0} is not a status file of taskfault: {1}")]
    Form(PathBuf, String),
}

/// Prints what is live. Code 0 also when no sidecar is running, since that is an answer. With `--healthy` it asks the
/// sidecar instead ([`liveness`]).
pub fn run(args: &StatusArgs) -> ExitCode {
    if args.healthy {
        return health(&args.state_dir);
    }
    let status = match read(&args.state_dir) {
        Ok(status) => status.filter(|status| is_alive(status.pid)),
        Err(error) => {
            eprintln!("taskfault status: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (injected, left) = (injected::list(), left_over(&args.state_dir));
    if args.json {
        let all = serde_json::json!({ "sidecar": status, "injected": injected, "left_at_ecs_agent": left });
        println!("{all:#}");
    } else {
        let now = OffsetDateTime::now_utc();
        print!("{}", describe(status.as_ref(), &args.state_dir, now));
        print!("{}", describe_others(&injected, &left, now));
    }
    ExitCode::SUCCESS
}

/// Asks the sidecar itself. Docker keeps what a health check prints.
fn health(state_dir: &Path) -> ExitCode {
    match liveness::ask(state_dir) {
        Ok(alive) => {
            println!("the sidecar (process {}) {}", alive.pid, alive.phase.text());
            if alive.phase.is_healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The status in `state_dir`; None if there is no such file.
fn read(state_dir: &Path) -> Result<Option<Status>, StatusError> {
    let file = state_dir.join(STATUS_FILE);
    let place = file.clone();
    let text = match state_folder::in_time(move || state_folder::read(&place)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StatusError::Read(file, error)),
    };
    if text.len() > MAX_STATUS_BYTES {
        return Err(StatusError::Form(file, format!("it has {} bytes or more", text.len())));
    }
    serde_json::from_slice(&text).map(Some).map_err(|error| StatusError::Form(file, error.to_string()))
}

/// Whether there is such a process. A sidecar that was killed leaves its file behind; one that nobody has waited
/// for yet leaves its number, too.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    // The name, in parentheses, may hold anything; the state comes after the last of them.
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}

/// The faults that a process which is gone started at the ECS agent and did not stop.
fn left_over(state_dir: &Path) -> Vec<String> {
    let ledger = Ledger::of(state_dir);
    let stale = state_folder::in_time(move || Ok(ledger.stale())).unwrap_or_default();
    stale.into_iter().map(|entry| entry.fault).collect()
}

fn describe(status: Option<&Status>, state_dir: &Path, now: OffsetDateTime) -> String {
    let Some(status) = status else {
        return format!("no sidecar is running here (state folder {})\n", state_dir.display());
    };
    if let Some(since) = &status.throttled_since {
        return format!(
            "a sidecar runs as process {}; Systems Manager throttles it since {since}, it waits to be registered\n",
            status.pid
        );
    }
    let mut text = format!(
        "sidecar {} runs as process {}, channel {}\n",
        status.instance_id,
        status.pid,
        status.channel.name()
    );
    for line in &status.policy {
        let _ = writeln!(text, "policy: {line}");
    }
    if status.commands.is_empty() {
        text.push_str("no command is running\n");
    }
    for command in &status.commands {
        let fault = command.fault.as_deref().unwrap_or("no fault");
        let waits = if command.waiting { ", waits for others to end" } else { "" };
        let _ = writeln!(
            text,
            "{} {} ({fault}) since {}{waits}",
            command.command_id, command.document, command.since
        );
        if let Some(started) = &command.started {
            let _ = writeln!(text, "    {started}");
        }
        if let Some(until) = &command.until {
            let _ = writeln!(text, "    ends by itself {}", remaining(until, now));
        }
        if let Some(until) = &command.heartbeat_until {
            let _ = writeln!(text, "    ends {} if FIS sends no heartbeat", remaining(until, now));
        }
    }
    text
}

fn describe_others(injected: &[Injected], left: &[String], now: OffsetDateTime) -> String {
    let mut text = String::new();
    for one in injected {
        let left = i64::try_from(one.until).unwrap_or(i64::MAX).saturating_sub(now.unix_timestamp());
        let _ = writeln!(
            text,
            "taskfault inject {} runs as process {}, ends by itself in {} s",
            one.fault,
            one.pid,
            left.max(0)
        );
    }
    for fault in left {
        let _ = writeln!(
            text,
            "{fault} was left running at the ECS agent by a process that is gone: the next start of a sidecar stops it"
        );
    }
    text
}

/// `in 54 s (2026-11-23T06:45:00Z)`; a time that cannot be read is shown as it is.
fn remaining(until: &str, now: OffsetDateTime) -> String {
    match OffsetDateTime::parse(until, &Rfc3339) {
        Ok(end) => format!("in {} s ({until})", (end - now).whole_seconds().max(0)),
        Err(_) => format!("at {until:?}"),
    }
}

/// Reads bytes as a status file, and tells it.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Ok(status) = serde_json::from_slice::<Status>(bytes) {
        let _ = describe(Some(&status), Path::new("/"), OffsetDateTime::UNIX_EPOCH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"pid": 7, "instance_id": "mi-0123456789abcdef0", "channel": "ssmmessages",
        "commands": [{"command_id": "c1", "document": "AWSFIS-Run-CPU-Stress", "fault": "cpu-stress",
        "since": "2026-11-23T06:40:00Z"}]}"#;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-23 06:40:06 UTC);

    #[test]
    fn every_live_fault_is_told_with_what_remains() {
        let text = TEXT.replace(
            r#""since": "2026-11-23T06:40:00Z"}"#,
            r#""since": "2026-11-23T06:40:00Z", "started": "cpu-stress: 1 thread",
               "until": "2026-11-23T06:45:00.500Z", "heartbeat_until": "2026-11-23T06:40:36Z"},
               {"command_id": "c2", "document": "AWSFIS-Run-Network-Latency", "fault": "network-latency",
               "since": "2026-11-23T06:40:05Z", "waiting": true, "until": null}"#,
        );
        let status = serde_json::from_str(&text).unwrap();
        let told = describe(Some(&status), Path::new("/"), NOW);
        let lines: Vec<_> = told.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "c1 AWSFIS-Run-CPU-Stress (cpu-stress) since 2026-11-23T06:40:00Z",
                "    cpu-stress: 1 thread",
                "    ends by itself in 294 s (2026-11-23T06:45:00.500Z)",
                "    ends in 30 s (2026-11-23T06:40:36Z) if FIS sends no heartbeat",
                "c2 AWSFIS-Run-Network-Latency (network-latency) since 2026-11-23T06:40:05Z, waits for others to end",
            ]
        );
        let injected =
            Injected { fault: "disk-fill", pid: 9, since: 1, until: NOW.unix_timestamp().unsigned_abs() + 7 };
        let others = describe_others(&[injected], &["network-latency".into()], NOW);
        assert!(
            others.starts_with("taskfault inject disk-fill runs as process 9, ends by itself in 7 s\n"),
            "{others}"
        );
        assert!(others.contains("network-latency was left running at the ECS agent"), "{others}");
    }

    #[test]
    fn a_status_file_is_told_in_words() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(STATUS_FILE), TEXT).unwrap();
        let status = read(folder.path()).unwrap().unwrap();
        assert_eq!(
            describe(Some(&status), folder.path(), NOW),
            "sidecar mi-0123456789abcdef0 runs as process 7, channel ssmmessages\n\
             c1 AWSFIS-Run-CPU-Stress (cpu-stress) since 2026-11-23T06:40:00Z\n"
        );
        let again: Status = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
        assert_eq!(again, status);
    }

    #[test]
    fn the_policy_is_told() {
        let text = TEXT.replace("\"commands\"", "\"policy\": [\"TASKFAULT_ALLOW=cpu-stress\"], \"commands\"");
        let told = describe(Some(&serde_json::from_str(&text).unwrap()), Path::new("/"), NOW);
        assert!(told.contains("\npolicy: TASKFAULT_ALLOW=cpu-stress\n"), "{told}");
    }

    #[test]
    fn no_file_means_no_sidecar() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_none());
        assert!(describe(None, folder.path(), NOW).starts_with("no sidecar is running here"));
    }

    #[test]
    fn a_file_that_is_something_else_is_an_error_not_a_guess() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{}", "[1]", "\u{0}", r#"{"pid": "seven"}"#] {
            fs::write(folder.path().join(STATUS_FILE), text).unwrap();
            assert!(matches!(read(folder.path()), Err(StatusError::Form(..))), "{text}");
        }
    }

    #[test]
    fn without_a_sidecar_nothing_is_healthy() {
        let folder = tempfile::tempdir().unwrap();
        let args = StatusArgs { state_dir: folder.path().into(), json: false, healthy: true };
        assert_eq!(run(&args), ExitCode::FAILURE);
        // What a file says of a process that lives proves nothing.
        let text = TEXT.replace("\"pid\": 7", &format!("\"pid\": {}", std::process::id()));
        fs::write(folder.path().join(STATUS_FILE), text).unwrap();
        assert_eq!(run(&args), ExitCode::FAILURE);
    }

    #[test]
    fn a_sidecar_whose_start_is_throttled_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            r#"{{"pid": {}, "instance_id": "", "channel": "none", "commands": [],
                "throttled_since": "2026-11-23T06:40:00Z"}}"#,
            std::process::id()
        );
        fs::write(folder.path().join(STATUS_FILE), text).unwrap();
        let status = read(folder.path()).unwrap().unwrap();
        assert!(
            describe(Some(&status), folder.path(), NOW).contains("throttles it since 2026-11-23T06:40:00Z"),
            "{status:?}"
        );
    }

    #[test]
    fn this_process_is_alive_and_one_that_was_killed_is_not() {
        assert!(is_alive(std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(is_alive(child.id()));
        child.kill().unwrap();
        // Not waited for: it stays in the table of processes.
        while is_alive(child.id()) {
            std::thread::yield_now();
        }
        assert!(Path::new("/proc").join(child.id().to_string()).exists());
        child.wait().unwrap();
        assert!(!is_alive(child.id()));
    }
}
