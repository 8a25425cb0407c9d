//! What is undone although nobody holds it any more: starts that were given up, values that were dropped.
//!
//! A drop must not keep the control thread waiting, so it leaves to a thread what may wait. Who has to know that nothing
//! is left asks here.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a start that was given up is waited for. A file system that hangs may keep it for ever.
const LIMIT: Duration = Duration::from_secs(1);

/// How many are under way, in this process.
static UNDER_WAY: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// Counts as one that is under way until it is dropped.
struct UnderWay;

impl UnderWay {
    fn begin() -> UnderWay {
        UNDER_WAY.send_modify(|number| *number += 1);
        UnderWay
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.send_modify(|number| *number -= 1);
    }
}

/// Waits until everything is undone that was given up before this call; a start that hangs for a second at most.
pub async fn undone() {
    // The sender is static, so there is always an answer.
    let _ = UNDER_WAY.subscribe().wait_for(|number| *number == 0).await;
}

/// Undoes on a thread of its own what may wait; here where there is no runtime any more.
pub(crate) fn undo_off_thread(undo: impl FnOnce() + Send + 'static) {
    let under_way = UnderWay::begin();
    let undo = move || {
        undo();
        drop(under_way);
    };
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(undo)),
        Err(_) => undo(),
    }
}

/// Counts a thread that undoes what it starts until it has ended.
pub(crate) fn follow(thread: JoinHandle<()>) {
    let Ok(runtime) = Handle::try_current() else { return };
    let under_way = UnderWay::begin();
    runtime.spawn(async move {
        if tokio::time::timeout(LIMIT, thread).await.is_err() {
            tracing::warn!(
                "a fault was given up while it was starting, and the file system or the kernel does not answer; it is \
                 undone when that does"
            );
        }
        drop(under_way);
    });
}
