//! Documents to steps: what each step will do, with its inputs read. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::parameters::{EXPANDED_BYTES, Values, go_json, go_text, refuse_parameter_store};
use super::precondition::{Verdict, judge, judge_plugin};
use super::schema::{Body, Document, MainStep};
use super::{OnFailure, ParseError, Plan, Script, Step, Work};

/// The time-out of a script that names none, or one that is not in [`TIMEOUT_SECONDS`].
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3600);
/// The time-outs that are taken, in seconds.
pub const TIMEOUT_SECONDS: std::ops::RangeInclusive<u64> = 5..=172_800;

/// The steps of `document` with `values` put in.
///
/// # Errors
/// [`ParseError::ParameterStore`] if an input refers to the Parameter Store, [`ParseError::TooLarge`].
pub fn plan(document: &Document, values: &Values) -> Result<Plan, ParseError> {
    let mut room = EXPANDED_BYTES;
    let steps: Result<Vec<_>, _> = match &document.body {
        Body::Steps { steps, preconditions } => {
            steps.iter().map(|step| main_step(step, *preconditions, values, &mut room)).collect()
        }
        Body::Plugins(plugins) => plugins
            .iter()
            .map(|(name, properties)| plugin_step(name, properties, values, &mut room))
            .collect(),
    };
    let mut steps = steps?;
    // `finallyStep` is honoured on the last step only.
    let last = steps.len().saturating_sub(1);
    for step in &mut steps[..last] {
        step.finally = false;
    }
    Ok(Plan { steps })
}

fn main_step(
    step: &MainStep,
    preconditions: bool,
    values: &Values,
    room: &mut usize,
) -> Result<Step, ParseError> {
    let inputs = values.put_in_shell(&step.inputs, room)?;
    refuse_parameter_store(&format!("step {:?}", step.name), &inputs)?;
    let place = Place { directory: folder(&step.name), environment: values.environment().clone() };
    let work = work(judge(step, preconditions, values)?, &inputs, |inputs| place.scripts(inputs));
    Ok(finish(&step.name, &step.action, work, &inputs))
}

fn plugin_step(
    name: &str,
    properties: &Value,
    values: &Values,
    room: &mut usize,
) -> Result<Step, ParseError> {
    let inputs = values.put_in(properties, room)?;
    refuse_parameter_store(&format!("plugin {name:?}"), &inputs)?;
    let work = work(judge_plugin(name, name), &inputs, |inputs| plugin_scripts(name, inputs));
    Ok(finish(name, name, work, &inputs))
}

fn work(verdict: Verdict, inputs: &Value, scripts: impl Fn(&Value) -> Result<Vec<Script>, String>) -> Work {
    match verdict {
        Verdict::Skip(reason) => Work::Skip(reason),
        Verdict::Refuse(reason) => Work::Refuse(reason),
        Verdict::Run => match scripts(inputs) {
            Ok(scripts) => Work::Scripts(scripts),
            Err(reason) => {
                let inputs: String = go_json(inputs).chars().take(1000).collect();
                Work::Fail(format!("Invalid format in plugin properties {inputs};\nerror {reason}"))
            }
        },
    }
}

/// The step around `work`; its flow control is read from the inputs (`runpluginutil.go`, getStringPropByName).
fn finish(name: &str, action: &str, work: Work, inputs: &Value) -> Step {
    Step {
        name: name.to_owned(),
        action: action.to_owned(),
        work,
        on_failure: match modifier(inputs, "onFailure").as_str() {
            "exit" => OnFailure::Exit,
            "successAndExit" => OnFailure::SuccessAndExit,
            _ => OnFailure::Continue,
        },
        exit_on_success: modifier(inputs, "onSuccess") == "exit",
        finally: modifier(inputs, "finallyStep") == "true",
    }
}

fn modifier(inputs: &Value, name: &str) -> String {
    match inputs.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => yes.to_string(),
        _ => String::new(),
    }
}

