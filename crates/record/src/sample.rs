//! A record of the two experiments of the demo, for tests: three tasks, a CPU stress, a kill, an alarm.

use super::*;

/// When it began, in seconds since 1970.
const BEGAN: f64 = 1_795_400_000.0;
const SECONDS: u32 = 75;

/// ARN of the task `number`, 0 to 3; the last takes the place of the second.
pub fn task(number: u32) -> String {
    let digit = char::from_digit(10 + number, 16).unwrap_or('0');
    let id: String = std::iter::repeat_n(digit, 32).collect();
    format!("arn:aws:ecs:us-east-1:000000000000:task/demo/{id}")
}

fn at(second: f64) -> f64 {
    BEGAN + second
}

/// The whole record.
pub fn record() -> Record {
    Record {
        format: FORMAT,
        from: BEGAN,
        to: at(f64::from(SECONDS)),
        region: "us-east-1".into(),
        account: "000000000000".into(),
        speed: 15.0,
        load: Some(Load {
            what: "GET / of service web".into(),
            rate: 30.0,
            seconds: (0..SECONDS).map(second).collect(),
        }),
        cpu: (0..4).map(cpu).collect(),
        memory: (0..4).map(memory).collect(),
        experiments: vec![stress(), kill()],
        commands: vec![stress_command(), kill_command()],
        alarms: vec![alarm(43.0, "OK", "ALARM"), alarm(50.0, "ALARM", "OK")],
        tasks: (0..4).map(life).collect(),
        notes: vec![
            note(10.0, "EXP1", "PERCENT(66) of 3 tasks is 1.98: rounded down, 1 task was picked."),
            note(0.0, "", "Durations are 15 times shorter than asked: PT5M takes 20 s. <not & markup>"),
        ],
        ..Record::default()
    }
}

fn second(index: u32) -> Second {
    let wobble = f64::from(index * 7 % 5);
    let (mut p50, mut p95, mut p99) = (22.0 + wobble * 0.3, 26.0 + wobble, 31.0 + wobble * 2.0);
    let mut errors = BTreeMap::new();
    if (10..30).contains(&index) {
        (p50, p95, p99) = (24.0 + wobble, 61.0 + wobble * 3.0, 74.0 + wobble * 4.0);
    }
    if (41..44).contains(&index) {
        errors.insert("refused".to_owned(), 10 - 3 * (index - 41));
        errors.insert("connect timeout".to_owned(), 1);
        (p95, p99) = (1004.0, 1011.0);
    }
    let failed: u32 = errors.values().sum();
    let (mut ok_times, mut failed_times) = (Times::default(), Times::default());
    // 94 of 100 as the middle one, one or two as P95, one as P99.
    let answered = 30 - failed;
    for (ms, number) in [(p50, answered - 2), (if failed > 0 { 30.0 } else { p95 }, 1), (p99.min(100.0), 1)] {
        ok_times.add(micros(ms), number);
    }
    for (kind, number) in &errors {
        failed_times.add(micros(if kind == "refused" { 1.0 } else { 1001.0 }), *number);
    }
    Second {
        at: at(f64::from(index)),
        sent: 30,
        ok: 30 - failed,
        errors,
        p50_ms: Some(p50),
        p95_ms: Some(p95),
        p99_ms: Some(p99),
        lag_ms: 1.1,
        ok_times,
        failed_times,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the times above, in microseconds"
)]
fn micros(ms: f64) -> u64 {
    (ms * 1000.0) as u64
}

/// The seconds in which a task runs.
fn runs(number: u32) -> (u32, u32) {
    match number {
        1 => (0, 42),
        3 => (45, SECONDS),
        _ => (0, SECONDS),
    }
}

fn memory(number: u32) -> TaskMemory {
    let (from, to) = runs(number);
    let mib = |index: u32| 20.0 + f64::from((index + number) % 3);
    let samples = (from..to).map(|index| MemorySample { at: at(f64::from(index + 1)), mib: mib(index) });
    TaskMemory { task: task(number), limit_mib: Some(64.0), samples: samples.collect() }
}

fn cpu(number: u32) -> TaskCpu {
    let (from, to) = runs(number);
    let percent = |index: u32| match number {
        0 if (10..30).contains(&index) => 97.0,
        _ => 20.0 + f64::from((index + number) * 3 % 4),
    };
    let samples = (from..to).map(|index| CpuSample { at: at(f64::from(index + 1)), percent: percent(index) });
    TaskCpu { task: task(number), limit_percent: Some(100.0), samples: samples.collect() }
}

fn stress() -> Experiment {
    Experiment {
        id: "EXP1".into(),
        template: "EXT1".into(),
        description: "CPU stress on a part of the tasks".into(),
        status: "completed".into(),
        reason: "Experiment completed.".into(),
        started: Some(at(10.0)),
        ended: Some(at(30.5)),
        targets: vec![Resolved {
            name: "Tasks".into(),
            selection: "PERCENT(66)".into(),
            chosen: vec![task(0)],
        }],
        actions: vec![Action {
            name: "StressCpu".into(),
            action_id: "aws:ecs:task-cpu-stress".into(),
            status: "completed".into(),
            reason: "Action was completed.".into(),
            parameters: BTreeMap::from([("duration".into(), "PT5M".into()), ("percent".into(), "80".into())]),
            targets: vec!["Tasks".into()],
            started: Some(at(10.2)),
            ended: Some(at(30.3)),
        }],
        alarms: Vec::new(),
    }
}

