//! What the page shows, as data: gathered from the server in one go, without any markup.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use aws_local::ecs::{LastStatus, ServiceStatus, Task as EcsTask};
use aws_local::fis::Outlook;
use aws_local::world::World;
use aws_local::{Handle, TASK_ARN_TAG};
use record::clock::epoch_seconds;
use record::{Experiment, Record, short};
use serde_json::{Map, Value, json};

/// Stopped tasks that are shown, the latest first.
const MOST_STOPPED: usize = 12;
/// Templates that are shown, the latest first.
const MOST_TEMPLATES: usize = 50;
/// How far back the shorter charts reach, in seconds.
pub(crate) const MINUTE: f64 = 60.0;

/// How much time the charts show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Span {
    /// The last minute.
    #[default]
    Minute,
    /// Since the first thing happened.
    All,
}

/// All of it at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// In seconds since 1970.
    pub(crate) now: f64,
    pub(crate) span: Span,
    pub(crate) record: Record,
    pub(crate) services: Vec<Service>,
    /// Those that run first, oldest first; then those that have stopped, latest first.
    pub(crate) tasks: Vec<Task>,
    pub(crate) alarms: Vec<Alarm>,
    pub(crate) templates: Vec<Template>,
    /// When each experiment that runs will be over, as far as durations say; by id, in seconds since 1970.
    pub(crate) ends: BTreeMap<String, f64>,
    /// Experiments whose actions are skipped.
    pub(crate) rehearsals: BTreeSet<String>,
    /// What services said, in no order.
    pub(crate) events: Vec<Event>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Service {
    pub(crate) cluster: String,
    pub(crate) name: String,
    pub(crate) desired: u32,
    pub(crate) running: usize,
    pub(crate) pending: usize,
    pub(crate) definition: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Task {
    pub(crate) arn: String,
    pub(crate) id: String,
    /// Empty for what RunTask started, or what registered from elsewhere.
    pub(crate) service: String,
    pub(crate) cluster: String,
    pub(crate) definition: String,
    /// `lastStatus` of DescribeTasks, or what is known of a task from elsewhere.
    pub(crate) status: String,
    pub(crate) address: Option<String>,
    pub(crate) created: f64,
    pub(crate) stopped: Option<f64>,
    /// `stopCode` and `stoppedReason`.
    pub(crate) why: Option<(String, String)>,
    /// Id of the task that it took the place of, and of the one that took its.
    pub(crate) replaces: Option<String>,
    pub(crate) replaced_by: Option<String>,
    pub(crate) containers: Vec<Container>,
    /// The managed instance and its `PingStatus`.
    pub(crate) sidecar: Option<(String, &'static str)>,
    /// Documents that run on it now, and since when.
    pub(crate) faults: Vec<(String, f64)>,
    /// An experiment that runs has chosen it.
    pub(crate) chosen: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) status: &'static str,
    pub(crate) exit_code: Option<i32>,
    pub(crate) reason: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Alarm {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) reason: String,
    /// `RunningTaskCount < 3.0 for 1 of 1 periods of 60 s`.
    pub(crate) rule: String,
    /// What it saw last.
    pub(crate) value: Option<f64>,
    pub(crate) threshold: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Template {
    pub(crate) id: String,
    pub(crate) description: String,
    /// Name and id of each.
    pub(crate) actions: Vec<(String, String)>,
    pub(crate) outlook: Outlook,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) at: f64,
    /// `ECS`, `FIS`, `CloudWatch`, `note`.
    pub(crate) source: &'static str,
    pub(crate) about: String,
    pub(crate) text: String,
}

impl Task {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }
}

