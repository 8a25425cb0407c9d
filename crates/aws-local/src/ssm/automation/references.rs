//! `{{ … }}` in a runbook: parameters, outputs of steps, variables, and what every execution has. Pure.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::state::{Execution, ExecutionStatus};
use crate::Context;

/// Replaces all references in a value. A text that is nothing but one reference becomes what it stands for, with its
/// type; within a list, a list's items. Within a longer text everything is text.
///
/// # Errors
/// In words, if a reference leads nowhere.
pub(super) fn filled(value: &Value, execution: &Execution, context: &Context) -> Result<Value, String> {
    let lookup = |name: &str| look_up(name, execution, context);
    fill(value, &lookup)
}

type Lookup<'a> = dyn Fn(&str) -> Result<Value, String> + 'a;

fn fill(value: &Value, lookup: &Lookup<'_>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => fill_text(text, lookup)?,
        Value::Array(items) => {
            let mut filled = Vec::with_capacity(items.len());
            for item in items {
                match (item, fill(item, lookup)?) {
                    (Value::String(_), Value::Array(items)) => filled.extend(items),
                    (_, item) => filled.push(item),
                }
            }
            Value::Array(filled)
        }
        Value::Object(members) => {
            let filled = members.iter().map(|(name, value)| Ok((name.clone(), fill(value, lookup)?)));
            Value::Object(filled.collect::<Result<Map<_, _>, String>>()?)
        }
        other => other.clone(),
    })
}

fn fill_text(text: &str, lookup: &Lookup<'_>) -> Result<Value, String> {
    if let Some(name) = only_reference(text) {
        return lookup(name);
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("{{") {
        let Some(length) = rest[begin..].find("}}") else { break };
        filled.push_str(&rest[..begin]);
        filled.push_str(&as_text(&lookup(rest[begin + 2..begin + length].trim())?));
        rest = &rest[begin + length + 2..];
    }
    filled.push_str(rest);
    Ok(Value::String(filled))
}

/// The name in a text that is one reference and nothing else.
fn only_reference(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{")).then_some(inner.trim())
}

/// A value in the middle of a text.
pub(super) fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn look_up(name: &str, execution: &Execution, context: &Context) -> Result<Value, String> {
    if let Some(variable) = name.strip_prefix("variable:") {
        let value = execution.variables.get(variable.trim());
        return value.cloned().ok_or_else(|| format!("there is no variable {variable}"));
    }
    match name {
        "automation:EXECUTION_ID" => return Ok(json!(execution.id)),
        "global:REGION" => return Ok(json!(context.region)),
        "global:DATE" => return Ok(json!(date(context, false))),
        "global:DATE_TIME" => return Ok(json!(date(context, true))),
        _ => {}
    }
    if let Some((step, output)) = name.split_once('.') {
        let index = execution.runbook.step(step).ok_or_else(|| format!("there is no step {step}"))?;
        let run = &execution.steps[index];
        let value = run.outputs.get(output.strip_prefix("Output.").unwrap_or(output));
        return value.cloned().ok_or_else(|| match run.status {
            ExecutionStatus::Pending => format!("step {step} has not run, so {name} has no value"),
            _ => format!("step {step} has no output {output}"),
        });
    }
    let declared =
        execution.runbook.parameters.get(name).ok_or_else(|| format!("there is no parameter {name}"))?;
    let values = execution.parameters.get(name).ok_or_else(|| format!("parameter {name} has no value"))?;
    typed(declared["type"].as_str().unwrap_or("String"), values)
        .ok_or_else(|| format!("parameter {name} is no {}", declared["type"]))
}

/// The values of a parameter by its type.
fn typed(declared: &str, values: &[String]) -> Option<Value> {
    let first = || values.first().map(String::as_str);
    match declared {
        "StringList" => Some(json!(values)),
        list if list.starts_with("List<") => Some(json!(values)),
        "MapList" => {
            let items = values.iter().map(|text| serde_json::from_str(text));
            let items: Vec<Value> = items.collect::<Result<_, _>>().ok()?;
            // One text with all of them, or a text for each.
            Some(match items.as_slice() {
                [Value::Array(_)] => items.into_iter().next()?,
                _ => Value::Array(items),
            })
        }
        "StringMap" => serde_json::from_str(first()?).ok(),
        "Integer" => first()?.parse::<i64>().ok().map(Value::from),
        "Boolean" => first()?.to_ascii_lowercase().parse::<bool>().ok().map(Value::from),
        _ => first().map(Value::from),
    }
}

fn date(context: &Context, time: bool) -> String {
    let now = OffsetDateTime::from(context.now);
    let text = match time {
        true => now.format(format_description!("[year]-[month]-[day]_[hour].[minute].[second]")),
        false => now.format(format_description!("[year]-[month]-[day]")),
    };
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(value: Value) -> Result<Value, String> {
        fill(&value, &|name| match name {
            "List" => Ok(json!(["a", "b"])),
            "Text" => Ok(json!("t")),
            "Count" => Ok(json!(3)),
            "Map" => Ok(json!({ "k": ["v"] })),
            other => Err(format!("there is no {other}")),
        })
    }

    #[test]
    fn a_reference_keeps_its_type_and_a_list_joins_a_list() {
        for (value, expected) in [
            (json!("{{ List }}"), json!(["a", "b"])),
            (json!(["{{List}}", "c"]), json!(["a", "b", "c"])),
            (json!([["{{ Text }}"]]), json!([["t"]])),
            (json!("{{Count}}"), json!(3)),
            (json!({ "A": { "B": "{{ Map }}" } }), json!({ "A": { "B": { "k": ["v"] } } })),
            (json!("{{ Text }}-{{ Count }} of {{List}}"), json!("t-3 of [\"a\",\"b\"]")),
            (json!("no {{ end"), json!("no {{ end")),
            (json!(5), json!(5)),
        ] {
            assert_eq!(filled(value.clone()), Ok(expected), "{value}");
        }
        assert_eq!(filled(json!("{{ Other }}")), Err("there is no Other".to_owned()));
    }

    #[test]
    fn parameters_have_the_types_that_they_declare() {
        let typed = |declared: &str, values: &[&str]| {
            typed(declared, &values.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(typed("String", &["5"]), Some(json!("5")));
        assert_eq!(typed("Integer", &["5"]), Some(json!(5)));
        assert_eq!(typed("Boolean", &["True"]), Some(json!(true)));
        assert_eq!(typed("StringList", &["a", "b"]), Some(json!(["a", "b"])));
        assert_eq!(typed("List<AWS::EC2::Instance::Id>", &["a"]), Some(json!(["a"])));
        assert_eq!(typed("StringMap", &[r#"{"a":["b"]}"#]), Some(json!({ "a": ["b"] })));
        assert_eq!(typed("MapList", &[r#"{"a":1}"#, "{}"]), Some(json!([{ "a": 1 }, {}])));
        assert_eq!(typed("MapList", &[r#"[{"a":1}]"#]), Some(json!([{ "a": 1 }])));
        assert_eq!(typed("Integer", &["x"]), None);
    }
}
