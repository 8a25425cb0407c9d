//! Holds a request against its model.
//!
//! Clients check required members and minimums only, so lengths, ranges, patterns and enums are checked here.
//! Every violation of a request is found; a service that says them in its own words reads [`Violation`], the
//! others answer with [`refusal`].

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::{Entries, List, Node, Operation, Range, Shape, Structure, Text};
use crate::error::ApiError;

/// One thing in a request that breaks its model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Violation {
    /// Where the member stands, as the services write it: `targets.1.member.key`.
    pub(crate) place: String,
    /// What was sent, cut off if it is long.
    pub(crate) value: String,
    pub(crate) rule: Rule,
}

/// What a member breaks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rule {
    Required,
    /// Characters, items or entries.
    MinLength(usize),
    MaxLength(usize),
    MinValue(i64),
    MaxValue(i64),
    Pattern(&'static str),
    OneOf(&'static [String]),
    /// A JSON type that is not the member's.
    Type {
        found: &'static str,
        wanted: &'static str,
    },
    /// What an item of a list, a key or a value of a map breaks.
    Item(Box<Rule>),
    Key(Box<Rule>),
    Value(Box<Rule>),
    /// What no model states.
    Other(&'static str),
}

impl Violation {
    /// About the member `name` of a request, where the model is silent.
    pub(crate) fn new(name: &str, value: impl fmt::Display, rule: Rule) -> Violation {
        Violation { place: lower_first(name), value: value.to_string(), rule }
    }

    /// As [`Violation::new`], with a rule that no model has.
    pub(crate) fn other(name: &str, value: impl fmt::Display, rule: &'static str) -> Violation {
        Violation::new(name, value, Rule::Other(rule))
    }

    /// The name of the member.
    pub(crate) fn member(&self) -> &str {
        self.place.rsplit('.').next().unwrap_or_default()
    }
}

impl From<Violation> for ApiError {
    /// `ValidationException` about this alone.
    fn from(violation: Violation) -> ApiError {
        ApiError::validation(format!("1 validation error detected: {violation}"))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { place, value, rule } = self;
        match rule {
            Rule::Type { found, wanted } => {
                write!(f, "{found} can not be converted to {wanted} at '{place}'")
            }
            Rule::Required => write!(f, "Value null at '{place}' failed to satisfy constraint: {rule}"),
            _ => write!(f, "Value '{value}' at '{place}' failed to satisfy constraint: {rule}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Required => f.write_str("Member must not be null"),
            Rule::MinLength(min) => write!(f, "Member must have length greater than or equal to {min}"),
            Rule::MaxLength(max) => write!(f, "Member must have length less than or equal to {max}"),
            Rule::MinValue(min) => write!(f, "Member must have value greater than or equal to {min}"),
            Rule::MaxValue(max) => write!(f, "Member must have value less than or equal to {max}"),
            Rule::Pattern(text) => write!(f, "Member must satisfy regular expression pattern: {text}"),
            Rule::OneOf(values) => write!(f, "Member must satisfy enum value set: [{}]", values.join(", ")),
            Rule::Type { wanted, .. } => write!(f, "Member must be a {wanted}"),
            Rule::Item(rule) => write!(f, "Member must satisfy constraint: [{rule}]"),
            Rule::Key(rule) => write!(f, "Map keys must satisfy constraint: [{rule}]"),
            Rule::Value(rule) => write!(f, "Map value must satisfy constraint: [{rule}]"),
            Rule::Other(text) => f.write_str(text),
        }
    }
}

impl Operation {
    /// Refuses a request that breaks the model, in the words of the services that say all of it at once.
    ///
    /// # Errors
    /// As [`refusal`].
    pub(crate) fn check(self, request: &Map<String, Value>) -> Result<(), ApiError> {
        refusal(&self.violations(request)).map_or(Ok(()), Err)
    }
}

/// The error for these violations, None if there are none: `SerializationException` for a wrong JSON type, after
/// which nothing is worth saying, otherwise `ValidationException` with all of them.
pub(crate) fn refusal(violations: &[Violation]) -> Option<ApiError> {
    if let Some(wrong) = violations.iter().find(|violation| matches!(violation.rule, Rule::Type { .. })) {
        return Some(ApiError::new("SerializationException", wrong.to_string()));
    }
    let all: Vec<String> = violations.iter().map(Violation::to_string).collect();
    match all.as_slice() {
        [] => None,
        [one] => Some(ApiError::validation(format!("1 validation error detected: {one}"))),
        all => {
            let message = format!("{} validation errors detected: {}", all.len(), all.join("; "));
            Some(ApiError::validation(message))
        }
    }
}

/// What a request breaks, in the order of the members' names. `input` is its structure.
pub(super) fn violations(input: Node, request: &Map<String, Value>) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Shape::Structure(structure) = input.shape {
        members(input, structure, request, "", &mut found);
    }
    found
}

/// A JSON null counts as absent. Members that the model does not have are overlooked, as the services do.
fn members(
    node: Node,
    structure: &'static Structure,
    body: &Map<String, Value>,
    path: &str,
    found: &mut Vec<Violation>,
) {
    let sent = |name: &str| body.get(name).filter(|value| !value.is_null());
    for name in structure.required.iter().filter(|name| sent(name).is_none()) {
        let place = format!("{path}{}", lower_first(name));
        found.push(Violation { place, value: "null".to_owned(), rule: Rule::Required });
    }
    for name in structure.members.keys() {
        if let (Some(node), Some(value)) = (node.member(name), sent(name)) {
            member(node, value, &format!("{path}{}", lower_first(name)), found);
        }
    }
}

fn member(node: Node, value: &Value, place: &str, found: &mut Vec<Violation>) {
    match (node.shape, value) {
        (Shape::Structure(structure), Value::Object(body)) => {
            members(node, structure, body, &format!("{place}."), found);
        }
        (Shape::List(list), Value::Array(all)) => items(node, list, all, place, found),
        (Shape::Map(map), Value::Object(all)) => entries(node, map, all, place, found),
        (shape, value) => {
            let broken = broken(shape, value).into_iter();
            found.extend(broken.map(|rule| Violation { place: place.to_owned(), value: shown(value), rule }));
        }
    }
}

fn items(node: Node, list: &List, all: &[Value], place: &str, found: &mut Vec<Violation>) {
    if let Some(rule) = count(all.len(), list.min, list.max) {
        let value = shown(&Value::from(all.to_vec()));
        return found.push(Violation { place: place.to_owned(), value, rule });
    }
    let Some(item) = node.item() else { return };
    if is_scalar(item.shape) {
        let broken = all.iter().flat_map(|value| broken(item.shape, value));
        // One violation stands for all: the whole list is shown.
        let worst = broken.reduce(|first, next| if matches!(next, Rule::Type { .. }) { next } else { first });
        let value = || format!("[{}]", all.iter().map(shown).collect::<Vec<_>>().join(", "));
        found.extend(worst.map(|rule| about(place, value(), rule, Rule::Item)));
        return;
    }
    for (index, value) in all.iter().enumerate() {
        member(item, value, &format!("{place}.{}.member", index + 1), found);
    }
}

fn entries(node: Node, map: &Entries, all: &Map<String, Value>, place: &str, found: &mut Vec<Violation>) {
    if let Some(rule) = count(all.len(), map.min, map.max) {
        let value = format!("{} entries", all.len());
        found.push(Violation { place: place.to_owned(), value, rule });
    }
    let (Some(key), Some(item)) = (node.key(), node.item()) else { return };
    for (name, value) in all {
        let name_rule = broken(key.shape, &Value::from(name.as_str())).into_iter().next();
        found.extend(name_rule.map(|rule| about(place, name.clone(), rule, Rule::Key)));
        if is_scalar(item.shape) {
            let rule = broken(item.shape, value).into_iter().next();
            let pair = format!("{{{name}={}}}", shown(value));
            found.extend(rule.map(|rule| about(place, pair, rule, Rule::Value)));
        } else {
            member(item, value, &format!("{place}.{name}.member"), found);
        }
    }
}

/// A violation of a part of the member at `place`.
fn about(place: &str, value: String, rule: Rule, part: fn(Box<Rule>) -> Rule) -> Violation {
    let rule = if matches!(rule, Rule::Type { .. }) { rule } else { part(Box::new(rule)) };
    Violation { place: place.to_owned(), value, rule }
}

fn count(count: usize, min: usize, max: Option<usize>) -> Option<Rule> {
    match max.filter(|max| count > *max) {
        Some(max) => Some(Rule::MaxLength(max)),
        None if count < min => Some(Rule::MinLength(min)),
        None => None,
    }
}

fn is_scalar(shape: &Shape) -> bool {
    !matches!(shape, Shape::Structure(_) | Shape::List(_) | Shape::Map(_) | Shape::Document)
}

/// What one value breaks that has no parts, or has a type that is not its member's.
fn broken(shape: &'static Shape, value: &Value) -> Vec<Rule> {
    let wanted = match (shape, value) {
        (Shape::String(text), Value::String(value)) => return broken_text(text, value),
        (Shape::Integer(range) | Shape::Long(range), Value::Number(number)) => {
            if let Some(number) = number.as_i64() {
                return broken_range(range, number);
            }
            "Integer"
        }
        (Shape::Float | Shape::Double, Value::Number(_)) | (Shape::Boolean, Value::Bool(_)) => {
            return Vec::new();
        }
        (Shape::Timestamp, value) if time(value).is_some() => return Vec::new(),
        (Shape::Document, _) => return Vec::new(),
        (Shape::Structure(_), _) => "Structure",
        (Shape::List(_), _) => "List",
        (Shape::Map(_), _) => "Map",
        (Shape::String(_), _) => "String",
        (Shape::Integer(_), _) => "Integer",
        (Shape::Long(_), _) => "Long",
        (Shape::Float | Shape::Double, _) => "Double",
        (Shape::Boolean, _) => "Boolean",
        (Shape::Timestamp, _) => "Timestamp",
    };
    vec![Rule::Type { found: json_type(value), wanted }]
}

fn broken_text(text: &'static Text, value: &str) -> Vec<Rule> {
    let mut broken = Vec::new();
    broken.extend(count(value.chars().count(), text.min, text.max));
    if let Some(pattern) = text.pattern.as_ref().filter(|pattern| !pattern.matches(value)) {
        broken.push(Rule::Pattern(pattern.text()));
    }
    if !text.one_of.is_empty() && !text.one_of.iter().any(|known| known == value) {
        broken.push(Rule::OneOf(&text.one_of));
    }
    broken
}

fn broken_range(range: &Range, number: i64) -> Vec<Rule> {
    let above = range.max.filter(|max| number > *max).map(Rule::MaxValue);
    let below = range.min.filter(|min| number < *min).map(Rule::MinValue);
    above.into_iter().chain(below).collect()
}

/// A timestamp: seconds since 1970, with a fraction.
pub(crate) fn time(value: &Value) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(_) => "BOOLEAN_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}

/// A value as an error shows it: a text as it is, everything else as JSON, cut off if it is long.
fn shown(value: &Value) -> String {
    const SHOWN_CHARACTERS: usize = 200;
    let text = match value {
        Value::String(text) => return text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A member's name as the services write it in a place.
fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    format!("{}{}", first.map(String::from).unwrap_or_default(), letters.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Model;
    use super::*;

    static MODEL: Model = Model::new(
        r#"{
        "version": "2026-01-01",
        "operations": { "Do": { "input": "Input" } },
        "errors": {},
        "shapes": {
            "Input": { "type": "structure", "required": ["Missing"], "members": {
                "Comment": "Comment", "TimeoutSeconds": "Timeout", "Name": "Word", "Ids": "Words",
                "Missing": "Comment", "At": "Time", "Values": "Numbers", "Threshold": "Number",
                "Mode": "Mode", "Labels": "Labels", "Targets": "Targets", "Rules": "Rules"
            } },
            "Comment": { "type": "string", "max": 2 },
            "Word": { "type": "string", "pattern": "^\\w+$" },
            "Words": { "type": "list", "min": 1, "max": 2, "member": "Word" },
            "Timeout": { "type": "integer", "min": 30, "max": 100 },
            "Time": { "type": "timestamp" },
            "Number": { "type": "double" },
            "Numbers": { "type": "list", "member": "Number" },
            "Mode": { "type": "string", "enum": ["fast", "slow"] },
            "Labels": { "type": "map", "max": 1, "key": "Word", "value": "Comment" },
            "Targets": { "type": "list", "member": "Target" },
            "Target": { "type": "structure", "required": ["Key"], "members": { "Key": "Key" } },
            "Key": { "type": "string", "min": 1 },
            "Rules": { "type": "map", "key": "Word", "value": "Words" }
        } }"#,
    );

    /// With the member that is required.
    fn refused(mut body: Value) -> ApiError {
        body["Missing"] = json!("");
        let body = body.as_object().unwrap();
        MODEL.operation("Do").unwrap().check(body).expect_err("it breaks the model")
    }

    #[test]
    fn all_violations_are_reported_at_once() {
        let body = json!({ "Comment": "abc", "TimeoutSeconds": 29, "Name": "é", "Ids": ["a", "-"] });
        let error = MODEL.operation("Do").unwrap().check(body.as_object().unwrap()).unwrap_err();
        assert_eq!(error.code, "ValidationException");
        assert_eq!(
            error.message,
            "5 validation errors detected: \
             Value null at 'missing' failed to satisfy constraint: Member must not be null; \
             Value 'abc' at 'comment' failed to satisfy constraint: Member must have length less than or equal to 2; \
             Value '[a, -]' at 'ids' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy regular expression pattern: ^\\w+$]; \
             Value 'é' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^\\w+$; \
             Value '29' at 'timeoutSeconds' failed to satisfy constraint: Member must have value greater than or equal to 30"
        );
    }

    #[test]
    fn each_rule_is_said_in_the_services_words() {
        for (body, words) in [
            (
                json!({ "TimeoutSeconds": 101 }),
                "'101' at 'timeoutSeconds' failed to satisfy constraint: Member must have value less than or equal to 100",
            ),
            (
                json!({ "Ids": [] }),
                "'[]' at 'ids' failed to satisfy constraint: Member must have length greater than or equal to 1",
            ),
            (
                json!({ "Ids": ["a", "b", "c"] }),
                "at 'ids' failed to satisfy constraint: Member must have length less than or equal to 2",
            ),
            (
                json!({ "Mode": "odd" }),
                "'odd' at 'mode' failed to satisfy constraint: Member must satisfy enum value set: [fast, slow]",
            ),
            (
                json!({ "Labels": { "-": "" } }),
                "'-' at 'labels' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: ^\\w+$]",
            ),
            (
                json!({ "Labels": { "a": "abc" } }),
                "'{a=abc}' at 'labels' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 2]",
            ),
            (
                json!({ "Labels": { "a": "", "b": "" } }),
                "'2 entries' at 'labels' failed to satisfy constraint: Member must have length less than or equal to 1",
            ),
            (json!({ "Targets": [{ "Key": "tag:A" }, { "Key": "" }] }), "Value '' at 'targets.2.member.key'"),
            (
                json!({ "Targets": [{}] }),
                "Value null at 'targets.1.member.key' failed to satisfy constraint: Member must not be null",
            ),
            (json!({ "Rules": { "a": ["-"] } }), "Value '[-]' at 'rules.a.member'"),
        ] {
            let error = refused(body);
            assert_eq!(error.code, "ValidationException");
            assert!(error.message.starts_with("1 validation error detected: "), "{error}");
            assert!(error.message.contains(words), "{error}");
        }
    }

    #[test]
    fn a_wrong_type_is_a_serialization_error_and_hides_the_rest() {
        for (body, words) in [
            (json!({ "Comment": 5 }), "NUMBER_VALUE can not be converted to String at 'comment'"),
            (
                json!({ "Comment": "abc", "Name": {} }),
                "START_OBJECT can not be converted to String at 'name'",
            ),
            (json!({ "Values": [1, "2"] }), "STRING_VALUE can not be converted to Double at 'values'"),
            (json!({ "Ids": ["-", 5] }), "NUMBER_VALUE can not be converted to String at 'ids'"),
            (json!({ "Ids": "a" }), "STRING_VALUE can not be converted to List at 'ids'"),
            (
                json!({ "Targets": ["a"] }),
                "STRING_VALUE can not be converted to Structure at 'targets.1.member'",
            ),
            (json!({ "Labels": { "a": 1 } }), "NUMBER_VALUE can not be converted to String at 'labels'"),
            (json!({ "TimeoutSeconds": 30.5 }), "NUMBER_VALUE can not be converted to Integer"),
            (json!({ "At": -1 }), "NUMBER_VALUE can not be converted to Timestamp at 'at'"),
        ] {
            let error = refused(body);
            assert_eq!(
                (error.code, error.message.contains(words)),
                ("SerializationException", true),
                "{error}"
            );
        }
    }

    #[test]
    fn null_is_absent_and_what_fits_passes() {
        let body = json!({
            "Missing": "", "Comment": null, "At": 1.5, "Values": [1, 2.5], "Threshold": 3, "Other": [],
            "TimeoutSeconds": 30, "Labels": { "a": "é" }, "Mode": "fast",
        });
        MODEL.operation("Do").unwrap().check(body.as_object().unwrap()).unwrap();
        assert_eq!(time(&json!(1.5)), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)));
    }
}
