//! Whose PID namespace this is.
//!
//! - *The host's own*: the kernel gives its first PID namespace a fixed inode number, `0xEFFFFFFC`
//!   (`PROC_PID_INIT_INO`, Linux 3.8; part of the user ABI as `PID_NS_INIT_INO`), and `/proc/self/ns/pid` names
//!   the inode. A second sign, should the first not be readable: the kernel's own threads are seen from there
//!   and from nowhere else, as children of process 2.
//! - *Shared or private*: a container runtime puts us into somebody else's namespace from outside, and then the
//!   chain of our parents ends at 0 before it comes to process 1 (see `task::capabilities`).

use std::fs;
use std::path::Path;

use crate::task::capabilities::{PidNamespace, pid_namespace};

/// The inode of the first PID namespace.
const FIRST_INODE: u32 = 0xEFFF_FFFC;

/// Whose PID namespace this process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// The host's: every process of the machine is seen.
    Host,
    /// Somebody else's, of another container of the task or of its pause container.
    Shared,
    /// Our own: no process of another container is seen.
    Private,
    /// It cannot be told.
    Unknown,
}

impl Namespace {
    /// Of this process, from the `/proc` under `root`.
    pub fn read(root: &Path) -> Namespace {
        let inode = fs::read_link(root.join("proc/self/ns/pid")).ok();
        let inode = inode.as_deref().and_then(Path::to_str).and_then(inode_of);
        let kernel_threads =
            fs::read_to_string(root.join("proc/2/stat")).is_ok_and(|stat| stat.starts_with("2 (kthreadd) "));
        if inode == Some(FIRST_INODE) || kernel_threads {
            return Namespace::Host;
        }
        match (inode, pid_namespace(root, std::process::id())) {
            (None, _) | (_, None) => Namespace::Unknown,
            (_, Some(PidNamespace::Shared)) => Namespace::Shared,
            (_, Some(PidNamespace::Private)) => Namespace::Private,
        }
    }
}

/// `pid:[4026531836]`.
fn inode_of(link: &str) -> Option<u32> {
    link.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `/proc` in which this process has the given namespace and parent.
    fn machine(inode: Option<&str>, parent: u32, kthreadd: bool) -> Namespace {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join(format!("proc/{}", std::process::id()));
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("status"), format!("PPid:\t{parent}\n")).unwrap();
        fs::create_dir_all(root.path().join("proc/self/ns")).unwrap();
        if let Some(inode) = inode {
            std::os::unix::fs::symlink(format!("pid:[{inode}]"), root.path().join("proc/self/ns/pid"))
                .unwrap();
        }
        if kthreadd {
            fs::create_dir_all(root.path().join("proc/2")).unwrap();
            fs::write(root.path().join("proc/2/stat"), "2 (kthreadd) S 0 0 0 0").unwrap();
        }
        Namespace::read(root.path())
    }

    #[test]
    fn the_first_namespace_is_the_hosts() {
        assert_eq!(machine(Some("4026531836"), 1, false), Namespace::Host);
        assert_eq!(machine(None, 1, true), Namespace::Host, "only there are the kernel's threads seen");
    }

    #[test]
    fn others_are_told_apart_by_the_parents() {
        assert_eq!(machine(Some("4026532201"), 1, false), Namespace::Private);
        assert_eq!(machine(Some("4026532201"), 0, false), Namespace::Shared);
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        assert_eq!(machine(None, 1, false), Namespace::Unknown);
        assert_eq!(machine(Some("nonsense"), 1, false), Namespace::Unknown);
    }

    #[test]
    fn this_machine_can_be_read() {
        assert_ne!(Namespace::read(Path::new("/")), Namespace::Unknown);
    }
}
