//! Commands: sending, cancelling, and what a command amounts to over all its targets.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Command, Invocation, Outgoing, SsmState, Status, Topic};

/// MaxConcurrency where the caller gave none (botocore, SendCommand).
const MAX_CONCURRENCY: usize = 50;

/// What ListCommands says about a command as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandSummary {
    /// Of the whole command.
    pub status: Status,
    /// `TargetCount`.
    pub target_count: usize,
    /// Targets in a final status.
    pub completed: usize,
    /// Targets that failed or ran out of execution time; never delivered ones do not count.
    pub errors: usize,
    /// `DeliveryTimedOutCount`.
    pub delivery_timed_out: usize,
}

/// The id of a job: what agents and both channels know a command by.
pub fn job_id(id: Uuid, instance_id: &str) -> String {
    format!("aws.ssm.{id}.{instance_id}")
}

impl SsmState {
    /// Takes a command whose invocations are built, and queues a message for each, MaxConcurrency at a time.
    pub fn submit(&mut self, command: Command, now: SystemTime) {
        self.commands.push(command);
        self.advance(self.commands.len() - 1, now);
    }

    /// Queues what MaxConcurrency lets through now, and gives up what MaxErrors has put an end to. To be
    /// called whenever an invocation of the command has ended.
    pub(super) fn advance(&mut self, index: usize, now: SystemTime) {
        let command = &mut self.commands[index];
        let targets = command.invocations.len();
        let most = share(&command.max_concurrency, targets).unwrap_or(MAX_CONCURRENCY).max(1);
        let stop = SsmState::summary(command).errors > share(&command.max_errors, targets).unwrap_or(0);
        let busy = |invocation: &&Invocation| invocation.queued.is_some() && !invocation.status.is_final();
        let mut free = most.saturating_sub(command.invocations.iter().filter(busy).count());
        let mut content = None;
        for at in 0..targets {
            let waits =
                command.invocations[at].queued.is_none() && !command.invocations[at].status.is_final();
            if waits && stop {
                command.invocations[at].finish(Status::Terminated, now);
            } else if waits && free > 0 {
                free -= 1;
                let content = content.get_or_insert_with(|| send_content(command).to_string()).clone();
                let invocation = &mut command.invocations[at];
                invocation.queued = Some(now);
                let job = job_id(command.id, &invocation.instance_id);
                let queue = self.outgoing.entry(invocation.instance_id.clone()).or_default();
                queue.push_back(Outgoing::new(job, Topic::SendCommand, content, now));
            }
        }
    }

    /// [`SsmState::advance`] for the command that a job belongs to.
    pub(super) fn advance_job(&mut self, job: &str, now: SystemTime) {
        let id = split_job(job).map(|(id, _)| id);
        if let Some(index) = self.commands.iter().position(|command| Some(command.id) == id) {
            self.advance(index, now);
        }
    }

    /// Cancels a command on some instances, or on all of its own if none are named. Invocations that have
    /// finished, and ids that do not belong to the command, are left alone. What never reached its agent is
    /// Cancelled at once; the rest is Cancelling until the agent answers or [`SsmState::sweep`] ends the grace period.
    pub fn cancel(&mut self, command_id: Uuid, instance_ids: &[String], now: SystemTime) {
        let Some(index) = self.commands.iter().position(|command| command.id == command_id) else { return };
        let command = &mut self.commands[index];
        command.cancel_requested |= instance_ids.is_empty()
            || command.invocations.iter().all(|invocation| instance_ids.contains(&invocation.instance_id));
        for invocation in &mut command.invocations {
            let named = instance_ids.is_empty() || instance_ids.contains(&invocation.instance_id);
            if !named || invocation.status.is_final() || invocation.status == Status::Cancelling {
                continue;
            }
            invocation.cancel_requested = Some(now);
            let job = job_id(command_id, &invocation.instance_id);
            let queue = self.outgoing.entry(invocation.instance_id.clone()).or_default();
            let unseen = invocation.queued.is_none()
                || queue.iter().any(|out| out.job_id == job && (out.offers == 0 || out.refused));
            queue.retain(|out| out.job_id != job);
            if unseen {
                invocation.finish(Status::Cancelled, now);
            } else {
                invocation.status = Status::Cancelling;
                let content = json!({ "CancelMessageId": job }).to_string();
                let cancel = job_id(Uuid::new_v4(), &invocation.instance_id);
                queue.push_back(Outgoing::new(cancel, Topic::CancelCommand, content, now));
            }
        }
        self.advance(index, now);
    }

