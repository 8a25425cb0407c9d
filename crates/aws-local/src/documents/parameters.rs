//! Checks the parameters of a SendCommand against what the document declares.
//!
//! `allowedPattern` must match the whole value. The Systems Manager guide only says that the service checks
//! with Java's library and the agent once more with Go's; but the published AWS-RunShellScript limits its
//! time-out to 172800 by a pattern without `^…$`, which says nothing unless it is matched as a whole. The
//! agent's second check is a search, so it never refuses what passed here.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::pattern::Budget;

/// The types that a Command document may declare.
pub const TYPES: [&str; 6] = ["String", "StringList", "Integer", "Boolean", "StringMap", "MapList"];

/// Why the parameters do not fit; the sentence names the parameter and the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum ParameterError {
    #[error("Parameter \"{name}\" is not defined in the document. It has: {known}.")]
    Unknown { name: String, known: String },
    #[error("Parameter \"{name}\" requires a value.")]
    Missing { name: String },
    #[error("Parameter \"{name}\" is of type {declared} and takes exactly one value; {count} were given.")]
    Count { name: String, declared: String, count: usize },
    #[error("Parameter \"{name}\" is of type {declared}; {value:?} is not one.")]
    Type { name: String, declared: String, value: String },
    #[error("Parameter \"{name}\" must be one of {allowed}; {value:?} is not.")]
    NotAllowed { name: String, allowed: String, value: String },
    #[error("Parameter \"{name}\" must match the pattern {pattern}; {value:?} does not.")]
    Pattern { name: String, pattern: String, value: String },
    #[error("Parameter \"{name}\" must have {bound} {limit} {unit}; it has {count}.")]
    Size { name: String, bound: &'static str, limit: u64, unit: &'static str, count: usize },
}

/// Checks what the caller sent. A parameter that is missing and has a default is left to its default.
pub fn check(document: &Value, sent: &BTreeMap<String, Vec<String>>) -> Result<(), ParameterError> {
    let empty = Map::new();
    let declared = document["parameters"].as_object().unwrap_or(&empty);
    if let Some(name) = sent.keys().find(|name| !declared.contains_key(*name)) {
        let known = match declared.is_empty() {
            true => "no parameters".to_owned(),
            false => declared.keys().cloned().collect::<Vec<_>>().join(", "),
        };
        return Err(ParameterError::Unknown { name: name.clone(), known });
    }
    let mut budget = Budget::default();
    for (name, rules) in declared {
        match sent.get(name) {
            Some(values) => value_fits(name, rules, values, &mut budget)?,
            None if rules.get("default").is_none() => {
                return Err(ParameterError::Missing { name: name.clone() });
            }
            None => {}
        }
    }
    Ok(())
}

fn value_fits(
    name: &str,
    rules: &Value,
    values: &[String],
    budget: &mut Budget,
) -> Result<(), ParameterError> {
    let declared = rules["type"].as_str().unwrap_or("String");
    if declared != "StringList" && values.len() != 1 {
        return Err(ParameterError::Count {
            name: name.into(),
            declared: declared.into(),
            count: values.len(),
        });
    }
    let pattern = rules["allowedPattern"].as_str();
    // One that does not compile is refused when the document is created.
    let compiled = pattern.map(|text| (text, budget.compile(text)));
    for value in values {
        if !is_of_type(declared, value) {
            return Err(ParameterError::Type {
                name: name.into(),
                declared: declared.into(),
                value: shown(value),
            });
        }
        allowed(name, rules, value)?;
        if let Some((pattern, compiled)) = &compiled
            && !compiled.as_ref().is_some_and(|compiled| budget.matches(compiled, value))
        {
            let (name, pattern) = (name.to_owned(), (*pattern).to_owned());
            return Err(ParameterError::Pattern { name, pattern, value: shown(value) });
        }
        size(name, rules, value.chars().count(), ["minChars", "maxChars"], "characters")?;
    }
    size(name, rules, values.len(), ["minItems", "maxItems"], "items")
}

fn is_of_type(declared: &str, value: &str) -> bool {
    let json = || serde_json::from_str::<Value>(value).ok();
    match declared {
        "Integer" => value.parse::<i64>().is_ok(),
        "Boolean" => matches!(value, "true" | "false"),
        "StringMap" => json().is_some_and(|value| value.is_object()),
        "MapList" => json()
            .is_some_and(|value| value.as_array().is_some_and(|items| items.iter().all(Value::is_object))),
        _ => true,
    }
}

