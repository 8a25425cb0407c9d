//! The shape of a document: which members there are and of what type. Pure; it knows nothing of values.
//!
//! Read by hand rather than by derive, because the stock agent is lenient in its own way: unknown members are
//! ignored, `null` means absent, and members it parses but never uses are not looked at here at all.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ParseError;

/// The schema versions that the stock agent runs (`appconfig`, SupportedDocumentVersions).
pub const SUPPORTED_VERSIONS: [&str; 7] = ["1.0", "1.2", "2.0", "2.0.1", "2.0.2", "2.0.3", "2.2"];

/// A document whose shape is right. Placeholders are still in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What messages call it.
    pub name: String,
    /// The declared parameters, by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// What it does.
    pub body: Body,
}

/// The steps, in one of the two forms.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Schema 1.x, `runtimeConfig`: plugin name to `properties`.
    Plugins(BTreeMap<String, Value>),
    /// Schema 2.x, `mainSteps`.
    Steps {
        /// In the document's order.
        steps: Vec<MainStep>,
        /// Schema 2.2 and later have preconditions; before that a precondition fails its step.
        preconditions: bool,
    },
}

/// One entry of `mainSteps`.
#[derive(Debug, Clone, PartialEq)]
pub struct MainStep {
    /// The plugin, `aws:runShellScript` for instance.
    pub action: String,
    /// Unique in the document; the key of the step in replies.
    pub name: String,
    /// `Null` where there are none.
    pub inputs: Value,
    /// Operator to operands.
    pub precondition: BTreeMap<String, Vec<String>>,
}

/// The declaration of one parameter, as far as an agent looks at it: the type is not enforced, and allowed
/// values, lengths and counts are the service's business.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameter {
    /// `type`, for messages: `String`, `StringList`, …
    pub kind: String,
    /// `Null` where there is none.
    pub default: Value,
    /// Empty where there is none.
    pub allowed_pattern: String,
    /// `interpolationType` is `ENV_VAR`: shell steps get the value in `$SSM_name`.
    pub as_environment: bool,
}

/// Reads the JSON object of a document called `name`.
///
/// # Errors
/// [`ParseError::Schema`], [`ParseError::NoSteps`], or [`ParseError::Shape`] with the member that is wrong.
pub fn read(name: &str, document: &Value) -> Result<Document, ParseError> {
    let shape = |reason: String| ParseError::Shape { document: name.to_owned(), reason };
    let members = document.as_object().ok_or_else(|| shape("it is not a JSON object".to_owned()))?;
    let version = text(members, "schemaVersion").map_err(shape)?;
    if !SUPPORTED_VERSIONS.contains(&version.as_str()) {
        return Err(ParseError::Schema(version));
    }
    let parameters = read_parameters(members).map_err(shape)?;
    let body = if version.starts_with("1.") {
        Body::Plugins(read_plugins(members).map_err(shape)?)
    } else {
        Body::Steps { steps: read_steps(members).map_err(shape)?, preconditions: version == "2.2" }
    };
    if body.is_empty() {
        return Err(ParseError::NoSteps);
    }
    Ok(Document { name: name.to_owned(), parameters, body })
}

impl Body {
    fn is_empty(&self) -> bool {
        match self {
            Body::Plugins(plugins) => plugins.is_empty(),
            Body::Steps { steps, .. } => steps.is_empty(),
        }
    }
}

fn read_parameters(members: &Map<String, Value>) -> Result<BTreeMap<String, Parameter>, String> {
    let mut parameters = BTreeMap::new();
    for (name, declaration) in object(members, "parameters")?.into_iter().flatten() {
        let declaration =
            declaration.as_object().ok_or_else(|| format!("parameter {name:?} is not an object"))?;
        parameters.insert(name.clone(), read_parameter(name, declaration)?);
    }
    Ok(parameters)
}

fn read_parameter(name: &str, declaration: &Map<String, Value>) -> Result<Parameter, String> {
    let member = |key| text(declaration, key).map_err(|reason| format!("parameter {name:?}: {reason}"));
    Ok(Parameter {
        kind: member("type")?,
        default: declaration.get("default").cloned().unwrap_or_default(),
        allowed_pattern: member("allowedPattern")?,
        as_environment: member("interpolationType")? == "ENV_VAR",
    })
}

