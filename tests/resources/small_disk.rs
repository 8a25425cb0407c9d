//! A file system of 64 MiB that nobody else sees: a tmpfs in user and mount namespaces, held by a process that
//! outlives what is killed in it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::statvfs::statvfs;

pub(crate) const MIB: u64 = 1024 * 1024;
/// The same, as the length of a buffer.
pub(crate) const MIB_BYTES: usize = 1024 * 1024;
pub(crate) const SIZE: u64 = 64 * MIB;

pub(crate) struct SmallDisk {
    holder: Child,
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// None where namespaces are refused.
    pub(crate) fn new() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=64m none \"$1\" && echo mounted && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "mounted\n" {
            let _ = holder.wait();
            super::skip("user and mount namespaces with a tmpfs are refused");
            return None;
        }
        Some(SmallDisk { holder, folder })
    }

    /// Where it is mounted, as those inside see it.
    pub(crate) fn inside(&self) -> &Path {
        self.folder.path()
    }

    /// The same from here.
    pub(crate) fn outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.path().strip_prefix("/").unwrap())
    }

    /// `program`, run inside. It replaces the process that enters, so that its id is the child's.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let target = format!("--target={}", self.holder.id());
        command.args([&target, "--user", "--mount", "--preserve-credentials", program]);
        command
    }

    pub(crate) fn inject(&self, words: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_taskfault"));
        command.arg("inject").args(words).arg("--path").arg(self.inside());
        command
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        let told = statvfs(&self.outside()).unwrap();
        (told.blocks() - told.blocks_free()) * told.fragment_size()
    }

    /// Names in it.
    pub(crate) fn names(&self) -> usize {
        std::fs::read_dir(self.outside()).unwrap().count()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Its standard input closes, `cat` ends, and the file system with it.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
