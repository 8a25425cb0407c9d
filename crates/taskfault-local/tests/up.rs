//! `taskfault-local up` on this kernel: services of tasks that are real, seen through the API and through
//! `/proc`, and that nothing is left of them. Where the kernel refuses namespaces the tests are skipped aloud,
//! and fail when `CI` is set.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Waits for what another process does. The limit is for a hang, not a measurement.
fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running `taskfault-local up`.
struct Up {
    child: Child,
    folder: tempfile::TempDir,
    /// `127.0.0.1:PORT` of the local AWS.
    address: String,
    output: BufReader<std::process::ChildStdout>,
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_taskfault-local")
}

fn write(folder: &Path, definition: &Value) -> PathBuf {
    let file = folder.join("definition.json");
    fs::write(&file, definition.to_string()).unwrap();
    file
}

/// One shell per task, called as the test wants.
fn shell(script: &str) -> Value {
    json!({
        "family": "web", "pidMode": "task", "networkMode": "awsvpc",
        "containerDefinitions": [{
            "name": "app", "image": "sh", "memory": 32, "entryPoint": ["/bin/sh", "-c"], "command": [script],
            "stopTimeout": 2,
        }],
    })
}

impl Up {
    /// None where namespaces are refused.
    fn start(definition: &Value, options: &[&str]) -> Option<Up> {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), definition);
        let temporary = folder.path().join("tmp");
        fs::create_dir(&temporary).unwrap();
        let mut command = Command::new(program());
        command.arg("up").arg(file).args(["--listen", "127.0.0.1:0"]).args(options);
        command.env("TMPDIR", temporary).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            child.wait().unwrap();
            assert!(said.contains("namespaces are refused here"), "{said}");
            println!("SKIP: {said}");
            assert!(std::env::var_os("CI").is_none(), "{said}");
            return None;
        }
        let address = line.trim().strip_prefix("http://").unwrap().to_owned();
        Some(Up { child, folder, address, output })
    }

    /// One call of ECS, without any AWS client.
    fn ecs(&self, operation: &str, body: Value) -> Value {
        let target = format!(
            "X-Amz-Target: AmazonEC2ContainerServiceV20141113.{operation}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=local/20261127/us-east-1/ecs/aws4_request, SignedHeaders=host, Signature=00\r\n"
        );
        let answer = http(&self.address, "POST", "/", &target, &body.to_string());
        assert!(answer.starts_with("HTTP/1.1 200"), "{operation} {body}: {answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// The ARNs of `count` tasks, once so many run and the service is steady.
    fn steady(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} tasks run"), || {
            let described = self.ecs("DescribeServices", json!({ "services": ["web"] }));
            let service = &described["services"][0];
            let steady = service["runningCount"] == json!(count) && service["pendingCount"] == 0;
            steady.then(|| self.tasks("RUNNING"))
        })
    }

    fn tasks(&self, desired: &str) -> Vec<String> {
        let listed = self.ecs("ListTasks", json!({ "desiredStatus": desired }));
        listed["taskArns"].as_array().unwrap().iter().map(|arn| arn.as_str().unwrap().to_owned()).collect()
    }

    fn describe(&self, arn: &str) -> Value {
        self.ecs("DescribeTasks", json!({ "tasks": [arn] }))["tasks"][0].clone()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end; the status and the rest of what it said.
    fn ends(&mut self) -> (std::process::ExitStatus, String) {
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn http(address: &str, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The process and all below it, with their command lines.
fn descendants(root: u32) -> Vec<(u32, String)> {
    let mut all = vec![root];
    let mut next = 0;
    while next < all.len() {
        let parent = format!("PPid:\t{}\n", all[next]);
        let pids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        all.extend(pids.filter(|pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&parent))
        }));
        next += 1;
    }
    let command = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        (*pid, String::from_utf8_lossy(&line).replace('\0', " "))
    };
    all.iter().map(command).collect()
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_task_whose_essential_process_is_killed_is_replaced() {
    let Some(up) = Up::start(&shell("exec sleep 1000.25"), &["--count", "2"]) else { return };
    let before = up.steady(2);
    let sleeping = |up: &Up| -> Vec<u32> {
        let all = descendants(up.child.id());
        all.into_iter().filter(|(_, line)| line.contains("1000.25")).map(|(pid, _)| pid).collect()
    };
    let victim = eventually("the programs run", || {
        let pids = sleeping(&up);
        (pids.len() == 2).then(|| pids[0])
    });
    kill(Pid::from_raw(i32::try_from(victim).unwrap()), Signal::SIGKILL).unwrap();
    let after = eventually("another task runs in its place", || {
        let now = up.steady(2);
        (now != before).then_some(now)
    });
    let gone: Vec<_> = before.iter().filter(|arn| !after.contains(arn)).collect();
    assert_eq!(gone.len(), 1, "{before:?} {after:?}");
    let stopped = eventually("the task has stopped", || {
        let task = up.describe(gone[0]);
        (task["lastStatus"] == "STOPPED").then_some(task)
    });
    assert_eq!(stopped["stopCode"], "EssentialContainerExited");
    assert_eq!(stopped["stoppedReason"], "Essential container in task exited");
    assert_eq!(stopped["containers"][0]["exitCode"], 137);
    let address =
        |arn: &str| up.describe(arn)["containers"][0]["networkInterfaces"][0]["privateIpv4Address"].clone();
    let fresh = after.iter().find(|arn| !before.contains(arn)).unwrap();
    assert_ne!(address(fresh), address(gone[0]), "a new task has a new address");
}