    /// What a command amounts to now, by the rules of the "Understanding command statuses" page of the
    /// Systems Manager guide.
    pub fn summary(command: &Command) -> CommandSummary {
        let all = &command.invocations;
        let count = |status: Status| all.iter().filter(|invocation| invocation.status == status).count();
        let errors = count(Status::Failed) + count(Status::TimedOut);
        CommandSummary {
            status: aggregate(command, errors),
            target_count: all.len(),
            completed: all.iter().filter(|invocation| invocation.status.is_final()).count(),
            errors,
            delivery_timed_out: count(Status::DeliveryTimedOut),
        }
    }

    /// The invocation a job id stands for.
    pub(super) fn invocation_mut(&mut self, job: &str) -> Option<(&mut Invocation, &Value)> {
        let (id, instance) = split_job(job)?;
        let command = self.commands.iter_mut().find(|command| command.id == id)?;
        let Command { invocations, document, .. } = command;
        let invocation = invocations.iter_mut().find(|invocation| invocation.instance_id == instance)?;
        Some((invocation, document))
    }
}

impl Invocation {
    /// The agent has the job: its first sign may be an acknowledgement or a reply.
    pub(super) fn start(&mut self, now: SystemTime) {
        self.accepted.get_or_insert(now);
        if matches!(self.status, Status::Pending | Status::Delayed) {
            self.status = Status::InProgress;
        }
    }

    /// Sets a final status. The first one stays.
    pub(super) fn finish(&mut self, status: Status, now: SystemTime) {
        if !self.status.is_final() {
            self.status = status;
            self.ended = Some(now);
        }
    }
}

impl Outgoing {
    fn new(job_id: String, topic: Topic, content: String, now: SystemTime) -> Outgoing {
        Outgoing { job_id, topic, content, created: now, offered: None, offers: 0, due: now, refused: false }
    }
}

/// `aws.ssm.<uuid>.<instance>` taken apart.
fn split_job(job: &str) -> Option<(Uuid, &str)> {
    let (id, instance) = job.strip_prefix("aws.ssm.")?.split_once('.')?;
    Some((Uuid::parse_str(id).ok()?, instance))
}

fn aggregate(command: &Command, errors: usize) -> Status {
    let all = &command.invocations;
    let any = |status: Status| all.iter().any(|invocation| invocation.status == status);
    if all.iter().any(|invocation| !invocation.status.is_final()) {
        return match command.cancel_requested {
            true => Status::Cancelling,
            false if all.iter().all(waiting) => Status::Pending,
            false => Status::InProgress,
        };
    }
    let undelivered = all.iter().filter(|invocation| invocation.status == Status::DeliveryTimedOut).count();
    let allowed = share(&command.max_errors, all.len()).unwrap_or(0);
    if all.iter().all(|invocation| invocation.status == Status::Success) {
        Status::Success
    } else if command.cancel_requested && any(Status::Cancelled) {
        Status::Cancelled
    } else if errors > allowed {
        if any(Status::Failed) { Status::Failed } else { Status::TimedOut }
    } else if undelivered > allowed {
        Status::DeliveryTimedOut
    } else if all.iter().all(|invocation| invocation.status == Status::Cancelled) {
        Status::Cancelled
    } else {
        Status::Incomplete
    }
}

fn waiting(invocation: &Invocation) -> bool {
    matches!(invocation.status, Status::Pending | Status::Delayed)
}

/// MaxConcurrency or MaxErrors as a number of targets: `10`, or `10%`, rounded down.
fn share(text: &str, targets: usize) -> Option<usize> {
    match text.strip_suffix('%') {
        Some(percent) => percent.parse::<usize>().ok().map(|percent| percent.min(100) * targets / 100),
        None => text.parse().ok(),
    }
}

/// The SendCommandPayload (amazon-ssm-agent `agent/runcommand/contracts/model.go`).
fn send_content(command: &Command) -> Value {
    json!({
        "Parameters": typed_parameters(&command.parameters, &command.document),
        "DocumentContent": command.document,
        "CommandId": command.id.to_string(),
        "DocumentName": command.document_name,
        "OutputS3BucketName": command.output_s3_bucket,
        "OutputS3KeyPrefix": command.output_s3_prefix,
        "CloudWatchLogGroupName": command.cloudwatch_log_group,
        "CloudWatchOutputEnabled": command.cloudwatch_enabled.to_string(),
    })
}

