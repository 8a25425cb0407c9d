//! Activations: the right of a limited number of machines to register for a limited time.

use std::time::Duration;

use aws_lc_rs::rand;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::page::paged;
use super::{Answer, epoch, listing, tag_list, without_nulls};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::model::SSM;
use crate::ssm::state::{Activation, SsmState};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest life of an activation (CreateActivation: 30 days).
const LONGEST_DAYS: u32 = 30;

/// CreateActivation.
pub(super) fn create(body: &Map<String, Value>, state: &mut SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let description = members.text("Description").map(str::to_owned);
    let name = members.text("DefaultInstanceName").map(str::to_owned);
    let iam_role = members.required("IamRole").to_owned();
    let limit = members.number("RegistrationLimit").unwrap_or(1);
    let expires = members.time("ExpirationDate");
    let tags = members.tags()?;
    if iam_role.is_empty() {
        return Err(ApiError::validation("IamRole must name a role that Systems Manager may assume."));
    }
    let expires = expires.unwrap_or(context.now + DAY);
    if expires <= context.now || expires > context.now + DAY * LONGEST_DAYS {
        let message = format!("ExpirationDate must lie in the future, at most {LONGEST_DAYS} days from now.");
        return Err(ApiError::new("InvalidParameters", message));
    }
    let activation = Activation {
        id: Uuid::new_v4().to_string(),
        code: code()?,
        iam_role,
        description,
        default_instance_name: name,
        registration_limit: u32::try_from(limit).unwrap_or(1),
        registrations: 0,
        created: context.now,
        expires,
        tags,
    };
    let response = json!({ "ActivationId": activation.id, "ActivationCode": activation.code });
    state.activations.insert(activation.id.clone(), activation);
    Ok(response)
}

/// DeleteActivation. Instances that registered with it stay.
pub(super) fn delete(body: &Map<String, Value>, state: &mut SsmState) -> Answer {
    let members = Members::new(body);
    let id = members.required("ActivationId");
    match state.activations.remove(id) {
        Some(_) => Ok(json!({})),
        None => Err(ApiError::new("InvalidActivation", format!("Activation {id} does not exist."))),
    }
}

/// DescribeActivations.
pub(super) fn describe(body: &Map<String, Value>, state: &SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let filters: Vec<(&str, Vec<&str>)> = members
        .each("Filters")
        .map(|filter| (filter.text("FilterKey").unwrap_or_default(), filter.texts("FilterValues")))
        .collect();
    if let Some((key, _)) = filters.iter().find(|(key, values)| key.is_empty() || values.is_empty()) {
        let message = format!("Filter '{key}' needs a FilterKey and at least one of FilterValues.");
        return Err(ApiError::new("InvalidFilter", message));
    }
    let wanted = |activation: &&Activation| {
        filters.iter().all(|(key, values)| match *key {
            "ActivationIds" => values.contains(&activation.id.as_str()),
            "IamRole" => values.contains(&activation.iam_role.as_str()),
            _ => activation.default_instance_name.as_deref().is_some_and(|name| values.contains(&name)),
        })
    };
    let found: Vec<&Activation> = state.activations.values().filter(wanted).collect();
    let (found, next) = paged(found, |activation| activation.id.clone(), members)?;
    Ok(listing("ActivationList", found.into_iter().map(|found| item(found, context)).collect(), next))
}

fn item(activation: &Activation, context: &Context) -> Value {
    let used_up = activation.registrations >= activation.registration_limit;
    without_nulls(json!({
        "ActivationId": activation.id,
        "Description": activation.description,
        "DefaultInstanceName": activation.default_instance_name,
        "IamRole": activation.iam_role,
        "RegistrationLimit": activation.registration_limit,
        "RegistrationsCount": activation.registrations,
        "ExpirationDate": epoch(activation.expires),
        "Expired": used_up || activation.expires <= context.now,
        "CreatedDate": epoch(activation.created),
        "Tags": tag_list(&activation.tags),
    }))
}

/// Twenty letters and digits from the system's randomness (the API allows 20–250 characters).
fn code() -> Result<String, ApiError> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = [0_u8; 20];
    rand::fill(&mut bytes).map_err(|_| {
        SSM.refuse("InternalServerError", "The system gave no random bytes for an activation code.")
    })?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 64)])).collect())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use serde_json::json;

    #[test]
    fn an_activation_is_made_listed_and_deleted() {
        let mut fixture = Fixture::new();
        let made = fixture.ok(
            "CreateActivation",
            json!({
                "IamRole": "role", "Description": "d", "DefaultInstanceName": "n",
                "Tags": [{ "Key": "ECS_TASK_ARN", "Value": "arn:aws:ecs:eu-west-1:000000000000:task/c/1" }],
            }),
        );
        let id = made["ActivationId"].as_str().unwrap();
        assert_eq!(made["ActivationCode"].as_str().unwrap().len(), 20);
        let listed = fixture.ok(
            "DescribeActivations",
            json!({
                "Filters": [{ "FilterKey": "ActivationIds", "FilterValues": [id] }],
            }),
        );
        let item = &listed["ActivationList"][0];
        assert_eq!(item["RegistrationLimit"], 1);
        assert_eq!(item["RegistrationsCount"], 0);
        assert_eq!(item["Expired"], false);
        assert_eq!(
            item["ExpirationDate"].as_f64().unwrap() - item["CreatedDate"].as_f64().unwrap(),
            86_400.0
        );
        assert_eq!(item["Tags"][0]["Key"], "ECS_TASK_ARN");
        fixture.ok("DeleteActivation", json!({ "ActivationId": id }));
        assert_eq!(fixture.ok("DescribeActivations", json!({}))["ActivationList"], json!([]));
        assert_eq!(fixture.refused("DeleteActivation", json!({ "ActivationId": id })), "InvalidActivation");
    }

    #[test]
    fn limits_are_kept() {
        let mut fixture = Fixture::new();
        for (body, code) in [
            (json!({}), "ValidationException"),
            (json!({ "IamRole": "" }), "ValidationException"),
            (json!({ "IamRole": "r".repeat(65) }), "ValidationException"),
            (json!({ "IamRole": "r", "RegistrationLimit": 0 }), "ValidationException"),
            (json!({ "IamRole": "r", "RegistrationLimit": 1001 }), "ValidationException"),
            (json!({ "IamRole": "r", "DefaultInstanceName": "#" }), "ValidationException"),
            (json!({ "IamRole": "r", "ExpirationDate": 1 }), "InvalidParameters"),
            (json!({ "IamRole": "r", "ExpirationDate": 4_000_000_000_u64 }), "InvalidParameters"),
            (json!({ "IamRole": 7 }), "SerializationException"),
        ] {
            assert_eq!(fixture.refused("CreateActivation", body.clone()), code, "{body}");
        }
        assert!(fixture.state.activations.is_empty());
    }

    #[test]
    fn a_used_up_or_old_activation_is_expired() {
        let mut fixture = Fixture::new();
        fixture.ok("CreateActivation", json!({ "IamRole": "r" }));
        fixture.state.activations.values_mut().next().unwrap().registrations = 1;
        assert_eq!(fixture.ok("DescribeActivations", json!({}))["ActivationList"][0]["Expired"], true);
        fixture.state.activations.values_mut().next().unwrap().registrations = 0;
        fixture.pass(86_400);
        assert_eq!(fixture.ok("DescribeActivations", json!({}))["ActivationList"][0]["Expired"], true);
    }
}