#[test]
fn stop_task_and_update_service_do_what_they_say() {
    // One that ignores SIGTERM: SIGKILL comes after its stopTimeout.
    let definition = shell("trap '' TERM; while :; do sleep 0.1; done");
    let Some(up) = Up::start(&definition, &["--count", "2"]) else { return };
    let before = up.steady(2);
    let stopped = up.ecs("StopTask", json!({ "task": before[0], "reason": "a test" }));
    assert_eq!(stopped["task"]["desiredStatus"], "STOPPED");
    let ended = eventually("the task has stopped", || {
        let task = up.describe(&before[0]);
        (task["lastStatus"] == "STOPPED").then_some(task)
    });
    assert_eq!(ended["stoppedReason"], "a test");
    assert_eq!(ended["containers"][0]["exitCode"], 137, "SIGKILL");
    assert_eq!(up.steady(2).len(), 2, "it was replaced");
    up.ecs("UpdateService", json!({ "service": "web", "desiredCount": 4 }));
    assert_eq!(up.steady(4).len(), 4);
    up.ecs("UpdateService", json!({ "service": "web", "desiredCount": 1 }));
    assert_eq!(up.steady(1).len(), 1);
    assert_eq!(up.tasks("STOPPED").len(), 4);
}

#[test]
fn a_task_finds_in_its_environment_what_ecs_gives() {
    let definition = shell("env; exec sleep 1000");
    let logs = tempfile::tempdir().unwrap();
    let kept = logs.path().to_str().unwrap();
    let Some(up) = Up::start(&definition, &["--cluster", "blue", "--logs", kept]) else { return };
    let arn = eventually("it runs", || {
        let listed = up.ecs("ListTasks", json!({ "cluster": "blue" }));
        listed["taskArns"][0].as_str().map(str::to_owned)
    });
    let id = arn.rsplit('/').next().unwrap();
    let log = eventually("it has said its environment", || {
        let text = fs::read_to_string(logs.path().join(id).join("app.log")).unwrap_or_default();
        text.contains("ECS_AGENT_URI").then_some(text)
    });
    for line in [
        format!("ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/blue/web/{id}/container/app"),
        format!("ECS_AGENT_URI=http://169.254.170.2/api/blue/web/{id}"),
        format!("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/{id}"),
        "AWS_EXECUTION_ENV=AWS_ECS_EC2".to_owned(),
    ] {
        assert!(log.lines().any(|said| said == line), "{line} in {log}");
    }
    let path = format!("/v4/blue/web/{id}/container/app/task");
    let answer = http(&up.address, "GET", &path, "", "");
    let metadata: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(metadata["TaskARN"], arn);
    assert_eq!(metadata["Containers"][0]["Image"], "sh");
    assert_eq!(metadata["Containers"].as_array().unwrap().len(), 1);
}

