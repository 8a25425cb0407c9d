//! Which jobs run, which wait, which are refused: five at once, five waiting, the same job once in 30 minutes.
//!
//! The channels offer jobs ([`Inbox`]); an accepted job runs when its channel has acknowledged it. Limits
//! and answers as in the stock agent (`agent/task/pool.go`, `messagehandler/idempotency`), except that a job
//! which is cancelled while it waits is answered `Cancelled` instead of never; and that heartbeats of FIS never
//! wait: they are over at once, and behind five running faults they would come too late to keep those alive.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::active_faults::Entry;
use super::invocation::{self, InvocationContext, file_name};
use super::seen::Seen;
use crate::channel::journal::LeftOver;
use crate::channel::outbox::Outbox;
use crate::channel::reply::Reply;
use crate::channel::{Inbox, Origin};
use crate::document::{self, Plan, Request};
use crate::output::{Destination, Writer};
use crate::policy::Policy;
use effects::shell::left_over;
use ssm_wire::job::{Delivery, Job, JobId, Order, SendCommand, Topic, Verdict};
use ssm_wire::report::StepReport;
use ssm_wire::report::reply::Replier;

/// Commands that run at the same time.
pub const RUNNING_LIMIT: usize = 5;
/// Commands that wait.
pub const WAITING_LIMIT: usize = 5;

/// One accepted command.
#[derive(Debug)]
struct Command {
    id: JobId,
    document_name: String,
    plan: Plan,
    /// Where its output is to go besides the reply.
    destination: Option<Destination>,
    /// Who asked for what, in every log line about it.
    span: tracing::Span,
    origin: Origin,
    cancel: CancellationToken,
    accepted: SystemTime,
}

/// An accepted job between its offer and its start.
#[derive(Debug)]
enum Accepted {
    Command(Rc<Command>),
    Cancel { target: String },
}

/// What `taskfault status` shows of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveCommand {
    /// The second-to-last part of its job id, a UUID.
    pub command_id: String,
    /// The name of the document.
    pub document: String,
    /// The name of the fault, where the document is one of ours.
    pub fault: Option<&'static str>,
    /// When it was accepted.
    pub since: SystemTime,
    /// It was accepted and does not run yet.
    pub waiting: bool,
    /// Its fault, once that has started.
    pub active_fault: Option<Entry>,
    /// When the fault ends unless FIS sends another heartbeat, where it needs them.
    pub heartbeat_until: Option<SystemTime>,
}

/// All commands of this sidecar.
#[derive(Debug)]
pub struct Queue {
    context: InvocationContext,
    policy: Policy,
    /// Writes output elsewhere, where that is asked for.
    writer: Option<Rc<Writer>>,
    replier: Replier,
    outbox: Rc<Outbox>,
    seen: Seen,
    accepted: RefCell<HashMap<JobId, Accepted>>,
    waiting: RefCell<VecDeque<Rc<Command>>>,
    running: RefCell<Vec<Rc<Command>>>,
    closing: Cell<bool>,
    /// A command was admitted, started or ended.
    changed: Notify,
    me: std::rc::Weak<Queue>,
}

impl Queue {
    /// `context` is the same for all commands but for the command id; `policy` says what they may do,
    /// `writer` puts their output elsewhere.
    pub fn new(
        context: InvocationContext,
        policy: Policy,
        writer: Option<Rc<Writer>>,
        replier: Replier,
        outbox: Rc<Outbox>,
    ) -> Rc<Queue> {
        Rc::new_cyclic(|me| Queue {
            context,
            policy,
            writer,
            replier,
            outbox,
            seen: Seen::default(),
            accepted: RefCell::default(),
            waiting: RefCell::default(),
            running: RefCell::default(),
            closing: Cell::new(false),
            changed: Notify::new(),
            me: me.clone(),
        })
    }

