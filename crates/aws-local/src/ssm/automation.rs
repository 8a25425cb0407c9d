//! Automation: runbooks that are executed step by step.
//!
//! [`start`] checks everything and runs nothing; [`engine`] takes a step of each execution as time passes, and
//! reaches the services by their APIs, as a runbook does. What a step may do is in [`actions`].

use serde_json::{Map, Value, json};

use super::page::paged;
use super::{Answer, SsmState, listing};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::model::SSM;

mod actions;
mod branch;
mod engine;
mod filters;
mod references;
mod script;
mod selector;
mod start;
mod state;
mod turn;
mod view;

pub(crate) use engine::{advance, stop};
pub(crate) use start::{Order, start};
pub(crate) use state::Execution;
pub use state::{AutomationState, Scripts};
pub(crate) use turn::Apis;

/// StartAutomationExecution.
pub(super) fn begin(body: &Map<String, Value>, state: &mut SsmState, context: &Context) -> Answer {
    let id = start(start::read(body, context)?, state, context)?;
    Ok(json!({ "AutomationExecutionId": id }))
}

/// GetAutomationExecution.
pub(super) fn get(body: &Map<String, Value>, state: &SsmState) -> Answer {
    let members = Members::new(body);
    let execution = find(state, members.required("AutomationExecutionId"))?;
    Ok(json!({ "AutomationExecution": view::execution(execution) }))
}

/// DescribeAutomationExecutions: the newest first.
pub(super) fn describe(body: &Map<String, Value>, state: &SsmState) -> Answer {
    let members = Members::new(body);
    let filters = filters::of_executions(members)?;
    let all = state.automations.executions.iter().rev();
    let found: Vec<&Execution> =
        all.filter(|it| filters.iter().all(|filter| filter.takes_execution(it))).collect();
    let (found, next) = paged(found, |execution| execution.id.clone(), members)?;
    let items = found.into_iter().map(view::metadata).collect();
    Ok(listing("AutomationExecutionMetadataList", items, next))
}

/// DescribeAutomationStepExecutions: in the order of the runbook, or the other way round.
pub(super) fn describe_steps(body: &Map<String, Value>, state: &SsmState) -> Answer {
    let members = Members::new(body);
    let filters = filters::of_steps(members)?;
    let execution = find(state, members.required("AutomationExecutionId"))?;
    let mut found: Vec<usize> = (0..execution.steps.len())
        .filter(|index| filters.iter().all(|filter| filter.takes_step(execution, *index)))
        .collect();
    if members.flag("ReverseOrder").unwrap_or_default() {
        found.reverse();
    }
    let (found, next) = paged(found, |index| execution.steps[*index].id.clone(), members)?;
    let items = found.into_iter().map(|index| view::step(execution, index)).collect();
    Ok(listing("StepExecutions", items, next))
}

/// StopAutomationExecution.
pub(super) fn end(body: &Map<String, Value>, state: &mut SsmState) -> Answer {
    let members = Members::new(body);
    let id = members.required("AutomationExecutionId");
    let complete = members.text("Type") == Some("Complete");
    let execution = state.automations.find_mut(id).ok_or_else(|| unknown(id))?;
    if execution.status.is_final() {
        let message = format!("Execution {id} is {} already.", execution.status.as_str());
        return Err(SSM.refuse("InvalidAutomationStatusUpdateException", message));
    }
    stop(execution, complete);
    Ok(json!({}))
}

fn find<'s>(state: &'s SsmState, id: &str) -> Result<&'s Execution, ApiError> {
    state.automations.find(id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    SSM.refuse("AutomationExecutionNotFoundException", format!("There is no automation execution {id}."))
}

#[cfg(test)]
mod tests;
