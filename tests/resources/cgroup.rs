//! A memory cgroup (v1) of the test's own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) struct MemoryCgroup {
    folder: PathBuf,
}

impl MemoryCgroup {
    /// With a limit in bytes; None where none can be made.
    pub(crate) fn new(limit: u64) -> Option<MemoryCgroup> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            PathBuf::from(format!("/sys/fs/cgroup/memory/taskfault-test-{}-{number}", std::process::id()));
        if let Err(error) = fs::create_dir(&folder) {
            super::skip(&format!("no memory cgroup (v1) can be made: {error}"));
            return None;
        }
        let cgroup = MemoryCgroup { folder };
        fs::write(cgroup.folder.join("memory.limit_in_bytes"), limit.to_string()).unwrap();
        Some(cgroup)
    }

    /// `program`, run in it. It replaces the process that enters, so that its id is the child's.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        let script = "echo $$ > \"$1\" && shift && exec \"$@\"";
        command.args(["-c", script, "sh"]).arg(self.folder.join("cgroup.procs")).arg(program);
        command
    }

    pub(crate) fn number(&self, file: &str) -> u64 {
        fs::read_to_string(self.folder.join(file)).unwrap().trim().parse().unwrap()
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> u64 {
        self.number("memory.usage_in_bytes")
    }

    /// Processes in it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// How often the OOM killer came.
    pub(crate) fn oom_kills(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join("memory.oom_control")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().parse().unwrap()
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // The kernel may need a moment after the last process is gone.
        super::until(|| fs::remove_dir(&self.folder).map_err(|error| error.kind()), Result::is_ok).ok();
    }
}
