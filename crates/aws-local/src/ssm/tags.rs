//! Tags of managed instances and documents.

use serde_json::{Map, Value, json};

use super::{Answer, tag_list};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::ssm::state::SsmState;
use crate::tags::Tags;

/// The most tags a resource has (AddTagsToResource).
const MOST_TAGS: usize = 50;

/// AddTagsToResource.
pub(super) fn add(body: &Map<String, Value>, state: &mut SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let (kind, id) = resource(members);
    let added = members.tags()?;
    if let Some(key) = added.keys().find(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(ApiError::validation(format!("Tag key {key}: the prefix aws: is reserved.")));
    }
    let tags = tags_of(kind, id, state, context)?;
    let new = added.keys().filter(|key| !tags.contains_key(*key)).count();
    if tags.len() + new > MOST_TAGS {
        let message =
            format!("{id} would have {} tags; a resource has at most {MOST_TAGS}.", tags.len() + new);
        return Err(ApiError::new("TooManyTagsError", message));
    }
    tags.extend(added);
    Ok(json!({}))
}

/// RemoveTagsFromResource. A key that is not there is no error.
pub(super) fn remove(body: &Map<String, Value>, state: &mut SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let (kind, id) = resource(members);
    let keys = members.texts("TagKeys");
    let tags = tags_of(kind, id, state, context)?;
    tags.retain(|key, _| !keys.contains(&key.as_str()));
    Ok(json!({}))
}

/// ListTagsForResource.
pub(super) fn list(body: &Map<String, Value>, state: &mut SsmState, context: &Context) -> Answer {
    let members = Members::new(body);
    let (kind, id) = resource(members);
    Ok(json!({ "TagList": tag_list(tags_of(kind, id, state, context)?) }))
}

fn resource(members: Members<'_>) -> (&str, &str) {
    (members.required("ResourceType"), members.required("ResourceId"))
}

fn tags_of<'s>(
    kind: &str,
    id: &str,
    state: &'s mut SsmState,
    context: &Context,
) -> Result<&'s mut Tags, ApiError> {
    let tags = match kind {
        "ManagedInstance" => state.instances.get_mut(id).map(|instance| &mut instance.tags),
        "Document" => {
            let name = crate::documents::find(state, id, context).map(|document| document.name.clone());
            name.and_then(|name| state.documents.get_mut(&name)).map(|document| &mut document.tags)
        }
        _ => {
            let message = format!(
                "This local service keeps no resources of type {kind}: tag a ManagedInstance or a Document."
            );
            return Err(ApiError::new("InvalidResourceType", message));
        }
    };
    tags.ok_or_else(|| ApiError::new("InvalidResourceId", format!("There is no {kind} {id}.")))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use serde_json::json;

    #[test]
    fn tags_are_added_replaced_listed_and_removed() {
        let mut fixture = Fixture::new();
        let id = fixture.instance(&[("A", "1")]);
        let resource = json!({ "ResourceType": "ManagedInstance", "ResourceId": id });
        let with = |name: &str, value: serde_json::Value| {
            let mut body = resource.clone();
            body[name] = value;
            body
        };
        fixture.ok(
            "AddTagsToResource",
            with("Tags", json!([{ "Key": "A", "Value": "2" }, { "Key": "B", "Value": "" }])),
        );
        let list = fixture.ok("ListTagsForResource", resource.clone());
        assert_eq!(list["TagList"], json!([{ "Key": "A", "Value": "2" }, { "Key": "B", "Value": "" }]));
        fixture.ok("RemoveTagsFromResource", with("TagKeys", json!(["A", "not there"])));
        assert_eq!(
            fixture.ok("ListTagsForResource", resource.clone())["TagList"],
            json!([{ "Key": "B", "Value": "" }])
        );
        let many: Vec<_> = (0..50).map(|n| json!({ "Key": format!("k{n}"), "Value": "v" })).collect();
        assert_eq!(fixture.refused("AddTagsToResource", with("Tags", json!(many))), "TooManyTagsError");
        assert_eq!(fixture.ok("ListTagsForResource", resource)["TagList"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn unknown_resources_are_refused() {
        let mut fixture = Fixture::new();
        for (kind, code) in [
            ("ManagedInstance", "InvalidResourceId"),
            ("Document", "InvalidResourceId"),
            ("Parameter", "InvalidResourceType"),
            ("Instance", "ValidationException"),
        ] {
            let body = json!({ "ResourceType": kind, "ResourceId": "mi-00000000000000000" });
            assert_eq!(fixture.refused("ListTagsForResource", body), code, "{kind}");
        }
    }
}
