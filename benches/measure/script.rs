//! The same faults as a shell script makes them: as AWS's documents do it (their `AWSFIS-Run-*` texts), with
//! stress-ng, `tc`, iptables or `nft`, one process for each rule, undone by a trap. Own words, same means.
//!
//! What these scripts do beside that is left out, to their advantage: packages, the look-up of names, the
//! watchdog, and the agent that calls them.

use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;

use crate::ground::TARGET;
use crate::process::Running;

/// A script in a process group of its own. Killed, group and all, when dropped.
pub(crate) struct Script(pub Running);

impl Script {
    pub(crate) fn start(text: &str) -> Script {
        let mut command = Command::new("bash");
        command.args(["-c", text]).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Script(Running(command.spawn().unwrap()))
    }

    /// SIGTERM to all of it, as a shell does on its end: the trap undoes.
    pub(crate) fn terminate(&self) {
        let _ = killpg(Pid::from_raw(self.0.pid()), Signal::SIGTERM);
    }

    /// SIGKILL to the script alone, as when its sidecar's process is killed.
    pub(crate) fn kill_9(&mut self) {
        let _ = self.0.0.kill();
        let _ = self.0.0.wait();
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.pid()), Signal::SIGKILL);
    }
}

/// The trap, the rules, and the wait.
fn rules(undo: &str, set_up: &str) -> String {
    format!("undo() {{ {undo}; exit 0; }}\ntrap undo TERM\n{set_up}\nwhile :; do sleep 5 & wait $!; done")
}

/// Somebody who has to have rules: what undoes them whatever became of the script.
pub(crate) fn undo_now(text: &str) {
    let _ = Command::new("bash").args(["-c", text]).stderr(Stdio::null()).status();
}

/// More follows in the documents' scripts: so a shell stays, and waits.
pub(crate) fn stress(options: &str) -> String {
    format!("stress-ng {options} -t 600s\nexit $?")
}

pub(crate) fn disk_fill(folder: &str, kib: u64) -> String {
    let file = format!("{folder}/fillup");
    rules(&format!("rm -f {file}"), &format!("fallocate -l {kib}KiB {file}\nexec 3<{file}\nrm {file}"))
}

pub(crate) fn kill_process(name: &str) -> String {
    format!("killall -SIGTERM '{name}'")
}

pub(crate) const BLACK_HOLE_UNDO: &str =
    "iptables -F fault-in; iptables -D INPUT -j fault-in; iptables -X fault-in";

/// Black hole for what comes in to a UDP port, by iptables.
pub(crate) fn black_hole_ingress(port: u16) -> String {
    rules(
        BLACK_HOLE_UNDO,
        &format!(
            "iptables -N fault-in\niptables -A fault-in -p udp --dport {port} -j DROP\n\
             iptables -I INPUT -j fault-in"
        ),
    )
}

pub(crate) const NFT_UNDO: &str = "nft delete table inet fault";

/// Loss of what comes in from the target, by nft: the kernel here has no netem.
pub(crate) fn loss_ingress() -> String {
    rules(
        NFT_UNDO,
        &format!(
            "nft add table inet fault\n\
             nft add chain inet fault in '{{ type filter hook input priority 0; }}'\n\
             nft add rule inet fault in ip saddr {TARGET} drop"
        ),
    )
}

/// Black hole for what goes out to a UDP port, by nft.
pub(crate) fn black_hole_egress(port: u16) -> String {
    rules(
        NFT_UNDO,
        &format!(
            "nft add table inet fault\n\
             nft add chain inet fault out '{{ type filter hook output priority 0; }}'\n\
             nft add rule inet fault out udp dport {port} drop"
        ),
    )
}

pub(crate) const TC_UNDO: &str = "tc qdisc del dev eth0 root";

/// Where the long scripts say that their last rule is there. Each machine has its own: it is named here, and
/// made in the virtual machine.
pub(crate) const DONE: &str = "/tmp/taskfault-bench-rules";

/// Latency or loss for the target, by `tc`: three layers of prio, a hundred netem leaves (all of the flows are
/// meant), filters that spread the flows, and u32 for the target.
pub(crate) fn shape(netem: &str) -> String {
    let zeros = |number: usize| vec!["0"; number].join(" ");
    let all_third = vec!["2"; 16].join(" ");
    let ten = format!("bands 10 priomap {}", zeros(16));
    let keys = "flow hash keys src,dst,proto,proto-src,proto-dst divisor 10";
    rules(
        TC_UNDO,
        &format!(
            "tc qdisc add dev eth0 root handle 1: prio bands 3 priomap {all_third}\n\
             tc qdisc add dev eth0 parent 1:1 handle 10: prio {ten}\n\
             for b in $(seq 10); do\n\
             tc qdisc add dev eth0 parent 10:$(printf %x $b) handle $((99 + b)): prio {ten}\n\
             done\n\
             leaf=200\n\
             for b in $(seq 10); do for l in $(seq 10); do\n\
             tc qdisc add dev eth0 parent $((99 + b)):$(printf %x $l) handle $leaf: netem {netem}\n\
             leaf=$((leaf + 1))\n\
             done; done\n\
             tc filter add dev eth0 parent 10: protocol ip prio 1 handle 1 {keys} baseclass 10:1\n\
             for b in $(seq 10); do\n\
             tc filter add dev eth0 parent $((99 + b)): protocol ip prio 1 handle 1 {keys} baseclass $((99 + b)):1\n\
             done\n\
             tc filter add dev eth0 parent 1: protocol ip prio 2 u32 match ip dst {TARGET}/32 flowid 1:1\n\
             touch {DONE}"
        ),
    )
}
