//! `<state-dir>/status.json`: what `taskfault status` and the container's health check read, and what a
//! restarted sidecar learns of a life that ended without a word.

use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::json;

use crate::channel::link::Link;
use crate::identity::store::Store;
use crate::identity::token::Identity;
use crate::run::queue::Queue;
use ssm_wire::job::JobId;
use ssm_wire::report::reply::iso8601;

pub(super) const FILE: &str = "status.json";

/// What an earlier life was doing when it was killed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct LeftOver {
    instance_id: String,
    commands: Vec<LeftCommand>,
}

#[derive(Debug, Deserialize)]
struct LeftCommand {
    command_id: String,
}

impl LeftOver {
    /// Reads and removes the file of an earlier life, so that nobody takes it for ours. One that cannot be
    /// read says nothing.
    pub(super) fn take(state_dir: &Path) -> LeftOver {
        let path = state_dir.join(FILE);
        let left = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        // It is written anew as soon as there is something to say; until then a stale one is all that could go wrong.
        let _ = std::fs::remove_file(&path);
        left.unwrap_or_default()
    }

    /// The jobs that ran or waited then, if we go on as the same instance: nobody will answer them but us.
    pub(super) fn jobs(&self, instance_id: &str) -> Vec<JobId> {
        if self.instance_id != instance_id {
            return Vec::new();
        }
        let id = |command: &LeftCommand| format!("aws.ssm.{}.{instance_id}", command.command_id);
        self.commands.iter().filter_map(|command| JobId::try_from(id(command)).ok()).collect()
    }
}

/// Removes the file when the sidecar stops serving, however that comes about.
struct Remove<'a>(&'a Identity);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        remove(self.0.store());
    }
}

/// Removes the file: what it says is not true any more.
pub(super) fn remove(store: &Store) {
    if let Err(error) = store.remove(FILE) {
        tracing::warn!(%error, "a stale status stays on disk");
    }
}

/// Writes down that this sidecar lives and waits for its turn to register: Systems Manager throttles it.
pub(super) fn write_waiting(store: &Store) {
    let waiting = json!({
        "pid": std::process::id(),
        "instance_id": "",
        "channel": "none",
        "commands": [],
        "throttled_since": iso8601(SystemTime::now()),
    });
    if let Err(error) = store.write(FILE, &waiting.to_string()) {
        tracing::warn!(%error, "taskfault status will not be true");
    }
}

/// Keeps the file true, for ever: written anew when a command or the channel changes.
pub(super) async fn keep(identity: &Identity, queue: &Rc<Queue>, link: &Link) {
    let _remove = Remove(identity);
    let mut channel = link.channel();
    loop {
        let now = *channel.borrow_and_update();
        let changed = queue.changed();
        tokio::pin!(changed);
        let text = describe(identity, queue, now);
        if let Err(error) = identity.store().write(FILE, &text) {
            tracing::warn!(%error, "taskfault status will not be true");
        }
        tokio::select! {
            () = &mut changed => {}
            result = channel.changed() => if result.is_err() { return },
        }
    }
}

fn describe(identity: &Identity, queue: &Queue, channel: &str) -> String {
    let commands: Vec<_> = queue
        .active()
        .into_iter()
        .map(|command| {
            json!({
                "command_id": command.command_id,
                "document": command.document,
                "fault": command.fault,
                "since": iso8601(command.since),
                "waiting": command.waiting,
                "started": command.active_fault.as_ref().map(|fault| &fault.description),
                "until": command.active_fault.as_ref().map(|fault| iso8601(fault.until)),
                "heartbeat_until": command.heartbeat_until.map(iso8601),
            })
        })
        .collect();
    json!({
        "pid": std::process::id(),
        "instance_id": identity.instance_id(),
        "channel": if channel.is_empty() { "none" } else { channel },
        "commands": commands,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_life_leaves_the_names_of_its_commands_to_the_same_instance_only() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"pid":7,"instance_id":"mi-0123456789abcdef0","channel":"ssmmessages",
            "commands":[{"command_id":"c-1","document":"d","fault":null,"since":"x","waiting":false}]}"#;
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let left = LeftOver::take(dir.path());
        let jobs = left.jobs("mi-0123456789abcdef0");
        assert_eq!(jobs[0].as_str(), "aws.ssm.c-1.mi-0123456789abcdef0");
        assert!(left.jobs("mi-ffffffffffffffff0").is_empty());
        assert!(LeftOver::take(dir.path()).jobs("mi-0123456789abcdef0").is_empty(), "taken is gone");
    }

    #[test]
    fn a_damaged_file_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{\"pid\":").unwrap();
        assert!(LeftOver::take(dir.path()).jobs("").is_empty());
    }
}
