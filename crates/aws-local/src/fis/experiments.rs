//! Experiments as clients see them: start, get, list, stop, resolved targets.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::call::Call;
use super::definition::{AccountTargeting, Template};
use super::experiment::{ActionRun, Ending, Experiment, ExperimentStatus};
use super::read;
use super::services::Services;
use super::state::FisState;
use super::{arn, conflict, document, listing, not_found, over_quota, templates, view};
use crate::Context;
use crate::error::ApiError;

/// The most experiments that run at once.
const MOST_ACTIVE: usize = 5;

type Answer = Result<Value, ApiError>;

/// StartExperiment.
pub(super) fn start(call: &Call, state: &mut FisState, services: &dyn Services, context: &Context) -> Answer {
    let members = call.members();
    let token = members.required("clientToken");
    let template = members.required("experimentTemplateId");
    let options = members.nested("experimentOptions");
    let rehearsal = options.is_some_and(|options| options.text("actionsMode") == Some("skip-all"));
    let tags = read::tags(members)?;
    if let Some(id) = state.tokens.made("StartExperiment", token, call.all())?
        && let Ok(experiment) = find(state, id)
    {
        return Ok(shown(experiment, context));
    }
    let template = templates::find(state, template)?.clone();
    may_start(state, &template, services, context)?;
    let actions: BTreeMap<String, ActionRun> = template
        .definition
        .actions
        .iter()
        .map(|(name, action)| {
            let asked = document::asked_duration(action);
            let duration = asked.map(|asked| document::scaled(asked, context.speed));
            (name.clone(), ActionRun { duration, reason: "Initial state".to_owned(), ..ActionRun::default() })
        })
        .collect();
    let experiment = Experiment {
        id: arn::new_id("EXP"),
        template_id: template.id,
        definition: template.definition,
        tags,
        accounts: template.accounts,
        rehearsal,
        created: context.now,
        started: None,
        ended: None,
        status: ExperimentStatus::Initiating,
        reason: "Experiment is initiating.".to_owned(),
        error: None,
        resolved: BTreeMap::new(),
        actions,
        notes: Vec::new(),
        speed: context.speed,
        records: Vec::new(),
        ending: None,
    };
    state.tokens.remember("StartExperiment", token, call.all(), &experiment.id);
    let response = shown(&experiment, context);
    state.experiments.push(experiment);
    Ok(response)
}

/// What keeps an experiment from being started at all. An alarm that is in ALARM already is not among it: the
/// service starts the experiment and stops it at once.
pub(super) fn may_start(
    state: &FisState,
    template: &Template,
    services: &dyn Services,
    context: &Context,
) -> Result<(), ApiError> {
    let Template { definition, accounts, .. } = template;
    if state.lever.engaged {
        return Err(conflict(format!(
            "The safety lever is engaged ({}): no experiment can start. Disengage it with update-safety-lever-state.",
            state.lever.reason
        )));
    }
    let active = state.experiments.iter().filter(|experiment| !experiment.status.is_final()).count();
    if active >= MOST_ACTIVE {
        return Err(over_quota(format!(
            "{active} experiments run already; at most {MOST_ACTIVE} run at once. Wait for one to end, or stop one."
        )));
    }
    if definition.account_targeting == AccountTargeting::MultiAccount && accounts.is_empty() {
        return Err(ApiError::validation(
            "The template is for several accounts and has no target account configuration; \
             add one with create-target-account-configuration.",
        ));
    }
    match definition.alarms().find(|alarm| services.alarm(alarm, context).is_none()) {
        Some(alarm) => Err(ApiError::validation(format!(
            "Stop condition: there is no alarm {alarm}. An experiment whose stop condition cannot be watched does \
             not start; make the alarm first (aws cloudwatch put-metric-alarm)."
        ))),
        None => Ok(()),
    }
}

/// GetExperiment.
pub(super) fn get(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    Ok(shown(find(state, call.id())?, context))
}

/// ListExperiments: the newest first.
pub(super) fn list(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    let members = call.members();
    let page = listing::asked(members);
    let template = members.text("experimentTemplateId");
    let wanted = |experiment: &&Experiment| template.is_none_or(|id| experiment.template_id == id);
    let found = state.experiments.iter().rev().filter(wanted);
    let items = found.map(|experiment| view::experiment_summary(experiment, context)).collect();
    listing::answer("experiments", items, |item| item["id"].to_string(), page)
}

/// StopExperiment.
pub(super) fn stop(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    let experiment = find_mut(state, call.id())?;
    if experiment.status.is_final() {
        return Err(ApiError::validation(format!(
            "Experiment {} is {} already: there is nothing to stop.",
            experiment.id,
            experiment.status.as_str()
        )));
    }
    if experiment.ending.is_none() {
        experiment.end(Ending {
            status: ExperimentStatus::Stopped,
            reason: "Experiment halted by user.".to_owned(),
            error: None,
        });
    }
    Ok(shown(experiment, context))
}

/// ListExperimentResolvedTargets.
pub(super) fn resolved_targets(call: &Call, state: &mut FisState, _context: &Context) -> Answer {
    let members = call.members();
    let page = listing::asked(members);
    let wanted = members.text("targetName");
    let experiment = find(state, call.id())?;
    if let Some(unknown) = wanted.filter(|name| !experiment.definition.targets.contains_key(*name)) {
        return Err(not_found(format!("Experiment {} has no target {unknown}.", experiment.id)));
    }
    let mut items = Vec::new();
    for (name, arns) in experiment.resolved.iter().filter(|(name, _)| wanted.is_none_or(|one| one == *name)) {
        let kind = &experiment.definition.targets[name].resource_type;
        items.extend(arns.iter().map(
            |arn| json!({ "resourceType": kind, "targetName": name, "targetInformation": { "arn": arn } }),
        ));
    }
    listing::answer("resolvedTargets", items, |item| item.to_string(), page)
}

/// The experiment with this id.
///
/// # Errors
/// `ResourceNotFoundException`.
pub(super) fn find<'s>(state: &'s FisState, id: &str) -> Result<&'s Experiment, ApiError> {
    state.experiment(id).ok_or_else(|| unknown(id))
}

fn find_mut<'s>(state: &'s mut FisState, id: &str) -> Result<&'s mut Experiment, ApiError> {
    state.experiments.iter_mut().find(|experiment| experiment.id == id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    not_found(format!("There is no experiment {id}; list-experiments shows those there are."))
}

fn shown(experiment: &Experiment, context: &Context) -> Value {
    json!({ "experiment": view::experiment(experiment, context) })
}
