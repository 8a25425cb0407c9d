//! What a document's text means: JSON or YAML to one JSON value, the rules a Command document must keep, its
//! steps, platforms and time-out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::parameters::TYPES;
use super::pattern::Budget;

/// The largest document, in bytes (CreateDocument: 64 KB).
pub(crate) const MAX_BYTES: usize = 64 * 1024;

/// The longest a step runs where it does not say: 3,600 s (amazon-ssm-agent `pluginutil.go`).
const DEFAULT_STEP_SECONDS: u64 = 3_600;

/// Time-outs outside of this range count as the default (the same place).
const STEP_SECONDS: std::ops::RangeInclusive<u64> = 5..=172_800;

/// Why a text is no Command document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentError {
    #[error("The content is not valid {format}: {reason}.")]
    Unreadable { format: String, reason: String },
    #[error("The content is {bytes} bytes long; a document has at most {MAX_BYTES}.")]
    TooLarge { bytes: usize },
    #[error("schemaVersion must be one of 1.2, 2.0, 2.2 for a Command document; it is {found}.")]
    Schema { found: String },
    #[error("{0}")]
    Rule(String),
}

/// One step: its name and its action. In schema 1.2 both are the plugin's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub name: String,
    pub action: String,
}

/// Reads a text as JSON or YAML.
pub(crate) fn parse(text: &str, format: &str) -> Result<Value, ContentError> {
    if text.len() > MAX_BYTES {
        return Err(ContentError::TooLarge { bytes: text.len() });
    }
    let unreadable = |reason: String| ContentError::Unreadable { format: format.to_owned(), reason };
    match format {
        "YAML" => serde_norway::from_str(text).map_err(|error| unreadable(error.to_string())),
        _ => serde_json::from_str(text).map_err(|error| unreadable(error.to_string())),
    }
}

/// A document's text in another format; the text itself if it is that format already.
pub(crate) fn convert(text: &str, from: &str, to: &str) -> Result<String, ContentError> {
    if from == to {
        return Ok(text.to_owned());
    }
    let value = parse(text, from)?;
    match to {
        "YAML" => serde_norway::to_string(&value)
            .map_err(|error| ContentError::Unreadable { format: to.to_owned(), reason: error.to_string() }),
        _ => Ok(format!("{value:#}")),
    }
}

/// Checks the rules of a Command document. Actions are not checked against a list: it is the agent that
/// knows its plugins, and says so when it does not know one.
pub(crate) fn check(content: &Value) -> Result<(), ContentError> {
    if !content.is_object() {
        return rule("The content must be an object with schemaVersion and steps.");
    }
    let schema = schema_version(content);
    check_parameters(content, |declared| TYPES.contains(&declared))?;
    match schema.as_str() {
        "1.2" => check_plugins(content),
        "2.0" | "2.2" => check_steps(content),
        _ => {
            let found = content.get("schemaVersion").map_or_else(|| "missing".to_owned(), Value::to_string);
            Err(ContentError::Schema { found })
        }
    }
}

/// `schemaVersion`, also where YAML has made a number of it; empty if there is none.
pub(crate) fn schema_version(content: &Value) -> String {
    match &content["schemaVersion"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The steps, in order. In schema 1.2 the order of the plugins is that of their names.
pub(crate) fn steps(content: &Value) -> Vec<Step> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(steps) = content["mainSteps"].as_array() {
        return steps
            .iter()
            .map(|step| Step { name: text(&step["name"]), action: text(&step["action"]) })
            .collect();
    }
    let plugins = content["runtimeConfig"].as_object();
    plugins
        .into_iter()
        .flat_map(|plugins| plugins.keys())
        .map(|name| Step { name: name.clone(), action: name.clone() })
        .collect()
}

/// The platforms a document can run on, in the API's words: from its steps' preconditions and actions.
pub(crate) fn platforms(content: &Value) -> Vec<&'static str> {
    let mut found = BTreeSet::new();
    let main_steps = content["mainSteps"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (step, names) in steps(content).iter().zip(main_steps.iter().map(Some).chain(std::iter::repeat(None)))
    {
        let demanded = names.and_then(demanded_platform);
        match (demanded, step.action.as_str()) {
            (Some(platform), _) => found.extend([platform]),
            (None, "aws:runShellScript") => found.extend(["Linux", "MacOS"]),
            (None, _) => found.extend(["Windows", "Linux", "MacOS"]),
        }
    }
    ["Windows", "Linux", "MacOS"].into_iter().filter(|platform| found.contains(platform)).collect()
}

/// The longest a document may run: the sum of its steps' time-outs, with the caller's parameters in place.
pub(crate) fn execution_timeout(content: &Value, sent: &BTreeMap<String, Vec<String>>) -> Duration {
    let mut inputs: Vec<&Value> = Vec::new();
    if let Some(steps) = content["mainSteps"].as_array() {
        inputs.extend(steps.iter().map(|step| &step["inputs"]));
    }
    for plugin in content["runtimeConfig"].as_object().into_iter().flat_map(|plugins| plugins.values()) {
        inputs.extend(plugin["properties"].as_array().into_iter().flatten());
    }
    let seconds = inputs.iter().map(|inputs| step_seconds(&inputs["timeoutSeconds"], content, sent)).sum();
    Duration::from_secs(seconds)
}

fn step_seconds(timeout: &Value, content: &Value, sent: &BTreeMap<String, Vec<String>>) -> u64 {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
    let placeholder = timeout.as_str().and_then(|text| text.strip_prefix("{{")?.strip_suffix("}}"));
    let seconds = match placeholder.map(str::trim) {
        None => number(timeout),
        Some(name) => match sent.get(name).and_then(|values| values.first()) {
            Some(value) => value.trim().parse().ok(),
            None => number(&content["parameters"][name]["default"]),
        },
    };
    seconds.filter(|seconds| STEP_SECONDS.contains(seconds)).unwrap_or(DEFAULT_STEP_SECONDS)
}

/// The platform that a step's precondition demands: `{"StringEquals": ["platformType", "Linux"]}`.
fn demanded_platform(step: &Value) -> Option<&'static str> {
    let operands = step["precondition"]["StringEquals"].as_array()?;
    let texts: Vec<&str> = operands.iter().filter_map(Value::as_str).collect();
    if !texts.contains(&"platformType") {
        return None;
    }
    ["Windows", "Linux", "MacOS"]
        .into_iter()
        .find(|platform| texts.iter().any(|text| text.eq_ignore_ascii_case(platform)))
}

