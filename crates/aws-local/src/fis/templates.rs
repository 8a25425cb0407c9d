//! Experiment templates: create, get, list, update, delete.

use serde_json::{Value, json};

use super::call::Call;
use super::definition::{AccountTargeting, Accounts, Definition, EmptyTargets, Template};
use super::read::{self, Sent};
use super::state::FisState;
use super::{advice, arn, check, listing, not_found, over_quota, view};
use crate::Context;
use crate::error::ApiError;

/// The most templates of an account and region.
const MOST_TEMPLATES: usize = 500;

type Answer = Result<Value, ApiError>;

/// CreateExperimentTemplate.
pub(super) fn create(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    let members = call.members();
    let token = members.required("clientToken");
    let sent = read::template(members)?;
    let tags = read::tags(members)?;
    if let Some(id) = state.tokens.made("CreateExperimentTemplate", token, call.all())?
        && let Ok(template) = find(state, id)
    {
        return Ok(shown(template, context));
    }
    let definition = defined(sent);
    check::definition(&definition)?;
    if state.templates.len() >= MOST_TEMPLATES {
        return Err(over_quota(format!(
            "There are {MOST_TEMPLATES} templates already; delete some with delete-experiment-template."
        )));
    }
    let template = Template {
        id: arn::new_id("EXT"),
        definition,
        tags,
        created: context.now,
        updated: context.now,
        accounts: Accounts::new(),
    };
    state.tokens.remember("CreateExperimentTemplate", token, call.all(), &template.id);
    for note in advice::of_template(&template.definition, context.speed) {
        state.log(&template.id, "note", note);
    }
    let response = shown(&template, context);
    state.templates.push(template);
    Ok(response)
}

/// GetExperimentTemplate.
pub(super) fn get(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    Ok(shown(find(state, call.id())?, context))
}

/// ListExperimentTemplates.
pub(super) fn list(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    let members = call.members();
    let page = listing::asked(members);
    let items = state.templates.iter().map(|template| view::summary(template, context)).collect();
    listing::answer("experimentTemplates", items, |item| item["id"].to_string(), page)
}

/// UpdateExperimentTemplate: replaces the members that were sent, if the whole is still in order.
pub(super) fn update(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    // The model of an update has no accountTargeting.
    let sent = Sent { account_targeting: None, ..read::template(call.members())? };
    let template = find_mut(state, call.id())?;
    let changed = merged(&template.definition, sent);
    check::definition(&changed)?;
    template.definition = changed;
    template.updated = context.now;
    let response = shown(template, context);
    let notes = advice::of_template(&template.definition, context.speed);
    for note in notes {
        state.log(call.id(), "note", note);
    }
    Ok(response)
}

/// DeleteExperimentTemplate. Experiments that were made from it go on.
pub(super) fn delete(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    let response = shown(find(state, call.id())?, context);
    state.templates.retain(|template| template.id != call.id());
    Ok(response)
}

/// The template with this id.
///
/// # Errors
/// `ResourceNotFoundException`.
pub(super) fn find<'s>(state: &'s FisState, id: &str) -> Result<&'s Template, ApiError> {
    state.templates.iter().find(|template| template.id == id).ok_or_else(|| unknown(id))
}

/// As [`find`], to change it.
pub(super) fn find_mut<'s>(state: &'s mut FisState, id: &str) -> Result<&'s mut Template, ApiError> {
    state.templates.iter_mut().find(|template| template.id == id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    not_found(format!(
        "There is no experiment template {id}; list-experiment-templates shows those there are."
    ))
}

fn shown(template: &Template, context: &Context) -> Value {
    json!({ "experimentTemplate": view::template(template, context) })
}

fn defined(sent: Sent) -> Definition {
    let empty = Definition {
        description: String::new(),
        targets: Default::default(),
        actions: Default::default(),
        stop_conditions: Vec::new(),
        role_arn: String::new(),
        log_configuration: None,
        account_targeting: AccountTargeting::default(),
        empty_targets: EmptyTargets::default(),
        report_configuration: None,
    };
    merged(&empty, sent)
}

fn merged(old: &Definition, sent: Sent) -> Definition {
    // An empty configuration turns it off.
    let configured = |sent: Option<Value>, old: &Option<Value>| match sent {
        Some(Value::Object(members)) if !members.keys().any(|key| key != "logSchemaVersion") => None,
        Some(configuration) => Some(configuration),
        None => old.clone(),
    };
    Definition {
        description: sent.description.unwrap_or_else(|| old.description.clone()),
        targets: sent.targets.unwrap_or_else(|| old.targets.clone()),
        actions: sent.actions.unwrap_or_else(|| old.actions.clone()),
        stop_conditions: sent.stop_conditions.unwrap_or_else(|| old.stop_conditions.clone()),
        role_arn: sent.role_arn.unwrap_or_else(|| old.role_arn.clone()),
        log_configuration: configured(sent.log_configuration, &old.log_configuration),
        account_targeting: match sent.account_targeting.as_deref() {
            Some("multi-account") => AccountTargeting::MultiAccount,
            Some(_) => AccountTargeting::SingleAccount,
            None => old.account_targeting,
        },
        empty_targets: match sent.empty_targets.as_deref() {
            Some("skip") => EmptyTargets::Skip,
            Some(_) => EmptyTargets::Fail,
            None => old.empty_targets,
        },
        report_configuration: configured(sent.report_configuration, &old.report_configuration),
    }
}
