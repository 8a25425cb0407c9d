//! `taskfault-local demo`: two FIS experiments on this machine, with nothing but what was built.
//!
//! It enters namespaces of its own, starts the local AWS and a service of three tasks with the sidecar, loads
//! the service, and is the client of FIS through the real API. It succeeds only if everything it shows has
//! happened; whatever happens, nothing is left of it.

mod api;
mod environment;
mod neighbours;
mod scenario;
mod screen;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use nix::sys::signal::Signal;

use self::neighbours::Neighbours;
use self::screen::Screen;
use super::stage::{self, Namespaces, StageError};
use super::up::{Folder, UpError};
use aws_local::shared::Handle;
use experiment::interruption::Interruption;
use experiment::report;
use experiment::run::client::CallError;

/// The arguments of `taskfault-local demo`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct DemoOptions {
    /// Write report.html and report.json to this folder
    #[arg(long, value_name = "DIR", default_value = "taskfault-report")]
    pub report: PathBuf,
    /// Copy the logs of the sidecars and of the local AWS to this folder at the end
    #[arg(long, value_name = "DIR")]
    pub keep_logs: Option<PathBuf>,
}

/// What went wrong, and in which part.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("the stage: {0}")]
    Stage(#[from] StageError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Up(#[from] UpError),
    #[error("{call}: {reason}")]
    Api { call: &'static str, reason: String },
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
    /// Something was not as it must be.
    #[error("{0}")]
    Unmet(String),
}

/// Runs the demo; the exit code is 0 only if all of it happened.
///
/// Must be called before the process has a second thread, so before any async runtime.
pub fn run(options: &DemoOptions) -> ExitCode {
    let screen = Screen::for_stdout();
    if let Err(error) = report::prepare(&options.report) {
        let who = match error.kind() {
            io::ErrorKind::PermissionDenied => format!(" (as user {})", nix::unistd::geteuid()),
            _ => String::new(),
        };
        let hint = "give another folder with --report, or run it as its owner (docker run --user)";
        return fail(&screen, &format!("{error}{who}; {hint}"));
    }
    // Before the namespaces: from inside only the demo's own processes can be seen.
    let neighbours = Neighbours::look();
    let namespaces = match stage::enter() {
        Ok(namespaces) => namespaces,
        Err(refusal) => return fail(&screen, &refusal.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&screen, &format!("starting the runtime: {error}")),
    };
    runtime.block_on(run_in(&screen, namespaces, &neighbours, options))
}

async fn run_in(
    screen: &Screen,
    namespaces: Namespaces,
    neighbours: &Neighbours,
    options: &DemoOptions,
) -> ExitCode {
    let folder = match Folder::new() {
        Ok(folder) => folder,
        Err(error) => return fail(screen, &error.to_string()),
    };
    let mut interruption = match Interruption::watch() {
        Ok(interruption) => interruption,
        Err(error) => return fail(screen, &error.to_string()),
    };
    // What happened, for the report, however it ends.
    let seen = Seen::default();
    let ending = tokio::select! {
        // Dropping the future ends its tasks.
        done = scenario::run(screen, namespaces, neighbours, folder.path(), &seen) => {
            done.map_or_else(Ending::Failed, |()| Ending::Completed)
        }
        signal = interruption.received() => Ending::Interrupted(signal),
    };
    if matches!(ending, Ending::Failed(_)) {
        show_logs(screen, folder.path());
        screen.note(&neighbours.text());
    }
    let reported = seen.report(screen, &options.report);
    let kept = options.keep_logs.as_deref().map_or(Ok(()), |directory| keep_logs(folder.path(), directory));
    drop(folder);
    match ending {
        Ending::Completed => match reported.and(kept) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => fail(screen, &why),
        },
        Ending::Failed(error) => fail(screen, &error.to_string()),
        Ending::Interrupted(signal) => {
            screen.failure("interrupted; everything is ended and removed");
            // 128 and the signal's number, as shells say it.
            ExitCode::from(128 + signal as u8)
        }
    }
}

/// The local AWS, once it runs: what it has seen outlives the scenario.
#[derive(Default)]
struct Seen(RefCell<Option<Handle>>);

impl Seen {
    fn by(&self, handle: &Handle) {
        self.0.replace(Some(handle.clone()));
    }

    /// Writes the report and says where; nothing if there was nothing to see.
    fn report(&self, screen: &Screen, folder: &Path) -> Result<(), String> {
        let Some(handle) = self.0.borrow_mut().take() else { return Ok(()) };
        let record = scenario::trimmed(handle.record());
        let written = report::write(&record, folder).map_err(|error| format!("the report: {error}"))?;
        screen.note(&format!("report: {}", written.page.display()));
        screen.note(&format!("data:   {}", written.data.display()));
        Ok(())
    }
}

/// How the demo ended.
enum Ending {
    Completed,
    Failed(DemoError),
    Interrupted(Signal),
}

fn fail(screen: &Screen, why: &str) -> ExitCode {
    screen.failure(why);
    ExitCode::FAILURE
}

/// How much of a log a failure shows.
const LOG_LINES: usize = 20;

/// The log of the local AWS and those of the tasks' containers, the youngest last.
fn logs(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        let all = fs::read_dir(folder).into_iter().flatten();
        all.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>()
    };
    let mut found: Vec<PathBuf> = entries(folder)
        .into_iter()
        .flat_map(|path| if path.is_dir() { entries(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    found.sort_by_key(|path| path.metadata().and_then(|metadata| metadata.modified()).ok());
    found
}

fn show_logs(screen: &Screen, folder: &Path) {
    // With three tasks that fail alike, the youngest logs say it all.
    for path in logs(folder).iter().rev().take(3).rev() {
        let Ok(text) = fs::read_to_string(path) else { continue };
        let lines: Vec<&str> = text.lines().collect();
        screen.log(&name(folder, path), &lines[lines.len().saturating_sub(LOG_LINES)..]);
    }
}

fn name(folder: &Path, log: &Path) -> String {
    log.strip_prefix(folder).unwrap_or(log).display().to_string()
}

fn keep_logs(folder: &Path, directory: &Path) -> Result<(), String> {
    let copy = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        for log in logs(folder) {
            fs::copy(&log, directory.join(name(folder, &log).replace('/', "-")))?;
        }
        Ok(())
    };
    copy().map_err(|error| format!("keeping the logs in {}: {error}", directory.display()))
}

fn system(what: &str) -> impl FnOnce(io::Error) -> DemoError {
    let what = what.to_owned();
    move |source| DemoError::System { what, source }
}
