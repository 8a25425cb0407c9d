//! A `taskfault inject` process: started, ready, ended.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) struct Injected {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// The line that says it has started.
    pub ready: String,
}

/// What an ended process left.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Injected {
    /// Runs `command` and returns when the fault lives, or when the process has said why it does not.
    pub(crate) fn start(command: &mut Command) -> Injected {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut ready = String::new();
        stderr.read_line(&mut ready).unwrap();
        Injected { child, stderr, ready }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let (mut stdout, mut stderr) = (String::new(), self.ready.clone());
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        Ended { code: self.child.wait().unwrap().code(), stdout, stderr }
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill_9(self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.end().code, None, "it had ended before");
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until `look` gives what satisfies `enough`; a minute without is a failure.
pub(crate) fn until<T: Debug>(look: impl Fn() -> T, enough: impl Fn(&T) -> bool) -> T {
    let patience = std::time::Instant::now();
    loop {
        let seen = look();
        if enough(&seen) {
            return seen;
        }
        assert!(patience.elapsed().as_secs() < 60, "still {seen:?}");
        std::thread::yield_now();
    }
}

/// Says that a test cannot run here. Where nothing may be missing (`CI`), that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "cannot run here: {why}");
    eprintln!("SKIP {why}");
}
