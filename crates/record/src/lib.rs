//! What happened, as data: traffic, CPU, experiments, commands, alarms and tasks on one clock.
//!
//! The recorder of the local AWS gathers it while that runs, [`Record`] is what it hands out: at
//! `GET /_taskfault/record`, as `report.json`, and as the source of `report.html`. All times are seconds since
//! 1970, as the AWS APIs write them.

#![forbid(unsafe_code)]

pub mod clock;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
mod second;
mod step;
mod times;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use second::Second;
pub use times::Times;

/// The version of [`Record`]'s JSON. A member may be added under the same number; none is taken away.
pub const FORMAT: u32 = 1;

/// Everything that happened between two moments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// When the first thing in it happened, or `to` if nothing did. In seconds since 1970.
    pub from: f64,
    /// When it was read, in seconds since 1970.
    pub to: f64,
    /// Region that the local AWS plays: `us-east-1`.
    pub region: String,
    /// Account that it plays: 12 digits.
    pub account: String,
    /// How many times shorter durations were than asked: with 15, PT5M took 20 s.
    pub speed: f64,
    /// None if nothing loaded the service, or something that this program knows nothing of.
    pub load: Option<Load>,
    /// In the order of the tasks' ARNs; a task whose CPU was never measured is missing.
    pub cpu: Vec<TaskCpu>,
    /// In the order of the tasks' ARNs; a task whose memory was never measured is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<TaskMemory>,
    /// In the order of their starts, as are commands and tasks.
    pub experiments: Vec<Experiment>,
    /// Every command of Run Command, one entry for each instance that it went to.
    pub commands: Vec<Command>,
    /// Changes of all alarms, in the order of their times.
    pub alarms: Vec<AlarmChange>,
    /// Every task that ran, whether or not it still does.
    pub tasks: Vec<Task>,
    /// In the order of their times.
    pub notes: Vec<Note>,
    /// What was asked of the service in the experiment, and whether it held; empty if nothing was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// One part of the hypothesis of an experiment: a threshold and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The option that asked for it: `max-failed`, `max-p95`, `recover-within`, `baseline`.
    pub name: String,
    /// What must hold, in words.
    pub asked: String,
    /// What was found, in words.
    pub found: String,
    /// Whether it held.
    pub passed: bool,
}

/// What the load generator asked and got.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// What it asked, in words: the service, the path, the time limits.
    pub what: String,
    /// Requests per second that it was to send; 0 if others sent them.
    pub rate: f64,
    /// In order. A second in which nothing was due is there too.
    pub seconds: Vec<Second>,
}

/// The CPU that one task used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskCpu {
    /// The task's ARN.
    pub task: String,
    /// What it may use, in percent of one core, if it has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_percent: Option<f64>,
    /// In order, about one a second while the task ran.
    pub samples: Vec<CpuSample>,
}

/// The memory that one task used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskMemory {
    /// The task's ARN.
    pub task: String,
    /// What it may use, in MiB, if it has a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_mib: Option<f64>,
    /// In order, about one a second while the task ran.
    pub samples: Vec<MemorySample>,
}

/// Memory at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MemorySample {
    /// In seconds since 1970.
    pub at: f64,
    /// What all processes of the task together hold (RSS), in MiB.
    pub mib: f64,
}

/// CPU in the time that ended at `at`, about a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuSample {
    /// In seconds since 1970.
    pub at: f64,
    /// Percent of one core, all processes of the task together: 200 is two whole cores.
    pub percent: f64,
}

/// One experiment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// `EXP…`
    pub id: String,
    /// `EXT…`
    pub template: String,
    /// The template's.
    pub description: String,
    /// As FIS says it: `completed`, `stopped`, `failed`, `running` …
    pub status: String,
    /// Why it has its status, as FIS gives it in `state.reason`.
    pub reason: String,
    /// In seconds since 1970.
    pub started: Option<f64>,
    /// In seconds since 1970. None while it runs.
    pub ended: Option<f64>,
    /// In the order of their names in the template.
    pub targets: Vec<Resolved>,
    /// In the order of their starts; those that did not start come last.
    pub actions: Vec<Action>,
    /// ARNs of the alarms that would stop it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
}

/// What a target came to when the experiment started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// Its key in the template's `targets`.
    pub name: String,
    /// `ALL`, `COUNT(1)`, `PERCENT(66)`.
    pub selection: String,
    /// ARNs of the resources that were picked.
    pub chosen: Vec<String>,
}

/// One action of an experiment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Its key in the template's `actions`.
    pub name: String,
    /// `aws:ecs:task-cpu-stress`
    pub action_id: String,
    /// As FIS gives it: `pending`, `running`, `completed`, `stopped`, `failed` …
    pub status: String,
    /// Why it has its status, as FIS gives it in `state.reason`.
    pub reason: String,
    /// As the template has them: durations in the form of ISO 8601, before they were shortened.
    pub parameters: BTreeMap<String, String>,
    /// Names of the targets it acts on.
    pub targets: Vec<String>,
    /// In seconds since 1970. None if it was never started.
    pub started: Option<f64>,
    /// In seconds since 1970, after its undo. None while it runs.
    pub ended: Option<f64>,
}

