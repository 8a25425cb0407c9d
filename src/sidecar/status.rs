//! `<state-dir>/status.json`: what `taskfault status` and the container's health check read.

use std::rc::Rc;
use std::time::SystemTime;

use serde_json::json;

use crate::channel::link::Link;
use crate::identity::store::Store;
use crate::identity::token::Identity;
use crate::run::queue::Queue;
use effects::state_folder;
use ssm_wire::report::reply::iso8601;

pub(super) const FILE: &str = "status.json";

/// Removes the file when the sidecar stops serving, however that comes about.
#[must_use = "the file is removed when this is dropped"]
struct Remove<'a>(&'a Identity);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        remove(self.0.store());
    }
}

/// Removes the file, as soon as the folder answers: what it says is not true any more.
pub(super) fn remove(store: &Store) {
    let store = store.clone();
    state_folder::submit(move || {
        if let Err(error) = store.remove(FILE) {
            tracing::warn!(%error, "a stale status stays on disk");
        }
    });
}

/// Writes the file, as soon as the folder answers.
fn write(store: &Store, text: String) {
    let store = store.clone();
    state_folder::submit(move || {
        if let Err(error) = store.write(FILE, &text) {
            tracing::warn!(%error, "taskfault status will not be true");
        }
    });
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
    write(store, waiting.to_string());
}

/// Keeps the file true, for ever: written anew when a command or the channel changes, and when what was written last
/// is on disk.
pub(super) async fn keep(identity: &Identity, queue: &Rc<Queue>, link: &Link) {
    let _remove = Remove(identity);
    let mut channel = link.channel();
    loop {
        let now = *channel.borrow_and_update();
        let changed = queue.changed();
        tokio::pin!(changed);
        write(identity.store(), describe(identity, queue, now));
        let change = async {
            tokio::select! {
                () = &mut changed => true,
                result = channel.changed() => result.is_ok(),
            }
        };
        // Both begin now, so that no change is missed while the file is written.
        let (_written, goes_on) = tokio::join!(state_folder::settled(), change);
        if !goes_on {
            return;
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
        "policy": queue.policy().lines(),
    })
    .to_string()
}
