//! `<state-dir>/status.json`: what `taskfault status` and the container's health check read.

use std::rc::Rc;
use std::time::SystemTime;

use serde_json::json;

use crate::channel::link::Link;
use crate::identity::store::Store;
use crate::identity::token::Identity;
use crate::run::queue::Queue;
use crate::state_writer::StateWriter;
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

/// Keeps the file true, for ever: written anew when a command or the channel changes, and when what was written last
/// is on disk.
pub(super) async fn keep(identity: &Identity, queue: &Rc<Queue>, link: &Link, writer: &StateWriter) {
    let _remove = Remove(identity);
    let mut channel = link.channel();
    loop {
        let now = *channel.borrow_and_update();
        let changed = queue.changed();
        tokio::pin!(changed);
        let text = describe(identity, queue, now);
        let store = identity.store().clone();
        writer.submit(move || {
            if let Err(error) = store.write(FILE, &text) {
                tracing::warn!(%error, "taskfault status will not be true");
            }
        });
        let change = async {
            tokio::select! {
                () = &mut changed => true,
                result = channel.changed() => result.is_ok(),
            }
        };
        // Both begin now, so that no change is missed while the file is written.
        let (_written, goes_on) = tokio::join!(writer.settled(), change);
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
    })
    .to_string()
}