/// One command on one instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Of Run Command, the same for all instances of one SendCommand.
    pub id: String,
    /// The experiment that sent it; None if something else did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// Name of the SSM document that it ran.
    pub document: String,
    /// `mi-…`
    pub instance: String,
    /// ARN of the instance's task, if it has one.
    pub task: Option<String>,
    /// The long form: `Success`, `Cancelled`, `DeliveryTimedOut` …
    pub status: String,
    /// When SendCommand was called, in seconds since 1970.
    pub requested: f64,
    /// When the last reply came, or its time was up; in seconds since 1970. None before that.
    pub ended: Option<f64>,
    /// As SendCommand had them: each value is a list.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// In the order of the document; empty if the agent reported none.
    pub steps: Vec<Step>,
}

/// One step of a command, as the agent reported it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name in the document.
    pub name: String,
    /// The long form, as of a [`Command`].
    pub status: String,
    /// What it ended with: 0 where it did what it should.
    pub response_code: i32,
    /// What the fault was asked in words, where the step's output carries its figures.
    pub asked: Option<String>,
    /// What it achieved in words, measured by the agent.
    pub achieved: Option<String>,
    /// The same as data; None where the output carries no figures of a fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<outcome::Outcome>,
    /// That it was undone, and whatever else the output says.
    pub remarks: Vec<String>,
    /// The output as it came.
    pub output: String,
}

/// An alarm that went from one state to another.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlarmChange {
    /// Its name.
    pub alarm: String,
    /// In seconds since 1970.
    pub at: f64,
    /// `OK`, `ALARM`, `INSUFFICIENT_DATA`.
    pub from: String,
    /// Likewise.
    pub to: String,
    /// As CloudWatch gives it in `StateReason`.
    pub reason: String,
}

/// The life of one task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// With the task's id as its last part, 32 hexadecimal digits.
    pub arn: String,
    /// `service:NAME`, or whatever started it.
    pub group: String,
    /// When its containers ran, in seconds since 1970.
    pub started: f64,
    /// When it began to stop: something essential had ended, or somebody asked for it.
    pub stopping: Option<f64>,
    /// When the last of its processes had ended. None while there is one.
    pub stopped: Option<f64>,
    /// As ECS gives it in `stoppedReason`; empty while it runs.
    pub reason: String,
    /// ARN of the task that it took the place of.
    pub replaces: Option<String>,
}

/// Something worth knowing, in plain words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// In seconds since 1970.
    pub at: f64,
    /// The experiment, action, alarm or task it is about; empty if it is about the whole.
    pub about: String,
    /// The experiment in which it came up; None if it is about none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// One sentence or a few, for people.
    pub text: String,
}

/// A short name for what an ARN or an id stands for: the last part, eight characters at most for a task id.
pub fn short(arn: &str) -> &str {
    let last = arn.rsplit(['/', ':']).next().unwrap_or(arn);
    let hexadecimal = last.len() == 32 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal { &last[..8] } else { last }
}

impl Record {
    /// The part of it that touches the time between two moments. What had begun before and has not ended
    /// stays whole.
    #[must_use]
    pub fn between(mut self, from: f64, to: f64) -> Record {
        let inside = |at: f64| (from..=to).contains(&at);
        let touches = |began: f64, ended: Option<f64>| began <= to && ended.is_none_or(|ended| ended >= from);
        self.from = from;
        self.to = to;
        if let Some(load) = &mut self.load {
            load.seconds.retain(|second| inside(second.at));
        }
        for cpu in &mut self.cpu {
            cpu.samples.retain(|sample| inside(sample.at));
        }
        self.cpu.retain(|cpu| !cpu.samples.is_empty());
        for memory in &mut self.memory {
            memory.samples.retain(|sample| inside(sample.at));
        }
        self.memory.retain(|memory| !memory.samples.is_empty());
        self.experiments.retain(|it| it.started.is_none_or(|began| touches(began, it.ended)));
        self.commands.retain(|it| touches(it.requested, it.ended));
        self.alarms.retain(|it| inside(it.at));
        self.tasks.retain(|it| touches(it.started, it.stopped));
        self.notes.retain(|it| inside(it.at));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_the_last_part() {
        let task = "arn:aws:ecs:us-east-1:000000000000:task/demo/0123456789abcdef0123456789abcdef";
        assert_eq!(short(task), "01234567");
        assert_eq!(short("arn:aws:cloudwatch:us-east-1:0:alarm:too few tasks"), "too few tasks");
        assert_eq!(short("EXP1"), "EXP1");
    }

    #[test]
    fn a_record_survives_its_json() {
        let record = sample::record();
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn a_part_has_what_touches_it() {
        let record = sample::record();
        let (first, second) = (record.experiments[0].clone(), record.experiments[1].clone());
        let part = record.clone().between(second.started.unwrap() - 2.0, record.to);
        let ids: Vec<_> = part.experiments.iter().map(|experiment| experiment.id.clone()).collect();
        assert_eq!(ids, [second.id], "without {}", first.id);
        assert!(part.load.unwrap().seconds.len() < record.load.unwrap().seconds.len());
        assert_eq!(part.tasks.len(), record.tasks.len(), "all four tasks ran in that time");
    }
}
