//! Where the service surprises people: it is done as AWS does it, and said in plain words.

use std::time::Duration;

use serde_json::Value;

use super::definition::{Definition, Target};
use super::experiment::{CommandRole, Experiment, SentCommand};
use super::select::Mode;
use super::services::{Alarm, Resource, Stage};
use super::step::Step;
use super::{alarms, arn, catalog, document, filter};

/// The shortest duration that the action reference names, where it names one.
const MINUTE: Duration = Duration::from_secs(60);

/// What becomes of the service's own report, which is a PDF in a bucket.
pub(super) const REPORT: &str = "the PDF of the service is not made here; the page of the local AWS and taskfault-local \
                                 run --report have a report";

/// What a template is worth saying about before it is ever run.
pub(super) fn of_template(definition: &Definition, speed: f64) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, action) in &definition.actions {
        if catalog::is_elsewhere(&action.action_id) {
            notes.push(format!(
                "action {name}: {} cannot run here, nothing of its kind is here; with emptyTargetResolutionMode skip \
                 it is skipped, without it the experiment fails",
                action.action_id
            ));
        }
        if document::asked_duration(action).is_some_and(|asked| asked < MINUTE) {
            notes.push(format!(
                "action {name} lasts under a minute: AWS names one minute as the least for its other actions and is \
                 silent about this one, so it may refuse the template"
            ));
        }
    }
    for name in definition.targets.keys() {
        if !definition.actions.values().any(|action| action.targets.values().any(|used| used == name)) {
            notes.push(format!("no action uses the target {name}"));
        }
    }
    let logs_to_bucket = |log: &Value| log["s3Configuration"].is_object();
    if definition.log_configuration.as_ref().is_some_and(logs_to_bucket) {
        notes.push("records for S3 are written into the folder of --s3; without it they are lost".to_owned());
    }
    if definition.report_configuration.is_some() {
        notes.push(format!("experimentReportConfiguration is kept and told: {REPORT}"));
    }
    if speed > 1.0 {
        notes.push(format!("--speed {speed}: durations are so many times shorter here, one second at least"));
    }
    notes
}

/// What is known when an experiment starts.
pub(super) fn at_start(experiment: &mut Experiment, step: &mut Step<'_>) {
    for note in of_template(&experiment.definition, experiment.speed) {
        experiment.note(step, None, note);
    }
    for (name, run) in experiment.actions.clone() {
        let asked = document::asked_duration(&experiment.definition.actions[&name]);
        if let (Some(asked), Some(lasts)) = (asked, run.duration)
            && lasts != asked
        {
            let text =
                format!("{} s of the template take {:.1} s here", asked.as_secs(), lasts.as_secs_f64());
            experiment.note(step, Some(&name), text);
        }
    }
    let lasts = experiment_duration(experiment);
    let arns: Vec<String> = experiment.definition.alarms().map(str::to_owned).collect();
    for alarm in arns {
        if let Some(Alarm { needs, .. }) = step.services.alarm(&alarm, step.context)
            && needs >= lasts
        {
            let text = format!(
                "the alarm {} looks at {:.0} s at a time and this experiment lasts {:.0} s: it can hardly go to ALARM \
                 before all is over, so it stops nothing",
                alarms::name(&alarm),
                needs.as_secs_f64(),
                lasts.as_secs_f64()
            );
            experiment.note(step, None, text);
        }
    }
}

/// How long the longest chain of actions lasts here.
fn experiment_duration(experiment: &Experiment) -> Duration {
    fn ends(experiment: &Experiment, name: &str) -> Duration {
        // Templates with circles are refused, so this ends.
        let before = &experiment.definition.actions[name].start_after;
        let begins = before.iter().map(|one| ends(experiment, one)).max().unwrap_or_default();
        begins + experiment.actions[name].duration.unwrap_or_default()
    }
    experiment.actions.keys().map(|name| ends(experiment, name)).max().unwrap_or_default()
}