    /// Goes on where an earlier life of the same instance was killed: repeats its replies, takes none of its jobs
    /// again, and answers those that it has not answered. Without an answer they would stay InProgress until they time
    /// out. `scripts` says what has become of those that it left, by command.
    pub fn go_on(&self, left: LeftOver, scripts: &BTreeMap<String, left_over::LeftOver>) {
        for (job, age) in &left.taken {
            self.seen.note_aged(job, *age);
        }
        for reply in left.replies {
            self.outbox.restore(reply);
        }
        for job in left.unanswered {
            tracing::warn!(%job, "was running when this sidecar was killed; answering that it failed");
            let became = became_of(scripts.get(&file_name(job.command_id())));
            let reason = format!("the sidecar was killed while this command ran; {became}");
            let reply = self.replier.refused(&reason, SystemTime::now());
            self.outbox.push(Reply::new(&job, Topic::Send, reply, Origin::Gateway).last());
        }
    }

    /// Takes nothing more, cancels what runs and what waits.
    pub fn close(&self) {
        self.closing.set(true);
        // Accepted and not started: its channel may be gone before it can start it.
        let accepted = self.accepted.take().into_values().filter_map(|accepted| match accepted {
            Accepted::Command(command) => Some(command),
            Accepted::Cancel { .. } => None,
        });
        for command in accepted.chain(self.waiting.take()) {
            self.answer_unstarted(&command);
        }
        for command in self.running.borrow().iter() {
            command.cancel.cancel();
        }
        self.changed.notify_waiters();
    }