/// Callers send every parameter as a list of strings; agents get the type that the document declares.
fn typed_parameters(sent: &BTreeMap<String, Vec<String>>, document: &Value) -> Map<String, Value> {
    let typed = |name: &str, values: &[String]| {
        let declared = document["parameters"][name]["type"].as_str().unwrap_or("String");
        let first = values.first().map_or("", String::as_str);
        match declared {
            "StringList" => json!(values),
            "String" => json!(first),
            // Numbers, booleans, maps and lists of maps are JSON in the caller's string.
            _ => serde_json::from_str(first).unwrap_or_else(|_| json!(first)),
        }
    };
    sent.iter().map(|(name, values)| (name.clone(), typed(name, values))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample::{at, command, job, offers, reply, submitted};
    use super::*;
    use std::time::Duration;

    const ID: Uuid = Uuid::from_u128(7);

    fn status(state: &SsmState) -> Status {
        state.commands[0].invocations[0].status
    }

    #[test]
    fn parameters_get_their_declared_types() {
        let mut command = command(&["mi-1"]);
        let sent = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        for (name, values) in [
            ("List", sent(&["1", "2"])),
            ("Text", sent(&["5"])),
            ("Flag", sent(&["true"])),
            ("Number", sent(&["5"])),
            ("Map", sent(&["{\"k\":\"v\"}"])),
            ("Undeclared", sent(&["x"])),
        ] {
            command.parameters.insert(name.to_owned(), values);
        }
        let content = send_content(&command);
        let expected = json!({ "List": ["1", "2"], "Text": "5", "Flag": true, "Number": 5, "Map": { "k": "v" },
            "Undeclared": "x" });
        assert_eq!(content["Parameters"], expected);
        assert_eq!(content["CloudWatchOutputEnabled"], "false");
        let members: Vec<_> = content.as_object().unwrap().keys().map(String::as_str).collect();
        // The members of SendCommandPayload in amazon-ssm-agent, in the order of the map.
        assert_eq!(
            members,
            [
                "CloudWatchLogGroupName",
                "CloudWatchOutputEnabled",
                "CommandId",
                "DocumentContent",
                "DocumentName",
                "OutputS3BucketName",
                "OutputS3KeyPrefix",
                "Parameters"
            ]
        );
    }

    #[test]
    fn what_was_never_sent_is_cancelled_at_once() {
        let mut state = submitted(&["mi-1"]);
        state.cancel(ID, &[], at(1));
        assert_eq!(status(&state), Status::Cancelled);
        assert!(offers(&mut state, 2).is_empty());
    }

    #[test]
    fn what_the_agent_had_no_room_for_is_cancelled_at_once() {
        let mut state = submitted(&["mi-1"]);
        offers(&mut state, 1);
        state.acknowledge(&job("mi-1"), "51402", Duration::from_secs(5), at(1));
        state.cancel(ID, &[], at(2));
        assert_eq!(status(&state), Status::Cancelled);
    }

    #[test]
    fn what_may_have_arrived_is_cancelled_by_message() {
        for acknowledged in [true, false] {
            let mut state = submitted(&["mi-1"]);
            offers(&mut state, 1);
            if acknowledged {
                state.acknowledge(&job("mi-1"), "200", Duration::ZERO, at(1));
            }
            state.cancel(ID, &["mi-1".to_owned()], at(2));
            state.cancel(ID, &[], at(3));
            assert_eq!(status(&state), Status::Cancelling);
            let out = offers(&mut state, 20);
            assert_eq!(out.len(), 1, "one cancel message, and the job itself no more");
            assert_eq!(out[0].topic, Topic::CancelCommand);
            assert_eq!(out[0].content, json!({ "CancelMessageId": job("mi-1") }).to_string());
            assert!(out[0].job_id.ends_with(".mi-1") && out[0].job_id != job("mi-1"));
        }
    }

    #[test]
    fn a_finished_command_is_not_cancelled() {
        let mut state = submitted(&["mi-1"]);
        offers(&mut state, 1);
        state.acknowledge(&job("mi-1"), "200", Duration::ZERO, at(1));
        state.reply(&job("mi-1"), &reply("Success", json!({})), at(2));
        state.cancel(ID, &[], at(3));
        assert_eq!(status(&state), Status::Success);
        assert!(offers(&mut state, 4).is_empty());
        assert_eq!(SsmState::summary(&state.commands[0]).status, Status::Success);
    }

    #[test]
    fn only_named_instances_are_cancelled() {
        let mut state = submitted(&["mi-1", "mi-2"]);
        state.cancel(ID, &["mi-2".to_owned(), "mi-3".to_owned()], at(1));
        assert_eq!(status(&state), Status::Pending);
        assert_eq!(state.commands[0].invocations[1].status, Status::Cancelled);
        assert!(!state.commands[0].cancel_requested);
        state.cancel(Uuid::from_u128(8), &[], at(1));
        assert_eq!(status(&state), Status::Pending);
    }

    #[test]
    fn no_more_run_at_once_than_the_caller_allows() {
        let mut state = SsmState::default();
        let mut command = command(&["mi-1", "mi-2", "mi-3", "mi-4"]);
        (command.max_concurrency, command.max_errors) = ("50%".to_owned(), "1".to_owned());
        state.submit(command, at(0));
        let waiting = |state: &SsmState| {
            state
                .outgoing
                .iter()
                .filter(|(_, queue)| !queue.is_empty())
                .map(|(id, _)| id.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(waiting(&state), ["mi-1", "mi-2"]);
        state.acknowledge(&job("mi-1"), "200", Duration::ZERO, at(1));
        state.reply(&job("mi-1"), &reply("Failed", json!({})), at(2));
        assert_eq!(waiting(&state), ["mi-2", "mi-3"]);
        state.acknowledge(&job("mi-2"), "51408", Duration::ZERO, at(3));
        let statuses: Vec<_> = state.commands[0].invocations.iter().map(|one| one.status).collect();
        assert_eq!(statuses, [Status::Failed, Status::Failed, Status::Pending, Status::Terminated]);
        state.reply(&job("mi-3"), &reply("Success", json!({})), at(4));
        assert_eq!(SsmState::summary(&state.commands[0]).status, Status::Failed);
    }

    #[test]
    fn what_waits_for_others_is_cancelled_at_once() {
        let mut state = SsmState::default();
        let mut command = command(&["mi-1", "mi-2"]);
        command.max_concurrency = "1".to_owned();
        state.submit(command, at(0));
        offers(&mut state, 0);
        state.cancel(ID, &[], at(1));
        let statuses: Vec<_> = state.commands[0].invocations.iter().map(|one| one.status).collect();
        assert_eq!(statuses, [Status::Cancelling, Status::Cancelled]);
        assert!(state.outgoing["mi-2"].is_empty());
    }

    #[test]
    fn a_command_is_what_its_targets_are() {
        use Status::*;
        for (max_errors, cancelled, targets, whole) in [
            ("0", false, &[Pending, Delayed][..], Pending),
            ("0", false, &[Pending, Success], InProgress),
            ("0", true, &[Cancelling, Success], Cancelling),
            ("0", false, &[Success, Success], Success),
            ("0", false, &[Success, Failed], Failed),
            ("0", false, &[TimedOut, Success], TimedOut),
            ("1", false, &[Success, Failed], Incomplete),
            ("50%", false, &[Success, Failed], Incomplete),
            ("49%", false, &[Success, Failed], Failed),
            ("0", false, &[Success, DeliveryTimedOut], DeliveryTimedOut),
            ("1", false, &[Success, DeliveryTimedOut], Incomplete),
            ("0", true, &[Cancelled, Success], Cancelled),
            ("0", true, &[Success, Success], Success),
            ("0", false, &[Cancelled, Cancelled], Cancelled),
        ] {
            let mut command = command(&vec!["mi-1"; targets.len()]);
            command.max_errors = max_errors.to_owned();
            command.cancel_requested = cancelled;
            for (invocation, status) in command.invocations.iter_mut().zip(targets) {
                invocation.status = *status;
            }
            assert_eq!(SsmState::summary(&command).status, whole, "{targets:?} with {max_errors}");
        }
    }

    #[test]
    fn a_summary_counts() {
        use Status::*;
        let all = [Success, Failed, TimedOut, DeliveryTimedOut, Cancelled, Pending];
        let mut command = command(&["mi-1"; 6]);
        for (invocation, status) in command.invocations.iter_mut().zip(all) {
            invocation.status = status;
        }
        let expected = CommandSummary {
            status: InProgress,
            target_count: 6,
            completed: 5,
            errors: 2,
            delivery_timed_out: 1,
        };
        assert_eq!(SsmState::summary(&command), expected);
    }

    #[test]
    fn statuses_have_the_words_of_the_api() {
        assert_eq!(
            (Status::TimedOut.as_str(), Status::TimedOut.details()),
            ("TimedOut", "ExecutionTimedOut")
        );
        assert_eq!(Status::DeliveryTimedOut.as_str(), "TimedOut");
        assert_eq!(Status::DeliveryTimedOut.details(), "DeliveryTimedOut");
        assert_eq!((Status::InProgress.as_str(), Status::InProgress.details()), ("InProgress", "InProgress"));
    }
}