/// The properties of a 1.x plugin: one object, or a list of them, run one after another.
fn plugin_scripts(plugin: &str, properties: &Value) -> Result<Vec<Script>, String> {
    let one = std::slice::from_ref(properties);
    let list = properties.as_array().map_or(one, Vec::as_slice);
    let mut scripts = Vec::with_capacity(list.len());
    for inputs in list {
        let id = inputs.as_object().and_then(|members| member(members, "id"));
        let id = id.and_then(Value::as_str).map(folder).unwrap_or_default();
        let directory = format!("{}/{id}", folder(plugin)).trim_end_matches('/').to_owned();
        let place = Place { directory, environment: BTreeMap::new() };
        scripts.extend(place.scripts(inputs)?);
    }
    Ok(scripts)
}

/// Where a script of a step is put, and what every script of the document finds in its environment.
struct Place {
    directory: String,
    environment: BTreeMap<String, String>,
}

impl Place {
    /// The one script of these inputs (`runscript.go`).
    fn scripts(&self, inputs: &Value) -> Result<Vec<Script>, String> {
        let nothing = Map::new();
        let members = match inputs {
            Value::Null => &nothing,
            Value::Object(members) => members,
            _ => return Err("the inputs are not an object".to_owned()),
        };
        let lines = strings(members, "runCommand")?;
        let mut environment = string_map(members, "environment")?;
        environment.extend(self.environment.clone());
        Ok(vec![Script {
            text: lines.join("\n") + "\n",
            timeout: timeout(member(members, "timeoutSeconds")),
            working_directory: optional_text(members, "workingDirectory")?,
            environment,
            directory: self.directory.clone(),
        }])
    }
}

/// The member of that name; the stock agent does not mind its capitals.
fn member<'a>(members: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let other = || members.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
    members.get(key).or_else(other)
}

