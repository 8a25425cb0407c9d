//! The report in a real browser: nothing on its console, every series in its document, on a screen and on a
//! phone, in light and in dark. Needs Chromium; a skip is said aloud, and fails where CI is set.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use experiment::report;
use record::{Action, AlarmChange, CpuSample, Experiment, FORMAT, Load, Record, Second, Task, TaskCpu};

const BEGAN: f64 = 1_795_400_000.0;

fn at(second: u32) -> f64 {
    BEGAN + f64::from(second)
}

/// Everything that a report can show, once.
fn record() -> Record {
    let second = |index: u32| Second {
        at: at(index),
        sent: 30,
        ok: if index == 25 { 20 } else { 30 },
        errors: if index == 25 { [("refused".to_owned(), 10)].into() } else { Default::default() },
        p50_ms: Some(20.0),
        p95_ms: Some(30.0 + f64::from(index)),
        p99_ms: Some(if index == 25 { 1000.0 } else { 70.0 }),
        lag_ms: 1.0,
        ..Second::default()
    };
    let action = Action {
        name: "StressCpu".into(),
        action_id: "aws:ecs:task-cpu-stress".into(),
        status: "completed".into(),
        started: Some(at(10)),
        ended: Some(at(20)),
        ..Action::default()
    };
    let experiment = Experiment {
        id: "EXP1".into(),
        description: "CPU stress".into(),
        status: "completed".into(),
        started: Some(at(10)),
        ended: Some(at(21)),
        actions: vec![action],
        ..Experiment::default()
    };
    let task = Task {
        arn: "arn:aws:ecs:us-east-1:000000000000:task/demo/one".into(),
        started: at(0),
        stopping: Some(at(30)),
        stopped: Some(at(33)),
        ..Task::default()
    };
    let samples = (0..40).map(|index| CpuSample { at: at(index), percent: 50.0 }).collect();
    Record {
        format: FORMAT,
        from: at(0),
        to: at(40),
        speed: 1.0,
        load: Some(Load { what: "GET /".into(), rate: 30.0, seconds: (0..40).map(second).collect() }),
        cpu: vec![TaskCpu { task: task.arn.clone(), limit_percent: Some(100.0), samples }],
        experiments: vec![experiment],
        alarms: vec![AlarmChange {
            alarm: "too few".into(),
            at: at(15),
            from: "OK".into(),
            to: "ALARM".into(),
            ..AlarmChange::default()
        }],
        tasks: vec![task],
        ..Record::default()
    }
}

/// The document after the browser has read it, and what the browser wrote to its console.
fn opened(page: &Path, width: u32, extra: &[&str]) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={width},2000"))
        .args(extra)
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let console = String::from_utf8_lossy(&output.stderr);
    let console: Vec<_> = console.lines().filter(|line| line.contains(":CONSOLE")).collect();
    (String::from_utf8(output.stdout).unwrap(), console.join("\n"))
}

/// Whether Chromium is there; a skip is said aloud, and fails where CI is set.
fn without_chromium() -> bool {
    let missing = Command::new("chromium").arg("--version").output().is_err();
    if missing {
        println!("SKIP: chromium is not installed (make deps)");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped with CI set");
    }
    missing
}

/// Windows of Chromium have a least width, frames have none: the report in a frame as wide as a phone, and what of it
/// reaches beyond the right edge.
#[test]
fn on_a_phone_no_line_reaches_beyond_the_screen() {
    if without_chromium() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut record = record();
    // The longest words that there are: ARNs, and names without a space.
    record.experiments[0].targets = vec![record::Resolved {
        name: "a-name-of-a-target-that-has-no-space-in-it-and-is-rather-long".into(),
        selection: "ALL".into(),
        chosen: vec![record.tasks[0].arn.clone()],
    }];
    record.experiments[0].description = "experiment-with-a-description-without-any-space-at-all".into();
    record.checks = vec![record::Check {
        name: "max-p95".into(),
        asked: "P95 of the answers is at most 250 ms from the start of the experiment on".into(),
        found: "30 ms".into(),
        passed: true,
    }];
    // Fifty tasks, and an action with a name as long as it may be.
    record.experiments[0].actions[0].name = "a".repeat(64);
    let first = record.cpu[0].clone();
    record.cpu =
        (0..50).map(|it| record::TaskCpu { task: format!("task/{it:032}"), ..first.clone() }).collect();
    report::write(&record, folder.path()).unwrap();
    let frame = folder.path().join("frame.html");
    let script = "const page = document.querySelector('iframe').contentDocument; \
        page.querySelectorAll('details').forEach(it => it.open = true); \
        const out = [...page.querySelectorAll('main *')].filter(it => it.getClientRects().length \
            && !it.closest('.figures .scroll, pre') && it.getBoundingClientRect().right > 380.5); \
        document.body.dataset.wide = page.documentElement.scrollWidth; \
        document.body.dataset.beyond = out.map(it => it.tagName + ' ' + it.textContent.slice(0, 40)).join('; ');";
    std::fs::write(
        &frame,
        format!("<body><iframe width=380 height=800 style='border:0' src=report.html onload=\"{script}\"></iframe>"),
    )
    .unwrap();
    let (document, _) = opened(&frame, 800, &["--allow-file-access-from-files", "--hide-scrollbars"]);
    assert!(document.contains("data-wide=\"380\""), "{}", &document[..600.min(document.len())]);
    assert!(document.contains("data-beyond=\"\""), "{}", &document[..2000.min(document.len())]);
}

#[test]
fn a_browser_shows_every_series_and_has_nothing_to_say() {
    if without_chromium() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let written = report::write(&record(), folder.path()).unwrap();
    for (width, extra) in [(1100, "--blink-settings=preferredColorScheme=1"), (500, "--force-dark-mode")] {
        let (document, console) = opened(&written.page, width, &[extra]);
        assert_eq!(console, "", "the console of a window {width} wide");
        for series in [
            "answered",
            "failed",
            "p50",
            "p95",
            "p99",
            "line-1",
            "window",
            "experiment",
            "action",
            "task",
            "stopping",
            "alarm",
            "alarm-ok",
        ] {
            let found = document.matches(&format!("data-series=\"{series}\"")).count();
            assert!(found >= 2, "{series}: {found} times, in a window {width} wide");
        }
        // A browser that stumbles over markup closes things early; ours would then end outside of its main.
        assert!(document.contains("</main>\n<footer>"), "{document}");
        assert!(!document.contains("http:") && !document.contains("https:"));
    }
}
