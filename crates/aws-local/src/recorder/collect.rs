//! What the state of the local AWS says, in the words of the record.

use std::collections::BTreeMap;

use crate::fis;
use crate::ssm::state;
use crate::wire::epoch_seconds;
use crate::world::World;
use record::{Action, AlarmChange, Command, Experiment, Note, Record, Resolved, Step, Task};

/// Every command, one entry for each of its instances. `owners` has the task of each instance.
pub(super) fn commands(state: &World, owners: &BTreeMap<String, String>) -> Vec<Command> {
    let senders = senders(state);
    let each = |command: &state::Command| -> Vec<Command> {
        let experiment = senders.get(&command.id.to_string()).map(|id| (*id).to_owned());
        let invocations = command.invocations.iter();
        let told = invocations.map(|invocation| one(command, invocation, owners));
        told.map(|told| Command { experiment: experiment.clone(), ..told }).collect()
    };
    state.ssm.commands.iter().flat_map(each).collect()
}

/// The experiment that sent a command, by the command's id.
fn senders(state: &World) -> BTreeMap<String, &str> {
    let of = |experiment: &fis::Experiment| {
        let runs = experiment.actions.values();
        runs.flat_map(fis::ActionRun::command_ids).cloned().collect::<Vec<_>>()
    };
    let experiments = state.fis.experiments.iter();
    experiments.flat_map(|it| of(it).into_iter().map(|command| (command, it.id.as_str()))).collect()
}

fn one(
    command: &state::Command,
    invocation: &state::Invocation,
    owners: &BTreeMap<String, String>,
) -> Command {
    Command {
        id: command.id.to_string(),
        experiment: None,
        document: command.document_name.clone(),
        instance: invocation.instance_id.clone(),
        task: owners.get(&invocation.instance_id).cloned(),
        status: invocation.status.details().to_owned(),
        requested: epoch_seconds(command.requested),
        ended: invocation.ended.map(epoch_seconds),
        parameters: command.parameters.clone(),
        steps: invocation.plugins.iter().map(step).collect(),
    }
}

fn step(plugin: &state::Plugin) -> Step {
    let said = if plugin.stdout.is_empty() { &plugin.output } else { &plugin.stdout };
    let mut step = Step::of_output(said);
    let errors = plugin.stderr.lines().filter(|line| !line.trim().is_empty());
    step.remarks.extend(errors.map(str::to_owned));
    Step {
        name: plugin.name.clone(),
        status: plugin.status.details().to_owned(),
        response_code: plugin.response_code,
        ..step
    }
}

/// Every experiment that was started, and the notes on them.
pub(super) fn experiments(state: &World, record: &mut Record) {
    for experiment in &state.fis.experiments {
        record.experiments.push(self::experiment(experiment));
        record.notes.extend(experiment.notes.iter().map(|note| Note {
            at: epoch_seconds(note.at),
            about: note.action.clone().unwrap_or_else(|| experiment.id.clone()),
            experiment: Some(experiment.id.clone()),
            text: note.text.clone(),
        }));
    }
}

fn experiment(experiment: &fis::Experiment) -> Experiment {
    let definition = &experiment.definition;
    let resolved = |(name, target): (&String, &fis::Target)| Resolved {
        name: name.clone(),
        selection: target.selection_mode.clone(),
        chosen: experiment.resolved.get(name).cloned().unwrap_or_default(),
    };
    let mut actions: Vec<Action> = definition
        .actions
        .iter()
        .map(|(name, action)| {
            let run = experiment.actions.get(name).cloned().unwrap_or_default();
            Action {
                name: name.clone(),
                action_id: action.action_id.clone(),
                status: run.status.as_str().to_owned(),
                reason: run.reason,
                parameters: action.parameters.clone(),
                targets: action.targets.values().cloned().collect(),
                started: run.started.map(epoch_seconds),
                ended: run.ended.map(epoch_seconds),
            }
        })
        .collect();
    let order = |action: &Action| action.started.unwrap_or(f64::INFINITY);
    actions.sort_by(|one, other| order(one).total_cmp(&order(other)));
    Experiment {
        id: experiment.id.clone(),
        template: experiment.template_id.clone(),
        description: definition.description.clone(),
        status: experiment.status.as_str().to_owned(),
        reason: experiment.reason.clone(),
        started: Some(epoch_seconds(experiment.started.unwrap_or(experiment.created))),
        ended: experiment.ended.map(epoch_seconds),
        targets: definition.targets.iter().map(resolved).collect(),
        actions,
        alarms: definition.alarms().map(str::to_owned).collect(),
    }
}

