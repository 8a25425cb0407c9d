//! Filters of the listings of executions and of their steps.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::state::{Execution, StepRun};
use crate::error::ApiError;
use crate::members::Members;
use crate::model::SSM;

/// One filter: an item passes if one of the values fits.
#[derive(Debug)]
pub(super) struct Filter<'a> {
    key: &'a str,
    values: Vec<&'a str>,
    /// The values that are dates.
    dates: Vec<SystemTime>,
}

/// The filters of DescribeAutomationExecutions.
///
/// # Errors
/// `InvalidFilterKey` for one of something that is not kept here, `InvalidFilterValue` for a date that is none.
pub(super) fn of_executions(members: Members<'_>) -> Result<Vec<Filter<'_>>, ApiError> {
    let kept = [
        "DocumentNamePrefix",
        "ExecutionStatus",
        "ExecutionId",
        "CurrentAction",
        "StartTimeBefore",
        "StartTimeAfter",
        "AutomationType",
    ];
    read(members, &kept)
}

/// The filters of DescribeAutomationStepExecutions.
///
/// # Errors
/// As [`of_executions`].
pub(super) fn of_steps(members: Members<'_>) -> Result<Vec<Filter<'_>>, ApiError> {
    let kept =
        ["StartTimeBefore", "StartTimeAfter", "StepExecutionStatus", "StepExecutionId", "StepName", "Action"];
    read(members, &kept)
}

fn read<'a>(members: Members<'a>, kept: &[&str]) -> Result<Vec<Filter<'a>>, ApiError> {
    let filter = |filter: Members<'a>| {
        let (key, values) = (filter.required("Key"), filter.texts("Values"));
        if !kept.contains(&key) {
            let message =
                format!("Filter {key} is none of {}: the others are not kept here.", kept.join(", "));
            return Err(SSM.refuse("InvalidFilterKey", message));
        }
        let dates = if key.starts_with("StartTime") { &values[..] } else { &[] };
        let dates = dates.iter().map(|text| date(key, text)).collect::<Result<_, _>>()?;
        Ok(Filter { key, values, dates })
    };
    members.each("Filters").map(filter).collect()
}

fn date(key: &str, text: &str) -> Result<SystemTime, ApiError> {
    OffsetDateTime::parse(text, &Rfc3339).map(SystemTime::from).map_err(|_| {
        let message = format!("Filter {key}: {text} is no date like 2026-01-31T12:00:00Z.");
        SSM.refuse("InvalidFilterValue", message)
    })
}

impl Filter<'_> {
    fn fits(&self, value: impl Fn(&str) -> bool, began: Option<SystemTime>) -> bool {
        match self.key {
            "StartTimeBefore" => self.dates.iter().any(|date| began.is_some_and(|began| began < *date)),
            "StartTimeAfter" => self.dates.iter().any(|date| began.is_some_and(|began| began > *date)),
            _ => self.values.iter().any(|wanted| value(wanted)),
        }
    }

    /// Whether an execution passes.
    pub(super) fn takes_execution(&self, execution: &Execution) -> bool {
        let action = execution.current.map(|index| execution.runbook.steps[index].action.as_str());
        let fits = |wanted: &str| match self.key {
            "DocumentNamePrefix" => execution.document.starts_with(wanted),
            "ExecutionStatus" => execution.status.as_str() == wanted,
            "ExecutionId" => execution.id == wanted,
            "CurrentAction" => action == Some(wanted),
            // AutomationType: there is one account.
            _ => wanted == "Local",
        };
        self.fits(fits, Some(execution.started))
    }

    /// Whether a step of an execution passes.
    pub(super) fn takes_step(&self, execution: &Execution, index: usize) -> bool {
        let (step, run): (_, &StepRun) = (&execution.runbook.steps[index], &execution.steps[index]);
        let fits = |wanted: &str| match self.key {
            "StepExecutionStatus" => run.status.as_str() == wanted,
            "StepExecutionId" => run.id == wanted,
            "StepName" => step.name == wanted,
            _ => step.action == wanted,
        };
        self.fits(fits, run.started)
    }
}