fn kill() -> Experiment {
    Experiment {
        id: "EXP2".into(),
        template: "EXT2".into(),
        description: "Kill the application's process in one task".into(),
        status: "completed".into(),
        reason: "Experiment completed.".into(),
        started: Some(at(40.0)),
        ended: Some(at(42.0)),
        targets: vec![Resolved { name: "Tasks".into(), selection: "COUNT(1)".into(), chosen: vec![task(1)] }],
        actions: vec![Action {
            name: "KillProcess".into(),
            action_id: "aws:ecs:task-kill-process".into(),
            status: "completed".into(),
            reason: "Action was completed.".into(),
            parameters: BTreeMap::from([("processName".into(), "python".into())]),
            targets: vec!["Tasks".into()],
            started: Some(at(40.3)),
            ended: Some(at(41.8)),
        }],
        alarms: Vec::new(),
    }
}

fn stress_command() -> Command {
    let output = "cpu-stress: asked 80 % of each of 1 CPU for 20 s (1 thread, 80.0 % of a core each)\n\
                  achieved: mean 79.6 %, 1 s windows 74.0 to 80.4 %\nachieved per second, %:\n     \
                  0 s:  79.0  80.0\ncancelled after 19.8 s of 20 s; undone: no thread left\n\
                  {\"taskfault\":1,\"fault\":\"cpu-stress\",\"asked\":{\"text\":\"80 % of each of 1 CPU for 20 s \
                  (1 thread, 80.0 % of a core each)\",\"seconds\":20.0},\"achieved\":{\"text\":\"mean 79.6 %, \
                  1 s windows 74.0 to 80.4 %\",\"per_second\":[79.0,80.0],\"seconds_each\":1},\
                  \"ending\":\"cancelled\",\"lived_seconds\":19.8,\"undone\":true}\n";
    Command {
        id: "6d5f2c7e-0000-4000-8000-000000000001".into(),
        experiment: Some("EXP1".into()),
        document: "AWSFIS-Run-CPU-Stress".into(),
        instance: "mi-00000000000000001".into(),
        task: Some(task(0)),
        status: "Cancelled".into(),
        requested: at(10.2),
        ended: Some(at(30.3)),
        parameters: BTreeMap::from([("DurationSeconds".into(), vec!["20".into()])]),
        steps: vec![Step {
            name: "FaultInjection".into(),
            status: "Cancelled".into(),
            response_code: 1,
            ..Step::of_output(output)
        }],
    }
}

fn kill_command() -> Command {
    let output = "kill-process: asked SIGKILL for every process called python\n\
                  signalled: 1 process: 7 python\nended within 5 s: 1 of 1\n\
                  {\"taskfault\":1,\"fault\":\"kill-process\",\"asked\":{\"text\":\"SIGKILL for every process \
                  called python\",\"seconds\":5.0},\"achieved\":{\"text\":\"signalled: 1 process: 7 python; \
                  ended within 5 s: 1 of 1\"},\"matched\":1,\"ending\":\"completed\",\"lived_seconds\":0.1}\n";
    Command {
        id: "6d5f2c7e-0000-4000-8000-000000000002".into(),
        experiment: Some("EXP2".into()),
        document: "AWSFIS-Run-Kill-Process".into(),
        instance: "mi-00000000000000002".into(),
        task: Some(task(1)),
        status: "Success".into(),
        requested: at(40.3),
        ended: Some(at(40.9)),
        parameters: BTreeMap::from([("ProcessName".into(), vec!["python".into()])]),
        steps: vec![Step {
            name: "ExecuteKillProcess".into(),
            status: "Success".into(),
            response_code: 0,
            ..Step::of_output(output)
        }],
    }
}

fn alarm(second: f64, from: &str, to: &str) -> AlarmChange {
    AlarmChange {
        alarm: "ECS Sample service task count alarm".into(),
        at: at(second),
        from: from.into(),
        to: to.into(),
        reason: "1 datapoint was below 3".into(),
    }
}

fn life(number: u32) -> Task {
    let gone = number == 1;
    Task {
        arn: task(number),
        group: "service:web".into(),
        started: if number == 3 { at(43.5) } else { at(-6.0) },
        stopping: gone.then(|| at(41.0)),
        stopped: gone.then(|| at(43.0)),
        reason: if gone { "Essential container in task exited".into() } else { String::new() },
        replaces: (number == 3).then(|| task(1)),
    }
}

fn note(second: f64, about: &str, text: &str) -> Note {
    let experiment = (!about.is_empty()).then(|| about.to_owned());
    Note { at: at(second), about: about.into(), experiment, text: text.into() }
}