fn read_plugins(members: &Map<String, Value>) -> Result<BTreeMap<String, Value>, String> {
    let mut plugins = BTreeMap::new();
    for (name, plugin) in object(members, "runtimeConfig")?.into_iter().flatten() {
        let plugin = plugin.as_object().ok_or_else(|| format!("plugin {name:?} is not an object"))?;
        plugins.insert(name.clone(), plugin.get("properties").cloned().unwrap_or_default());
    }
    Ok(plugins)
}

fn read_steps(members: &Map<String, Value>) -> Result<Vec<MainStep>, String> {
    let steps = match members.get("mainSteps") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(steps)) => steps,
        Some(_) => return Err("mainSteps is not a list".to_owned()),
    };
    steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let step = step.as_object().ok_or_else(|| "it is not an object".to_owned());
            step.and_then(read_step).map_err(|reason| format!("mainSteps[{index}]: {reason}"))
        })
        .collect()
}

fn read_step(step: &Map<String, Value>) -> Result<MainStep, String> {
    let mut precondition = BTreeMap::new();
    for (operator, operands) in object(step, "precondition")?.into_iter().flatten() {
        precondition.insert(operator.clone(), read_operands(operator, operands)?);
    }
    Ok(MainStep {
        action: text(step, "action")?,
        name: text(step, "name")?,
        inputs: step.get("inputs").cloned().unwrap_or_default(),
        precondition,
    })
}

fn read_operands(operator: &str, operands: &Value) -> Result<Vec<String>, String> {
    let wrong = || format!("precondition {operator:?} is not a list of strings");
    let operands = operands.as_array().ok_or_else(wrong)?;
    operands.iter().map(|operand| operand.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

/// A string member; empty where it is absent or null.
fn text(members: &Map<String, Value>, key: &str) -> Result<String, String> {
    match members.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{key} is not a string")),
    }
}

/// An object member; none where it is absent or null.
fn object<'a>(members: &'a Map<String, Value>, key: &str) -> Result<Option<&'a Map<String, Value>>, String> {
    match members.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(format!("{key} is not an object")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(document: &Value) -> String {
        read("doc", document).unwrap_err().to_string()
    }

    #[test]
    fn says_the_stock_text_for_an_unsupported_version() {
        // Protocol sheet §7.1.
        let text = "Document with schema version 0.3 is not supported by this version of ssm agent, please \
                    update to latest version";
        assert_eq!(message(&json!({"schemaVersion": "0.3", "mainSteps": []})), text);
        assert!(matches!(read("doc", &json!({})), Err(ParseError::Schema(version)) if version.is_empty()));
    }

    #[test]
    fn accepts_every_supported_version_and_wants_steps() {
        for version in SUPPORTED_VERSIONS {
            let step = json!({"action": "aws:runShellScript", "name": "a"});
            let whole = json!({"schemaVersion": version, "mainSteps": [step], "runtimeConfig": {"p": {}}});
            assert!(read("doc", &whole).is_ok(), "{version}");
            assert_eq!(message(&json!({"schemaVersion": version})), "Unsupported schema format");
        }
    }

    #[test]
    fn names_the_member_that_is_wrong() {
        let with = |steps: Value| json!({"schemaVersion": "2.2", "mainSteps": steps});
        for (document, part) in [
            (json!([1]), "not a JSON object"),
            (json!({"schemaVersion": 2.2}), "schemaVersion is not a string"),
            (with(json!("x")), "mainSteps is not a list"),
            (with(json!([7])), "mainSteps[0]: it is not an object"),
            (with(json!([{"name": 3}])), "mainSteps[0]: name is not a string"),
            (
                with(json!([{"precondition": {"StringEquals": "x"}}])),
                "\"StringEquals\" is not a list of strings",
            ),
            (json!({"schemaVersion": "2.2", "parameters": {"p": 1}}), "parameter \"p\" is not an object"),
        ] {
            assert!(message(&document).contains(part), "{document}: {}", message(&document));
        }
    }
}
