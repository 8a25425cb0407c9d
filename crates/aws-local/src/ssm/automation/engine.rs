//! The life of executions: a step function over their state and the time.
//!
//! A step leads to the one below it, to its `nextStep` or to what a branch chooses; a failed one to its `onFailure`,
//! a cancelled one to its `onCancel`. An execution ends Failed if a critical step did, whatever ran after it.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::actions::{self, Done, Outcome};
use super::references;
use super::state::{AutomationState, Execution, ExecutionStatus, StepRun, Stopping, Work};
use super::turn::{Apis, Turn};
use crate::Context;
use crate::documents::runbook::{Step, Then};

/// The most steps of one execution: a runbook may go round in a circle.
const MOST_STEPS: u32 = 1_000;
/// The most that it takes in one go.
const STEPS_AT_ONCE: usize = 50;
/// How long what `onCancel` leads to may take, and how long a cancelled command may take to end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(120);

/// Lets time pass: every execution takes its steps. True if anything changed.
pub(crate) fn advance(automations: &mut AutomationState, apis: &mut dyn Apis, context: &Context) -> bool {
    let resumed = std::mem::replace(&mut automations.resumed, true);
    let AutomationState { executions, scripts, jobs, .. } = automations;
    let mut turn = Turn { apis, scripts, jobs, context };
    let mut changed = false;
    for execution in executions.iter_mut().filter(|execution| !execution.status.is_final()) {
        if !resumed && execution.status != ExecutionStatus::Pending {
            execution.failure = Some("The local AWS was restarted while the execution ran.".to_owned());
            execution.stopping = Some(Stopping::Asked);
        }
        changed |= take(execution, &mut turn);
    }
    changed
}

/// Ends an execution that runs: `complete` lets the step end that it is at, otherwise that is cancelled.
pub(crate) fn stop(execution: &mut Execution, complete: bool) {
    match (complete, execution.stopping) {
        (true, None) => execution.stopping = Some(Stopping::AfterStep),
        (false, None | Some(Stopping::AfterStep)) => {
            execution.status = ExecutionStatus::Cancelling;
            execution.stopping = Some(Stopping::Asked);
        }
        _ => {}
    }
}

fn take(execution: &mut Execution, turn: &mut Turn<'_>) -> bool {
    let mut changed = false;
    if execution.status == ExecutionStatus::Pending {
        execution.status = ExecutionStatus::InProgress;
        execution.current = Some(0);
        changed = true;
    }
    changed |= wind_down(execution, turn);
    let goes_on =
        matches!(execution.stopping, None | Some(Stopping::AfterStep | Stopping::CleaningUp { .. }));
    if !goes_on || execution.status.is_final() {
        return changed;
    }
    for _ in 0..STEPS_AT_ONCE {
        let Some(index) = execution.current else { break };
        let outcome = match execution.steps[index].work.clone() {
            None => begin(execution, index, turn),
            Some(work) => poll(execution, index, &work, turn),
        };
        if let Outcome::Waits(work) = outcome {
            changed |= execution.steps[index].work.as_ref() != Some(&work);
            if let Work::Command(id) = &work
                && !execution.sent.contains(id)
            {
                execution.sent.push(id.clone());
            }
            execution.steps[index].work = Some(work);
            break;
        }
        changed = true;
        settle(execution, index, outcome, turn.context.now);
    }
    changed
}

/// Brings a cancelled execution to the step that `onCancel` names, or to its end. True if anything changed.
fn wind_down(execution: &mut Execution, turn: &mut Turn<'_>) -> bool {
    let now = turn.context.now;
    let late = |since: SystemTime| now >= since + CANCEL_TIMEOUT;
    match execution.stopping {
        None | Some(Stopping::AfterStep) => false,
        Some(Stopping::Asked) => {
            execution.status = ExecutionStatus::Cancelling;
            execution.stopping = Some(Stopping::Cancelling { since: now });
            if let Some(index) = execution.current {
                let run = &mut execution.steps[index];
                run.status = ExecutionStatus::Cancelling;
                actions::cancel(run, turn);
            }
            cancelled(execution, turn, false);
            true
        }
        Some(Stopping::Cancelling { since }) => cancelled(execution, turn, late(since)),
        Some(Stopping::CleaningUp { since }) if late(since) => {
            if let Some(index) = execution.current {
                actions::cancel(&execution.steps[index], turn);
                close(&mut execution.steps[index], ExecutionStatus::TimedOut, now);
            }
            end(execution, now);
            true
        }
        Some(Stopping::CleaningUp { .. }) => false,
    }
}

/// Goes on to `onCancel` once what ran is over, or took too long. True if it did.
fn cancelled(execution: &mut Execution, turn: &mut Turn<'_>, late: bool) -> bool {
    let now = turn.context.now;
    let Some(index) = execution.current else {
        end(execution, now);
        return true;
    };
    if !late && !actions::is_over(&execution.steps[index], turn) {
        return false;
    }
    close(&mut execution.steps[index], ExecutionStatus::Cancelled, now);
    execution.stopping = Some(Stopping::CleaningUp { since: now });
    match execution.runbook.steps[index].on_cancel.clone() {
        Then::Step(name) => go_to(execution, &name),
        Then::Abort | Then::Continue => end(execution, now),
    }
    true
}