fn check_steps(content: &Value) -> Result<(), ContentError> {
    let Some(steps) = content["mainSteps"].as_array().filter(|steps| !steps.is_empty()) else {
        return rule("mainSteps must be a list with at least one step.");
    };
    let mut names = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        let place = index + 1;
        let name = step["name"].as_str().unwrap_or_default();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            return rule(format!("Step {place} needs a name of letters, digits, hyphens and underscores."));
        }
        if !names.insert(name) {
            return rule(format!("Two steps are named {name}; step names must differ."));
        }
        if !step["action"].as_str().is_some_and(|action| action.starts_with("aws:")) {
            return rule(format!("Step {name} needs an action, aws:runShellScript for instance."));
        }
        if !step["inputs"].is_object() && !step["inputs"].is_null() {
            return rule(format!("The inputs of step {name} must be an object."));
        }
    }
    Ok(())
}

fn check_plugins(content: &Value) -> Result<(), ContentError> {
    let Some(plugins) = content["runtimeConfig"].as_object().filter(|plugins| !plugins.is_empty()) else {
        return rule("runtimeConfig must be an object with at least one plugin.");
    };
    match plugins.iter().find(|(name, plugin)| !name.starts_with("aws:") || !plugin.is_object()) {
        Some((name, _)) => rule(format!(
            "runtimeConfig member {name} is no plugin: it needs a name that starts with aws: and an object."
        )),
        None => Ok(()),
    }
}

/// Checks what a document declares of its parameters, of whatever type it is.
pub(super) fn check_parameters(content: &Value, is_type: impl Fn(&str) -> bool) -> Result<(), ContentError> {
    let Some(parameters) = content.get("parameters").filter(|parameters| !parameters.is_null()) else {
        return Ok(());
    };
    let Some(parameters) = parameters.as_object() else { return rule("parameters must be an object.") };
    let mut budget = Budget::default();
    for (name, rules) in parameters {
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return rule(format!("Parameter name {name:?} must consist of letters and digits."));
        }
        if !rules["type"].as_str().is_some_and(&is_type) {
            return rule(format!("Parameter {name} needs a type, one of {}.", TYPES.join(", ")));
        }
        let pattern = &rules["allowedPattern"];
        if !pattern.is_null() && pattern.as_str().is_none_or(|pattern| !budget.allows(pattern)) {
            return rule(format!(
                "The allowedPattern of parameter {name} is no regular expression that the agent knows, or needs too many states."
            ));
        }
        if !rules["allowedValues"].is_null() && !rules["allowedValues"].is_array() {
            return rule(format!("The allowedValues of parameter {name} must be a list."));
        }
    }
    Ok(())
}

fn rule<T>(sentence: impl Into<String>) -> Result<T, ContentError> {
    Err(ContentError::Rule(sentence.into()))
}