impl View {
    /// Looks at everything.
    pub(crate) fn of(handle: &Handle, span: Span) -> View {
        let now = epoch_seconds(handle.context().now);
        let since = match span {
            Span::Minute => now - MINUTE - 1.0,
            Span::All => f64::NEG_INFINITY,
        };
        let record = handle.record_since(since);
        let mut view = View { now, span, ..View::default() };
        handle.read(|world| view.read(world, &record));
        view.alarms = alarms(handle);
        view.templates = templates(handle);
        for experiment in record.experiments.iter().filter(|it| is_open(it)) {
            let Some(told) = ask(handle, "GetExperiment", json!({ "id": experiment.id })) else { continue };
            let told = &told["experiment"];
            if let Some(end) = end(experiment, told, record.speed) {
                view.ends.insert(experiment.id.clone(), end);
            }
        }
        let listed = ask(handle, "ListExperiments", json!({ "maxResults": 100 })).unwrap_or_default();
        let rehearsed = each(&listed["experiments"])
            .filter(|it| it["experimentOptions"]["actionsMode"] == "skip-all")
            .filter_map(|it| it["id"].as_str());
        view.rehearsals = rehearsed.map(str::to_owned).collect();
        view.record = record;
        view
    }

    fn read(&mut self, world: &World, record: &Record) {
        let tasks = world.ecs.tasks_by_service();
        for (key, service) in world.ecs.services.iter().filter(|(_, it)| it.status == ServiceStatus::Active) {
            let own = tasks.get(&(key.0.as_str(), key.1.as_str())).map_or(&[][..], Vec::as_slice);
            let count = |wanted: fn(LastStatus) -> bool| {
                own.iter().filter(|task| !task.ending && wanted(task.last)).count()
            };
            self.services.push(Service {
                cluster: service.cluster.clone(),
                name: service.name.clone(),
                desired: service.desired,
                running: count(|last| last == LastStatus::Running),
                pending: count(|last| last < LastStatus::Running),
                definition: service.definition().to_owned(),
            });
            self.events.extend(service.events.iter().map(|event| Event {
                at: epoch_seconds(event.at),
                source: "ECS",
                about: service.name.clone(),
                text: event.message.clone(),
            }));
        }
        let mut told: Vec<Task> = world.ecs.tasks.values().map(task).collect();
        let replaced: BTreeMap<String, String> =
            told.iter().filter_map(|task| Some((task.replaces.clone()?, task.id.clone()))).collect();
        told.iter_mut().for_each(|task| task.replaced_by = replaced.get(&task.id).cloned());
        let now = SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(self.now).unwrap_or_default();
        let places: BTreeMap<String, usize> =
            told.iter().enumerate().map(|(place, task)| (task.arn.clone(), place)).collect();
        for instance in world.ssm.instances.values() {
            let arn = instance.tags.get(TASK_ARN_TAG).map_or(instance.id.as_str(), String::as_str);
            let sidecar = (instance.id.clone(), instance.ping_status(now));
            match places.get(arn) {
                Some(place) => told[*place].sidecar = Some(sidecar),
                None => told.push(elsewhere(arn, sidecar, epoch_seconds(instance.registered), world)),
            }
        }
        let open = record.experiments.iter().filter(|it| is_open(it));
        let chosen: BTreeSet<&String> =
            open.flat_map(|it| &it.targets).flat_map(|target| &target.chosen).collect();
        let mut running: BTreeMap<&str, Vec<&record::Command>> = BTreeMap::new();
        for command in record.commands.iter().filter(|command| command.ended.is_none()) {
            running.entry(command.task.as_deref().unwrap_or_default()).or_default().push(command);
        }
        for task in &mut told {
            let own = running.get(task.arn.as_str()).into_iter().flatten();
            task.faults = own.map(|command| (command.document.clone(), command.requested)).collect();
            task.chosen = chosen.contains(&task.arn);
        }
        let (mut gone, mut here): (Vec<Task>, Vec<Task>) = told.into_iter().partition(Task::is_stopped);
        here.sort_by(|one, other| one.created.total_cmp(&other.created));
        gone.sort_by(|one, other| other.stopped.unwrap_or(0.0).total_cmp(&one.stopped.unwrap_or(0.0)));
        gone.truncate(MOST_STOPPED);
        here.extend(gone);
        self.tasks = here;
    }
}

