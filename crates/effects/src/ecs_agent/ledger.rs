//! `<state-dir>/ecs-faults.json`: the faults that this task's processes have started at the ECS agent, written
//! before each start. What stands there and whose process is gone was left running by a `kill -9`.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::request::Request;
use crate::signal::process::beginning;
use crate::state_folder;

const FILE: &str = "ecs-faults.json";
/// Held while the file is changed: a sidecar and `taskfault inject` may do so at once.
const LOCK: &str = "ecs-faults.lock";

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// A UUID: one task can have noted the same fault twice.
    pub id: String,
    /// The task that it runs in.
    pub task_arn: String,
    /// `network-latency`, …
    pub fault: String,
    /// The body of its requests: a black hole is stopped with what it was started with.
    pub body: String,
    /// The process that started it, and when that process began, in clock ticks since the machine did.
    pid: u32,
    began: u64,
}

impl Entry {
    /// An entry for a fault that this process is about to start.
    pub fn new(task_arn: &str, request: &Request) -> Entry {
        let pid = std::process::id();
        Entry {
            id: uuid::Uuid::new_v4().to_string(),
            task_arn: task_arn.to_owned(),
            fault: request.fault.to_owned(),
            body: request.body.clone(),
            pid,
            began: beginning(pid).unwrap_or_default(),
        }
    }

    /// The requests of this fault.
    pub fn request(&self) -> Request {
        Request { fault: known(&self.fault), body: self.body.clone() }
    }

    /// Whether the process that started it is gone.
    fn is_stale(&self) -> bool {
        beginning(self.pid) != Some(self.began)
    }
}

/// One of the three names; whatever else a damaged file says leads to a route that does not exist.
fn known(fault: &str) -> &'static str {
    ["network-blackhole-port", "network-latency", "network-packet-loss"]
        .into_iter()
        .find(|name| *name == fault)
        .unwrap_or("unknown")
}

/// The file cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot note in {path} that a fault runs at the ECS agent: {reason}; without it nobody could end the fault after \
     a kill, so nothing was started: make the folder writable (--state-dir)"
)]
pub struct LedgerError {
    path: String,
    reason: String,
}

/// The file.
#[derive(Debug, Clone)]
pub struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    /// The ledger of a state directory; it need not be there yet.
    pub fn of(state_dir: &Path) -> Ledger {
        Ledger { folder: state_dir.to_owned() }
    }

    /// Adds an entry; when it returns, the entry is on disk. Waits for a second at most.
    ///
    /// # Errors
    /// Disk full, read-only, a file system that does not answer.
    pub fn note(&self, entry: &Entry) -> Result<(), LedgerError> {
        let entry = entry.clone();
        self.change(|entries| entries.push(entry))
    }

    /// Removes an entry; one that is gone already is fine. Waits for a second at most.
    ///
    /// # Errors
    /// As [`Ledger::note`]; it is removed when the file system answers again.
    pub fn strike(&self, id: &str) -> Result<(), LedgerError> {
        let (ledger, id) = (self.clone(), id.to_owned());
        let struck = state_folder::in_time(move || match ledger.folder.join(FILE).try_exists()? {
            true => ledger.change_now(|entries| entries.retain(|entry| entry.id != id)),
            false => Ok(()),
        });
        struck.map_err(|error| self.error(&error))
    }

    /// The entries whose process is gone. A damaged file is said in the log and counts as empty.
    pub fn stale(&self) -> Vec<Entry> {
        let mut entries = self.read().unwrap_or_else(|reason| {
            tracing::warn!(path = %self.folder.join(FILE).display(), reason, "cannot read what earlier lives left");
            Vec::new()
        });
        entries.retain(Entry::is_stale);
        entries
    }

    fn read(&self) -> Result<Vec<Entry>, String> {
        match state_folder::read(&self.folder.join(FILE)) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Entry>) + Send + 'static) -> Result<(), LedgerError> {
        let ledger = self.clone();
        state_folder::in_time(move || ledger.change_now(change)).map_err(|error| self.error(&error))
    }

    fn error(&self, error: &std::io::Error) -> LedgerError {
        LedgerError { path: self.folder.join(FILE).display().to_string(), reason: error.to_string() }
    }

    fn change_now(&self, change: impl FnOnce(&mut Vec<Entry>)) -> std::io::Result<()> {
        let _lock = self.lock()?;
        // A damaged file is of no use; stale() has said so in the log.
        let before = self.read().unwrap_or_default();
        let mut entries = before.clone();
        change(&mut entries);
        if entries == before { Ok(()) } else { self.write(&entries) }
    }

    fn lock(&self) -> std::io::Result<Flock<File>> {
        state_folder::prepare(&self.folder)?;
        let file = state_folder::lock_file(&self.folder.join(LOCK))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
    }

    /// Whole or not at all, and on the disk: a kill may be the next thing that happens.
    fn write(&self, entries: &[Entry]) -> std::io::Result<()> {
        if entries.is_empty() {
            return match fs::remove_file(self.folder.join(FILE)) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        state_folder::replace_for_good(&self.folder, FILE, &serde_json::to_vec(entries)?)
    }
}

/// Reads bytes as the ledger.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Ok(entries) = serde_json::from_slice::<Vec<Entry>>(bytes) {
        for entry in &entries {
            let _ = entry.is_stale();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request { fault: "network-latency", body: "{}".into() }
    }

    #[test]
    fn what_lives_is_not_stale_and_what_is_gone_is() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::of(&dir.path().join("not/there/yet"));
        assert_eq!(ledger.stale(), []);
        let ours = Entry::new("arn", &request());
        let gone = Entry { id: "gone".into(), began: ours.began + 1, ..ours.clone() };
        ledger.note(&ours).unwrap();
        ledger.note(&gone).unwrap();
        assert_eq!(ledger.stale(), [gone]);
        ledger.strike("gone").unwrap();
        assert_eq!(ledger.stale(), []);
        ledger.strike(&ours.id).unwrap();
        ledger.strike(&ours.id).unwrap();
        assert!(!ledger.folder.join(FILE).exists());
    }

    #[test]
    fn a_damaged_file_counts_as_empty_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::of(dir.path());
        fs::write(dir.path().join(FILE), "[{").unwrap();
        assert_eq!(ledger.stale(), []);
        ledger.note(&Entry::new("arn", &request())).unwrap();
        assert_eq!(ledger.read().unwrap().len(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_said() {
        let error =
            Ledger::of(Path::new("/proc/taskfault")).note(&Entry::new("arn", &request())).unwrap_err();
        let words = error.to_string();
        assert!(words.contains("/proc/taskfault") && words.contains("nothing was started"), "{words}");
    }

    #[test]
    fn a_name_from_a_damaged_file_leads_nowhere() {
        let entry = Entry { fault: "../../../x".into(), ..Entry::new("arn", &request()) };
        assert_eq!(entry.request().fault, "unknown");
    }
}
