//! The Resource Groups Tagging API, as far as experiments ask for it: which tasks have which tags. JSON 1.1; members
//! and errors are those of the service's API model (version 2017-01-26).

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::members::Members;
use super::model::TAGGING;
use super::ssm::page;
use super::tags::Tags;

/// Something that has tags.
#[derive(Debug)]
pub(crate) struct Tagged {
    pub(crate) arn: String,
    /// `ecs:task`.
    pub(crate) kind: &'static str,
    pub(crate) tags: Tags,
}

/// Performs one operation over everything that can have tags; None if it is not one.
pub(crate) fn call(
    operation: &str,
    body: &Map<String, Value>,
    all: &[Tagged],
) -> Option<Result<Value, ApiError>> {
    let checked = TAGGING.operation(operation)?.check(body);
    Some(checked.and_then(|()| get(Members::new(body), all)))
}

/// GetResources: those that have tags at all, and every tag that is asked for.
fn get(members: Members<'_>, all: &[Tagged]) -> Result<Value, ApiError> {
    let (kinds, arns) = (members.texts("ResourceTypeFilters"), members.texts("ResourceARNList"));
    let of_kind = |kind: &str| {
        kinds.is_empty() || kinds.iter().any(|asked| *asked == kind || kind.split(':').next() == Some(asked))
    };
    let asked: Vec<(&str, Vec<&str>)> = members
        .each("TagFilters")
        .map(|filter| (filter.text("Key").unwrap_or_default(), filter.texts("Values")))
        .collect();
    let has = |tags: &Tags| {
        asked.iter().all(|(key, values)| {
            tags.get(*key).is_some_and(|value| values.is_empty() || values.contains(&value.as_str()))
        })
    };
    let found = all.iter().filter(|it| {
        !it.tags.is_empty()
            && of_kind(it.kind)
            && (arns.is_empty() || arns.contains(&it.arn.as_str()))
            && has(&it.tags)
    });
    let size = members.count("ResourcesPerPage").unwrap_or(100);
    let key = |it: &&Tagged| it.arn.clone();
    let (shown, next) = page::page(found.collect(), key, size, members.text("PaginationToken"))
        .map_err(|error| TAGGING.refuse("InvalidParameterException", error.message))?;
    let item = |it: &Tagged| {
        let tags: Vec<Value> =
            it.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
        json!({ "ResourceARN": it.arn, "Tags": tags })
    };
    let items: Vec<Value> = shown.into_iter().map(item).collect();
    Ok(json!({ "PaginationToken": next.unwrap_or_default(), "ResourceTagMappingList": items }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_found_by_type_and_every_tag() {
        let tagged = |arn: &str, tags: &[(&str, &str)]| Tagged {
            arn: arn.to_owned(),
            kind: "ecs:task",
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let all = [
            tagged("one", &[("Team", "blue"), ("Stage", "test")]),
            tagged("two", &[("Team", "red")]),
            tagged("none", &[]),
        ];
        let found = |body: Value| {
            let answer = call("GetResources", body.as_object().unwrap(), &all).unwrap().unwrap();
            let list = answer["ResourceTagMappingList"].as_array().unwrap().clone();
            list.iter().map(|it| it["ResourceARN"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let team = |value: &str| json!({ "Key": "Team", "Values": [value] });
        assert_eq!(found(json!({})), ["one", "two"]);
        assert_eq!(found(json!({ "ResourceTypeFilters": ["ecs"], "TagFilters": [team("red")] })), ["two"]);
        assert_eq!(found(json!({ "ResourceTypeFilters": ["ec2:instance"] })), [""; 0]);
        let both = json!({ "TagFilters": [team("blue"), { "Key": "Stage" }] });
        assert_eq!(found(both), ["one"]);
        assert_eq!(found(json!({ "ResourceARNList": ["two", "none"] })), ["two"]);
        let first = call("GetResources", json!({ "ResourcesPerPage": 1 }).as_object().unwrap(), &all);
        let token = first.unwrap().unwrap()["PaginationToken"].clone();
        assert_eq!(found(json!({ "ResourcesPerPage": 1, "PaginationToken": token })), ["two"]);
        let bad = json!({ "PaginationToken": "%" });
        let bad = call("GetResources", bad.as_object().unwrap(), &all).unwrap().unwrap_err();
        assert_eq!(bad.code, "InvalidParameterException");
        assert!(call("TagResources", &Map::new(), &all).is_none());
    }
}