/// Whether an experiment has not ended.
pub(crate) fn is_open(experiment: &Experiment) -> bool {
    experiment.ended.is_none()
        && matches!(experiment.status.as_str(), "pending" | "initiating" | "running" | "stopping")
}

fn task(task: &EcsTask) -> Task {
    let why = task.stopped_reason.clone().map(|reason| {
        let code = task.stop_code.map_or("", aws_local::ecs::StopCode::as_str);
        (code.to_owned(), reason)
    });
    let containers = task.containers.iter().map(|container| Container {
        name: container.name.clone(),
        image: container.image.clone(),
        status: container.last.as_str(),
        exit_code: container.exit_code,
        reason: container.reason.clone().unwrap_or_default(),
    });
    Task {
        arn: task.arn.clone(),
        id: task.id.clone(),
        service: task.service.clone().unwrap_or_default(),
        cluster: task.cluster.clone(),
        definition: task.definition(),
        status: task.last.as_str().to_owned(),
        address: task.address.map(|address| address.to_string()),
        created: epoch_seconds(task.started.unwrap_or(task.created)),
        stopped: task.stopped.map(epoch_seconds),
        why,
        replaces: task.replaces.clone(),
        containers: containers.collect(),
        ..Task::default()
    }
}

/// A task that was not started here, known by its sidecar.
fn elsewhere(arn: &str, sidecar: (String, &'static str), registered: f64, world: &World) -> Task {
    let known = world.ecs.external.get(arn);
    Task {
        arn: arn.to_owned(),
        id: arn.rsplit('/').next().unwrap_or(arn).to_owned(),
        service: known.map(|task| task.service.clone()).unwrap_or_default(),
        cluster: known.map(|task| task.cluster.clone()).unwrap_or_default(),
        status: "registered from elsewhere".to_owned(),
        created: registered,
        sidecar: Some(sidecar),
        ..Task::default()
    }
}

fn ask(handle: &Handle, operation: &str, members: Value) -> Option<Value> {
    let members: Map<String, Value> = members.as_object().cloned().unwrap_or_default();
    handle.ask(operation, &members).ok()
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn alarms(handle: &Handle) -> Vec<Alarm> {
    let both = json!({ "AlarmTypes": ["MetricAlarm", "CompositeAlarm"], "MaxRecords": 100 });
    let told = ask(handle, "DescribeAlarms", both).unwrap_or_default();
    each(&told["MetricAlarms"]).chain(each(&told["CompositeAlarms"])).map(alarm).collect()
}

fn alarm(told: &Value) -> Alarm {
    let seen: Value =
        told["StateReasonData"].as_str().and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default();
    let comparison = match told["ComparisonOperator"].as_str().unwrap_or_default() {
        "GreaterThanThreshold" => ">",
        "GreaterThanOrEqualToThreshold" => "≥",
        "LessThanThreshold" => "<",
        "LessThanOrEqualToThreshold" => "≤",
        other => other,
    };
    let periods = told["EvaluationPeriods"].as_u64().unwrap_or(1);
    let needed = told["DatapointsToAlarm"].as_u64().unwrap_or(periods);
    let threshold = told["Threshold"].as_f64();
    // What is watched: a metric, or the query of metric math that is returned.
    let watched = each(&told["Metrics"]).find(|query| query["ReturnData"] == true).unwrap_or(&Value::Null);
    let stat = &watched["MetricStat"];
    let metric = [&told["MetricName"], &watched["Expression"], &stat["Metric"]["MetricName"]];
    let metric = metric.into_iter().find_map(Value::as_str).unwrap_or("expression");
    let periods_of = |query: &Value| query["MetricStat"]["Period"].as_u64();
    let period = told["Period"].as_u64().or_else(|| each(&told["Metrics"]).find_map(periods_of));
    let at = threshold.map_or_else(String::new, |threshold| format!(" {comparison} {threshold}"));
    Alarm {
        name: text(&told["AlarmName"]),
        state: text(&told["StateValue"]),
        reason: text(&told["StateReason"]),
        rule: match told["AlarmRule"].as_str() {
            Some(rule) => rule.to_owned(),
            None => format!(
                "{metric}{at} for {needed} of {periods} period(s) of {} s",
                period.unwrap_or_default()
            ),
        },
        value: each(&seen["recentDatapoints"]).last().and_then(Value::as_f64),
        threshold,
    }
}

fn templates(handle: &Handle) -> Vec<Template> {
    let told = ask(handle, "ListExperimentTemplates", json!({ "maxResults": 100 })).unwrap_or_default();
    let mut listed: Vec<&Value> = each(&told["experimentTemplates"]).collect();
    let made = |template: &Value| template["creationTime"].as_f64().unwrap_or_default();
    listed.sort_by(|one, other| made(other).total_cmp(&made(one)));
    let template = |listed: &Value| {
        let id = text(&listed["id"]);
        let whole = ask(handle, "GetExperimentTemplate", json!({ "id": id }))?;
        let actions = whole["experimentTemplate"]["actions"].as_object().cloned().unwrap_or_default();
        let outlook = handle.outlook(&id).ok()?;
        Some(Template {
            id,
            description: text(&listed["description"]),
            actions: actions.iter().map(|(name, action)| (name.clone(), text(&action["actionId"]))).collect(),
            outlook,
        })
    };
    listed.into_iter().take(MOST_TEMPLATES).filter_map(template).collect()
}

/// When an experiment ends if every action takes its duration: one after the other where the template says so.
/// None if no action that is left has one.
fn end(experiment: &Experiment, told: &Value, speed: f64) -> Option<f64> {
    let began = experiment.started?;
    let actions = told["actions"].as_object()?;
    let ends = actions.keys().map(|name| action_end(name, experiment, actions, (began, speed), 0));
    let last = ends.fold(began, f64::max);
    (last > began).then_some(last)
}

fn action_end(
    name: &str,
    experiment: &Experiment,
    actions: &Map<String, Value>,
    (began, speed): (f64, f64),
    depth: usize,
) -> f64 {
    let Some(action) = actions.get(name).filter(|_| depth <= actions.len()) else { return began };
    let run = experiment.actions.iter().find(|run| run.name == name);
    if let Some(ended) = run.and_then(|run| run.ended) {
        return ended;
    }
    let lasts = duration(action, speed).unwrap_or(0.0);
    let before = each(&action["startAfter"])
        .filter_map(Value::as_str)
        .map(|before| action_end(before, experiment, actions, (began, speed), depth + 1));
    run.and_then(|run| run.started).unwrap_or_else(|| before.fold(began, f64::max)) + lasts
}

/// How long an action takes here, in seconds.
fn duration(action: &Value, speed: f64) -> Option<f64> {
    let asked = durations::parse(action["parameters"]["duration"].as_str()?).ok()?.as_secs_f64();
    Some(if speed > 1.0 { (asked / speed).max(1.0) } else { asked })
}

/// What an experiment is called: its description, or its id.
pub(crate) fn name(experiment: &Experiment) -> &str {
    if experiment.description.is_empty() { &experiment.id } else { &experiment.description }
}

/// Everything that has happened, the latest first, at most `most`.
pub(crate) fn events(view: &View, most: usize) -> Vec<Event> {
    let record = &view.record;
    let mut all = view.events.clone();
    for experiment in &record.experiments {
        let about = || name(experiment).to_owned();
        let event = |at: f64, text: String| Event { at, source: "FIS", about: about(), text };
        all.extend(experiment.started.map(|at| event(at, "the experiment has started".to_owned())));
        all.extend(
            experiment.ended.map(|at| {
                event(at, format!("the experiment is {}: {}", experiment.status, experiment.reason))
            }),
        );
        for action in &experiment.actions {
            all.extend(action.started.map(|at| event(at, format!("action {} has started", action.name))));
            all.extend(action.ended.map(|at| {
                event(at, format!("action {} is {}: {}", action.name, action.status, action.reason))
            }));
        }
    }
    for change in &record.alarms {
        let text = format!("{} → {}: {}", change.from, change.to, change.reason);
        all.push(Event { at: change.at, source: "CloudWatch", about: change.alarm.clone(), text });
    }
    for task in &record.tasks {
        let event = |at: f64, text: String| Event {
            at,
            source: "ECS",
            about: format!("task {}", short(&task.arn)),
            text,
        };
        let place = task.replaces.as_deref().map(|gone| format!(", in place of {}", short(gone)));
        all.push(event(task.started, format!("the task runs{}", place.unwrap_or_default())));
        all.extend(task.stopping.map(|at| event(at, format!("the task is stopping: {}", task.reason))));
        all.extend(task.stopped.map(|at| event(at, "the task has stopped".to_owned())));
    }
    for note in &record.notes {
        let about = short(&note.about).to_owned();
        all.push(Event { at: note.at, source: "note", about, text: note.text.clone() });
    }
    all.sort_by(|one, other| other.at.total_cmp(&one.at));
    all.truncate(most);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_experiment_ends_when_its_longest_chain_does() {
        let mut experiment = record::sample::record().experiments.remove(0);
        (experiment.started, experiment.ended) = (Some(100.0), None);
        experiment.actions.clear();
        let told = json!({ "actions": {
            "one": { "parameters": { "duration": "PT1M" } },
            "two": { "parameters": { "duration": "PT5M" }, "startAfter": ["one"] },
            "kill": {},
        } });
        assert_eq!(end(&experiment, &told, 1.0), Some(460.0));
        assert_eq!(end(&experiment, &told, 60.0), Some(106.0));
        assert_eq!(end(&experiment, &json!({ "actions": { "kill": {} } }), 1.0), None);
        experiment.actions.push(record::Action {
            name: "one".into(),
            ended: Some(130.0),
            ..Default::default()
        });
        assert_eq!(end(&experiment, &told, 1.0), Some(430.0));
    }

    #[test]
    fn an_alarm_says_its_value_against_its_threshold() {
        let told = json!({
            "AlarmName": "too few", "StateValue": "ALARM", "StateReason": "because", "MetricName": "RunningTaskCount",
            "ComparisonOperator": "LessThanThreshold", "Threshold": 3.0, "EvaluationPeriods": 2, "Period": 60,
            "StateReasonData": "{\"recentDatapoints\":[3.0,2.0]}",
        });
        let alarm = alarm(&told);
        assert_eq!((alarm.value, alarm.threshold), (Some(2.0), Some(3.0)));
        assert_eq!(alarm.rule, "RunningTaskCount < 3 for 2 of 2 period(s) of 60 s");
        let metrics = json!([
            { "Id": "e", "Expression": "100 * m / n", "ReturnData": true },
            { "Id": "m", "MetricStat": { "Period": 60 }, "ReturnData": false },
        ]);
        let math = json!({
            "Metrics": metrics, "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1,
        });
        assert_eq!(super::alarm(&math).rule, "100 * m / n > 5 for 1 of 1 period(s) of 60 s");
        assert_eq!(
            super::alarm(&json!({ "AlarmRule": "ALARM(a) OR ALARM(b)" })).rule,
            "ALARM(a) OR ALARM(b)"
        );
    }

    #[test]
    fn events_of_all_kinds_stand_in_one_list_with_the_latest_first() {
        let view = View { record: record::sample::record(), ..View::default() };
        let events = events(&view, 500);
        assert!(events.windows(2).all(|pair| pair[0].at >= pair[1].at));
        for source in ["ECS", "FIS", "CloudWatch", "note"] {
            assert!(events.iter().any(|event| event.source == source), "{source}");
        }
        assert_eq!(super::events(&view, 3).len(), 3);
    }
}