/// Every change of an alarm's state.
pub(super) fn alarms(state: &World, record: &mut Record) {
    for alarm in state.cloudwatch.alarms.values() {
        record.alarms.extend(alarm.history.iter().map(|change| AlarmChange {
            alarm: alarm.name.clone(),
            at: epoch_seconds(change.at),
            from: change.from.as_str().to_owned(),
            to: change.to.as_str().to_owned(),
            reason: change.reason.clone(),
        }));
    }
    record.alarms.sort_by(|one, other| one.at.total_cmp(&other.at));
}

/// The life of every task that was started here and has run.
pub(super) fn tasks(state: &World) -> Vec<Task> {
    // Both are in the same cluster.
    let replaced = |task: &crate::ecs::Task| {
        let id = task.replaces.as_ref()?;
        Some(task.arn.strip_suffix(&task.id).map_or_else(|| id.clone(), |prefix| format!("{prefix}{id}")))
    };
    let ran = state.ecs.tasks.values().filter_map(|task| Some((task, task.started?)));
    let mut tasks: Vec<Task> = ran
        .map(|(task, started)| Task {
            arn: task.arn.clone(),
            group: task.group.clone(),
            started: epoch_seconds(started),
            stopping: task.stopping.map(epoch_seconds),
            stopped: task.stopped.map(epoch_seconds),
            reason: task.stopped_reason.clone().unwrap_or_default(),
            replaces: replaced(task),
        })
        .collect();
    tasks.sort_by(|one, other| one.started.total_cmp(&other.started));
    tasks
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::ssm::state::{Invocation, Plugin, Status};

    #[test]
    fn a_command_is_told_with_its_task_and_its_steps() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let plugin = Plugin {
            name: "FaultInjection".into(),
            action: "aws:runShellScript".into(),
            status: Status::Success,
            response_code: 0,
            started: Some(at(5)),
            ended: Some(at(9)),
            output: "cut".into(),
            stdout: "{\"taskfault\":1,\"fault\":\"cpu-stress\",\"asked\":{\"text\":\"80 % for 4 s\",\"seconds\":4.0},\
                     \"achieved\":{\"text\":\"mean 79.9 %\"},\"ending\":\"completed\",\"lived_seconds\":4.0,\
                     \"undone\":true}\n"
                .into(),
            stderr: "a word\n".into(),
        };
        let mut invocation = Invocation::pending("mi-1", "");
        invocation.status = Status::DeliveryTimedOut;
        invocation.plugins.push(plugin);
        let mut state = World::default();
        state.ssm.commands.push(state::Command {
            id: Uuid::from_u128(7),
            document_name: "AWSFIS-Run-CPU-Stress".into(),
            document_version: "1".into(),
            document: json!({}),
            parameters: BTreeMap::new(),
            comment: String::new(),
            instance_ids: vec!["mi-1".into()],
            targets: Vec::new(),
            timeout: Duration::from_secs(30),
            execution_timeout: Duration::from_secs(30),
            max_concurrency: "50".into(),
            max_errors: "0".into(),
            requested: at(4),
            output_s3_bucket: String::new(),
            output_s3_prefix: String::new(),
            cloudwatch_log_group: String::new(),
            cloudwatch_enabled: false,
            cancel_requested: false,
            invocations: vec![invocation],
        });
        let owners = BTreeMap::from([("mi-1".to_owned(), "arn:task".to_owned())]);
        let told = commands(&state, &owners);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].task.as_deref(), told[0].status.as_str()),
            (Some("arn:task"), "DeliveryTimedOut")
        );
        let step = &told[0].steps[0];
        assert_eq!(step.asked.as_deref(), Some("80 % for 4 s"));
        assert_eq!(step.achieved.as_deref(), Some("mean 79.9 %"));
        assert_eq!(step.remarks, ["completed after 4.0 s of 4 s; undone", "a word"]);
    }
}
