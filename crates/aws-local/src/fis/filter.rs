//! Which resources fit a target: by tags, parameters, and filters on the description that their service gives.

use serde_json::Value;

use super::arn;
use super::definition::{Filter, Target};
use super::services::Resource;

/// Whether a resource fits tags, parameters and filters, whatever its status.
pub(super) fn is_meant(resource: &Resource, target: &Target) -> bool {
    let has = |(name, value): (&String, &String)| {
        resource.parameters.get(name.as_str()).is_some_and(|known| known == arn::last_name(value))
    };
    target.resource_tags.iter().all(|(key, value)| resource.tags.get(key) == Some(value))
        && target.parameters.iter().all(has)
        && passes(&resource.description, &target.filters)
}

/// Whether a resource passes all filters.
fn passes(resource: &Value, filters: &[Filter]) -> bool {
    filters.iter().all(|filter| {
        let mut found = Vec::new();
        collect(resource, &mut filter.path.split('.'), &mut found);
        found.iter().any(|text| filter.values.contains(text))
    })
}

/// The texts at the end of a path, through every item of the lists on the way.
fn collect<'p>(value: &Value, path: &mut (impl Iterator<Item = &'p str> + Clone), found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, &mut path.clone(), found)),
        Value::Object(members) => {
            let Some(member) = path.next().and_then(|name| members.get(&camel(name))) else { return };
            collect(member, path, found);
        }
        _ if path.clone().next().is_some() => {}
        Value::String(text) => found.push(text.clone()),
        Value::Null => {}
        other => found.push(other.to_string()),
    }
}

/// Filters are written in Pascal case, descriptions in camel case.
fn camel(name: &str) -> String {
    let mut letters = name.chars();
    // A path that is in camel case already finds nothing, as with the service.
    match letters.next() {
        Some(first) if first.is_uppercase() => first.to_lowercase().chain(letters).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filter(path: &str, values: &[&str]) -> Filter {
        Filter { path: path.to_owned(), values: values.iter().map(|value| (*value).to_owned()).collect() }
    }

    #[test]
    fn paths_lead_through_lists_and_objects() {
        let task = json!({
            "availabilityZone": "eu-west-1a", "launchType": "FARGATE", "enableExecuteCommand": false, "version": 3,
            "containers": [{ "name": "app", "lastStatus": "RUNNING" }, { "name": "sidecar" }],
        });
        for (path, values, passes_it) in [
            ("AvailabilityZone", vec!["eu-west-1b", "eu-west-1a"], true),
            ("AvailabilityZone", vec!["eu-west-1b"], false),
            ("availabilityZone", vec!["eu-west-1a"], false),
            ("Containers.Name", vec!["sidecar"], true),
            ("Containers.Name", vec!["other"], false),
            ("Containers.LastStatus", vec!["RUNNING"], true),
            ("Containers", vec!["app"], false),
            ("AvailabilityZone.Name", vec!["eu-west-1a"], false),
            ("EnableExecuteCommand", vec!["false"], true),
            ("Version", vec!["3"], true),
            ("Nothing.There", vec!["x"], false),
        ] {
            assert_eq!(passes(&task, &[filter(path, &values)]), passes_it, "{path} {values:?}");
        }
        let both = [filter("LaunchType", &["FARGATE"]), filter("Containers.Name", &["app"])];
        assert!(passes(&task, &both));
        let one = [filter("LaunchType", &["FARGATE"]), filter("Containers.Name", &["other"])];
        assert!(!passes(&task, &one));
        assert!(passes(&task, &[]));
    }
}
