//! Selectors: which part of an answer an output or a property is (JSONPath). Pure.

use serde_json::Value;
use serde_json_path::JsonPath;

use super::references::as_text;

/// What a selector finds in an answer, as the type that is asked for. None if it finds nothing; a list may be empty.
///
/// # Errors
/// In words: the selector is none, or what it finds is not of the type.
pub(super) fn select(answer: &Value, selector: &str, kind: &str) -> Result<Option<Value>, String> {
    let path = JsonPath::parse(selector).map_err(|error| format!("{selector} is no selector: {error}"))?;
    let found = path.query(answer).all();
    let items = || match found.as_slice() {
        [Value::Array(items)] => items.iter().collect(),
        found => found.to_vec(),
    };
    let wrong = || Err(format!("what {selector} finds is no {kind}"));
    match kind {
        "StringList" => Ok(Some(items().into_iter().map(as_text).map(Value::from).collect())),
        "MapList" => match items().into_iter().all(Value::is_object) {
            true => Ok(Some(items().into_iter().cloned().collect())),
            false => wrong(),
        },
        _ => {
            let Some(first) = found.first().filter(|value| !value.is_null()) else { return Ok(None) };
            match (kind, first) {
                ("Integer", Value::Number(_))
                | ("Boolean", Value::Bool(_))
                | ("StringMap", Value::Object(_)) => Ok(Some((*first).clone())),
                ("String", _) => Ok(Some(Value::from(as_text(first)))),
                _ => wrong(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_give_what_is_asked_for() {
        let answer = json!({
            "taskArns": ["a", "b"], "count": 2, "on": true,
            "tasks": [{ "taskArn": "a", "size": 1 }, { "taskArn": "b", "size": 2 }],
        });
        for (selector, kind, found) in [
            ("$.taskArns", "StringList", Some(json!(["a", "b"]))),
            ("$.tasks[*].taskArn", "StringList", Some(json!(["a", "b"]))),
            ("$.tasks..size", "StringList", Some(json!(["1", "2"]))),
            ("$.nothing", "StringList", Some(json!([]))),
            ("$.tasks[0].taskArn", "String", Some(json!("a"))),
            ("$.count", "String", Some(json!("2"))),
            ("$.count", "Integer", Some(json!(2))),
            ("$.on", "Boolean", Some(json!(true))),
            ("$.nothing", "String", None),
            ("$.tasks[0]", "StringMap", Some(json!({ "taskArn": "a", "size": 1 }))),
            ("$.tasks", "MapList", Some(answer["tasks"].clone())),
            ("$.tasks[?(@.size == 2)].taskArn", "StringList", Some(json!(["b"]))),
        ] {
            assert_eq!(select(&answer, selector, kind), Ok(found), "{selector} as {kind}");
        }
        for (selector, kind) in [("tasks", "String"), ("$.on", "Integer"), ("$.taskArns", "MapList")] {
            assert!(select(&answer, selector, kind).is_err(), "{selector} as {kind}");
        }
    }
}
