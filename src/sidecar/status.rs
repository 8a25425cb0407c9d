//! `<state-dir>/status.json`: what `taskfault status` and the container's health check read.

use std::rc::Rc;

use serde_json::json;

use crate::channel::link::Link;
use crate::identity::token::Identity;
use crate::report::reply::iso8601;
use crate::run::queue::Queue;

pub(super) const FILE: &str = "status.json";

/// Removes the file when the sidecar stops serving, however that comes about.
struct Remove<'a>(&'a Identity);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.store().remove(FILE) {
            tracing::warn!(%error, "a stale status stays on disk");
        }
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
        .live()
        .into_iter()
        .map(|live| {
            json!({
                "command_id": live.command_id,
                "document": live.document,
                "fault": live.fault,
                "since": iso8601(live.since),
                "waiting": live.waiting,
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