fn allowed(name: &str, rules: &Value, value: &str) -> Result<(), ParameterError> {
    if let Some(values) = rules["allowedValues"].as_array() {
        // Numbers and booleans are written without quotes in many documents.
        let texts: Vec<String> =
            values.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect();
        if !texts.iter().any(|text| text == value) {
            let allowed = format!("[{}]", texts.join(", "));
            return Err(ParameterError::NotAllowed { name: name.into(), allowed, value: shown(value) });
        }
    }
    Ok(())
}

/// Bounds are numbers, but stand as strings in some published documents.
fn size(
    name: &str,
    rules: &Value,
    count: usize,
    [min, max]: [&str; 2],
    unit: &'static str,
) -> Result<(), ParameterError> {
    let bound = |key: &str| rules[key].as_u64().or_else(|| rules[key].as_str()?.parse().ok());
    let found = u64::try_from(count).unwrap_or(u64::MAX);
    if let Some(limit) = bound(min).filter(|limit| found < *limit) {
        return Err(ParameterError::Size { name: name.into(), bound: "at least", limit, unit, count });
    }
    if let Some(limit) = bound(max).filter(|limit| found > *limit) {
        return Err(ParameterError::Size { name: name.into(), bound: "at most", limit, unit, count });
    }
    Ok(())
}

/// A value as an error message shows it.
fn shown(value: &str) -> String {
    const SHOWN_CHARACTERS: usize = 100;
    match value.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(pairs: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        pairs
            .iter()
            .map(|(name, values)| ((*name).into(), values.iter().map(|v| (*v).into()).collect()))
            .collect()
    }

    fn document() -> Value {
        json!({ "parameters": {
            "Seconds": { "type": "String", "allowedPattern": "^[0-9]+$" },
            "Mode": { "type": "String", "default": "a", "allowedValues": ["a", "b", 3] },
            "Lines": { "type": "StringList", "default": [], "minItems": 1, "maxItems": 2, "maxChars": "3" },
            "Count": { "type": "Integer", "default": 1 },
            "On": { "type": "Boolean", "default": true },
            "Map": { "type": "StringMap", "default": {} },
            "Maps": { "type": "MapList", "default": [] },
        } })
    }

    #[test]
    fn good_parameters_pass() {
        let good = sent(&[
            ("Seconds", &["10"]),
            ("Mode", &["3"]),
            ("Lines", &["abc", ""]),
            ("Count", &["-4"]),
            ("On", &["true"]),
            ("Map", &["{\"a\":\"b\"}"]),
            ("Maps", &["[{}]"]),
        ]);
        assert_eq!(check(&document(), &good), Ok(()));
    }

    #[test]
    fn every_rule_names_the_parameter() {
        let cases: [(&str, &[&str], &str); 14] = [
            ("Seconds", &["5m"], "must match the pattern ^[0-9]+$"),
            ("Seconds", &["1", "2"], "exactly one value; 2"),
            ("Seconds", &[], "exactly one value; 0"),
            ("Mode", &["c"], "must be one of [a, b, 3]"),
            ("Lines", &[], "at least 1 items"),
            ("Lines", &["a", "b", "c"], "at most 2 items"),
            ("Lines", &["abcd"], "at most 3 characters"),
            ("Count", &["1.5"], "of type Integer"),
            ("On", &["True"], "of type Boolean"),
            ("Map", &["[]"], "of type StringMap"),
            ("Map", &["x"], "of type StringMap"),
            ("Maps", &["[1]"], "of type MapList"),
            ("Other", &["x"], "is not defined in the document"),
            ("seconds", &["1"], "is not defined in the document"),
        ];
        for (name, values, rule) in cases {
            let mut all = sent(&[("Seconds", &["10"])]);
            all.insert(name.into(), values.iter().map(|value| (*value).into()).collect());
            let text = check(&document(), &all).expect_err(name).to_string();
            assert!(text.contains(rule) && text.contains(&format!("\"{name}\"")), "{text}");
        }
    }

    #[test]
    fn a_required_parameter_must_be_there() {
        assert_eq!(
            check(&document(), &BTreeMap::new()),
            Err(ParameterError::Missing { name: "Seconds".into() })
        );
    }

    #[test]
    fn a_document_without_parameters_takes_none() {
        assert_eq!(check(&json!({}), &BTreeMap::new()), Ok(()));
        let text = check(&json!({}), &sent(&[("A", &["b"])])).unwrap_err().to_string();
        assert!(text.contains("no parameters"), "{text}");
    }

    #[test]
    fn the_pattern_must_match_the_whole_value() {
        let document = json!({ "parameters": { "P": { "type": "String", "allowedPattern": "a|ab" } } });
        assert_eq!(check(&document, &sent(&[("P", &["ab"])])), Ok(()));
        assert!(check(&document, &sent(&[("P", &["abc"])])).is_err());
    }
}
