//! Managed instances: describing, deregistering, changing the role.

use serde_json::{Map, Value, json};

use super::page::paged;
use super::{Answer, epoch, listing, without_nulls};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::ssm::state::{Instance, SsmState};

/// The filter keys of DescribeInstanceInformation, beside `tag:<key>` and `tag-key`.
const KEYS: [&str; 8] = [
    "InstanceIds",
    "AgentVersion",
    "PingStatus",
    "PlatformTypes",
    "ActivationIds",
    "IamRole",
    "ResourceType",
    "AssociationStatus",
];

/// DescribeInstanceInformation, with either form of its filters.
pub(super) fn describe(body: &Map<String, Value>, state: &SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let old = members.each("InstanceInformationFilterList");
    let old: Vec<_> = old.map(|filter| (filter.required("key"), filter.texts("valueSet"))).collect();
    let new = members.each("Filters");
    let new: Vec<_> = new.map(|filter| (filter.required("Key"), filter.texts("Values"))).collect();
    if !old.is_empty() && !new.is_empty() {
        return Err(ApiError::validation("Use Filters or InstanceInformationFilterList, not both."));
    }
    let filters = if new.is_empty() { old } else { new };
    for (key, values) in &filters {
        check_filter(key, values)?;
    }
    let wanted =
        |instance: &&Instance| filters.iter().all(|(key, values)| fits(instance, key, values, context));
    let found: Vec<&Instance> = state.instances.values().filter(wanted).collect();
    let (found, next) = paged(found, |instance| instance.id.clone(), members)?;
    let items = found.into_iter().map(|instance| item(instance, context)).collect();
    Ok(listing("InstanceInformationList", items, next))
}

/// DeregisterManagedInstance.
pub(super) fn deregister(body: &Map<String, Value>, state: &mut SsmState) -> Answer {
    let members = Members::new(body);
    let id = members.required("InstanceId");
    match state.deregister(id) {
        true => Ok(json!({})),
        false => Err(unknown(id)),
    }
}

/// UpdateManagedInstanceRole.
pub(super) fn update_role(body: &Map<String, Value>, state: &mut SsmState) -> Answer {
    let members = Members::new(body);
    let id = members.required("InstanceId");
    let role = members.required("IamRole");
    let instance = state.instances.get_mut(id).ok_or_else(|| unknown(id))?;
    instance.iam_role = role.to_owned();
    Ok(json!({}))
}

fn unknown(id: &str) -> ApiError {
    ApiError::new("InvalidInstanceId", format!("Managed instance {id} is not registered."))
}

fn check_filter(key: &str, values: &[&str]) -> Result<(), ApiError> {
    let allowed: &[&str] = match key {
        "PingStatus" => &["Online", "ConnectionLost", "Inactive"],
        "PlatformTypes" => &["Windows", "Linux", "MacOS"],
        "ResourceType" => &["ManagedInstance", "EC2Instance"],
        _ if KEYS.contains(&key) || key == "tag-key" || key.starts_with("tag:") => return Ok(()),
        _ => {
            let message =
                format!("Filter key {key} is not one of {}, tag-key or tag:<key>.", KEYS.join(", "));
            return Err(ApiError::new("InvalidFilterKey", message));
        }
    };
    match values.iter().find(|value| !allowed.contains(value)) {
        Some(value) => {
            let message = format!("Filter {key}: {value} is not one of {}.", allowed.join(", "));
            Err(ApiError::new("InvalidInstanceInformationFilterValue", message))
        }
        None => Ok(()),
    }
}

fn fits(instance: &Instance, key: &str, values: &[&str], context: &Context) -> bool {
    let said = |member: &str| instance.information.get(member).and_then(Value::as_str).unwrap_or_default();
    let found = match key {
        "InstanceIds" => instance.id.as_str(),
        "AgentVersion" => said("AgentVersion"),
        "PingStatus" => instance.ping_status(context.now),
        "PlatformTypes" => platform(instance),
        "ActivationIds" => instance.activation_id.as_str(),
        "IamRole" => instance.iam_role.as_str(),
        "ResourceType" => "ManagedInstance",
        "tag-key" => return values.iter().any(|value| instance.tags.contains_key(*value)),
        _ => match key.strip_prefix("tag:").and_then(|tag| instance.tags.get(tag)) {
            Some(value) => value,
            // SsmState Manager is not part of this service: no instance has an association status.
            None => return false,
        },
    };
    values.contains(&found)
}

/// The platform an instance says it has; Linux until its first heartbeat.
pub(super) fn platform(instance: &Instance) -> &str {
    let said = instance.information.get("PlatformType").and_then(Value::as_str).unwrap_or("Linux");
    ["Windows", "Linux", "MacOS"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(said))
        .unwrap_or("Linux")
}

