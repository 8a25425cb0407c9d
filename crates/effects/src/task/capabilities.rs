//! What this process may do: effective Linux capabilities, a shell, a shared PID namespace.
//!
//! The parsers are pure; the readers look under a root folder, so that tests read captured files.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The capabilities that faults need, by their bit in `/proc/self/status` (`linux/capability.h`).
const CAP_KILL: u32 = 5;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_PTRACE: u32 = 19;

/// Where a shell for `aws:runShellScript` steps is looked for.
const SHELLS: [&str; 2] = ["bin/sh", "usr/bin/sh"];

/// What this process may do, as far as faults care.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Shape and filter traffic.
    pub net_admin: bool,
    /// Look into processes of others.
    pub sys_ptrace: bool,
    /// Signal processes of other users.
    pub kill: bool,
    /// The shell that scripts of unknown documents would run in.
    pub shell: Option<PathBuf>,
    /// Whether processes of other containers can be seen. None if it cannot be told.
    pub pid_namespace: Option<PidNamespace>,
}

/// How the PID namespace looks from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidNamespace {
    /// Process 1 is this process, or its ancestor: nobody else's container is in here.
    Private,
    /// Process 1 belongs to somebody else (pidMode task, or the host).
    Shared,
}

impl Capabilities {
    /// Reads what this process may do. What cannot be read counts as not allowed.
    pub fn read() -> Self {
        Self::read_under(Path::new("/"), std::process::id())
    }

    fn read_under(root: &Path, pid: u32) -> Self {
        let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
        let effective = effective(&status).unwrap_or(0);
        let has = |bit: u32| effective & (1 << bit) != 0;
        Capabilities {
            net_admin: has(CAP_NET_ADMIN),
            sys_ptrace: has(CAP_SYS_PTRACE),
            kill: has(CAP_KILL),
            shell: SHELLS
                .iter()
                .map(|shell| Path::new("/").join(shell))
                .find(|shell| is_program(root, shell)),
            pid_namespace: pid_namespace(root, pid),
        }
    }
}

/// `CapEff` of a `/proc/PID/status`, a bit per capability.
fn effective(status: &str) -> Option<u64> {
    u64::from_str_radix(status.lines().find_map(|line| line.strip_prefix("CapEff:"))?.trim(), 16).ok()
}

/// The parent, from a `/proc/PID/status`.
fn parent(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn is_program(root: &Path, path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let inside = root.join(path.strip_prefix("/").unwrap_or(path));
    fs::metadata(inside).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Shared if the chain of parents ends before process 1 does (the runtime started us into a namespace of
/// somebody else's: our parent is then 0), private if process 1 is one of our ancestors.
pub(crate) fn pid_namespace(root: &Path, mut pid: u32) -> Option<PidNamespace> {
    // Deeper chains are not ours, and a loop in a broken /proc must end.
    const MAX_DEPTH: usize = 64;
    for _ in 0..MAX_DEPTH {
        match pid {
            0 => return Some(PidNamespace::Shared),
            1 => return Some(PidNamespace::Private),
            _ => pid = parent(&fs::read_to_string(root.join(format!("proc/{pid}/status"))).ok()?)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a `/proc/self/status` in a container with Docker's default capabilities.
    const DOCKER_STATUS: &str = "Name:\tcat\nPid:\t1\nPPid:\t0\nCapInh:\t0000000000000000\n\
        CapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n";

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    #[test]
    fn docker_default_has_kill_only() {
        let root = machine(&[("proc/self/status", DOCKER_STATUS)]);
        let found = Capabilities::read_under(root.path(), 1);
        assert_eq!((found.kill, found.net_admin, found.sys_ptrace), (true, false, false));
        assert_eq!(found.shell, None, "a scratch image");
        assert_eq!(found.pid_namespace, Some(PidNamespace::Private));
    }

    #[test]
    fn each_capability_has_its_bit() {
        let root = machine(&[("proc/self/status", "CapEff:\t0000000000081000\n")]);
        let found = Capabilities::read_under(root.path(), 1);
        assert_eq!((found.kill, found.net_admin, found.sys_ptrace), (false, true, true));
    }

    #[test]
    fn nothing_readable_means_nothing_allowed() {
        let root = machine(&[]);
        let found = Capabilities::read_under(root.path(), 7);
        assert_eq!((found.kill, found.net_admin, found.sys_ptrace), (false, false, false));
        assert_eq!(found.pid_namespace, None);
    }

    #[test]
    fn a_parent_outside_means_a_shared_namespace() {
        // docker run --pid container:X: process 1 is X's, ours has parent 0.
        let root = machine(&[("proc/29/status", "PPid:\t0\n"), ("proc/30/status", "PPid:\t29\n")]);
        assert_eq!(pid_namespace(root.path(), 30), Some(PidNamespace::Shared));
        let root = machine(&[("proc/30/status", "PPid:\t1\n")]);
        assert_eq!(pid_namespace(root.path(), 30), Some(PidNamespace::Private));
        let root = machine(&[("proc/30/status", "PPid:\t30\n")]);
        assert_eq!(pid_namespace(root.path(), 30), None);
    }

    #[test]
    fn a_shell_must_be_executable() {
        use std::os::unix::fs::PermissionsExt;
        let root = machine(&[("bin/sh", "")]);
        assert_eq!(Capabilities::read_under(root.path(), 1).shell, None);
        fs::set_permissions(root.path().join("bin/sh"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(Capabilities::read_under(root.path(), 1).shell, Some(PathBuf::from("/bin/sh")));
    }

    #[test]
    fn this_process_can_be_read() {
        let found = Capabilities::read();
        assert!(effective(&fs::read_to_string("/proc/self/status").unwrap()).is_some());
        assert!(found.pid_namespace.is_some());
    }
}
