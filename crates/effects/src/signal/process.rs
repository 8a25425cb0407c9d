//! Processes as `/proc` shows them, and whether one has a name.

use std::fs;
use std::io;
use std::path::Path;

/// The kernel keeps so many bytes of a name (`TASK_COMM_LEN` is one more, for the zero).
const KEPT: usize = 15;
/// `PF_KTHREAD` of `include/linux/sched.h`, in field 9 of `/proc/PID/stat`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// What the kernel calls it: `comm`, at most 15 bytes.
    pub name: String,
    /// Clock ticks after boot. With the id it tells a process from a later one of the same id.
    pub started: u64,
    pub kernel_thread: bool,
    /// The first words of its command line, as bytes; empty for zombies and kernel threads.
    pub command: Vec<Vec<u8>>,
}

/// Whether a process has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Yes,
    No,
    /// As much as the kernel keeps of the name is the same, and the rest cannot be known.
    CannotTell,
}

impl Process {
    /// The process `pid`; None if it is not there (any more).
    pub(super) fn read(proc: &Path, pid: u32) -> Option<Process> {
        let folder = proc.join(pid.to_string());
        let stat = fs::read(folder.join("stat")).ok()?;
        let command = fs::read(folder.join("cmdline")).unwrap_or_default();
        parse(pid, &stat, &command)
    }

    /// As killall matches: the whole of the kernel's name; where that may be cut off, the last part of the
    /// program's path in the command line, or of the script's where an interpreter runs one.
    pub(super) fn matches(&self, name: &str) -> Match {
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

/// From the texts of `stat` and `cmdline`.
fn parse(pid: u32, stat: &[u8], command: &[u8]) -> Option<Process> {
    // `PID (NAME) STATE PPID …`: the name may hold blanks and brackets, so the last bracket ends it.
    let (open, close) = (stat.iter().position(|b| *b == b'(')?, stat.iter().rposition(|b| *b == b')')?);
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    // The first of these is field 3; flags are field 9, the start time is field 22 (proc_pid_stat(5)).
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let flags: u64 = fields.get(9 - 3)?.parse().ok()?;
    let started = fields.get(22 - 3)?.parse().ok()?;
    let words = command.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let command = words.take(2).map(<[u8]>::to_vec).collect();
    Some(Process { pid, name, started, kernel_thread: flags & KERNEL_THREAD != 0, command })
}

/// Every process that can be seen.
pub(super) fn all(proc: &Path) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc)? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        found.extend(Process::read(proc, pid));
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A real line, with the name put in.
    fn stat(name: &str, flags: u64) -> Vec<u8> {
        format!(
            "4711 ({name}) S 1 4711 4711 0 -1 {flags} 512 0 0 0 3 1 0 0 20 0 1 0 987654 9748480 1216 \
             18446744073709551615 1 1 0 0 0 0 0 0 65536 1 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0"
        )
        .into_bytes()
    }

    fn named(name: &str, command: &[u8]) -> Process {
        parse(4711, &stat(name, 4_194_560), command).unwrap()
    }

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        for name in ["nginx", "a) b (c", "tmux: server", ""] {
            let found = named(name, b"");
            assert_eq!((found.name.as_str(), found.started, found.kernel_thread), (name, 987_654, false));
        }
        assert!(parse(2, &stat("kthreadd", 2_129_984), b"").unwrap().kernel_thread);
        for broken in
            [&b""[..], b"1 (x", b"1 (x) S 1", b")(", b"1 (x) S 1 1 1 0 -1 y 0 0 0 0 0 0 0 0 0 0 0 0 0 z"]
        {
            assert_eq!(parse(1, broken, b""), None);
        }
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
        let all = all(Path::new("/proc")).unwrap();
        let own = all.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(!own.kernel_thread && !own.command.is_empty(), "{own:?}");
    }
}