/// What a selection chose, where it is not what one might think.
pub(super) fn of_selection(
    experiment: &mut Experiment,
    (name, target): (&str, &Target),
    mode: Mode,
    (found, count): (&[String], usize),
    resources: &[Resource],
    step: &mut Step<'_>,
) {
    let total = found.len();
    let kind = catalog::counted(&target.resource_type);
    let on_the_way = |it: &&Resource| it.stage == Stage::OnTheWay;
    let waiting = resources.iter().filter(on_the_way).filter(|it| filter::is_meant(it, target)).count();
    if target.resource_arns.is_empty() && waiting > 0 {
        let text =
            format!("target {name}: {waiting} more {kind} fit but are not RUNNING, so they do not count");
        experiment.note(step, None, text);
    }
    let text = match mode {
        Mode::Percent(percent) if total > 0 && total * percent % 100 != 0 => {
            let exact = (total * percent) as f64 / 100.0;
            let then = if count == 0 { "nothing is chosen" } else { "the rest is exempt" };
            format!(
                "target {name}: PERCENT({percent}) of {total} {kind} is {exact:.2}, and AWS rounds down: {count}; {then}"
            )
        }
        Mode::Count(asked) if asked > total && total > 0 => {
            format!("target {name}: COUNT({asked}) with {total} {kind} there takes all of them")
        }
        _ if total == 0 => {
            let elsewhere = step.fis.tasks_elsewhere.as_ref().map(|home| {
                let here = &step.context.region;
                format!("; tasks run in {home} here, and this experiment is in {here}: sign for {home}, or start with --region {here}")
            });
            format!(
                "target {name}: nothing that runs fits it (aws ecs list-tasks and describe-tasks show what there is){}",
                elsewhere.unwrap_or_default()
            )
        }
        _ if total > 1
            && count == total
            && target.resource_arns.is_empty()
            && target.resource_type == catalog::TASK =>
        {
            format!(
                "target {name}: every one of the {total} task(s) that fit is hit, none is left to answer: a total outage \
             of what they serve, unless the fault is mild"
            )
        }
        _ => return,
    };
    experiment.note(step, None, text);
}

/// A share of the container instances of a cluster that drains, where it is not what one might think: `percent` was
/// asked, `total` were ACTIVE, `count` drain.
pub(super) fn of_drain(
    experiment: &mut Experiment,
    name: &str,
    cluster: &str,
    (percent, total, count): (usize, usize, usize),
    step: &mut Step<'_>,
) {
    let cluster = arn::last_name(cluster);
    if !(total * percent).is_multiple_of(100) {
        let exact = (total * percent) as f64 / 100.0;
        let text = format!(
            "cluster {cluster}: {percent} % of {total} container instances is {exact:.2}, rounded down here: {count}; \
             how AWS rounds is not documented"
        );
        experiment.note(step, Some(name), text);
    }
    if count > 0 && count == total {
        let text = format!(
            "cluster {cluster}: none is left ACTIVE of its container instances, so nothing new starts there: a \
             service whose minimumHealthyPercent is 100 keeps its tasks, for lack of a place for new ones"
        );
        experiment.note(step, Some(name), text);
    }
}

/// More targets than the quota.
pub(super) fn over_quota(
    experiment: &mut Experiment,
    name: &str,
    (count, quota): (usize, usize),
    step: &mut Step<'_>,
) {
    let text = format!(
        "{count} targets are more than the {quota} that AWS allows for each action until you ask for more; here the \
         switch fis_targets_per_action (POST /_taskfault/switches, 0 is no limit) plays a raised quota"
    );
    experiment.note(step, Some(name), text);
}

/// The normal end of an action whose document's clock started after its own.
pub(super) fn cancelled_at_the_end(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    let text = "its time was over before its documents were: they are cancelled. Run Command then shows Cancelled and \
                FIS completed; both are right, and it is the normal end";
    experiment.note(step, Some(name), text.to_owned());
}

/// No agent answered a cancel.
pub(super) fn no_answer(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    let silent: Vec<String> = experiment.actions[name]
        .commands
        .iter()
        .filter(|command| command.role == CommandRole::Fault && command.ended.is_none())
        .map(|command| format!("{} on {}", command.command_id, command.task_arn))
        .collect();
    let text = format!(
        "no answer to the cancel of {}: the sidecar is gone or stuck. Faults of a dead taskfault are undone by the \
         kernel; Run Command shows the command until it expires",
        silent.join(", ")
    );
    experiment.note(step, Some(name), text);
}

/// What the agent said about a command that did not succeed. FIS itself does not read it.
pub(super) fn of_failed_command(
    experiment: &mut Experiment,
    name: &str,
    command: &SentCommand,
    step: &mut Step<'_>,
) {
    let said = step.services.last_line(&command.command_id);
    let text = format!(
        "{} on task {} ended as {}{}; all of it: aws ssm list-command-invocations --details --command-id {}",
        command.document,
        command.task_arn,
        command.details,
        said.map(|words| format!(" ({words})")).unwrap_or_default(),
        command.command_id
    );
    experiment.note(step, Some(name), text);
}
