//! Tags of templates and experiments.

use serde_json::{Value, json};

use super::call::Call;
use super::read::{self, MOST_TAGS};
use super::state::FisState;
use super::{arn, not_found};
use crate::Context;
use crate::error::ApiError;
use crate::tags::Tags;

type Answer = Result<Value, ApiError>;

/// TagResource.
pub(super) fn add(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    let members = call.members();
    let added = read::tags(members)?;
    let tags = of(resource(call), state, context)?;
    let count = tags.keys().chain(added.keys().filter(|key| !tags.contains_key(*key))).count();
    if count > MOST_TAGS {
        return Err(ApiError::validation(format!(
            "{} would have {count} tags; a resource has at most {MOST_TAGS}.",
            resource(call)
        )));
    }
    tags.extend(added);
    Ok(json!({}))
}

/// UntagResource. A key that is not there is no error; without keys all go, as nothing else is said.
pub(super) fn remove(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    let members = call.members();
    let keys = members.texts("tagKeys");
    let tags = of(resource(call), state, context)?;
    tags.retain(|key, _| !keys.is_empty() && !keys.contains(&key.as_str()));
    Ok(json!({}))
}

/// ListTagsForResource.
pub(super) fn list(call: &Call, state: &mut FisState, context: &Context) -> Answer {
    Ok(json!({ "tags": of(resource(call), state, context)? }))
}

fn resource(call: &Call) -> &str {
    call.members().required("resourceArn")
}

/// The tags of the resource with this ARN.
fn of<'s>(resource: &str, state: &'s mut FisState, context: &Context) -> Result<&'s mut Tags, ApiError> {
    let unknown =
        || not_found(format!("{resource} is the ARN of no experiment template and no experiment here."));
    let named = |kind: &str, id: &str| resource == arn::of(kind, id, context);
    let FisState { templates, experiments, .. } = state;
    let template = templates.iter_mut().find(|template| named("experiment-template", &template.id));
    if let Some(template) = template {
        return Ok(&mut template.tags);
    }
    let experiment = experiments.iter_mut().find(|experiment| named("experiment", &experiment.id));
    experiment.map(|experiment| &mut experiment.tags).ok_or_else(unknown)
}
