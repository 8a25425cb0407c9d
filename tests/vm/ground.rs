//! Two network namespaces with a veth pair between them, and what one does in them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Addresses of the far side. The first of each family is the target of most faults.
pub(crate) const FAR: [&str; 2] = ["10.9.0.2", "10.9.0.3"];
pub(crate) const FAR_6: [&str; 2] = ["fd09::2", "fd09::3"];
/// Where the far side echoes.
pub(crate) const PORT: u16 = 7000;
pub(crate) const OTHER_PORT: u16 = 7001;

/// What is waited for comes within this, or never.
const TIME_LIMIT: Duration = Duration::from_secs(20);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The two namespaces; gone when dropped.
pub(crate) struct Ground {
    near: String,
    far: String,
    server: Option<Running>,
    pub state_dir: String,
}

/// A process, killed when dropped.
pub(crate) struct Running {
    pub child: Child,
    pub input: Option<ChildStdin>,
    pub lines: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends a line and gives the answer.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        self.line()
    }

    /// Sends a line and waits for nothing.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// SIGKILL, without the time that a program takes to send it.
    pub(crate) fn signal_now(&mut self) {
        self.child.kill().unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        run("kill", &[&format!("-{name}"), &self.child.id().to_string()]);
    }

    /// Waits for its end; gives its code and all that it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

/// How often the long tests repeat what they do: once in the daily run, more where somebody asks for it
/// (`VM_ROUNDS`).
pub(crate) fn rounds() -> u32 {
    std::fs::read_to_string("/mnt/rounds").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1)
}

/// Runs a program that has to work.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `holds`; a condition of the kernel, looked at again and again.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < TIME_LIMIT, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

impl Ground {
    pub(crate) fn new() -> Ground {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (near, far) = (format!("near{number}"), format!("far{number}"));
        run("ip", &["netns", "add", &near]);
        run("ip", &["netns", "add", &far]);
        run(
            "ip",
            &["-n", &near, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &far],
        );
        for (space, v4, v6) in [(&near, &["10.9.0.1"][..], &["fd09::1"][..]), (&far, &FAR[..], &FAR_6[..])] {
            for address in v4 {
                run("ip", &["-n", space, "address", "add", &format!("{address}/24"), "dev", "eth0"]);
            }
            for address in v6 {
                let address = format!("{address}/64");
                run("ip", &["-n", space, "address", "add", &address, "dev", "eth0", "nodad"]);
            }
            run("ip", &["-n", space, "link", "set", "lo", "up"]);
            run("ip", &["-n", space, "link", "set", "eth0", "up"]);
        }
        run("ip", &["-n", &near, "route", "add", "default", "via", FAR[0]]);
        let state_dir = format!("/tmp/state{number}");
        let mut ground = Ground { near, far, server: None, state_dir };
        let far = FAR.iter().map(ToString::to_string).chain(FAR_6.iter().map(|six| format!("[{six}]")));
        let places: Vec<String> =
            far.flat_map(|host| [PORT, OTHER_PORT].map(|port| format!("{host}:{port}"))).collect();
        let mut words = vec!["/mnt/suite", "probe", "serve"];
        words.extend(places.iter().map(String::as_str));
        let mut server = ground.start_in(&ground.far.clone(), &words);
        assert_eq!(server.line(), "ready");
        ground.server = Some(server);
        until("both families reach the far side", || {
            ground.icmp(FAR[0]).is_some() && ground.icmp(FAR_6[0]).is_some()
        });
        ground
    }

    /// Runs a program in the far namespace that has to work.
    pub(crate) fn far(&self, words: &[&str]) -> String {
        let output = self.command(&self.far, words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the namespaces are called: near, far.
    pub(crate) fn near_name(&self) -> &str {
        &self.near
    }

    fn command(&self, space: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", space]).args(words).env("TASKFAULT_STATE_DIR", &self.state_dir);
        command
    }

    fn start_in(&self, space: &str, words: &[&str]) -> Running {
        let mut child =
            self.command(space, words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { input: child.stdin.take(), child, lines }
    }

    /// Runs a program in the near namespace, whatever comes of it.
    pub(crate) fn try_near(&self, words: &[&str]) -> Output {
        self.command(&self.near, words).output().unwrap()
    }

    /// Runs a program in the near namespace that has to work.
    pub(crate) fn near(&self, words: &[&str]) -> String {
        let output = self.try_near(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a program in the near namespace.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        self.start_in(&self.near, words)
    }

    /// Starts a program in the far namespace.
    pub(crate) fn start_far(&self, words: &[&str]) -> Running {
        self.start_in(&self.far, words)
    }

    /// Starts a fault and waits until its rules are there.
    pub(crate) fn inject(&self, words: &str) -> Running {
        let before = self.near(&["nft", "list", "ruleset"]).matches("chain ").count();
        let mut command = vec!["/mnt/taskfault", "inject"];
        command.extend(words.split(' '));
        let mut fault = self.start(&command);
        until(words, || {
            assert_eq!(fault.child.try_wait().unwrap().and_then(|status| status.code()), None, "{words}");
            self.near(&["nft", "list", "ruleset"]).matches("chain ").count() > before
        });
        fault
    }

    /// All that `tc` and `nft` know of the near namespace.
    pub(crate) fn state(&self) -> String {
        let qdiscs = self.near(&["tc", "qdisc", "show"]);
        qdiscs + &self.near(&["nft", "list", "ruleset"]) + &self.near(&["ip", "-o", "link", "show"])
    }

    /// Looks that no rule and no netem is left: at most the root that a sidecar keeps.
    pub(crate) fn is_inert(&self) {
        let state = self.state();
        assert!(!state.contains(" hook ") && !state.contains("netem"), "{state}");
    }

    /// The round trip to `address` in milliseconds, by ping.
    pub(crate) fn icmp(&self, address: &str) -> Option<f64> {
        let said = self.try_near(&["ping", "-n", "-c", "1", "-W", "1.5", address]).stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        said.split("time=").nth(1)?.split(' ').next()?.parse().ok()
    }

    /// The round trip to the echo server, by `udp` or `tcp` (its handshake).
    pub(crate) fn exchange(&self, protocol: &str, address: &str, port: u16) -> Option<f64> {
        let to =
            if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
        self.near(&["/mnt/suite", "probe", protocol, &to]).trim().parse().ok()
    }

    /// What became of an exchange, in words: the error of the client, if there was one.
    pub(crate) fn words_of(&self, protocol: &str, to: &str) -> String {
        self.near(&["/mnt/suite", "probe", protocol, to])
    }

    /// Of `count` UDP flows to the far side, how many had an answer.
    pub(crate) fn burst(&self, to: &str, count: u32) -> u32 {
        self.near(&["/mnt/suite", "probe", "burst", to, &count.to_string()]).trim().parse().unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.server = None;
        for space in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "delete", space]).status();
        }
    }
}