    /// What commands may do here.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Waits until nothing runs.
    pub async fn idle(&self) {
        loop {
            let changed = self.changed.notified();
            if self.running.borrow().is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the set of active commands changes, or a fault starts.
    pub async fn changed(&self) {
        tokio::select! {
            () = self.changed.notified() => {}
            () = self.context.active_faults.changed() => {}
        }
    }

    /// What runs and what waits, in this order.
    pub fn active(&self) -> Vec<ActiveCommand> {
        let (faults, heartbeats) = (&self.context.active_faults, &self.context.heartbeats);
        let show = |command: &Rc<Command>, waiting| {
            let active_fault = faults.of(command.id.command_id());
            let action = active_fault.as_ref().and_then(|fault| fault.action.as_deref());
            ActiveCommand {
                command_id: command.id.command_id().to_owned(),
                document: command.document_name.clone(),
                fault: command.plan.fault_name(),
                since: command.accepted,
                waiting,
                heartbeat_until: action.and_then(|id| heartbeats.until(id, SystemTime::now())),
                active_fault,
            }
        };
        let running = self.running.borrow();
        let waiting = self.waiting.borrow();
        running
            .iter()
            .map(|command| show(command, false))
            .chain(waiting.iter().map(|command| show(command, true)))
            .collect()
    }

    fn offer_send(&self, job: Job, mut send: SendCommand, origin: Origin) -> Verdict {
        let request = Request {
            command_id: job.id.command_id().to_owned(),
            document_name: send.document_name.clone(),
            document: std::mem::take(&mut send.document_content),
            parameters: send.parameters.take().unwrap_or_default(),
        };
        let span = span_of(&request);
        let mut plan = match document::plan(&request) {
            Ok(plan) => plan,
            Err(error) => {
                let _asked = span.enter();
                return self.unreadable(&job.id, &error.to_string(), origin);
            }
        };
        let forbidden = self.policy.apply(&mut plan);
        let (unstarted, places) = (self.unstarted(), self.places_taken());
        if !plan.is_heartbeat()
            && (unstarted >= WAITING_LIMIT && places >= RUNNING_LIMIT
                || unstarted + places >= RUNNING_LIMIT + WAITING_LIMIT)
        {
            return Verdict::Full;
        }
        let destination = Destination::of(&send, job.id.command_id());
        let command = Rc::new(Command {
            id: job.id.clone(),
            document_name: send.document_name,
            plan,
            destination,
            span,
            origin,
            cancel: CancellationToken::new(),
            accepted: SystemTime::now(),
        });
        match forbidden {
            None => tracing::info!(parent: &command.span, "command accepted"),
            // Accepted, to be answered with the reason: it starts nothing.
            Some(reason) => tracing::warn!(parent: &command.span, %reason, "command refused"),
        }
        self.accept(job.id, Accepted::Command(command))
    }

    /// Whether it runs or waits: for longer than jobs are remembered, it may be.
    fn is_active(&self, id: &JobId) -> bool {
        let (running, waiting) = (self.running.borrow(), self.waiting.borrow());
        running.iter().chain(waiting.iter()).any(|command| command.id == *id)
    }

    /// Commands that were accepted and do not run yet.
    fn unstarted(&self) -> usize {
        let accepted = self.accepted.borrow();
        let commands = accepted.values().filter(|accepted| matches!(accepted, Accepted::Command(_))).count();
        commands + self.waiting.borrow().len()
    }

    /// Commands that run and count.
    fn places_taken(&self) -> usize {
        self.running.borrow().iter().filter(|command| !command.plan.is_heartbeat()).count()
    }

    fn accept(&self, id: JobId, accepted: Accepted) -> Verdict {
        self.seen.note(&id);
        // A cancel that is taken twice does no harm, and must wait for no disk.
        if let (Accepted::Command(_), Some(journal)) = (&accepted, self.outbox.journal()) {
            journal.taken(&id);
        }
        self.accepted.borrow_mut().insert(id, accepted);
        Verdict::Accepted { first: self.replier.accepted(SystemTime::now()) }
    }

    /// The reply of the control channel has no trace, as in the stock agent; the log has it.
    fn unreadable(&self, id: &JobId, reason: &str, origin: Origin) -> Verdict {
        tracing::warn!(job = %id, reason, "refusing a command");
        self.seen.note(id);
        if let Some(journal) = self.outbox.journal() {
            journal.taken(id);
        }
        let trace = match origin {
            Origin::Gateway => "",
            Origin::Poll => reason,
        };
        Verdict::Unreadable { reply: self.replier.refused(trace, SystemTime::now()) }
    }

    /// Starts what waits while there is room.
    fn fill(&self) {
        while self.places_taken() < RUNNING_LIMIT {
            let Some(command) = self.waiting.borrow_mut().pop_front() else { break };
            self.launch(command);
        }
        self.changed.notify_waiters();
    }

    fn launch(&self, command: Rc<Command>) {
        let Some(queue) = self.me.upgrade() else { return };
        self.running.borrow_mut().push(Rc::clone(&command));
        tokio::task::spawn_local(async move { queue.perform(&command).await });
    }

    async fn perform(&self, command: &Command) {
        let output = self.writer.clone().zip(command.destination.clone());
        let command_id = command.id.command_id().to_owned();
        let context = InvocationContext { command_id, output, ..self.context.clone() };
        let mut ended = Vec::new();
        let mut on_step = |step: &StepReport| {
            ended.push(step.clone());
            self.reply(command, self.replier.progress(&ended, SystemTime::now()));
        };
        let invocation = invocation::run(&command.plan, &context, &command.cancel, &mut on_step);
        invocation.instrument(command.span.clone()).await;
        tracing::info!(parent: &command.span, steps = %summary(&ended), "command ended");
        self.reply_last(command, self.replier.finished(&ended, SystemTime::now()));
        self.running.borrow_mut().retain(|running| running.id != command.id);
        if let Some(call) = command.plan.first_call() {
            // Cancelled before the fault's turn came.
            self.context.heartbeats.withdraw(&call.id);
        }
        self.fill();
    }

    fn reply(&self, command: &Command, content: String) {
        self.outbox.push(Reply::new(&command.id, Topic::Send, content, command.origin));
    }

    fn reply_last(&self, command: &Command, content: String) {
        self.outbox.push(Reply::new(&command.id, Topic::Send, content, command.origin).last());
    }

    /// A command that was cancelled before it ran: each step is reported Cancelled, then the whole.
    fn answer_unstarted(&self, command: &Command) {
        let now = SystemTime::now();
        if let Some(call) = command.plan.first_call() {
            self.context.heartbeats.withdraw(&call.id);
        }
        let steps: Vec<StepReport> = command
            .plan
            .steps
            .iter()
            .map(|step| StepReport::unstarted(&step.name, &step.action, now))
            .collect();
        for count in 1..=steps.len() {
            self.reply(command, self.replier.progress(&steps[..count], now));
        }
        self.reply_last(command, self.replier.finished(&steps, now));
        tracing::info!(parent: &command.span, "command cancelled before it ran");
    }

    /// Cancels what has exactly this job id. One that is unknown, ended, or of another instance changes nothing.
    fn cancel(&self, target: &str) {
        // One that was taken over the other channel and is not acknowledged yet ends when it starts.
        let accepted = self.accepted.borrow();
        let unstarted = accepted.values().filter_map(|accepted| match accepted {
            Accepted::Command(command) => Some(command),
            Accepted::Cancel { .. } => None,
        });
        let running = self.running.borrow();
        if let Some(command) = running.iter().chain(unstarted).find(|command| command.id.as_str() == target) {
            tracing::info!(parent: &command.span, "cancelling");
            command.cancel.cancel();
            return;
        }
        drop((accepted, running));
        let mut waiting = self.waiting.borrow_mut();
        let Some(at) = waiting.iter().position(|command| command.id.as_str() == target) else {
            return tracing::info!(job = target, "nothing to cancel: no such command runs or waits here");
        };
        if let Some(command) = waiting.remove(at) {
            drop(waiting);
            self.answer_unstarted(&command);
            self.changed.notify_waiters();
        }
    }
}

/// Characters of a command's parameters that stand in the log.
const SHOWN_PARAMETERS: usize = 500;

/// Who asks for what.
fn span_of(request: &Request) -> tracing::Span {
    let parameters = serde_json::to_string(&request.parameters).unwrap_or_default();
    let parameters: String = parameters.chars().take(SHOWN_PARAMETERS).collect();
    tracing::info_span!("command", id = request.command_id, document = request.document_name, parameters)
}

fn summary(steps: &[StepReport]) -> String {
    let steps: Vec<String> =
        steps.iter().map(|step| format!("{}={}", step.name, step.status.as_str())).collect();
    steps.join(" ")
}

impl Inbox for Queue {
    fn offer(&self, delivery: &Delivery, origin: Origin) -> Verdict {
        if self.seen.knows(&delivery.id) || self.is_active(&delivery.id) {
            return Verdict::Duplicate;
        }
        let job = match Job::parse(delivery) {
            Ok(job) => job,
            Err(error) => return self.unreadable(&delivery.id, &error.to_string(), origin),
        };
        match job.order.clone() {
            // Cancels are taken while closing too: they ask for what is being done.
            Order::Cancel { target } => self.accept(job.id, Accepted::Cancel { target }),
            Order::Send(_) if self.closing.get() => Verdict::Closing,
            Order::Send(send) => self.offer_send(job, send, origin),
        }
    }

    fn start(&self, id: &JobId) {
        let accepted = self.accepted.borrow_mut().remove(id);
        match accepted {
            Some(Accepted::Cancel { target }) => self.cancel(&target),
            Some(Accepted::Command(command)) if command.cancel.is_cancelled() => {
                self.answer_unstarted(&command)
            }
            Some(Accepted::Command(command)) if command.plan.is_heartbeat() => self.launch(command),
            Some(Accepted::Command(command)) => {
                if let Some(call) = command.plan.first_call() {
                    self.context.heartbeats.announce(call, self.context.clock.now());
                }
                self.waiting.borrow_mut().push_back(command);
            }
            None => {}
        }
        self.fill();
    }

    fn withdraw(&self, id: &JobId) {
        if let (Some(Accepted::Command(_)), Some(journal)) =
            (self.accepted.borrow_mut().remove(id), self.outbox.journal())
        {
            journal.withdrawn(id);
        }
        self.seen.forget(id);
    }

    fn refuse(&self, id: &JobId, reason: &str) {
        if let Some(Accepted::Command(command)) = self.accepted.borrow_mut().remove(id) {
            let reply = self.replier.refused(reason, SystemTime::now());
            self.outbox.push(Reply::new(id, Topic::Send, reply, command.origin).last());
        }
    }
}

/// What has become of what a command did when the sidecar was killed, in words. A fault ends with the process.
fn became_of(script: Option<&left_over::LeftOver>) -> String {
    match script {
        None => "what it did ended with it".to_owned(),
        Some(left_over::LeftOver::Ended) => {
            "its script ran on, and was killed when the sidecar started again".to_owned()
        }
        Some(left_over::LeftOver::Gone) => {
            "its script has ended since; what it put in the background may still run".to_owned()
        }
        Some(left_over::LeftOver::RunsOn { pid, reason }) => {
            format!("its script runs on as process {pid}, and could not be killed: {reason}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::JOB_MEMORY;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::time::Duration;

    const INSTANCE: &str = "mi-0123456789abcdef0";

    fn queue(dir: &std::path::Path) -> (Rc<Queue>, Rc<Outbox>) {
        let outbox = Rc::new(Outbox::default());
        let context = InvocationContext {
            command_id: String::new(),
            instance_id: INSTANCE.into(),
            region: "us-east-1".into(),
            orchestration_dir: dir.to_owned(),
            platform_name: "Linux".into(),
            platform_version: "6.1".into(),
            task: effects::task::Task::default(),
            clock: crate::aws::clock::Clock::default(),
            heartbeats: Rc::default(),
            active_faults: Rc::default(),
            output: None,
            metrics: None,
            environment: BTreeMap::new(),
        };
        let replier = Replier { version: "3.3.0.0".into(), able_to_open_control_channel: None };
        (Queue::new(context, Policy::default(), None, replier, Rc::clone(&outbox)), outbox)
    }

    fn id(n: u32) -> JobId {
        JobId::try_from(format!("aws.ssm.command-{n}.{INSTANCE}")).unwrap()
    }

    /// A stress that burns nothing and lives until it is cancelled: it holds a place without any process.
    fn hold(n: u32) -> Delivery {
        let content = json!({
            "DocumentName": "AWSFIS-Run-CPU-Stress",
            "DocumentContent": {},
            "Parameters": {"DurationSeconds": "3600", "LoadPercent": "0", "CPU": "1"},
        });
        Delivery { id: id(n), topic: "aws.ssm.sendCommand".into(), content: content.to_string() }
    }

    fn cancel(n: u32, target: &str) -> Delivery {
        let content = json!({"CancelMessageId": target}).to_string();
        Delivery { id: id(n), topic: "aws.ssm.cancelCommand".into(), content }
    }

    fn run(queue: &Rc<Queue>, delivery: &Delivery) -> Verdict {
        let verdict = queue.offer(delivery, Origin::Gateway);
        if matches!(verdict, Verdict::Accepted { .. }) {
            queue.start(&delivery.id);
        }
        verdict
    }

    fn counts(queue: &Queue) -> (usize, usize) {
        (queue.running.borrow().len(), queue.waiting.borrow().len())
    }

    /// The document status of each reply of a job, in order.
    fn statuses(outbox: &Outbox, job: &JobId) -> Vec<String> {
        outbox
            .snapshot()
            .into_iter()
            .filter(|reply| reply.job == *job)
            .map(|reply| {
                let content: Value = serde_json::from_str(&reply.content).unwrap();
                content["documentStatus"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    async fn in_local<F: Future<Output = ()>>(test: F) {
        tokio::task::LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn five_run_five_wait_and_the_eleventh_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, _outbox) = queue(dir.path());
        in_local(async {
            for n in 0..10 {
                assert!(matches!(run(&queue, &hold(n)), Verdict::Accepted { .. }), "{n}");
            }
            assert_eq!(counts(&queue), (5, 5));
            assert_eq!(run(&queue, &hold(10)), Verdict::Full);
            // Refused is not remembered: the service offers it again, and then there may be room.
            run(&queue, &cancel(100, id(9).as_str()));
            assert!(matches!(run(&queue, &hold(10)), Verdict::Accepted { .. }));
        })
        .await;
    }

    #[tokio::test]
    async fn a_heartbeat_never_waits_and_is_never_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, outbox) = queue(dir.path());
        let beat = |n: u32| {
            let state = r#"{"id":"a","callTime":1766000000,"callCount":2}"#;
            let content = json!({
                "DocumentName": "AWSFIS-Run-Network-Latency-ECS",
                "DocumentContent": {},
                "Parameters": {"DurationSeconds": "60", "Sources": "ALL", "FISActionState": state},
            });
            Delivery { id: id(n), topic: "aws.ssm.sendCommand".into(), content: content.to_string() }
        };
        in_local(async {
            for n in 0..10 {
                run(&queue, &hold(n));
            }
            for n in 20..40 {
                assert!(matches!(run(&queue, &beat(n)), Verdict::Accepted { .. }), "{n}");
            }
            while counts(&queue) != (5, 5) {
                queue.changed().await;
            }
            // There is no such fault here; what counts is that each was answered.
            for n in 20..40 {
                assert_eq!(statuses(&outbox, &id(n)).last().unwrap(), "Failed", "{n}");
            }
            assert_eq!(run(&queue, &hold(10)), Verdict::Full);
        })
        .await;
    }

    #[tokio::test]
    async fn a_waiting_command_that_is_cancelled_is_answered_and_never_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, outbox) = queue(dir.path());
        in_local(async {
            for n in 0..6 {
                run(&queue, &hold(n));
            }
            run(&queue, &cancel(100, id(5).as_str()));
            assert_eq!(counts(&queue), (5, 0));
            assert_eq!(statuses(&outbox, &id(5)), ["InProgress", "InProgress", "Cancelled"]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_running_command_that_is_cancelled_makes_room_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, outbox) = queue(dir.path());
        in_local(async {
            for n in 0..6 {
                run(&queue, &hold(n));
            }
            run(&queue, &cancel(100, id(0).as_str()));
            while counts(&queue) != (5, 0) {
                queue.changed().await;
            }
            assert_eq!(statuses(&outbox, &id(0)).last().unwrap(), "Cancelled");
            assert!(statuses(&outbox, &id(5)).iter().all(|status| status == "InProgress"));
        })
        .await;
    }

    #[tokio::test]
    async fn a_cancel_for_another_instances_command_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, _outbox) = queue(dir.path());
        in_local(async {
            run(&queue, &hold(0));
            for target in ["aws.ssm.command-0.mi-ffffffffffffffff0", "", "command-0", "*"] {
                assert!(matches!(
                    run(&queue, &cancel(100, target)),
                    Verdict::Accepted { .. } | Verdict::Duplicate
                ));
            }
            assert_eq!(counts(&queue), (1, 0));
            assert!(!queue.running.borrow()[0].cancel.is_cancelled());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_remembered_for_thirty_minutes() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, _outbox) = queue(dir.path());
        in_local(async {
            run(&queue, &cancel(1, "x"));
            tokio::time::advance(JOB_MEMORY - Duration::from_secs(1)).await;
            assert_eq!(queue.offer(&cancel(1, "x"), Origin::Gateway), Verdict::Duplicate);
            tokio::time::advance(Duration::from_secs(2)).await;
            assert!(matches!(queue.offer(&cancel(1, "x"), Origin::Gateway), Verdict::Accepted { .. }));
        })
        .await;
    }

    #[tokio::test]
    async fn a_withdrawn_job_may_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, _outbox) = queue(dir.path());
        in_local(async {
            assert!(matches!(queue.offer(&hold(1), Origin::Poll), Verdict::Accepted { .. }));
            queue.withdraw(&id(1));
            assert_eq!(counts(&queue), (0, 0));
            assert!(matches!(queue.offer(&hold(1), Origin::Poll), Verdict::Accepted { .. }));
        })
        .await;
    }

    #[tokio::test]
    async fn a_job_that_is_refused_although_it_has_begun_is_answered_and_does_not_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, outbox) = queue(dir.path());
        in_local(async {
            assert!(matches!(queue.offer(&hold(1), Origin::Poll), Verdict::Accepted { .. }));
            queue.refuse(&id(1), "not yours");
            assert_eq!(counts(&queue), (0, 0));
            assert_eq!(statuses(&outbox, &id(1)), ["Failed"]);
            assert_eq!(queue.offer(&hold(1), Origin::Poll), Verdict::Duplicate);
            queue.start(&id(1));
            assert_eq!((counts(&queue), statuses(&outbox, &id(1)).len()), ((0, 0), 1));
        })
        .await;
    }

    #[tokio::test]
    async fn what_the_policy_forbids_is_answered_with_the_variable_and_starts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (allowed, outbox) = queue(dir.path());
        let policy =
            Policy::read([("TASKFAULT_MAX_DURATION", "1h"), ("TASKFAULT_ALLOW", "disk-fill")]).unwrap();
        let queue = Queue::new(
            allowed.context.clone(),
            policy,
            None,
            Replier { version: "3.3.0.0".into(), able_to_open_control_channel: None },
            Rc::clone(&outbox),
        );
        in_local(async {
            assert!(matches!(run(&queue, &hold(1)), Verdict::Accepted { .. }));
            queue.idle().await;
            assert_eq!(statuses(&outbox, &id(1)).last().unwrap(), "Failed");
            let reason = "TASKFAULT_ALLOW=disk-fill in this task does not allow cpu-stress";
            assert!(outbox.snapshot().iter().any(|reply| reply.content.contains(reason)));
        })
        .await;
    }

