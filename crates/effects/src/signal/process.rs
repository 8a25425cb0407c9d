//! Processes as `/proc` shows them, and whether one has a name.

use std::io;
use std::os::unix::ffi::OsStrExt;

use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, ThreadKind, UpdateKind};

/// The kernel keeps so many bytes of a name (`TASK_COMM_LEN` is one more, for the zero).
const KEPT: usize = 15;

/// Words of a command line that are read: an interpreter, its options (`#!/usr/bin/python3 -u`, and what `env -S` makes
/// of a line), then the script.
const WORDS: usize = 16;

/// One process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id in the PID namespace of `/proc`.
    pub pid: u32,
    /// What the kernel calls it: `comm`, at most 15 bytes.
    pub name: String,
    /// Seconds after 1970. With the id it tells a process from a later one of the same id.
    pub started: u64,
    /// It is a thread of the kernel.
    pub kernel_thread: bool,
    /// It has ended, and its parent has not waited for it.
    pub zombie: bool,
    /// It stands still, by SIGSTOP or by its terminal.
    pub stopped: bool,
    /// The first words of its command line, as bytes; empty for zombies and kernel threads.
    pub command: Vec<Vec<u8>>,
}

/// Whether a process has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// It has.
    Yes,
    /// It has not.
    No,
    /// As much as the kernel keeps of the name is the same, and the rest cannot be known.
    CannotTell,
}

impl Process {
    /// The process `pid`; None if it is not there (any more).
    pub(crate) fn read(pid: u32) -> Option<Process> {
        list(ProcessesToUpdate::Some(&[Pid::from_u32(pid)])).ok()?.pop()
    }

    /// As killall matches: the whole of the kernel's name; where that may be cut off, the last part of the
    /// program's path in the command line, or of the script's where an interpreter runs one.
    pub(super) fn matches(&self, name: &str) -> Match {
        if self.zombie {
            return Match::No;
        }
        if self.name.len() < KEPT || name.len() < KEPT {
            return if self.name == name { Match::Yes } else { Match::No };
        }
        if !name.as_bytes().starts_with(self.name.as_bytes()) {
            return Match::No;
        }
        let whole = self
            .command
            .iter()
            .map(|word| last_part(word))
            .find(|part| part.starts_with(self.name.as_bytes()));
        match whole {
            Some(whole) if whole == name.as_bytes() => Match::Yes,
            Some(_) => Match::No,
            // A name of just that length needs no more to be told.
            None if name.len() == KEPT => Match::Yes,
            None => Match::CannotTell,
        }
    }
}

/// Behind the last slash; a login shell's leading hyphen is no part of its name.
fn last_part(word: &[u8]) -> &[u8] {
    let word = word.rsplit(|byte| *byte == b'/').next().unwrap_or(word);
    word.strip_prefix(b"-").unwrap_or(word)
}

impl From<&sysinfo::Process> for Process {
    fn from(listed: &sysinfo::Process) -> Process {
        let words = listed.cmd().iter().filter(|word| !word.is_empty());
        Process {
            pid: listed.pid().as_u32(),
            name: listed.name().to_string_lossy().into_owned(),
            started: listed.start_time(),
            kernel_thread: listed.thread_kind() == Some(ThreadKind::Kernel),
            zombie: matches!(listed.status(), ProcessStatus::Zombie | ProcessStatus::Dead),
            stopped: listed.status() == ProcessStatus::Stop,
            command: words.take(WORDS).map(|word| word.as_bytes().to_vec()).collect(),
        }
    }
}

