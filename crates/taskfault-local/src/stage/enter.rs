//! Into the stage's namespaces: the only step that the kernel may refuse an ordinary user.

use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

use super::refusal::{Refusal, RefusedCall};

/// Proof that the process stands in a user and a network namespace of its own.
#[derive(Debug)]
pub struct Namespaces {
    /// The user id outside that is root inside.
    pub outer_uid: u32,
}

/// Moves this process into a new user and a new network namespace, as root in them.
///
/// Must be called before the process has a second thread (so before any async runtime): the kernel lets
/// only a single-threaded process change its user namespace.
///
/// # Errors
/// The call that was refused, and what to do about it.
pub fn enter() -> Result<Namespaces, Refusal> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| Refusal::read(RefusedCall::NewUser, errno))?;
    // Without this an unprivileged process may not map a group: it could drop a group that denies it access.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", &format!("0 {gid} 1"))?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Refusal::read(RefusedCall::NewNetwork, errno))?;
    Ok(Namespaces { outer_uid: uid.as_raw() })
}

fn write(path: &'static str, text: &str) -> Result<(), Refusal> {
    fs::write(path, text).map_err(|error: io::Error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Refusal::read(RefusedCall::Map(path), errno)
    })
}
