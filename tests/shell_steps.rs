//! Documents with shell steps, from request to reports, in the machine's own `sh`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use effects::task::Task;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use ssm_wire::report::reply::{REPLY_BYTES, Replier};
use ssm_wire::report::{DocumentStatus, StepReport, StepStatus};
use taskfault::document::{self, Request};
use taskfault::run::invocation::{self, InvocationContext};
use tokio_util::sync::CancellationToken;

const COMMAND: &str = "da11fb41-9572-47f6-9aae-6f3494230478";

/// A folder for the scripts, and what runs in it.
struct Fixture {
    folder: tempfile::TempDir,
    path: Option<&'static str>,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { folder: tempfile::tempdir().unwrap(), path: Some("/usr/bin:/bin") }
    }

    fn context(&self) -> InvocationContext {
        let path = self.path.map(|path| ("PATH".into(), path.into()));
        InvocationContext {
            command_id: COMMAND.to_owned(),
            instance_id: "mi-0123456789abcdef0".to_owned(),
            region: "eu-west-1".to_owned(),
            orchestration_dir: self.folder.path().join("orchestration"),
            platform_name: "Debian GNU/Linux".to_owned(),
            platform_version: "12".to_owned(),
            task: Task::default(),
            clock: taskfault::aws::clock::Clock::default(),
            heartbeats: std::rc::Rc::default(),
            output: None,
            metrics: None,
            active_faults: std::rc::Rc::default(),
            environment: BTreeMap::from_iter([("INHERITED".into(), "yes".into())].into_iter().chain(path)),
        }
    }

    fn run(&self, document: Value) -> Vec<StepReport> {
        self.run_with(document, json!({}), CancellationToken::new(), |_| {})
    }

    fn run_with(
        &self,
        document: Value,
        parameters: Value,
        cancel: CancellationToken,
        mut on_step: impl FnMut(&StepReport),
    ) -> Vec<StepReport> {
        let plan = document::plan(&request(document, parameters)).unwrap();
        let reports =
            block_on(async { invocation::run(&plan, &self.context(), &cancel, &mut on_step).await });
        let left: Vec<_> = walk(&self.folder.path().join("orchestration")).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        reports
    }
}