    #[tokio::test]
    async fn closing_answers_everything_and_takes_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, outbox) = queue(dir.path());
        in_local(async {
            for n in 0..7 {
                run(&queue, &hold(n));
            }
            // Accepted, and its channel never gets to start it.
            assert!(matches!(queue.offer(&hold(7), Origin::Poll), Verdict::Accepted { .. }));
            queue.close();
            queue.idle().await;
            for n in 0..8 {
                assert_eq!(statuses(&outbox, &id(n)).last().unwrap(), "Cancelled", "{n}");
            }
            assert_eq!(run(&queue, &hold(9)), Verdict::Closing);
        })
        .await;
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_with_a_final_reply() {
        let dir = tempfile::tempdir().unwrap();
        let (queue, _outbox) = queue(dir.path());
        let unreadable = ["", "{}", "[]", r#"{"DocumentName":"x","DocumentContent":{}}"#, "\u{0}"];
        for (n, content) in (0..).zip(unreadable) {
            let delivery =
                Delivery { id: id(n), topic: "aws.ssm.sendCommand".into(), content: content.to_owned() };
            let Verdict::Unreadable { reply } = queue.offer(&delivery, Origin::Poll) else {
                panic!("{content:?}")
            };
            let reply: Value = serde_json::from_str(&reply).unwrap();
            assert_eq!(reply["documentStatus"], "Failed", "{content:?}");
            assert_ne!(reply["documentTraceOutput"], "", "{content:?}");
        }
        assert_eq!(counts(&queue), (0, 0));
    }
}