fn strings(members: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{key} is not a list of strings");
    match member(members, key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok(text.clone()),
                Value::Null => Ok(String::new()),
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

fn string_map(members: &Map<String, Value>, key: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong = || format!("{key} is not a map of strings");
    match member(members, key) {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(entries)) => entries
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => Ok((name.clone(), text.clone())),
                _ => Err(wrong()),
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

fn optional_text(members: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match member(members, key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("{key} is not a string")),
    }
}

/// A text, a whole number or a number with a fraction (cut off); anything else, or out of range, is the
/// default (`pluginutil.go`, ValidateExecutionTimeout).
fn timeout(input: Option<&Value>) -> Duration {
    let text = input.filter(|value| value.is_string() || value.is_number()).map(go_text).unwrap_or_default();
    let fraction = || Duration::try_from_secs_f64(text.parse().ok()?).ok();
    let seconds = text.parse().ok().or_else(|| Some(fraction()?.as_secs()));
    match seconds {
        Some(seconds) if TIMEOUT_SECONDS.contains(&seconds) => Duration::from_secs(seconds),
        _ => DEFAULT_TIMEOUT,
    }
}

/// A name as the name of one folder: no colon, as in the stock agent (`fileutil.go`, BuildPath), and nothing
/// that could lead out of the orchestration folder.
fn folder(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._- ".contains(c) { c } else { '_' };
    let name: String = name.chars().filter(|c| *c != ':').map(safe).take(200).collect();
    match name.as_str() {
        "" | "." | ".." => "_".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::document::{self, Request};

    fn steps_of(document: Value, parameters: Value) -> Vec<Step> {
        let Value::Object(parameters) = parameters else { panic!("parameters are an object") };
        let request =
            Request { command_id: "c".to_owned(), document_name: "doc".to_owned(), document, parameters };
        document::plan(&request).unwrap().steps
    }

    fn one(inputs: Value) -> Step {
        let step = json!({"action": "aws:runShellScript", "name": "a", "inputs": inputs});
        steps_of(json!({"schemaVersion": "2.2", "mainSteps": [step]}), json!({})).remove(0)
    }

    fn script(inputs: Value) -> Script {
        match one(inputs).work {
            Work::Scripts(mut scripts) => scripts.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// Protocol sheet §7.5.
    #[test]
    fn time_outs_outside_their_range_are_the_default() {
        for (input, seconds) in [
            (json!(null), 3600),
            (json!("60"), 60),
            (json!(60), 60),
            (json!(60.9), 60),
            (json!("60.9"), 60),
            (json!("4"), 3600),
            (json!(5), 5),
            (json!(172_800), 172_800),
            (json!(172_801), 3600),
            (json!(-60), 3600),
            (json!("1e300"), 3600),
            (json!("5m"), 3600),
            (json!(true), 3600),
            (json!([60]), 3600),
        ] {
            let script = script(json!({"runCommand": [], "timeoutSeconds": input}));
            assert_eq!(script.timeout, Duration::from_secs(seconds), "{input}");
        }
    }

    #[test]
    fn inputs_are_read_and_lines_joined() {
        let script = script(json!({
            "runCommand": ["echo a", "echo b"],
            "workingDirectory": "/tmp",
            "environment": {"A": "1"},
        }));
        assert_eq!(script.text, "echo a\necho b\n");
        assert_eq!(script.working_directory.as_deref(), Some("/tmp"));
        assert_eq!(script.environment["A"], "1");
        assert_eq!(script.directory, "a");
        assert_eq!(self::script(json!({"RunCommand": ["x"]})).text, "x\n");
    }

    #[test]
    fn wrong_inputs_fail_the_step_in_the_stock_words() {
        for (inputs, reason) in [
            (json!({"runCommand": "echo a"}), "runCommand is not a list of strings"),
            (json!({"runCommand": [1]}), "runCommand is not a list of strings"),
            (json!({"environment": {"A": 1}}), "environment is not a map of strings"),
            (json!({"workingDirectory": 1}), "workingDirectory is not a string"),
            (json!("x"), "the inputs are not an object"),
        ] {
            let Work::Fail(text) = one(inputs.clone()).work else { panic!("{inputs} is accepted") };
            assert!(text.starts_with("Invalid format in plugin properties "), "{text}");
            assert!(text.ends_with(&format!(";\nerror {reason}")), "{text}");
        }
    }

    /// The form in which AWS-RunShellScript has long been published: protocol sheet §7.1.
    #[test]
    fn a_1_2_document_becomes_a_step_with_the_name_of_its_plugin() {
        let document = json!({
            "schemaVersion": "1.2",
            "parameters": {
                "commands": {"type": "StringList"},
                "workingDirectory": {"type": "String", "default": ""},
                "executionTimeout": {"type": "String", "default": "3600", "allowedPattern": "[1-9][0-9]{0,4}"},
            },
            "runtimeConfig": {"aws:runShellScript": {"properties": [{
                "id": "0.aws:runShellScript",
                "runCommand": "{{ commands }}",
                "workingDirectory": "{{ workingDirectory }}",
                "timeoutSeconds": "{{ executionTimeout }}",
            }]}},
        });
        let steps = steps_of(document, json!({"commands": ["ls", "id"], "executionTimeout": "60"}));
        assert_eq!(steps.len(), 1);
        assert_eq!(
            (steps[0].name.as_str(), steps[0].action.as_str()),
            ("aws:runShellScript", "aws:runShellScript")
        );
        let expected = Script {
            text: "ls\nid\n".to_owned(),
            timeout: Duration::from_secs(60),
            working_directory: None,
            environment: BTreeMap::new(),
            directory: "awsrunShellScript/0.awsrunShellScript".to_owned(),
        };
        assert_eq!(steps[0].work, Work::Scripts(vec![expected]));
    }

    #[test]
    fn folders_stay_inside_the_orchestration_folder() {
        for (name, expected) in [
            ("a:b", "ab"),
            ("..", "_"),
            ("../../etc", ".._.._etc"),
            ("", "_"),
            ("x/y", "x_y"),
            ("a b", "a b"),
        ] {
            assert_eq!(folder(name), expected);
        }
    }

    #[test]
    fn the_parameter_store_in_a_script_is_refused() {
        let step =
            json!({"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["{{ssm:x}}"]}});
        let request = Request {
            command_id: "c".to_owned(),
            document_name: "doc".to_owned(),
            document: json!({"schemaVersion": "2.2", "mainSteps": [step]}),
            parameters: Map::new(),
        };
        assert!(matches!(document::plan(&request), Err(ParseError::ParameterStore { .. })));
    }
}
