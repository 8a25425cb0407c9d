//! What this process may do: effective Linux capabilities, a shell, a shared PID namespace.
//!
//! The parsers are pure; the readers look under a root folder, so that tests read captured files.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::thread::CapabilitySet;
use serde::Serialize;

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
        let effective = rustix::thread::capabilities(None).map(|sets| sets.effective);
        Self::read_under(Path::new("/"), std::process::id(), effective.unwrap_or(CapabilitySet::empty()))
    }

    fn read_under(root: &Path, pid: u32, effective: CapabilitySet) -> Self {
        Capabilities {
            net_admin: effective.contains(CapabilitySet::NET_ADMIN),
            sys_ptrace: effective.contains(CapabilitySet::SYS_PTRACE),
            kill: effective.contains(CapabilitySet::KILL),
            shell: SHELLS
                .iter()
                .map(|shell| Path::new("/").join(shell))
                .find(|shell| is_program(root, shell)),
            pid_namespace: pid_namespace(root, pid),
        }
    }
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

/// Reads bytes as the status of a process.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = parent(&String::from_utf8_lossy(bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `CapEff` of a container with Docker's default capabilities.
    const DOCKER: CapabilitySet = CapabilitySet::from_bits_retain(0xa804_25fb);

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
        let root = machine(&[]);
        let found = Capabilities::read_under(root.path(), 1, DOCKER);
        assert_eq!((found.kill, found.net_admin, found.sys_ptrace), (true, false, false));
        assert_eq!(found.shell, None, "a scratch image");
        assert_eq!(found.pid_namespace, Some(PidNamespace::Private));
    }

    #[test]
    fn each_capability_has_its_bit() {
        // 12 and 19 of linux/capability.h.
        let bits = CapabilitySet::from_bits_retain(1 << 12 | 1 << 19);
        let found = Capabilities::read_under(machine(&[]).path(), 1, bits);
        assert_eq!((found.kill, found.net_admin, found.sys_ptrace), (false, true, true));
    }

    #[test]
    fn nothing_readable_means_nothing_allowed() {
        let root = machine(&[]);
        let found = Capabilities::read_under(root.path(), 7, CapabilitySet::empty());
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
        let shell = |root: &Path| Capabilities::read_under(root, 1, CapabilitySet::empty()).shell;
        assert_eq!(shell(root.path()), None);
        fs::set_permissions(root.path().join("bin/sh"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(shell(root.path()), Some(PathBuf::from("/bin/sh")));
    }

    #[test]
    fn this_process_can_be_read() {
        let found = Capabilities::read();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
        let bits = CapabilitySet::from_bits_retain(u64::from_str_radix(effective, 16).unwrap());
        assert_eq!(found.net_admin, bits.contains(CapabilitySet::NET_ADMIN));
        assert!(found.pid_namespace.is_some());
    }
}
