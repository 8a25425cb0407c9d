//! `aws:executeScript`: Python that a runbook brings along, in a process of its own, with the rights of this one.
//!
//! It gets its input and gives its result as JSON; its AWS clients, if it has any, have the local AWS as their
//! endpoint. It is never run by a server that others than this machine can reach.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::references::as_text;
use super::state::{Job, Scripts, StepRun};
use super::turn::Turn;
use crate::documents::runbook::Step;

/// The longest that a script runs (the guide, `aws:executeScript`).
pub(super) const LONGEST: Duration = Duration::from_secs(600);
/// The most bytes of a result.
const MOST_BYTES: u64 = 1024 * 1024;

/// Runs the handler in the user's script: `handler(events, context)`. What the script prints goes to standard error,
/// so that standard output has the result alone. The alarm ends it also where nobody looks after it any more.
const RUNNER: &str = r#"
import json, os, signal, sys
told = json.load(sys.stdin)
signal.alarm(told["seconds"])
result = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
names = {"__name__": "runbook"}
exec(compile(told["script"], "script", "exec"), names)
given = names[told["handler"]](told["events"], {})
json.dump(given, result)
result.close()
"#;

/// Begins the script of a step.
///
/// # Errors
/// In words: scripts are not run here, or this one is none of Python's.
pub(super) fn begin(step: &Step, run: &StepRun, turn: &mut Turn<'_>) -> Result<(), String> {
    let Scripts::Run { endpoint } = turn.scripts else {
        return Err("scripts of runbooks are run only by a local AWS that listens on loopback".to_owned());
    };
    let input = |name: &str| run.inputs.get(name).map(as_text);
    let runtime = input("Runtime").unwrap_or_default();
    if !runtime.starts_with("python") {
        return Err(format!("Runtime {runtime} is not played here; python3 is"));
    }
    let script = input("Script").ok_or("it needs a Script; attachments are not kept here")?;
    let handler = input("Handler").ok_or("Python needs a Handler, the name of a function")?;
    let seconds = step.timeout.unwrap_or(LONGEST).min(LONGEST).as_secs().max(1);
    let told = json!({
        "script": script,
        "handler": handler,
        "events": run.inputs.get("InputPayload").cloned().unwrap_or_else(|| json!({})),
        "seconds": seconds,
    });
    let child = spawned(endpoint, &turn.context.region)?;
    let (sender, result) = channel();
    let (ends, ended) = channel();
    std::thread::Builder::new()
        .name("script".to_owned())
        .spawn(move || {
            // Nobody waits for it any more: fine.
            let _ = sender.send(performed(child, &told, Duration::from_secs(seconds), &ended));
        })
        .map_err(|error| format!("no thread for it: {error}"))?;
    turn.jobs.insert(run.id.clone(), Job { result, ends });
    Ok(())
}

/// What the script of a step has given; None while it runs.
pub(super) fn result(run: &StepRun, turn: &mut Turn<'_>) -> Option<Result<Value, String>> {
    let outcome = match turn.jobs.get(&run.id)?.result.try_recv() {
        Err(TryRecvError::Empty) => return None,
        Err(TryRecvError::Disconnected) => Err("the script was lost".to_owned()),
        Ok(outcome) => outcome,
    };
    turn.jobs.remove(&run.id);
    Some(outcome)
}

/// Ends the script of a step.
pub(super) fn cancel(run: &StepRun, turn: &mut Turn<'_>) {
    turn.jobs.remove(&run.id);
}

fn spawned(endpoint: &str, region: &str) -> Result<Child, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Command::new("python3")
        .args(["-I", "-c", RUNNER])
        .env_clear()
        .env("PATH", path)
        .envs([("AWS_ENDPOINT_URL", endpoint), ("AWS_REGION", region), ("AWS_DEFAULT_REGION", region)])
        .envs([("AWS_ACCESS_KEY_ID", "local"), ("AWS_SECRET_ACCESS_KEY", "local")])
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("python3 does not start on this machine: {error}"))
}

/// Tells the script what it needs, and waits for what it gives.
fn performed(mut child: Child, told: &Value, most: Duration, ended: &Receiver<()>) -> Result<Value, String> {
    let lost = || "the script has no pipe".to_owned();
    let (stdout, stderr) = (child.stdout.take().ok_or_else(lost)?, child.stderr.take().ok_or_else(lost)?);
    let given = reader(stdout);
    let said = reader(stderr);
    let mut stdin = child.stdin.take().ok_or_else(lost)?;
    // One that ends before it has read everything says why itself.
    let _ = stdin.write_all(told.to_string().as_bytes());
    drop(stdin);
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() < most && ended.try_recv() == Err(TryRecvError::Empty) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => {
                // It has ended by itself, or ends now.
                let _ = child.kill();
                let _ = child.wait();
                return Err("the script was ended".to_owned());
            }
        }
    };
    let said = said.recv().unwrap_or_default();
    if !status.success() {
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(format!("the script failed ({status}): {last}"));
    }
    let given = given.recv().unwrap_or_default();
    serde_json::from_str(&given).map_err(|error| format!("what the script gave is no JSON: {error}"))
}

/// Reads a pipe to its end on a thread of its own.
fn reader(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error counts.
        let _ = pipe.take(MOST_BYTES).read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