fn item(instance: &Instance, context: &Context) -> Value {
    let said = |member: &str| {
        let text = instance.information.get(member).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map_or(Value::Null, Value::from)
    };
    without_nulls(json!({
        "InstanceId": instance.id,
        "PingStatus": instance.ping_status(context.now),
        "LastPingDateTime": instance.last_ping.map(epoch),
        "AgentVersion": said("AgentVersion"),
        "IsLatestVersion": true,
        "PlatformType": platform(instance),
        "PlatformName": said("PlatformName"),
        "PlatformVersion": said("PlatformVersion"),
        "ActivationId": instance.activation_id,
        "IamRole": instance.iam_role,
        "RegistrationDate": epoch(instance.registered),
        "ResourceType": "ManagedInstance",
        "Name": instance.name.clone().unwrap_or_default(),
        "IPAddress": said("IPAddress"),
        "ComputerName": said("ComputerName"),
        "SourceId": instance.id,
        "SourceType": "AWS::SSM::ManagedInstance",
    }))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use serde_json::{Value, json};

    fn ids(response: &Value) -> Vec<&str> {
        let list = response["InstanceInformationList"].as_array().unwrap();
        list.iter().map(|item| item["InstanceId"].as_str().unwrap()).collect()
    }

    #[test]
    fn both_filter_forms_find_instances() {
        let mut fixture = Fixture::new();
        let one = fixture.instance(&[("ECS_TASK_ARN", "arn:1")]);
        let two = fixture.instance(&[("ECS_TASK_ARN", "arn:2"), ("Extra", "x")]);
        let found = |fixture: &mut Fixture, key: &str, values: &[&str]| -> Vec<String> {
            let body = json!({ "Filters": [{ "Key": key, "Values": values }] });
            ids(&fixture.ok("DescribeInstanceInformation", body)).iter().map(|id| (*id).to_owned()).collect()
        };
        assert_eq!(found(&mut fixture, "tag:ECS_TASK_ARN", &["arn:2"]), [two.as_str()]);
        assert_eq!(found(&mut fixture, "tag-key", &["Extra"]), [two.as_str()]);
        assert_eq!(found(&mut fixture, "InstanceIds", &[&one]), [one.as_str()]);
        assert_eq!(found(&mut fixture, "PingStatus", &["Online"]).len(), 2);
        assert_eq!(found(&mut fixture, "PlatformTypes", &["Windows"]).len(), 0);
        assert_eq!(found(&mut fixture, "AssociationStatus", &["Success"]).len(), 0);
        let old = json!({ "InstanceInformationFilterList": [{ "key": "InstanceIds", "valueSet": [two] }] });
        assert_eq!(ids(&fixture.ok("DescribeInstanceInformation", old)), [two.as_str()]);
    }

    #[test]
    fn bad_filters_are_named() {
        let mut fixture = Fixture::new();
        for (body, code) in [
            (json!({ "Filters": [{ "Key": "Nonsense", "Values": ["x"] }] }), "InvalidFilterKey"),
            (
                json!({ "Filters": [{ "Key": "PingStatus", "Values": ["x"] }] }),
                "InvalidInstanceInformationFilterValue",
            ),
            (json!({ "Filters": [{ "Key": "PingStatus", "Values": [] }] }), "ValidationException"),
            (
                json!({ "InstanceInformationFilterList": [{ "key": "tag:A", "valueSet": ["x"] }] }),
                "ValidationException",
            ),
            (json!({ "MaxResults": 4 }), "ValidationException"),
            (json!({ "MaxResults": 51 }), "ValidationException"),
            (json!({ "NextToken": "nonsense" }), "InvalidNextToken"),
        ] {
            assert_eq!(fixture.refused("DescribeInstanceInformation", body.clone()), code, "{body}");
        }
    }

    #[test]
    fn pages_follow_each_other() {
        let mut fixture = Fixture::new();
        for _ in 0..7 {
            fixture.instance(&[]);
        }
        let first = fixture.ok("DescribeInstanceInformation", json!({ "MaxResults": 5 }));
        let rest = fixture.ok("DescribeInstanceInformation", json!({ "NextToken": first["NextToken"] }));
        assert_eq!((ids(&first).len(), ids(&rest).len()), (5, 2));
        assert!(rest.get("NextToken").is_none());
    }

    #[test]
    fn an_instance_is_deregistered_once() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[]);
        fixture.ok("UpdateManagedInstanceRole", json!({ "InstanceId": id, "IamRole": "other" }));
        assert_eq!(fixture.state.instances[&id].iam_role, "other");
        fixture.ok("DeregisterManagedInstance", json!({ "InstanceId": id }));
        assert_eq!(
            fixture.refused("DeregisterManagedInstance", json!({ "InstanceId": id })),
            "InvalidInstanceId"
        );
        assert_eq!(
            fixture.refused("DeregisterManagedInstance", json!({ "InstanceId": "i-1" })),
            "ValidationException"
        );
    }
}