#[test]
fn the_application_answers_under_the_name_that_was_asked_for_through_a_published_port() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let definition = json!({
        "family": "web", "pidMode": "task", "networkMode": "awsvpc",
        "containerDefinitions": [{
            "name": "app", "image": "taskfault-local", "memory": 32, "command": ["application", "--port", "80"],
            "portMappings": [{ "containerPort": 80 }],
            "dockerLabels": { "taskfault.process-name": "python" },
        }],
    });
    let Some(up) = Up::start(&definition, &["--publish", &port.to_string()]) else { return };
    up.steady(1);
    let answer = eventually("it answers", || {
        let outside = format!("127.0.0.1:{port}");
        let answer = TcpStream::connect(&outside).ok().map(|_| http(&outside, "GET", "/", "", ""))?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    });
    assert!(answer.contains("rounds of SHA-256"), "{answer}");
    let named = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default() == "python\n";
    let pids: Vec<u32> = descendants(up.child.id()).into_iter().map(|(pid, _)| pid).collect();
    assert_eq!(pids.iter().filter(|pid| named(pid)).count(), 1);
}

#[test]
fn ctrl_c_ends_everything_and_removes_its_folder() {
    let Some(mut up) = Up::start(&shell("exec sleep 1000"), &["--count", "3"]) else { return };
    up.steady(3);
    let seen = descendants(up.child.id());
    assert!(seen.len() >= 10, "up, and three processes for each of three tasks: {seen:?}");
    up.signal(Signal::SIGINT);
    let (status, said) = up.ends();
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(said.matches("STOPPED").count(), 3, "{said}");
    assert!(seen.iter().all(|(pid, _)| !is_there(*pid)), "{seen:?}");
    assert_eq!(fs::read_dir(up.folder.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn kill_9_leaves_no_process() {
    let Some(mut up) = Up::start(&shell("trap '' TERM; while :; do sleep 0.1; done"), &["--count", "2"])
    else {
        return;
    };
    up.steady(2);
    let seen = descendants(up.child.id());
    up.signal(Signal::SIGKILL);
    assert_eq!(up.ends().0.signal(), Some(9));
    eventually("nothing is left", || seen.iter().all(|(pid, _)| !is_there(*pid)).then_some(()));
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |definition: &Value, options: &[&str]| {
        let file = write(folder.path(), definition);
        let mut command = Command::new(program());
        let output = command.arg("up").arg(file).args(["--listen", "127.0.0.1:0"]).args(options).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    let mut image = shell("");
    image["containerDefinitions"][0] =
        json!({ "name": "app", "image": "nginx", "memory": 32, "command": ["no-such-program-anywhere"] });
    let said = refused(&image, &[]);
    assert!(said.contains("images are not run here") && said.contains("--program app="), "{said}");
    assert!(refused(&json!({ "family": "" }), &[]).contains("has no family"));
    assert!(refused(&json!([]), &[]).contains("not a task definition"));
    assert!(
        refused(&json!({ "family": "web" }), &[])
            .contains("definition.json: the task definition has no containerD")
    );
    assert!(
        refused(&json!({ "taskDefinition": shell("exit") }), &[])
            .contains("what describe-task-definition prints")
    );
    let said = refused(&shell("exit"), &["--program", "web=sleep 1"]);
    assert!(said.contains("no FILE has such a container; there are app"), "{said}");
    let file = folder.path().join("definition.json");
    let said = refused(&shell("exit"), &[file.to_str().unwrap()]);
    assert!(said.contains("another FILE has the family web too"), "{said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("{}:80", taken.local_addr().unwrap().port());
    let said = refused(&shell("exit"), &["--publish", &port]);
    assert!(
        said.contains("Address already in use") && said.contains("give another port with --publish"),
        "{said}"
    );
    let said = refused(&shell("exit"), &["--publish", "0"]);
    assert!(said.contains("no port mapping"), "{said}");
}
