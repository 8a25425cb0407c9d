//! The runbook of an action: it is started, asked how it stands, and cancelled with everything it has sent.

use std::time::Duration;

use super::document;
use super::experiment::{ActionRun, Automation, Experiment};
use super::services::Runbook;
use super::step::{Failure, Step};

/// How a runbook stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    Runs,
    Succeeded,
    /// In words.
    Failed(String),
}

/// Starts the runbook of an action, with the experiment's role.
///
/// # Errors
/// StartAutomationExecution was refused.
pub(super) fn start(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) -> Result<(), Failure> {
    let order = document::of_user(&experiment.definition.actions[name]);
    let runbook = Runbook {
        document: order.name.clone(),
        version: order.version,
        parameters: order.parameters,
        role: experiment.definition.role_arn.clone(),
    };
    let execution = step.services.start_automation(runbook, step.context).map_err(|error| Failure {
        code: "DependentServiceFailure",
        location: format!("actions.{name}"),
        reason: format!("StartAutomationExecution: {error}"),
    })?;
    step.log(&experiment.id, name, format!("StartAutomationExecution {}: {execution}", order.name));
    if let Some(run) = experiment.actions.get_mut(name) {
        run.automation = Some(Automation { execution, status: String::new(), commands: Vec::new() });
    }
    Ok(())
}

/// Asks how the runbook of an action stands; None if it has none.
pub(super) fn standing(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) -> Option<Standing> {
    let most = document::longest(&experiment.definition.actions[name]);
    let Experiment { id, actions, .. } = experiment;
    let run = actions.get_mut(name)?;
    let automation = run.automation.as_mut()?;
    let Some(now) = step.services.automation(&automation.execution) else {
        return Some(Standing::Failed(format!("The execution {} is gone.", automation.execution)));
    };
    automation.commands.clone_from(&now.commands);
    if automation.status != now.status {
        now.status.clone_into(&mut automation.status);
        step.log(id, name, format!("execution {} is {}", automation.execution, now.status));
    }
    let late = run.started.zip(most).is_some_and(|(began, most)| step.context.now >= began + most);
    Some(match (now.is_final, now.status) {
        (true, "Success") => Standing::Succeeded,
        (true, status) => {
            let why = now.failure.map(|why| format!(" {why}")).unwrap_or_default();
            Standing::Failed(format!("The execution {} ended as {status}.{why}", automation.execution))
        }
        (false, _) if late => {
            let most = most.unwrap_or(Duration::ZERO).as_secs();
            Standing::Failed(format!("The execution {} took longer than its {most} s.", automation.execution))
        }
        (false, _) => Standing::Runs,
    })
}

/// Cancels the runbook of an action, if it runs: its `onCancel` then undoes what it has done.
pub(super) fn cancel(experiment: &Experiment, name: &str, step: &mut Step<'_>) {
    let Some(automation) = experiment.actions.get(name).and_then(|run| run.automation.as_ref()) else {
        return;
    };
    let execution = automation.execution.clone();
    if step.services.automation(&execution).is_some_and(|now| !now.is_final) {
        step.services.stop_automation(&execution);
        step.log(&experiment.id, name, format!("StopAutomationExecution {execution}: asked"));
    }
}

/// Whether no runbook of an action runs any more.
pub(super) fn is_over(run: &ActionRun, step: &Step<'_>) -> bool {
    let now = run.automation.as_ref().and_then(|automation| step.services.automation(&automation.execution));
    now.is_none_or(|now| now.is_final)
}
