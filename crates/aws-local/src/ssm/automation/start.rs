//! StartAutomationExecution: checks everything about an execution; nothing runs yet.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::state::{Execution, ExecutionStatus, StepRun};
use crate::Context;
use crate::documents::{content, find, parameters, runbook};
use crate::error::ApiError;
use crate::members::Members;
use crate::model::SSM;
use crate::ssm::SsmState;

/// The most executions that run at once (quota "concurrently running automations").
const MOST_RUNNING: usize = 100;

/// An execution to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// Name or ARN.
    pub document: String,
    pub version: Option<String>,
    pub parameters: BTreeMap<String, Vec<String>>,
    /// The ARN of who starts it.
    pub executed_by: String,
    /// `ClientToken`.
    pub token: Option<String>,
}

/// Reads a StartAutomationExecution.
///
/// # Errors
/// `ValidationException`: a member that is not here.
pub(super) fn read(body: &Map<String, Value>, context: &Context) -> Result<Order, ApiError> {
    let members = Members::new(body);
    const ELSEWHERE: [&str; 7] = [
        "AlarmConfiguration",
        "Tags",
        "TargetLocations",
        "TargetLocationsURL",
        "TargetMaps",
        "TargetParameterName",
        "Targets",
    ];
    if let Some(name) = ELSEWHERE.into_iter().find(|name| members.has(name)) {
        return Err(ApiError::validation(format!(
            "This local service starts one execution at a time, without {name}: leave it out."
        )));
    }
    if members.text("Mode") == Some("Interactive") {
        return Err(ApiError::validation("This local service has no Interactive mode: leave Mode out."));
    }
    Ok(Order {
        document: members.required("DocumentName").to_owned(),
        version: members.text("DocumentVersion").map(str::to_owned),
        parameters: members.lists_by_name("Parameters"),
        executed_by: format!("arn:aws:iam::{}:root", context.account),
        token: members.text("ClientToken").map(str::to_owned),
    })
}

/// Takes an execution, whose first step is taken when time next passes. Returns its id.
///
/// # Errors
/// There is no such runbook or version, a parameter does not fit, or too many run.
pub(crate) fn start(order: Order, state: &mut SsmState, context: &Context) -> Result<String, ApiError> {
    let Order { document: name, version: asked, parameters: sent, executed_by, token } = order;
    let document =
        find(state, &name, context).filter(|it| it.document_type == AUTOMATION).ok_or_else(|| {
            let message =
                format!("There is no Automation runbook {name} here; create it with create-document.");
            SSM.refuse("AutomationDefinitionNotFoundException", message)
        })?;
    let version = document.version(asked.as_deref()).ok_or_else(|| {
        let message = format!("Runbook {name} has no version {}.", asked.as_deref().unwrap_or_default());
        SSM.refuse("AutomationDefinitionVersionNotFoundException", message)
    })?;
    let invalid = |message: String| SSM.refuse("InvalidAutomationExecutionParametersException", message);
    let content =
        content::parse(&version.text, &version.format).map_err(|error| invalid(error.to_string()))?;
    let runbook = runbook::read(&content).map_err(|error| invalid(format!("{name}: {error}")))?;
    parameters::check(&content, &sent).map_err(|error| invalid(error.to_string()))?;
    let (document, version) = (document.name.clone(), version.number.to_string());
    let known = token.as_ref().and_then(|token| {
        state.automations.executions.iter().find(|execution| execution.token.as_ref() == Some(token))
    });
    let mut parameters: BTreeMap<String, Vec<String>> =
        runbook.parameters.iter().filter_map(|(name, rules)| Some((name.clone(), default(rules)?))).collect();
    parameters.extend(sent);
    if let Some(known) = known {
        return match known.document == document && known.parameters == parameters {
            true => Ok(known.id.clone()),
            false => Err(SSM.refuse(
                "IdempotentParameterMismatch",
                "The ClientToken was used before, with another document or other parameters.",
            )),
        };
    }
    let running = state.automations.executions.iter().filter(|it| !it.status.is_final()).count();
    if running >= MOST_RUNNING {
        let message = format!("{running} executions run already; wait for one to end, or stop one.");
        return Err(SSM.refuse("AutomationExecutionLimitExceededException", message));
    }
    let execution = Execution {
        id: Uuid::new_v4().to_string(),
        document,
        version,
        parameters,
        variables: runbook.variables.clone(),
        executed_by,
        token,
        started: context.now,
        ended: None,
        status: ExecutionStatus::Pending,
        failure: None,
        steps: runbook.steps.iter().map(|_| StepRun::pending()).collect(),
        runbook,
        current: None,
        sent: Vec::new(),
        begun: 0,
        stopping: None,
        broken: None,
        outputs: BTreeMap::new(),
    };
    let id = execution.id.clone();
    state.automations.executions.push(execution);
    Ok(id)
}

/// `DocumentType` of runbooks.
pub(super) const AUTOMATION: &str = "Automation";

/// The default of a parameter, as a caller would send it.
fn default(rules: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match rules.get("default")? {
        Value::Array(items) => Some(items.iter().map(text).collect()),
        value => Some(vec![text(value)]),
    }
}
