//! The faults that need no network, as processes: what they do to a file system, a memory cgroup and a PID
//! namespace of the test's own, and that nothing of it is left after an end, a cancel, and `kill -9`.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests; the shared functions of a test file are not seen as such"
)]

use std::borrow::BorrowMut;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "resources/cgroup.rs"]
mod cgroup;
#[path = "resources/injected.rs"]
mod injected;
#[path = "resources/small_disk.rs"]
mod small_disk;

use cgroup::MemoryCgroup;
use injected::{Injected, skip, until};
use small_disk::{MIB, MIB_BYTES, SIZE, SmallDisk};

const FILL: [&str; 5] = ["disk-fill", "--duration", "1h", "--percent", "80"];
const IO: [&str; 5] = ["io-stress", "--duration", "1h", "--workers", "2"];
const TASKFAULT: &str = env!("CARGO_BIN_EXE_taskfault");

fn ended(mut command: impl BorrowMut<Command>) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.borrow_mut().stdin(Stdio::null()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

// ---- disk-fill ---------------------------------------------------------------------------------------

#[test]
fn a_fill_is_as_full_as_asked_and_gone_after_a_cancel() {
    let Some(disk) = SmallDisk::new() else { return };
    let filling = Injected::start(&mut disk.inject(&FILL));
    let used = until(|| disk.used(), |used| *used >= SIZE / 100 * 80 - 4096);
    assert!(used <= SIZE / 100 * 80, "{used}");
    assert_eq!(disk.names(), 0, "the file has no name");
    filling.signal(Signal::SIGTERM);
    let ended = filling.end();
    assert_eq!(ended.code, Some(143));
    assert_eq!(disk.used(), 0);
    let text = ended.stdout;
    assert!(text.contains("before: 0.0 % (0 bytes of 64.0 MiB)"), "{text}");
    assert!(text.contains("achieved: 80.0 % (51.2 MiB of 64.0 MiB) after"), "{text}");
    assert!(text.contains("after: 0.0 %") && text.contains("cancelled after"), "{text}");
}

#[test]
fn a_fill_counts_what_others_have_and_never_takes_more() {
    let Some(disk) = SmallDisk::new() else { return };
    fs::write(disk.outside().join("theirs"), vec![1; 32 * MIB_BYTES]).unwrap();
    let filling = Injected::start(&mut disk.inject(&FILL));
    let used = until(|| disk.used(), |used| *used >= SIZE / 100 * 80 - 4096);
    assert!(used <= SIZE / 100 * 80, "{used}");
    filling.kill_9();
    assert_eq!(until(|| disk.used(), |used| *used <= 33 * MIB), 32 * MIB, "theirs is untouched");
}

#[test]
fn what_cannot_be_filled_is_refused_before_anything_is_touched() {
    let Some(disk) = SmallDisk::new() else { return };
    fs::write(disk.outside().join("theirs"), vec![1; 60 * MIB_BYTES]).unwrap();
    for (words, said) in [
        (&FILL[..], "is already 93.8 % full (60.0 MiB of 64.0 MiB), which is not below the 80 % asked"),
        (&IO[..], "is too full: 4.0 MiB are free, 8.0 MiB stay free in any case"),
    ] {
        let (code, text, complaints) = ended(disk.inject(words));
        assert_eq!((code, text.as_str()), (Some(1), ""));
        assert!(complaints.contains(said), "{complaints}");
    }
    let mut read_only = disk.command("mount");
    read_only.args(["-o", "remount,ro"]).arg(disk.inside());
    assert_eq!(ended(read_only).0, Some(0));
    for words in [&FILL[..], &IO[..]] {
        let (code, _, complaints) = ended(disk.inject(words));
        assert_eq!(code, Some(1));
        assert!(complaints.contains("is mounted read-only"), "{complaints}");
    }
    assert_eq!((disk.used(), disk.names()), (60 * MIB, 1));
}

#[test]
fn a_disk_that_is_read_only_here_is_filled_from_a_volume_on_it() {
    let Some(disk) = SmallDisk::new() else { return };
    // As in a container with a read-only root: two mounts of one disk, of which one can be written.
    let inside = disk.inside().to_str().unwrap().to_owned();
    for words in [["--bind", &inside, "/var/tmp"], ["-o", "remount,bind,ro", &inside]] {
        let mut mount = disk.command("mount");
        mount.args(words);
        assert_eq!(ended(mount).0, Some(0), "{words:?}");
    }
    let filling = Injected::start(&mut disk.inject(&FILL));
    until(|| disk.used(), |used| *used >= SIZE / 100 * 80 - 4096);
    filling.signal(Signal::SIGTERM);
    let text = filling.end().stdout;
    let note = format!("no file can be made on {inside}; /var/tmp is on the same disk");
    assert!(text.contains(&note) && text.contains("achieved: 80.0 %"), "{text}");
    assert_eq!((disk.used(), disk.names()), (0, 0));
}

#[test]
fn inodes_that_are_used_up_are_called_inodes() {
    let Some(disk) = SmallDisk::new() else { return };
    fs::write(disk.outside().join("theirs"), "").unwrap();
    let mut few_inodes = disk.command("mount");
    few_inodes.args(["-o", "remount,nr_inodes=2"]).arg(disk.inside());
    assert_eq!(ended(few_inodes).0, Some(0));
    for words in [&FILL[..], &IO[..]] {
        let (code, _, complaints) = ended(disk.inject(words));
        assert_eq!(code, Some(1));
        assert!(complaints.contains("has no inodes left"), "{complaints}");
    }
}

// ---- io-stress ---------------------------------------------------------------------------------------

#[test]
fn an_io_stress_works_its_time_and_leaves_nothing() {
    let Some(disk) = SmallDisk::new() else { return };
    let (code, text, _) =
        ended(disk.inject(&["io-stress", "--duration", "1s", "--workers", "2", "--percent", "50"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("asked 50 % of 64.0 MiB free") && text.contains("files of up to 32.0 MiB"),
        "{text}"
    );
    assert!(text.contains("files: grew to 32.0 MiB"), "{text}");
    assert!(text.contains("completed after 1.") && text.contains("no file and no thread left"), "{text}");
    assert_eq!((disk.used(), disk.names()), (0, 0));
}

#[test]
fn an_io_stress_keeps_its_reserve_and_gives_way() {
    let Some(disk) = SmallDisk::new() else { return };
    let mut command = disk.inject(&["io-stress", "--duration", "1h", "--percent", "100"]);
    let stress = Injected::start(&mut command);
    // All that is free but an eighth.
    until(|| disk.used(), |used| *used >= 55 * MIB);
    let most = (0..2000).map(|_| disk.used()).max().unwrap();
    assert!(most <= 57 * MIB, "{most}: the reserve was touched");
    // Somebody needs half of the disk, and tries until there is room.
    let mut theirs = fs::File::create(disk.outside().join("theirs")).unwrap();
    for _ in 0..32 {
        let wrote = until(|| std::io::Write::write_all(&mut &theirs, &[1; MIB_BYTES]).is_ok(), |done| *done);
        assert!(wrote);
    }
    std::io::Write::flush(&mut theirs).unwrap();
    stress.signal(Signal::SIGINT);
    let ended = stress.end();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(ended.stdout.contains("note: others needed the space: files gave way"), "{}", ended.stdout);
    assert_eq!(disk.names(), 1);
}

// ---- kill -9 -----------------------------------------------------------------------------------------

#[test]
fn kill_9_at_any_instant_leaves_the_disk_as_it_was() {
    let Some(disk) = SmallDisk::new() else { return };
    for round in 0..60u64 {
        let words = if round % 2 == 0 { &FILL[..] } else { &IO[..] };
        let mut command = disk.inject(words);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Any instant will do, from before the fault to well within it: this waits for nothing.
        std::thread::sleep(std::time::Duration::from_micros(round * 997 % 40_000));
        child.kill().unwrap();
        child.wait().unwrap();
        until(|| (disk.used(), disk.names()), |left| *left == (0, 0));
    }
}

#[test]
fn kill_9_of_a_living_fault_leaves_the_disk_as_it_was() {
    let Some(disk) = SmallDisk::new() else { return };
    for words in [&FILL[..], &IO[..]] {
        let fault = Injected::start(&mut disk.inject(words));
        assert!(fault.ready.starts_with(words[0]), "{}", fault.ready);
        until(|| disk.used(), |used| *used >= 32 * MIB);
        fault.kill_9();
        until(|| (disk.used(), disk.names()), |left| *left == (0, 0));
    }
}

#[test]
fn kill_9_of_a_memory_stress_gives_all_of_it_back() {
    let Some(cgroup) = MemoryCgroup::new(128 * MIB) else { return };
    for _ in 0..3 {
        let mut command = cgroup.command(TASKFAULT);
        let stress = Injected::start(command.args(["inject", "memory-stress", "--duration", "1h"]));
        until(|| cgroup.used(), |used| *used >= 95 * MIB);
        stress.kill_9();
        until(|| cgroup.used(), |used| *used < 8 * MIB);
    }
}

// ---- memory-stress -----------------------------------------------------------------------------------

#[test]
fn all_of_the_memory_is_still_below_the_limit() {
    let Some(cgroup) = MemoryCgroup::new(128 * MIB) else { return };
    let mut command = cgroup.command(TASKFAULT);
    command.args(["inject", "memory-stress", "--duration", "2s", "--percent", "100", "--workers", "3"]);
    let (code, text, complaints) = ended(command);
    assert_eq!(code, Some(0), "{complaints}");
    assert!(text.contains("limit: 128.0 MiB (/sys/fs/cgroup/memory/taskfault-test-"), "{text}");
    assert!(text.contains("note: less than asked, because 16.0 MiB stay free in any case"), "{text}");
    assert!(cgroup.number("memory.max_usage_in_bytes") > 95 * MIB);
    assert_eq!((cgroup.number("memory.failcnt"), cgroup.oom_kills()), (0, 0));
}

#[test]
fn memory_that_others_need_is_given_back() {
    let Some(cgroup) = MemoryCgroup::new(192 * MIB) else { return };
    let mut command = cgroup.command(TASKFAULT);
    command.args(["inject", "memory-stress", "--duration", "1h", "--percent", "100"]);
    let stress = Injected::start(&mut command);
    until(|| cgroup.used(), |used| *used >= 160 * MIB);
    // Somebody who keeps 64 MiB: tail has to, until it sees the end of one long line.
    let mut other = cgroup.command("sh");
    other.args(["-c", "head -c 67108864 /dev/zero | tail -n 1 | wc -c"]);
    let (code, counted, _) = ended(other);
    assert_eq!((code, counted.trim()), (Some(0), "67108864"));
    stress.signal(Signal::SIGTERM);
    let ended = stress.end();
    assert_eq!(ended.code, Some(143), "{}", ended.stderr);
    assert!(ended.stdout.contains("note: others needed memory: gave back"), "{}", ended.stdout);
    assert_eq!(cgroup.oom_kills(), 0);
}

#[test]
fn a_task_without_room_is_told_so() {
    let Some(cgroup) = MemoryCgroup::new(64 * MIB) else { return };
    // tail keeps 50 MiB of one line until its input ends.
    let mut holder = cgroup.command("sh");
    holder.args(["-c", "(head -c 52428800 /dev/zero; cat) | tail -n 1 > /dev/null"]);
    let mut holder = holder.stdin(Stdio::piped()).spawn().unwrap();
    until(|| cgroup.used(), |used| *used >= 50 * MIB);
    let mut command = cgroup.command(TASKFAULT);
    command.args(["inject", "memory-stress", "--duration", "9s"]);
    let (code, text, complaints) = ended(command);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!((code, text.as_str()), (Some(1), ""));
    assert!(complaints.contains("are free, and 16.0 MiB stay free in any case"), "{complaints}");
}

/// Takes `$1` MiB in `$2` steps with a pause of `$3` between two, says so, and holds them until its input ends.
const GREEDY: &str = "import sys, time
size, steps, pause = int(sys.argv[1]) << 20, int(sys.argv[2]), float(sys.argv[3])
held = []
for _ in range(steps):
    held.append(bytearray(b'x') * (size // steps))
    time.sleep(pause)
print('held', flush=True)
sys.stdin.read()
";

/// Runs [`GREEDY`] in `cgroup` until it holds all or is killed; whether it was not.
fn greedy(cgroup: &MemoryCgroup, mib: &str, steps: &str, pause: &str) -> bool {
    let mut command = cgroup.command("python3");
    let mut child = command
        .args(["-c", GREEDY, mib, steps, pause])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(child.stdin.take());
    child.wait().unwrap().success() && line == "held\n"
}

/// Processes in `cgroup` but the one that `stress` is: those that hold memory.
fn ballasts(cgroup: &MemoryCgroup, stress: &Injected) -> Vec<i32> {
    let all = cgroup.processes();
    all.into_iter().filter(|pid| pid.cast_unsigned() != stress.id()).collect()
}

#[test]
fn whoever_needs_memory_at_once_gets_it() {
    let Some(cgroup) = MemoryCgroup::new(300 * MIB) else { return };
    let mut command = cgroup.command(TASKFAULT);
    command.args(["inject", "memory-stress", "--duration", "1h", "--percent", "100"]);
    let stress = Injected::start(&mut command);
    // 160 MiB in 0.2 s, and at once: the second is too fast for anybody to give way in time.
    for (steps, pause) in [("40", "0.005"), ("1", "0"), ("40", "0.005"), ("1", "0"), ("1", "0")] {
        until(|| cgroup.used(), |used| *used >= 260 * MIB);
        assert!(greedy(&cgroup, "160", steps, pause), "the application was killed");
    }
    stress.signal(Signal::SIGTERM);
    let ended = stress.end();
    assert_eq!(ended.code, Some(143), "{}", ended.stderr);
    let taken = format!("the OOM killer took a process that held it, {} time", cgroup.oom_kills());
    assert!(cgroup.oom_kills() == 0 || ended.stdout.contains(&taken), "{taken}: {}", ended.stdout);
}

#[test]
fn what_the_oom_killer_takes_is_told_and_is_never_the_sidecar() {
    let Some(cgroup) = MemoryCgroup::new(128 * MIB) else { return };
    let mut command = cgroup.command(TASKFAULT);
    command.args(["inject", "memory-stress", "--duration", "1h", "--percent", "80"]);
    let stress = Injected::start(&mut command);
    until(|| cgroup.used(), |used| *used >= 90 * MIB);
    // It cannot give way: it stands still. The kernel has to help itself.
    stress.signal(Signal::SIGSTOP);
    assert!(greedy(&cgroup, "64", "1", "0"), "the application was killed");
    assert_eq!(cgroup.oom_kills(), 1);
    stress.signal(Signal::SIGCONT);
    until(|| cgroup.used(), |used| *used >= 90 * MIB);
    stress.signal(Signal::SIGTERM);
    let ended = stress.end();
    assert_eq!(ended.code, Some(143), "{}", ended.stderr);
    let told = "the OOM killer took a process that held it, 1 time; it was started again";
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
    assert!(ended.stdout.contains(r#""times_taken_by_oom_killer":1"#), "{}", ended.stdout);
}

#[test]
fn memory_is_free_at_its_time_though_the_sidecar_stands_still() {
    let Some(cgroup) = MemoryCgroup::new(128 * MIB) else { return };
    let mut command = cgroup.command(TASKFAULT);
    command.args(["inject", "memory-stress", "--duration", "3s", "--percent", "80"]);
    let stress = Injected::start(&mut command);
    until(|| cgroup.used(), |used| *used >= 90 * MIB);
    stress.signal(Signal::SIGSTOP);
    until(|| cgroup.used(), |used| *used < 20 * MIB);
    stress.signal(Signal::SIGCONT);
    let ended = stress.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_ballast_that_is_killed_is_replaced_and_told() {
    let Some(cgroup) = MemoryCgroup::new(128 * MIB) else { return };
    let mut command = cgroup.command(TASKFAULT);
    command.args(["inject", "memory-stress", "--duration", "1h", "--percent", "80"]);
    let stress = Injected::start(&mut command);
    until(|| cgroup.used(), |used| *used >= 90 * MIB);
    for pid in ballasts(&cgroup, &stress) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    until(|| cgroup.used(), |used| *used < 20 * MIB);
    until(|| cgroup.used(), |used| *used >= 90 * MIB);
    stress.signal(Signal::SIGTERM);
    let ended = stress.end();
    assert_eq!(ended.code, Some(143), "{}", ended.stderr);
    assert!(ended.stdout.contains("was killed from outside, 1 time"), "{}", ended.stdout);
    assert_eq!(cgroup.processes(), [0; 0]);
}

// ---- files in memory ---------------------------------------------------------------------------------

/// `taskfault inject` with `words` in `cgroup`, on a tmpfs of 400 MiB that nobody else sees.
fn on_tmpfs(cgroup: &MemoryCgroup, options: &str, words: &[&str]) -> Command {
    let script = r#"
        mount -t tmpfs -o "$1" none /mnt && program=$2 && shift 2 && exec "$program" inject "$@" --path /mnt"#;
    let mut command = cgroup.command("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", options, TASKFAULT]);
    command.args(words);
    command
}

#[test]
fn files_in_memory_stay_below_its_limit_and_give_way() {
    for words in [&FILL[..], &["io-stress", "--duration", "1h", "--percent", "100"]] {
        let Some(cgroup) = MemoryCgroup::new(128 * MIB) else { return };
        let stress = Injected::start(&mut on_tmpfs(&cgroup, "size=400m", words));
        assert!(stress.ready.starts_with(words[0]), "{}", stress.ready);
        until(|| cgroup.used(), |used| *used >= 96 * MIB);
        assert!(greedy(&cgroup, "64", "64", "0.005"), "the application was killed");
        until(|| cgroup.used(), |used| *used >= 96 * MIB);
        stress.signal(Signal::SIGTERM);
        let ended = stress.end();
        assert_eq!(ended.code, Some(143), "{}", ended.stderr);
        assert_eq!((cgroup.number("memory.failcnt"), cgroup.oom_kills()), (0, 0), "{}", ended.stdout);
        let told = "files here are kept in memory and count against its limit of 128.0 MiB";
        assert!(ended.stdout.contains(told), "{}", ended.stdout);
        assert!(ended.stdout.contains("gave way") || ended.stdout.contains("gave back"), "{}", ended.stdout);
    }
}

#[test]
fn an_overlay_is_what_it_is_upon() {
    let in_memory = "files here are kept in memory";
    let script = r#"
        if [ "$1" = tmpfs ]; then mount -t tmpfs -o size=100m none "$2"; fi
        mkdir "$2/lower" "$2/upper" "$2/work"
        mount -t overlay -o "lowerdir=$2/lower,upperdir=$2/upper,workdir=$2/work" none /mnt || exit 77
        exec "$3" inject disk-fill --duration 1s --bytes 4194304 --path /mnt"#;
    for (below, told) in [("tmpfs", true), ("disk", false)] {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", below]);
        let (code, text, complaints) = ended(command.arg(folder.path()).arg(TASKFAULT));
        match code {
            // Where the sources are on an overlay themselves, there is no disk for another.
            Some(77) if below == "disk" => continue,
            Some(77) => return skip(&format!("overlays are refused in namespaces: {complaints}")),
            _ => {}
        }
        assert_eq!(code, Some(0), "{complaints}");
        assert_eq!(text.contains(in_memory), told, "{below}: {text}");
    }
}

#[test]
fn a_file_system_without_an_end_is_filled_by_a_size() {
    let Some(cgroup) = MemoryCgroup::new(128 * MIB) else { return };
    let (code, _, complaints) = ended(on_tmpfs(&cgroup, "size=0", &FILL));
    assert_eq!(code, Some(1));
    assert!(complaints.contains("has no end") && complaints.contains("--bytes"), "{complaints}");
    let sized = ["disk-fill", "--duration", "1s", "--bytes", "33554432"];
    let (code, text, complaints) = ended(on_tmpfs(&cgroup, "size=0", &sized));
    assert_eq!(code, Some(0), "{complaints}");
    assert!(
        text.contains("a file system that does not count after 0.") && text.contains(", 32.0 MiB reserved"),
        "{text}"
    );
    // More than the memory has: not reached, and said.
    let sized = ["disk-fill", "--duration", "1s", "--bytes", "268435456"];
    let (code, text, complaints) = ended(on_tmpfs(&cgroup, "size=0", &sized));
    assert_eq!(code, Some(0), "{complaints}");
    assert!(
        text.contains("achieved: not reached: ") && text.contains("of which 16.0 MiB stay free"),
        "{text}"
    );
    assert_eq!(cgroup.oom_kills(), 0);
}

#[test]
fn what_a_file_system_does_not_give_is_said_as_not_reached() {
    let Some(disk) = SmallDisk::new() else { return };
    let (code, _, complaints) = ended(disk.inject(&["disk-fill", "--duration", "1s", "--bytes", "67108865"]));
    assert_eq!(code, Some(1));
    assert!(complaints.contains("has 64.0 MiB free, which is less than"), "{complaints}");
    let (code, text, _) = ended(disk.inject(&["disk-fill", "--duration", "1s", "--bytes", "33554432"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("asked 32.0 MiB of the file system of"), "{text}");
    assert!(text.contains("achieved: 50.0 % (32.0 MiB of 64.0 MiB) after"), "{text}");
}

// ---- cpu-stress --------------------------------------------------------------------------------------

#[test]
fn very_many_workers_are_cancelled_at_once() {
    let mut command = Command::new(TASKFAULT);
    command.args(["inject", "cpu-stress", "--duration", "1h", "--workers", "4096", "--percent", "1"]);
    let stress = Injected::start(&mut command);
    assert!(stress.ready.starts_with("cpu-stress: "), "{}", stress.ready);
    let cancelled = std::time::Instant::now();
    stress.signal(Signal::SIGTERM);
    let ended = stress.end();
    // With a thread for each worker it took longer than a minute.
    assert!(cancelled.elapsed().as_secs() < 10, "{:?}", cancelled.elapsed());
    assert_eq!(ended.code, Some(143), "{}", ended.stderr);
    assert!(ended.stdout.contains("note: 4096 workers asked; their load comes from "), "{}", ended.stdout);
}

// ---- kill-process ------------------------------------------------------------------------------------

/// Runs `script` as the first process of a PID namespace, with the program as `$1` and a folder as `$2`; None
/// where namespaces are refused.
fn in_pid_namespace(script: &str) -> Option<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command.args(["sh", "-c", script, "sh", TASKFAULT]).arg(folder.path());
    let (code, text, complaints) = ended(command);
    if code == Some(1) && complaints.starts_with("unshare:") {
        skip(&format!("PID namespaces are refused: {complaints}"));
        return None;
    }
    Some((text, complaints))
}

#[test]
fn processes_of_a_name_are_signalled_and_others_are_not() {
    let script = r#"
        for name in victim victims vict; do cp /bin/sleep "$2/$name"; done
        "$2/victim" 600 & "$2/victim" 600 & "$2/victims" 600 & "$2/vict" 600 &
        until [ "$(cat /proc/[0-9]*/comm | grep -c vict)" = 4 ]; do :; done
        "$1" inject kill-process --process-name victim; echo "code $?"
        echo left $(cat /proc/[0-9]*/comm | grep vict | sort)
        "$1" inject kill-process --process-name victim --signal SIGKILL; echo "code $?"
    "#;
    let Some((text, complaints)) = in_pid_namespace(script) else { return };
    assert!(text.contains("signalled: 2 processes: "), "{text}");
    assert!(text.contains("ended within 1 s: 2 of 2"), "{text}");
    assert!(text.contains("code 0\nleft vict victims\ncode 1\n"), "{text}");
    assert!(
        complaints
            .contains("no process is called victim; there are vict, victims. Processes of other containers cannot be seen from here"),
        "{complaints}"
    );
}

#[test]
fn a_long_name_is_matched_whole() {
    let script = r#"
        for name in a-victim-with-a-long-name a-victim-with-a-longer-name; do cp /bin/sleep "$2/$name"; done
        "$2/a-victim-with-a-long-name" 600 & "$2/a-victim-with-a-longer-name" 600 &
        until [ "$(cat /proc/[0-9]*/comm | grep -c a-victim)" = 2 ]; do :; done
        "$1" inject kill-process --process-name a-victim-with-a; echo "code $?"
        "$1" inject kill-process --process-name a-victim-with-a-long-name --signal SIGKILL; echo "code $?"
        readlink /proc/[0-9]*/exe | grep -o 'a-victim-with-a-long.*'
    "#;
    let Some((text, complaints)) = in_pid_namespace(script) else { return };
    assert!(text.starts_with("code 1\n"), "{text}{complaints}");
    assert!(text.contains("asked SIGKILL") && text.contains("ended within 1 s: 1 of 1"), "{text}");
    assert!(text.ends_with("code 0\na-victim-with-a-longer-name\n"), "{text}");
}

#[test]
fn a_script_is_found_by_its_long_name_behind_the_options_of_its_interpreter() {
    let script = r#"
        cat > "$2/script-with-a-long-name" <<'END'
#!/usr/bin/python3 -u
import time
time.sleep(600)
END
        chmod +x "$2/script-with-a-long-name"
        "$2/script-with-a-long-name" &
        until cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -q '[p]ython3 -u /'; do :; done
        "$1" inject kill-process --process-name script-with-a-l; echo "code $?"
        "$1" inject kill-process --process-name script-with-a-long-name --signal SIGKILL; echo "code $?"
        "$1" inject kill-process --process-name script-with-a-long-name; echo "code $?"
    "#;
    let Some((text, complaints)) = in_pid_namespace(script) else { return };
    assert!(text.starts_with("code 1\n"), "{text}{complaints}");
    assert!(text.contains("ended within 1 s: 1 of 1"), "{text}{complaints}");
    // The shell has not waited for it yet, or has: either way it is no hit.
    assert!(text.ends_with("code 0\ncode 1\n"), "{text}{complaints}");
}

#[test]
fn itself_and_the_first_process_are_left_alone() {
    let script = r#"
        "$1" inject kill-process --process-name sh --signal SIGKILL; echo "code $?"
        "$1" inject kill-process --process-name taskfault --signal SIGKILL; echo "code $?"
    "#;
    let Some((text, complaints)) = in_pid_namespace(script) else { return };
    assert_eq!(text, "code 1\ncode 1\n");
    assert!(complaints.contains("1 sh was left alone: it is the first process"), "{complaints}");
    assert!(complaints.contains("taskfault was left alone: it is taskfault itself"), "{complaints}");
}

#[test]
fn one_that_does_not_end_is_told() {
    let script = r#"
        cp /bin/sh "$2/stubborn"
        "$2/stubborn" -c 'trap "" TERM; echo > "$0"; while :; do :; done' "$2/ready" &
        until [ -e "$2/ready" ]; do :; done
        "$1" inject kill-process --process-name stubborn; echo "code $?"
    "#;
    let Some((text, _)) = in_pid_namespace(script) else { return };
    assert!(text.contains("ended within 1 s: 0 of 1") && text.ends_with("code 0\n"), "{text}");
}

#[test]
fn the_hosts_own_namespace_is_refused() {
    let first = fs::read_link("/proc/self/ns/pid").unwrap();
    if first.to_str() != Some("pid:[4026531836]") {
        return skip("this is not the first PID namespace of its kernel");
    }
    // A name that nobody has, should the refusal be missing.
    let mut command = Command::new(TASKFAULT);
    command.args(["inject", "kill-process", "--process-name", "nobody-has-this-name"]);
    command.env_remove("TASKFAULT_ALLOW_HOST_PROCESSES");
    let (code, _, complaints) = ended(command);
    assert_eq!(code, Some(1));
    assert!(complaints.contains("is in the host's own PID namespace"), "{complaints}");
    assert!(
        complaints.contains("--host-processes") && complaints.contains("TASKFAULT_ALLOW_HOST_PROCESSES=true")
    );
}

// ---- process-pause -----------------------------------------------------------------------------------

/// What the scripts below have: the state of the victims, and a wait for it. `T` is stopped.
const STATES: &str = r#"
    states() { cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^[0-9]* (\(vict[a-z]*\)) \(.\).*/\1=\2/p' | sort | tr '\n' ' '; }
    wait_for() { until [ "$(states)" = "$1" ]; do :; done; }
    for name in victim victims; do cp /bin/sleep "$2/$name"; done
"#;

#[test]
fn a_paused_process_stands_still_and_goes_on() {
    let script = format!(
        r#"{STATES}
        "$2/victim" 600 & "$2/victim" 600 & "$2/victims" 600 &
        wait_for "victim=S victim=S victims=S "
        "$1" inject process-pause --process-name victim --duration 1s > "$2/out"& it=$!
        wait_for "victim=T victim=T victims=S "
        wait $it; echo "code $?"; states; echo; cat "$2/out"
        cat /proc/[0-9]*/comm | grep -c guard
        "#
    );
    let Some((text, complaints)) = in_pid_namespace(&script) else { return };
    assert!(
        text.starts_with(
            "code 0
victim=S victim=S victims=S 
"
        ),
        "{text}{complaints}"
    );
    assert!(
        text.contains(
            "asked every process called victim stopped for 1 s
stopped: 2 processes: "
        ),
        "{text}"
    );
    assert!(text.contains("completed after 1.0 s of 1 s; undone: no process left stopped"), "{text}");
    assert!(
        text.contains(r#""matched":2"#)
            && text.ends_with(
                "
0
"
            ),
        "{text}"
    );
}

/// The guardian ends the pause of an injector that is killed, and of one that stands still itself.
#[test]
fn a_pause_ends_with_the_injector_and_on_time_without_it() {
    for (signal, duration) in [("KILL", "1h"), ("STOP", "1s")] {
        let script = format!(
            r#"{STATES}
            "$2/victim" 600 & wait_for "victim=S "
            "$1" inject process-pause --process-name victim --duration {duration} & it=$!
            wait_for "victim=T "
            kill -{signal} $it
            wait_for "victim=S "
            echo goes on
            "#
        );
        let Some((text, complaints)) = in_pid_namespace(&script) else { return };
        assert!(
            text.ends_with(
                "goes on
"
            ),
            "{signal}: {text}{complaints}"
        );
    }
}

#[test]
fn a_cancelled_pause_is_over_and_one_whose_processes_end_ends() {
    let script = format!(
        r#"{STATES}
        "$2/victim" 600 & victim=$!; wait_for "victim=S "
        "$1" inject process-pause --process-name victim --duration 1h & it=$!
        wait_for "victim=T "
        kill $it; wait $it; echo "code $?"; states; echo
        "$1" inject process-pause --process-name victim --duration 1h & it=$!
        wait_for "victim=T "
        kill -KILL $victim; wait $it; echo "code $?"
        "#
    );
    let Some((text, complaints)) = in_pid_namespace(&script) else { return };
    assert!(
        text.contains(
            "code 143
victim=S 
"
        ),
        "{text}{complaints}"
    );
    assert!(
        text.contains(
            "note: 1 process ended while stopped
"
        ) && text.ends_with(
            "code 0
"
        ),
        "{text}{complaints}"
    );
}

#[test]
fn what_was_stopped_by_another_stays_so() {
    let script = format!(
        r#"{STATES}
        "$2/victim" 600 & victim=$!; wait_for "victim=S "
        kill -STOP $victim; wait_for "victim=T "
        "$1" inject process-pause --process-name victim --duration 1s; echo "code $?"; states; echo
        "$1" inject process-pause --process-name nobody --duration 1s; echo "code $?"
        "$1" inject process-pause --process-name taskfault --duration 1s; echo "code $?"
        "#
    );
    let Some((text, complaints)) = in_pid_namespace(&script) else { return };
    assert_eq!(
        text,
        "code 1
victim=T 
code 1
code 1
",
        "{complaints}"
    );
    assert!(complaints.contains("was left alone: it was stopped already"), "{complaints}");
    assert!(complaints.contains("no process is called nobody; there are"), "{complaints}");
    assert!(complaints.contains("it is taskfault itself"), "{complaints}");
}
