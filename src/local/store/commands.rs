//! Commands: sending, cancelling, and what a command amounts to over all its targets.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Command, Invocation, Outgoing, State, Status, Topic};

/// What ListCommands says about a command as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandSummary {
    pub status: Status,
    pub target_count: usize,
    /// Targets in a final status.
    pub completed: usize,
    /// Targets that failed or ran out of execution time; never delivered ones do not count.
    pub errors: usize,
    pub delivery_timed_out: usize,
}

/// The id of a job: what agents and both channels know a command by.
pub fn job_id(id: Uuid, instance_id: &str) -> String {
    format!("aws.ssm.{id}.{instance_id}")
}

impl State {
    /// Takes a command whose invocations are built, and queues one message for each.
    pub fn submit(&mut self, command: Command, now: SystemTime) {
        let content = send_content(&command).to_string();
        for invocation in &command.invocations {
            let job = job_id(command.id, &invocation.instance_id);
            self.queue(&invocation.instance_id, Outgoing::new(job, Topic::SendCommand, content.clone(), now));
        }
        self.commands.push(command);
    }

    /// Cancels a command on some instances, or on all of its own if none are named. Invocations that have
    /// finished, and ids that do not belong to the command, are left alone. What never reached its agent is
    /// Cancelled at once; the rest is Cancelling until the agent answers or [`State::sweep`] loses patience.
    pub fn cancel(&mut self, command_id: Uuid, instance_ids: &[String], now: SystemTime) {
        let Some(command) = self.commands.iter_mut().find(|command| command.id == command_id) else { return };
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
            let unseen = queue.iter().any(|out| out.job_id == job && (out.offers == 0 || out.refused));
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

    pub(super) fn queue(&mut self, instance_id: &str, message: Outgoing) {
        self.outgoing.entry(instance_id.to_owned()).or_default().push_back(message);
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
    let allowed = allowed_errors(&command.max_errors, all.len());
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

/// MaxErrors as a number of targets: `10` or `10%` (rounded down). Anything else counts as the default, 0.
fn allowed_errors(max_errors: &str, targets: usize) -> usize {
    match max_errors.strip_suffix('%') {
        Some(percent) => percent.parse::<usize>().unwrap_or(0).min(100) * targets / 100,
        None => max_errors.parse().unwrap_or(0),
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
