//! A network namespace of a test's own.

use nix::sched::{CloneFlags, unshare};

/// Runs `play` in a network namespace of its own; says so where none can be made.
pub(crate) fn in_own_network(play: fn()) {
    // A thread of its own: the others keep their network.
    std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("SKIP: a network namespace cannot be made here: {error}");
            return;
        }
        play();
    })
    .join()
    .unwrap();
}
