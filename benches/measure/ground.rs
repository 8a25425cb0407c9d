//! Two network namespaces with a veth pair between them. The near one is this process's own (a part is given
//! one); the far one is held by a second process of this program, which echoes what it is sent.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread;

use crate::process::Running;

pub(crate) const NEAR: &str = "10.9.0.1";
/// Addresses of the far side: the target of faults, and a bystander.
pub(crate) const TARGET: &str = "10.9.0.2";
pub(crate) const BYSTANDER: &str = "10.9.0.3";
/// A bystander whose address lies among those of many targets.
pub(crate) const NEIGHBOUR: &str = "10.128.0.1";
/// Where the far side echoes UDP.
pub(crate) const ECHO: u16 = 7000;
/// Where the far side takes UDP and answers nothing.
pub(crate) const SINK: u16 = 7001;

/// Both namespaces; the far one is gone when dropped, and the pair with it.
pub(crate) struct Ground {
    _far: Running,
    _line: ChildStdin,
}

impl Ground {
    /// Needs `ip` of iproute2.
    pub(crate) fn new() -> Ground {
        let mut far = Command::new("unshare");
        far.args(["--net", "--"]).arg(std::env::current_exe().unwrap()).arg("far");
        let mut far: Child = far.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut line, mut said) = (far.stdin.take().unwrap(), BufReader::new(far.stdout.take().unwrap()));
        let mut hears = |word: &str| {
            let mut heard = String::new();
            said.read_line(&mut heard).unwrap();
            assert_eq!(heard.trim(), word, "the far side");
        };
        hears("here");
        let pid = far.id().to_string();
        ip(&format!("link add eth0 type veth peer name eth0 netns {pid}"));
        ip(&format!("address add {NEAR}/24 dev eth0"));
        ip("link set lo up");
        ip("link set eth0 up");
        writeln!(line, "go").unwrap();
        hears("ready");
        ip(&format!("route add default via {TARGET}"));
        Ground { _far: Running(far), _line: line }
    }
}

/// Raises `lo`: a part that needs no more of a network.
pub(crate) fn loopback_up() {
    ip("link set lo up");
}

pub(crate) fn ip(words: &str) {
    call("ip", &words.split(' ').collect::<Vec<_>>());
}

/// Calls a program that has to work.
pub(crate) fn call(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The far side: what the near one starts in a network namespace of its own. Ends when its input does.
pub(crate) fn far() -> ExitCode {
    println!("here");
    let mut lines = std::io::stdin().lines();
    lines.next().unwrap().unwrap();
    for address in [TARGET, BYSTANDER, NEIGHBOUR] {
        ip(&format!("address add {address}/24 dev eth0"));
    }
    ip("link set lo up");
    ip("link set eth0 up");
    for address in [TARGET, BYSTANDER, NEIGHBOUR] {
        let echo = UdpSocket::bind((address, ECHO)).unwrap();
        crate::probe::roomy(&echo);
        let sink = UdpSocket::bind((address, SINK)).unwrap();
        thread::spawn(move || {
            let mut room = [0; 2048];
            while let Ok((length, from)) = echo.recv_from(&mut room) {
                let _ = echo.send_to(&room[..length], from);
            }
        });
        // Never read: what does not fit into its buffer is dropped, at the same price.
        std::mem::forget(sink);
    }
    println!("ready");
    lines.next();
    ExitCode::SUCCESS
}
