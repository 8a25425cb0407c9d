//! The conditions of `aws:branch`. Pure.

use serde_json::{Map, Value};

use super::references::as_text;

/// The step that the first choice leads to which is true, or the default; None if there is neither, then the next
/// step below follows.
///
/// # Errors
/// In words, a choice that says nothing.
pub(super) fn choose(inputs: &Map<String, Value>) -> Result<Option<String>, String> {
    for choice in inputs.get("Choices").and_then(Value::as_array).into_iter().flatten() {
        if holds(choice)? {
            return match choice["NextStep"].as_str() {
                Some(name) => Ok(Some(name.to_owned())),
                None => Err("a choice needs a NextStep".to_owned()),
            };
        }
    }
    Ok(inputs.get("Default").and_then(Value::as_str).map(str::to_owned))
}

fn holds(condition: &Value) -> Result<bool, String> {
    let all = |name: &str| condition[name].as_array().map(|parts| parts.iter().map(holds));
    if let Some(mut parts) = all("And") {
        return parts.try_fold(true, |so_far, part| Ok(part? && so_far));
    }
    if let Some(mut parts) = all("Or") {
        return parts.try_fold(false, |so_far, part| Ok(part? || so_far));
    }
    if condition["Not"].is_object() {
        return holds(&condition["Not"]).map(|holds| !holds);
    }
    let variable = condition.get("Variable").ok_or("a choice needs a Variable, And, Or or Not")?;
    let compared = condition.as_object().into_iter().flatten();
    let compared = compared.filter(|(name, _)| !matches!(name.as_str(), "Variable" | "NextStep"));
    let [(operator, wanted)] = compared.collect::<Vec<_>>()[..] else {
        return Err("a choice compares its Variable by one operator".to_owned());
    };
    compare(operator, variable, wanted)
}

fn compare(operator: &str, variable: &Value, wanted: &Value) -> Result<bool, String> {
    let (found, text) = (as_text(variable), as_text(wanted));
    let numbers = || match (found.trim().parse::<f64>(), text.trim().parse::<f64>()) {
        (Ok(found), Ok(wanted)) => Ok((found, wanted)),
        _ => Err(format!("{operator} compares numbers, not {found:?} and {text:?}")),
    };
    Ok(match operator {
        "StringEquals" => found == text,
        "EqualsIgnoreCase" => found.eq_ignore_ascii_case(&text),
        "StartsWith" => found.starts_with(&text),
        "EndsWith" => found.ends_with(&text),
        "Contains" => match variable.as_array() {
            Some(items) => items.iter().any(|item| as_text(item) == text),
            None => found.contains(&text),
        },
        "BooleanEquals" => found.eq_ignore_ascii_case(&text),
        "NumericEquals" => numbers().map(|(found, wanted)| found == wanted)?,
        "NumericGreater" => numbers().map(|(found, wanted)| found > wanted)?,
        "NumericLesser" => numbers().map(|(found, wanted)| found < wanted)?,
        "NumericGreaterOrEquals" => numbers().map(|(found, wanted)| found >= wanted)?,
        "NumericLesserOrEquals" => numbers().map(|(found, wanted)| found <= wanted)?,
        other => return Err(format!("there is no operator {other}")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chosen(choices: Value) -> Result<Option<String>, String> {
        choose(json!({ "Choices": choices, "Default": "other" }).as_object().unwrap())
    }

    #[test]
    fn every_operator_compares() {
        for (variable, operator, wanted, holds) in [
            (json!("a"), "StringEquals", json!("a"), true),
            (json!("a"), "StringEquals", json!("A"), false),
            (json!("a"), "EqualsIgnoreCase", json!("A"), true),
            (json!("abc"), "StartsWith", json!("ab"), true),
            (json!("abc"), "EndsWith", json!("ab"), false),
            (json!("abc"), "Contains", json!("b"), true),
            (json!(["abc"]), "Contains", json!("b"), false),
            (json!(["b"]), "Contains", json!("b"), true),
            (json!(true), "BooleanEquals", json!("true"), true),
            (json!("10"), "NumericEquals", json!(10), true),
            (json!(9), "NumericGreater", json!(10), false),
            (json!(9), "NumericLesser", json!("10"), true),
            (json!(10), "NumericGreaterOrEquals", json!(10), true),
            (json!(11), "NumericLesserOrEquals", json!(10), false),
        ] {
            let found = chosen(json!([{ "Variable": variable, operator: wanted, "NextStep": "it" }]));
            let expected = if holds { "it" } else { "other" };
            assert_eq!(found, Ok(Some(expected.to_owned())), "{variable} {operator} {wanted}");
        }
    }

    #[test]
    fn conditions_are_joined_and_the_first_that_holds_is_taken() {
        let is = |text: &str| json!({ "Variable": "a", "StringEquals": text });
        for (condition, holds) in [
            (json!({ "And": [is("a"), is("b")] }), false),
            (json!({ "Or": [is("b"), is("a")] }), true),
            (json!({ "Not": is("b") }), true),
        ] {
            let mut choice = condition.clone();
            choice["NextStep"] = json!("it");
            let expected = if holds { "it" } else { "other" };
            assert_eq!(chosen(json!([choice])), Ok(Some(expected.to_owned())), "{condition}");
        }
        let choice =
            |text: &str, next: &str| json!({ "Variable": "a", "StringEquals": text, "NextStep": next });
        assert_eq!(chosen(json!([choice("a", "one"), choice("a", "two")])), Ok(Some("one".to_owned())));
        assert_eq!(choose(&Map::new()), Ok(None));
    }

    #[test]
    fn what_says_nothing_is_said() {
        for (choice, word) in [
            (json!({ "NextStep": "it" }), "needs a Variable"),
            (json!({ "Variable": "a", "NextStep": "it" }), "one operator"),
            (json!({ "Variable": "a", "Equals": "a", "NextStep": "it" }), "no operator Equals"),
            (json!({ "Variable": "a", "NumericEquals": 1, "NextStep": "it" }), "compares numbers"),
            (json!({ "Variable": "a", "StringEquals": "a" }), "needs a NextStep"),
        ] {
            let error = chosen(json!([choice])).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