fn walk(folder: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn request(document: Value, parameters: Value) -> Request {
    let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
    Request { command_id: COMMAND.to_owned(), document_name: "test".to_owned(), document, parameters }
}

fn document(steps: &[Value]) -> Value {
    json!({"schemaVersion": "2.2", "mainSteps": steps})
}

fn step(name: &str, script: &str) -> Value {
    step_with(name, script, json!({}))
}

fn step_with(name: &str, script: &str, inputs: Value) -> Value {
    let Value::Object(mut inputs) = inputs else { panic!("inputs are an object") };
    inputs.insert("runCommand".to_owned(), json!([script]));
    json!({"action": "aws:runShellScript", "name": name, "inputs": Map::from_iter(inputs)})
}

fn summary(reports: &[StepReport]) -> Vec<(&str, &str, i32)> {
    reports.iter().map(|report| (report.name.as_str(), report.status.as_str(), report.code)).collect()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn replies(reports: &[StepReport]) -> Value {
    let replier = Replier { version: "3.3.0.0".to_owned(), able_to_open_control_channel: None };
    let reply = replier.progress(reports, std::time::SystemTime::now());
    assert!(reply.len() <= REPLY_BYTES, "{}", reply.len());
    serde_json::from_str(&reply).unwrap()
}

/// The process is gone, or a zombie that init has not collected yet.
fn ended(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

/// SIGKILL was sent already; the kernel ends a process that is not our child in its own time.
fn assert_ends(pid: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !ended(pid) {
        assert!(std::time::Instant::now() < deadline, "process {pid} lives");
        std::thread::yield_now();
    }
}

/// Protocol sheet §6.5, row by row.
#[test]
fn exit_codes_mean_what_they_mean_to_the_stock_agent() {
    for (script, status, code, stdout, stderr) in [
        ("echo out; echo err >&2", "Success", 0, "out\n", "err\n"),
        ("echo err >&2; exit 3", "Failed", 3, "", "err\nfailed to run commands: exit status 3"),
        ("exit 137", "TimedOut", 137, "", ""),
        (
            "echo out; echo err >&2; exit 168",
            "Success",
            168,
            "out\n\nStep exited with code 168. Therefore, marking step as succeeded. Further document steps will be \
             skipped.",
            "",
        ),
        (
            "exit 169",
            "Failed",
            169,
            "\nStep exited with code 169. Therefore, marking step as Failed. Further document steps will be skipped.",
            "failed to run commands: exit status 169\nStep exited with code 169. Therefore, marking step as Failed. \
             Further document steps will be skipped.",
        ),
    ] {
        let reports = Fixture::new().run(document(&[step("a", script)]));
        assert_eq!(summary(&reports), [("a", status, code)], "{script}");
        assert_eq!((text(&reports[0].stdout), text(&reports[0].stderr)), (stdout, stderr), "{script}");
    }
}

#[test]
fn a_reboot_is_refused_in_words_and_nothing_runs_without_it() {
    let reports = Fixture::new().run(document(&[step("a", "exit 194"), step("b", "echo b")]));
    assert_eq!(summary(&reports), [("a", "Failed", 194), ("b", "Skipped", 0)]);
    assert!(text(&reports[0].stderr).contains("cannot reboot its host"));
}

/// Protocol sheet §7.2, flow control.
#[test]
fn flow_control_is_read_from_the_inputs() {
    let cases = [
        // Without a modifier a failure stops nothing.
        (json!({}), "exit 1", vec![("a", "Failed", 1), ("b", "Success", 0), ("c", "Success", 0)]),
        (
            json!({"onFailure": "exit"}),
            "exit 1",
            vec![("a", "Failed", 1), ("b", "Skipped", 0), ("c", "Success", 0)],
        ),
        (
            json!({"onFailure": "successAndExit"}),
            "exit 1",
            vec![("a", "Success", 168), ("b", "Skipped", 0), ("c", "Success", 0)],
        ),
        (
            json!({"onSuccess": "exit"}),
            "exit 0",
            vec![("a", "Success", 0), ("b", "Skipped", 0), ("c", "Success", 0)],
        ),
        (
            json!({"onSuccess": "exit", "onFailure": "exit"}),
            "exit 168",
            vec![("a", "Success", 168), ("b", "Skipped", 0), ("c", "Success", 0)],
        ),
        // Not the last step, so it does not count there.
        (
            json!({"finallyStep": true, "onFailure": "exit"}),
            "exit 9",
            vec![("a", "Failed", 9), ("b", "Skipped", 0), ("c", "Success", 0)],
        ),
    ];
    for (inputs, script, expected) in cases {
        let reports = Fixture::new().run(document(&[
            step_with("a", script, inputs.clone()),
            step_with("b", "echo b", json!({"finallyStep": "true"})),
            step_with("c", "echo c", json!({"finallyStep": true})),
        ]));
        assert_eq!(summary(&reports), expected, "{inputs} {script}");
    }
    let reports = Fixture::new().run(document(&[
        step_with("a", "echo out; exit 1", json!({"onFailure": "exit"})),
        step("b", "echo b"),
    ]));
    let remark = "\nStep was found to have onFailure property. Further document steps will be skipped.";
    assert_eq!(text(&reports[0].stdout), format!("out\n{remark}"));
    assert_eq!(text(&reports[0].stderr), format!("failed to run commands: exit status 1{remark}"));
    // The combined output is the one from before the remark.
    let output = "out\n\n----------ERROR-------\nfailed to run commands: exit status 1";
    assert_eq!(reports[0].message.as_deref(), Some(output));
    let skipped =
        "Plugin with name aws:runShellScript and id b skipped due to prior step with an exit condition";
    assert_eq!(reports[1].message.as_deref(), Some(skipped));
    assert_eq!(DocumentStatus::of(&reports), DocumentStatus::Failed);
}

#[test]
fn each_report_is_given_out_before_the_next_step_starts() {
    let fixture = Fixture::new();
    let mark = fixture.folder.path().join("mark");
    let second = step("b", &format!("cat {}", mark.display()));
    let reports = fixture.run_with(
        document(&[step("a", "echo a"), second]),
        json!({}),
        CancellationToken::new(),
        |report| std::fs::write(&mark, &report.name).unwrap(),
    );
    assert_eq!(text(&reports[1].stdout), "a");
}

/// Protocol sheet §7.6: the environment, the command line, the file.
#[test]
fn a_script_finds_what_the_stock_agent_gives_it() {
    let fixture = Fixture::new();
    let script = "echo $INHERITED $SSM_COMMAND_ID $AWS_SSM_INSTANCE_ID $AWS_SSM_REGION_NAME; \
                  echo $AWS_SSM_PLATFORM_NAME $AWS_SSM_PLATFORM_VERSION $OWN; \
                  stat -c %a \"$0\" \"$(dirname \"$0\")\"; echo \"$0\"; cat; pwd; ps -o pgid= -p $$ | tr -d ' '; echo $$";
    let inputs = json!({"workingDirectory": "/tmp", "environment": {"OWN": "a b", "SSM_COMMAND_ID": "no"}});
    let reports = fixture.run(document(&[step_with("one step", script, inputs)]));
    let lines: Vec<_> = text(&reports[0].stdout).lines().collect();
    assert_eq!(lines[0], format!("yes {COMMAND} mi-0123456789abcdef0 eu-west-1"), "{reports:?}");
    assert_eq!(lines[1], "Debian GNU/Linux 12 a b");
    assert_eq!(lines[2..4], ["700", "700"]);
    assert!(lines[4].ends_with(&format!("/orchestration/{COMMAND}/one step/_script.sh")), "{}", lines[4]);
    assert_eq!(lines[5], "/tmp");
    let own_group = nix::unistd::getpgrp().to_string();
    assert_ne!(lines[6], own_group);
}

#[test]
fn a_document_of_schema_1_2_runs_its_list_of_properties() {
    let document = json!({
        "schemaVersion": "1.2",
        "parameters": {"commands": {"type": "StringList"}, "executionTimeout": {"default": "3600"}},
        "runtimeConfig": {"aws:runShellScript": {"properties": [
            {"id": "0.aws:runShellScript", "runCommand": "{{ commands }}",
             "timeoutSeconds": "{{ executionTimeout }}"},
            {"id": "1.aws:runShellScript", "runCommand": ["echo second; echo no >&2; exit 4"]},
            {"id": "../../x", "runCommand": ["echo third; exit 5"]},
        ]}},
    });
    let parameters = json!({"commands": ["echo first", "echo \"$0\""]});
    let reports = Fixture::new().run_with(document, parameters, CancellationToken::new(), |_| {});
    assert_eq!(summary(&reports), [("aws:runShellScript", "Failed", 4)]);
    let stdout = text(&reports[0].stdout);
    assert!(stdout.starts_with("first\n/") && stdout.ends_with("\n\nsecond\n\nthird\n"), "{stdout}");
    let script = format!("/{COMMAND}/awsrunShellScript/0.awsrunShellScript/_script.sh\n");
    assert!(stdout.contains(&script), "{stdout}");
    let stderr = "no\nfailed to run commands: exit status 4\nfailed to run commands: exit status 5";
    assert_eq!(text(&reports[0].stderr), stderr);
}

/// Starts `document`, waits until the script has written `file`, cancels, and returns what was in it.
fn cancel_when_written(fixture: &Fixture, document: Value, file: &Path) -> (String, Vec<StepReport>) {
    let cancel = CancellationToken::new();
    let plan = document::plan(&request(document, json!({}))).unwrap();
    let context = fixture.context();
    let reports = block_on(async {
        let watch = async {
            loop {
                match std::fs::read_to_string(file) {
                    Ok(text) if text.ends_with('\n') => break text,
                    _ => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        let mut ignore = |_: &StepReport| {};
        let run = invocation::run(&plan, &context, &cancel, &mut ignore);
        let cancelled = async {
            let text = watch.await;
            cancel.cancel();
            text
        };
        tokio::join!(cancelled, run)
    });
    assert_eq!(walk(&fixture.folder.path().join("orchestration")).count(), 0);
    reports
}

#[test]
fn a_cancel_kills_the_whole_group_whatever_it_traps() {
    let fixture = Fixture::new();
    let (ready, trapped) = (fixture.folder.path().join("ready"), fixture.folder.path().join("trapped"));
    let script = format!(
        "trap 'echo trapped > {0}' TERM INT EXIT; sleep 1000 & echo begun; sleep 1000 & \
         echo \"$$ $!\" > {1}.part; mv {1}.part {1}; wait",
        trapped.display(),
        ready.display()
    );
    let steps = document(&[step("a", &script), step("b", "echo b"), json!({"action": "no", "name": "c"})]);
    let (pids, reports) = cancel_when_written(&fixture, steps, &ready);
    assert_eq!(summary(&reports), [("a", "Cancelled", 137), ("b", "Cancelled", 1), ("c", "Failed", 1)]);
    assert_eq!(text(&reports[0].stdout), "begun\n");
    assert_eq!(pids.split_whitespace().count(), 2);
    pids.split_whitespace().for_each(assert_ends);
    assert!(!trapped.exists());
}

#[test]
fn a_cancel_gets_through_to_a_script_that_prints_without_end() {
    let fixture = Fixture::new();
    let ready = fixture.folder.path().join("ready");
    let script = format!("echo $$ > {0}.part; mv {0}.part {0}; exec yes", ready.display());
    let (pid, reports) = cancel_when_written(&fixture, document(&[step("a", &script)]), &ready);
    assert_eq!(summary(&reports), [("a", "Cancelled", 137)]);
    assert!(reports[0].stdout.len() <= 24_000);
    assert_ends(&pid);
}

#[test]
fn a_process_that_left_the_group_cannot_hold_up_a_cancel() {
    let fixture = Fixture::new();
    let ready = fixture.folder.path().join("ready");
    // It keeps the pipe open, which would keep the step open had it not been cancelled.
    let script = format!(
        "setsid sh -c 'echo $$ > {0}.part; mv {0}.part {0}; exec sleep 1000' & wait",
        ready.display()
    );
    let (pid, reports) = cancel_when_written(&fixture, document(&[step("a", &script)]), &ready);
    assert_eq!(summary(&reports), [("a", "Cancelled", 137)]);
    assert!(!ended(&pid), "as under the stock agent, what left the group survives");
    kill(Pid::from_raw(pid.trim().parse().unwrap()), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn a_future_that_is_dropped_leaves_nothing() {
    let fixture = Fixture::new();
    let ready = fixture.folder.path().join("ready");
    let script = format!("echo $$ > {0}.part; mv {0}.part {0}; sleep 1000", ready.display());
    let plan = document::plan(&request(document(&[step("a", &script)]), json!({}))).unwrap();
    let (context, cancel) = (fixture.context(), CancellationToken::new());
    let pid = block_on(async {
        let mut ignore = |_: &StepReport| {};
        let watch = async {
            while !ready.exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            _ = invocation::run(&plan, &context, &cancel, &mut ignore) => panic!("it ended by itself"),
            () = watch => {}
        }
        std::fs::read_to_string(&ready).unwrap()
    });
    assert_ends(&pid);
    assert_eq!(walk(&fixture.folder.path().join("orchestration")).count(), 0);
}

#[test]
fn a_cancel_before_the_start_runs_nothing() {
    let fixture = Fixture::new();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let mark = fixture.folder.path().join("mark");
    let steps = document(&[step("a", &format!("touch {}", mark.display())), step("b", "echo b")]);
    let reports = fixture.run_with(steps, json!({}), cancel, |_| {});
    assert_eq!(summary(&reports), [("a", "Cancelled", 1), ("b", "Cancelled", 1)]);
    assert_eq!(DocumentStatus::of(&reports), DocumentStatus::Cancelled);
    assert!(!mark.exists());
}

#[test]
fn output_beyond_every_limit_is_cut_and_the_script_not_blocked() {
    let script = "head -c 60000 /dev/zero | tr '\\0' o; head -c 60000 /dev/zero | tr '\\0' e >&2";
    let reports = Fixture::new().run(document(&[step("a", script)]));
    assert_eq!(summary(&reports), [("a", "Success", 0)]);
    let status = &replies(&reports)["runtimeStatus"]["a"];
    for key in ["standardOutput", "standardError"] {
        let stream = status[key].as_str().unwrap();
        assert_eq!(stream.len(), 24_000, "{key}");
        assert!(stream.ends_with("--output truncated--"));
    }
    assert_eq!(status["output"].as_str().unwrap().len(), 2500);
}

#[test]
fn binary_output_still_makes_a_reply() {
    let script = "head -c 60000 /dev/zero; head -c 60000 /dev/zero | tr '\\0' '\\377' >&2";
    let reports = Fixture::new().run(document(&[step("a", script)]));
    let reply = replies(&reports);
    let stderr = reply["runtimeStatus"]["a"]["standardError"].as_str().unwrap();
    assert!(stderr.starts_with('\u{fffd}') && stderr.ends_with("--output truncated--"));
}

#[test]
fn a_step_ends_when_its_pipes_are_closed() {
    let fixture = Fixture::new();
    let (go, fifo) = (fixture.folder.path().join("go"), fixture.folder.path().join("fifo"));
    // The background child holds the pipe until the test writes to the FIFO; the shell itself exits at once.
    let script = format!(
        "mkfifo {fifo}; (read line < {fifo}; echo \"late $line\") & echo early; touch {go}",
        fifo = fifo.display(),
        go = go.display()
    );
    let plan = document::plan(&request(document(&[step("a", &script)]), json!({}))).unwrap();
    let context = fixture.context();
    let reports = block_on(async {
        let release = async {
            while !go.exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let fifo = fifo.clone();
            tokio::task::spawn_blocking(move || std::fs::write(fifo, "line\n")).await.unwrap().unwrap();
        };
        let cancel = CancellationToken::new();
        let mut ignore = |_: &StepReport| {};
        tokio::join!(invocation::run(&plan, &context, &cancel, &mut ignore), release).0
    });
    assert_eq!(text(&reports[0].stdout), "early\nlate line\n");
}

#[test]
fn a_daemon_with_its_output_elsewhere_survives_the_step() {
    let script = "sleep 1000 >/dev/null 2>&1 & echo $!";
    let reports = Fixture::new().run(document(&[step("a", script)]));
    let pid = text(&reports[0].stdout).trim();
    assert!(!ended(pid));
    kill(Pid::from_raw(pid.parse().unwrap()), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn a_time_out_kills_the_group() {
    // It prints without end meanwhile, which must not keep the time-out from being noticed.
    let script = "sleep 1000 & echo $$ $!; yes >&2";
    let reports = Fixture::new().run(document(&[step_with("a", script, json!({"timeoutSeconds": "5"}))]));
    assert_eq!(summary(&reports), [("a", "TimedOut", 137)]);
    assert_eq!(text(&reports[0].stdout).split_whitespace().count(), 2);
    text(&reports[0].stdout).split_whitespace().for_each(assert_ends);
    assert_eq!(reports[0].status, StepStatus::TimedOut);
}

#[test]
fn what_cannot_be_run_says_why() {
    let no_shell = Fixture { path: Some("/nonexistent"), ..Fixture::new() };
    let reports = no_shell.run(document(&[step("a", "echo a")]));
    assert_eq!(summary(&reports), [("a", "Failed", 1)]);
    assert!(text(&reports[0].stderr).contains("this image has no shell; use an AWSFIS document"));

    let inputs = json!({"workingDirectory": "/nonexistent/x"});
    let reports = Fixture::new().run(document(&[step_with("a", "echo a", inputs)]));
    assert!(text(&reports[0].stderr).contains("working directory /nonexistent/x cannot be entered"));

    let fixture = Fixture::new();
    std::fs::write(fixture.folder.path().join("orchestration"), "a file").unwrap();
    let plan = document::plan(&request(document(&[step("a", "echo a")]), json!({}))).unwrap();
    let reports = block_on(async {
        invocation::run(&plan, &fixture.context(), &CancellationToken::new(), &mut |_| {}).await
    });
    assert!(text(&reports[0].stderr).contains("cannot make the folder"), "{reports:?}");

    let fixture = Fixture::new();
    let in_the_way = fixture.folder.path().join("orchestration").join(COMMAND).join("a/_script.sh");
    std::fs::create_dir_all(in_the_way).unwrap();
    let reports = fixture.run(document(&[step("a", "echo a")]));
    assert!(text(&reports[0].stderr).contains("cannot write the script"), "{reports:?}");
}

#[test]
fn an_orchestration_folder_may_have_any_name() {
    let fixture = Fixture::new();
    let folder = fixture.folder.path().join("it's a $(folder)");
    let context = InvocationContext { orchestration_dir: folder.clone(), ..fixture.context() };
    let plan = document::plan(&request(document(&[step("a", "echo \"$0\"")]), json!({}))).unwrap();
    let reports =
        block_on(async { invocation::run(&plan, &context, &CancellationToken::new(), &mut |_| {}).await });
    let script = folder.join(COMMAND).join("a/_script.sh");
    assert_eq!(text(&reports[0].stdout), format!("{}\n", script.display()), "{reports:?}");
    assert_eq!(walk(&folder).count(), 0);
}

#[test]
fn a_refused_step_fails_in_its_place_and_the_others_run() {
    let unknown = json!({"action": "aws:noSuch", "name": "b", "inputs": {}});
    let broken = json!({"action": "aws:runShellScript", "name": "c", "inputs": {"runCommand": "echo c"}});
    let reports = Fixture::new().run(document(&[step("a", "echo a"), unknown, broken, step("d", "echo d")]));
    let expected = [("a", "Success", 0), ("b", "Failed", 1), ("c", "Failed", 1), ("d", "Success", 0)];
    assert_eq!(summary(&reports), expected);
    let unknown = "Plugin with name aws:noSuch is not supported by this version of ssm agent, please update to latest \
                   version. Step name: b";
    assert_eq!(reports[1].message.as_deref(), Some(unknown));
    assert!(text(&reports[2].stderr).starts_with("Invalid format in plugin properties "));
}
