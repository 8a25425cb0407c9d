//! Reads what CreateExperimentTemplate and UpdateExperimentTemplate send. What it means is checked in `check`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::definition::{Action, Filter, StopCondition, Target};
use crate::error::ApiError;
use crate::members::Members;
use crate::model::check::{Rule, Violation};
use crate::tags::Tags;

/// The most tags of a resource.
pub(super) const MOST_TAGS: usize = 50;

/// The members of a template that were sent; None is a member that was not.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) description: Option<String>,
    pub(super) targets: Option<BTreeMap<String, Target>>,
    pub(super) actions: Option<BTreeMap<String, Action>>,
    pub(super) stop_conditions: Option<Vec<StopCondition>>,
    pub(super) role_arn: Option<String>,
    pub(super) log_configuration: Option<Value>,
    pub(super) account_targeting: Option<String>,
    pub(super) empty_targets: Option<String>,
    pub(super) report_configuration: Option<Value>,
}

/// Reads a template.
///
/// # Errors
/// `ValidationException`: a log schema that the service does not have.
pub(super) fn template(members: Members<'_>) -> Result<Sent, ApiError> {
    log_schema(members)?;
    let by_name = |name: &str| members.has(name).then(|| members.each_by_name(name));
    let conditions = members.has("stopConditions").then(|| members.each("stopConditions"));
    let option = |name: &str| members.nested("experimentOptions")?.text(name).map(str::to_owned);
    Ok(Sent {
        description: members.text("description").map(str::to_owned),
        targets: by_name("targets")
            .map(|all| all.map(|(name, members)| (name.clone(), target(members))).collect()),
        actions: by_name("actions")
            .map(|all| all.map(|(name, members)| (name.clone(), action(members))).collect()),
        stop_conditions: conditions.map(|all| all.map(stop_condition).collect()),
        role_arn: members.text("roleArn").map(str::to_owned),
        log_configuration: members.value("logConfiguration").cloned(),
        account_targeting: option("accountTargeting"),
        empty_targets: option("emptyTargetResolutionMode"),
        report_configuration: members.value("experimentReportConfiguration").cloned(),
    })
}

/// The model takes any number; the service's guide has the schemas 1 and 2.
fn log_schema(members: Members<'_>) -> Result<(), ApiError> {
    let sent = members.nested("logConfiguration").and_then(|log| log.number("logSchemaVersion"));
    let refused =
        |number, rule| Err(Violation::new("logConfiguration.logSchemaVersion", number, rule).into());
    match sent {
        Some(number) if number < 1 => refused(number, Rule::MinValue(1)),
        Some(number) if number > 2 => refused(number, Rule::MaxValue(2)),
        _ => Ok(()),
    }
}

fn stop_condition(members: Members<'_>) -> StopCondition {
    StopCondition {
        source: members.required("source").to_owned(),
        value: members.text("value").map(str::to_owned),
    }
}

fn target(members: Members<'_>) -> Target {
    let filter = |filter: Members<'_>| Filter {
        path: filter.required("path").to_owned(),
        values: owned(filter.texts("values")),
    };
    Target {
        resource_type: members.required("resourceType").to_owned(),
        resource_arns: owned(members.texts("resourceArns")),
        resource_tags: members.texts_by_name("resourceTags"),
        filters: members.each("filters").map(filter).collect(),
        selection_mode: members.required("selectionMode").to_owned(),
        parameters: members.texts_by_name("parameters"),
    }
}

/// An update takes an action without its id by the model; what it would be then is not said, so it is refused
/// later, as an action that is not there.
fn action(members: Members<'_>) -> Action {
    let is_empty = |name: &&str| match members.value(name) {
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => false,
    };
    let sent_empty = ["parameters", "startAfter", "targets"].into_iter().filter(is_empty);
    Action {
        sent_empty: sent_empty.map(str::to_owned).collect(),
        action_id: members.text("actionId").unwrap_or_default().to_owned(),
        description: members.text("description").map(str::to_owned),
        parameters: members.texts_by_name("parameters"),
        targets: members.texts_by_name("targets"),
        start_after: owned(members.texts("startAfter")),
    }
}

/// Reads the member `tags`.
///
/// # Errors
/// `ValidationException`: a key is reserved, which the model does not say.
pub(super) fn tags(members: Members<'_>) -> Result<Tags, ApiError> {
    let tags = members.texts_by_name("tags");
    match tags.keys().find(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        Some(key) => {
            let rule = "Map keys must not start with aws:, which is reserved";
            Err(Violation::other("tags", key, rule).into())
        }
        None => Ok(tags),
    }
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}
