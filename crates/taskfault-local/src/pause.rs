//! The pause container of a task: the first process of the namespaces that the task's other containers share.
//!
//! ECS puts one into every task. The kernel keeps signals without a handler from the first process of a PID
//! namespace, SIGKILL from inside it included, so an application could not be killed if it were that process;
//! and the network of a task has to outlive an application that is started again. It waits for the orphans of
//! the task and does nothing else.

use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Waits until SIGTERM or SIGINT; exit code 0 then. The caller must be the only thread of its process.
pub fn run() -> ExitCode {
    match wait() {
        Ok(()) => ExitCode::SUCCESS,
        Err(errno) => {
            eprintln!("pause: waiting for signals: {errno}");
            ExitCode::FAILURE
        }
    }
}

fn wait() -> Result<(), Errno> {
    // Blocked, they are kept for us even as the first process, whose signals without a handler are dropped.
    let awaited = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
    awaited.thread_block()?;
    while awaited.wait()? == Signal::SIGCHLD {
        // One signal may stand for many children. An error means that none is left.
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
    }
    Ok(())
}