/// Reads bytes as a document in either format. What one format can say the other can say too.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for (from, to) in [("JSON", "YAML"), ("YAML", "JSON")] {
        if let Ok(converted) = convert(&text, from, to) {
            parse(&converted, to).expect("what was converted can be read");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(name: &str) -> Value {
        json!({ "action": "aws:runShellScript", "name": name, "inputs": { "runCommand": ["true"] } })
    }

    #[test]
    fn json_and_yaml_say_the_same() {
        let yaml = "schemaVersion: '2.2'\nmainSteps:\n- name: one\n  action: aws:runShellScript\n  inputs:\n    runCommand:\n    - 'true'\n";
        let value = parse(yaml, "YAML").unwrap();
        assert_eq!(value, json!({ "schemaVersion": "2.2", "mainSteps": [step("one")] }));
        assert_eq!(parse(&convert(yaml, "YAML", "JSON").unwrap(), "JSON").unwrap(), value);
        assert_eq!(parse(&convert(&value.to_string(), "JSON", "YAML").unwrap(), "YAML").unwrap(), value);
        assert_eq!(convert(yaml, "YAML", "YAML").unwrap(), yaml);
        assert_eq!(check(&value), Ok(()));
    }

    #[test]
    fn each_broken_rule_is_named() {
        let cases = [
            (json!([]), "must be an object"),
            (json!({}), "schemaVersion must be one of"),
            (json!({ "schemaVersion": "0.3", "mainSteps": [step("a")] }), "it is \"0.3\""),
            (json!({ "schemaVersion": "2.2" }), "mainSteps must be a list"),
            (json!({ "schemaVersion": "2.2", "mainSteps": [] }), "at least one step"),
            (json!({ "schemaVersion": "2.2", "mainSteps": [step("a b")] }), "Step 1 needs a name"),
            (json!({ "schemaVersion": "2.2", "mainSteps": [step("a"), step("a")] }), "Two steps are named a"),
            (json!({ "schemaVersion": "2.2", "mainSteps": [{ "name": "a" }] }), "Step a needs an action"),
            (
                json!({ "schemaVersion": "2.2", "mainSteps": [{ "name": "a", "action": "aws:x", "inputs": [] }] }),
                "inputs of step a",
            ),
            (json!({ "schemaVersion": "1.2" }), "runtimeConfig must be an object"),
            (json!({ "schemaVersion": "1.2", "runtimeConfig": { "x": {} } }), "member x is no plugin"),
            (
                json!({ "schemaVersion": "2.2", "parameters": [], "mainSteps": [step("a")] }),
                "parameters must be an object",
            ),
            (
                json!({ "schemaVersion": "2.2", "parameters": { "a-b": {} }, "mainSteps": [step("a")] }),
                "letters and digits",
            ),
            (
                json!({ "schemaVersion": "2.2", "parameters": { "a": { "type": "Float" } }, "mainSteps": [step("a")] }),
                "needs a type",
            ),
            (
                json!({ "schemaVersion": "2.2", "parameters": { "a": { "type": "String", "allowedPattern": "(" } }, "mainSteps": [step("a")] }),
                "allowedPattern of parameter a",
            ),
            (
                json!({ "schemaVersion": "2.2", "parameters": { "a": { "type": "String", "allowedValues": "x" } }, "mainSteps": [step("a")] }),
                "allowedValues of parameter a",
            ),
        ];
        for (content, sentence) in cases {
            let text = check(&content).expect_err(sentence).to_string();
            assert!(text.contains(sentence), "{text}");
        }
    }

    #[test]
    fn unreadable_and_large_texts_are_refused() {
        assert!(matches!(parse("{", "JSON"), Err(ContentError::Unreadable { .. })));
        assert!(matches!(parse("a: [", "YAML"), Err(ContentError::Unreadable { .. })));
        assert!(matches!(parse(&" ".repeat(MAX_BYTES + 1), "JSON"), Err(ContentError::TooLarge { .. })));
    }

    #[test]
    fn the_execution_timeout_is_the_sum_of_the_steps() {
        let document = json!({
            "parameters": { "t": { "type": "String", "default": "60" } },
            "mainSteps": [
                { "inputs": { "timeoutSeconds": 10 } },
                { "inputs": { "timeoutSeconds": "{{ t }}" } },
                { "inputs": {} },
                { "inputs": { "timeoutSeconds": "4" } },
            ],
        });
        let seconds = |sent: &BTreeMap<String, Vec<String>>| execution_timeout(&document, sent).as_secs();
        assert_eq!(seconds(&BTreeMap::new()), 10 + 60 + 3600 + 3600);
        assert_eq!(seconds(&BTreeMap::from([("t".into(), vec!["7".into()])])), 10 + 7 + 3600 + 3600);
    }

    #[test]
    fn platforms_follow_preconditions_and_actions() {
        let mut linux = step("a");
        linux["precondition"] = json!({ "StringEquals": ["platformType", "linux"] });
        assert_eq!(platforms(&json!({ "mainSteps": [linux] })), ["Linux"]);
        assert_eq!(platforms(&json!({ "mainSteps": [step("a")] })), ["Linux", "MacOS"]);
        assert_eq!(platforms(&json!({ "runtimeConfig": { "aws:runShellScript": {} } })), ["Linux", "MacOS"]);
        let other = json!({ "mainSteps": [{ "name": "a", "action": "aws:configurePackage" }] });
        assert_eq!(platforms(&other), ["Windows", "Linux", "MacOS"]);
    }
}