/// When a process began: field 22 of `/proc/PID/stat`. None if there is none, or only what is left of it because
/// nobody has waited for it.
pub(crate) fn beginning(pid: u32) -> Option<u64> {
    beginning_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn beginning_in(stat: &str) -> Option<u64> {
    // The name, field 2, may hold anything, but ends at the last parenthesis.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| !ended)
}

/// Every process that can be seen.
pub(super) fn all() -> io::Result<Vec<Process>> {
    let mut found = list(ProcessesToUpdate::All)?;
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// What `/proc` says now. A list that is refreshed would keep the name that a process had when it was first
/// seen, so each is made anew.
fn list(which: ProcessesToUpdate<'_>) -> io::Result<Vec<Process>> {
    let mut system = System::new().map_err(io::Error::other)?;
    let what = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(which, true, what);
    Ok(system.processes().values().map(Process::from).collect())
}

/// Reads bytes as the status line of a process.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = std::str::from_utf8(bytes).ok().and_then(beginning_in);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    use super::*;

    fn named(name: &str, command: &[u8]) -> Process {
        let words = command.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        let command = words.map(<[u8]>::to_vec).collect();
        Process {
            pid: 4711,
            name: name.into(),
            started: 0,
            kernel_thread: false,
            zombie: false,
            stopped: false,
            command,
        }
    }

    /// A process of this name, which ends by itself.
    fn sleeper(folder: &Path, name: &str) -> Child {
        let program = folder.join(name);
        std::fs::copy("/bin/sleep", &program).unwrap();
        Command::new(&program).arg("60").spawn().unwrap()
    }

    /// The process once it is as `is` says: a program that starts gets its name before its command line.
    fn once(pid: u32, is: impl Fn(&Process) -> bool) -> Option<Process> {
        (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            Process::read(pid).filter(&is)
        })
    }

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["nginx", "a) b (c", "tmux: server", "a-name-that-is-longer-than-is-kept"] {
            let mut child = sleeper(folder.path(), name);
            let found = once(child.id(), |process| process.command.len() == 2).unwrap();
            child.kill().unwrap();
            // A zombie still has a name, and no command line.
            let zombie = once(child.id(), |process| process.command.is_empty());
            child.wait().unwrap();
            let kept: String = name.chars().take(KEPT).collect();
            assert_eq!((found.name.as_str(), found.kernel_thread), (kept.as_str(), false));
            assert_eq!(found.command[0], folder.path().join(name).as_os_str().as_bytes());
            assert_eq!(found.matches(name), Match::Yes);
            let zombie = zombie.unwrap();
            assert_eq!(zombie.matches(&kept), Match::No, "it has ended");
            assert_eq!((zombie.name, zombie.started), (kept, found.started));
            assert_eq!(Process::read(child.id()), None);
        }
    }

    #[test]
    fn a_new_name_is_seen() {
        let mut shell = Command::new("/bin/sh");
        let mut child = shell.args(["-c", "read x; exec sleep 60"]).stdin(Stdio::piped()).spawn().unwrap();
        let before = once(child.id(), |process| process.name == "sh").unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let after = once(child.id(), |process| process.name == "sleep");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(after.map(|after| after.started), Some(before.started));
    }

    #[test]
    fn short_names_are_whole_names() {
        let python = named("python3.11", b"/usr/bin/python3.11\0app.py\0");
        assert_eq!(python.matches("python3.11"), Match::Yes);
        for name in ["python", "python3", "PYTHON3.11", "python3.11 ", "app.py", "", "/usr/bin/python3.11"] {
            assert_eq!(python.matches(name), Match::No, "{name}");
        }
    }

    #[test]
    fn long_names_are_told_by_the_command_line() {
        let long = named("amazon-ssm-agen", b"/usr/bin/amazon-ssm-agent\0-x\0");
        assert_eq!(long.matches("amazon-ssm-agent"), Match::Yes);
        assert_eq!(long.matches("amazon-ssm-agents"), Match::No);
        assert_eq!(long.matches("amazon-ssm-agen"), Match::No, "its whole name is longer");
        let script = named("a-script-with-a", b"/bin/sh\0./a-script-with-a-long-name\0");
        assert_eq!(script.matches("a-script-with-a-long-name"), Match::Yes);
        let options = named("a-script-with-a", b"/usr/bin/python3\0-u\0./a-script-with-a-long-name\0");
        assert_eq!(options.matches("a-script-with-a-long-name"), Match::Yes);
        assert_eq!(options.matches("a-script-with-a"), Match::No, "its whole name is longer");
        let login = named("a-shell-with-a-", b"-a-shell-with-a-long-name\0");
        assert_eq!(login.matches("a-shell-with-a-long-name"), Match::Yes);
    }

    #[test]
    fn a_long_name_that_cannot_be_told_is_not_guessed() {
        let titled = named("a-worker-with-a", b"worker: idle\0");
        assert_eq!(titled.matches("a-worker-with-a-long-name"), Match::CannotTell);
        assert_eq!(titled.matches("a-worker-with-a"), Match::Yes);
        assert_eq!(titled.matches("another-worker-with"), Match::No);
    }

    #[test]
    fn this_process_is_among_all() {
        let all = all().unwrap();
        let own = all.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(!own.kernel_thread && !own.command.is_empty(), "{own:?}");
    }
}