fn begin(execution: &mut Execution, index: usize, turn: &mut Turn<'_>) -> Outcome {
    let step = execution.runbook.steps[index].clone();
    execution.begun += 1;
    let run = &mut execution.steps[index];
    run.started = Some(turn.context.now);
    run.status = ExecutionStatus::InProgress;
    run.tries += 1;
    if execution.begun > MOST_STEPS {
        return Outcome::Failed(format!(
            "the execution has taken {MOST_STEPS} steps, which is the most here"
        ));
    }
    match inputs(&step, execution, turn.context) {
        Err(why) => Outcome::Failed(format!("its inputs: {why}")),
        Ok(inputs) => {
            let run = &mut execution.steps[index];
            run.inputs.clone_from(&inputs);
            actions::begin(&step, run, turn)
        }
    }
}

/// The inputs of a step with every reference replaced. A script is a text in a language that has braces of its own.
fn inputs(step: &Step, execution: &Execution, context: &Context) -> Result<Map<String, Value>, String> {
    let filled = |(name, value): (&String, &Value)| {
        let value = match name.as_str() {
            "Script" => value.clone(),
            _ => references::filled(value, execution, context)?,
        };
        Ok((name.clone(), value))
    };
    step.inputs.iter().map(filled).collect()
}

fn poll(execution: &mut Execution, index: usize, work: &Work, turn: &mut Turn<'_>) -> Outcome {
    let step = execution.runbook.steps[index].clone();
    let run = &mut execution.steps[index];
    let outcome = actions::poll(&step, run, work, turn);
    let timeout = step.timeout.or_else(|| actions::default_timeout(&step.action));
    match (&outcome, run.started.zip(timeout)) {
        (Outcome::Waits(_), Some((since, most))) if turn.context.now >= since + most => {
            actions::cancel(run, turn);
            Outcome::TimedOut(format!("it took longer than its {} s", most.as_secs()))
        }
        _ => outcome,
    }
}

/// Goes on after a step that has ended.
fn settle(execution: &mut Execution, index: usize, outcome: Outcome, now: SystemTime) {
    let step = execution.runbook.steps[index].clone();
    let run = &mut execution.steps[index];
    let (status, why) = match outcome {
        Outcome::Waits(_) => return,
        Outcome::Done(Done { outputs, next, sent, variable }) => {
            run.outputs = outputs;
            close(run, ExecutionStatus::Success, now);
            execution.variables.extend(variable);
            execution.sent.extend(sent);
            return follow(execution, index, next, now);
        }
        Outcome::Failed(why) => (ExecutionStatus::Failed, why),
        Outcome::TimedOut(why) => (ExecutionStatus::TimedOut, why),
    };
    if run.tries < step.attempts && execution.begun <= MOST_STEPS {
        run.work = None;
        return;
    }
    close(run, status, now);
    // Reasons that come from other services are whole sentences.
    let why = why.trim_end_matches('.');
    run.failure = Some(format!("Step {} ({}) failed: {why}.", step.name, step.action));
    if step.critical && execution.broken.is_none() {
        execution.broken = Some(status);
        execution.failure.clone_from(&run.failure);
    }
    match step.on_failure {
        _ if execution.begun > MOST_STEPS => end(execution, now),
        Then::Abort => end(execution, now),
        Then::Continue => follow(execution, index, None, now),
        Then::Step(name) => go_to(execution, &name),
    }
}

/// Goes on to where a step leads.
fn follow(execution: &mut Execution, index: usize, chosen: Option<String>, now: SystemTime) {
    let step = &execution.runbook.steps[index];
    let stopped = execution.stopping == Some(Stopping::AfterStep);
    match chosen.or_else(|| step.next.clone()) {
        _ if step.last || stopped => end(execution, now),
        Some(name) => go_to(execution, &name),
        None if index + 1 < execution.steps.len() => enter(execution, index + 1),
        None => end(execution, now),
    }
}

fn go_to(execution: &mut Execution, name: &str) {
    // The runbook was checked: the step is there.
    let Some(index) = execution.runbook.step(name) else { return };
    enter(execution, index);
}

/// A step that was there before begins anew.
fn enter(execution: &mut Execution, index: usize) {
    execution.steps[index] = StepRun::pending();
    execution.current = Some(index);
}

fn close(run: &mut StepRun, status: ExecutionStatus, now: SystemTime) {
    run.status = status;
    run.ended = Some(now);
    run.work = None;
}

fn end(execution: &mut Execution, now: SystemTime) {
    let cancelled = matches!(execution.stopping, Some(stopping) if stopping != Stopping::AfterStep);
    execution.status = match execution.broken {
        _ if cancelled => ExecutionStatus::Cancelled,
        None => ExecutionStatus::Success,
        Some(status) => status,
    };
    execution.current = None;
    execution.ended = Some(now);
    for name in execution.runbook.outputs.clone() {
        let (step, output) = name.split_once('.').unwrap_or((&name, ""));
        let run = execution.runbook.step(step).map(|index| &execution.steps[index]);
        if let Some(value) = run.and_then(|run| run.outputs.get(output)) {
            execution.outputs.insert(name.clone(), value.clone());
        }
    }
}
