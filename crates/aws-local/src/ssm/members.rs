//! Reads the members of a request and collects what breaks the service's model.
//!
//! Clients check required members and minimums only, so lengths, ranges, patterns and enums are checked
//! here. Every violation of a request is reported at once, in the service's words. Knows no operation.

#![expect(dead_code, reason = "it goes when the last service reads the table")]

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use regex::Regex;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// A pattern of the service's model: shown to the caller as the model has it, matched against the whole value.
#[derive(Debug)]
pub struct Pattern {
    text: &'static str,
    regex: OnceLock<Regex>,
}

impl Pattern {
    pub const fn new(text: &'static str) -> Pattern {
        Pattern { text, regex: OnceLock::new() }
    }

    /// The model's `\w` is ASCII.
    pub fn matches(&self, value: &str) -> bool {
        let compile = || {
            let text = self.text.replace(r"\w", "[0-9A-Za-z_]");
            Regex::new(&format!("^(?:{text})$")).expect("the patterns are constants and tested")
        };
        self.regex.get_or_init(compile).is_match(value)
    }
}

/// What the model says about one string.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    min: usize,
    max: usize,
    pattern: Option<&'static Pattern>,
    one_of: &'static [&'static str],
}

impl Text {
    pub const ANY: Text = Text { min: 0, max: usize::MAX, pattern: None, one_of: &[] };

    /// Characters, both ends included.
    pub const fn length(min: usize, max: usize) -> Text {
        Text { min, max, ..Text::ANY }
    }

    pub const fn pattern(pattern: &'static Pattern) -> Text {
        Text { pattern: Some(pattern), ..Text::ANY }
    }

    pub const fn one_of(values: &'static [&'static str]) -> Text {
        Text { one_of: values, ..Text::ANY }
    }

    /// The same, with a pattern.
    pub const fn and(self, pattern: &'static Pattern) -> Text {
        Text { pattern: Some(pattern), ..self }
    }

    /// The constraints that `value` breaks, in the service's words.
    fn broken(&self, value: &str) -> Vec<String> {
        let mut broken = Vec::new();
        let length = value.chars().count();
        if length > self.max {
            broken.push(format!("Member must have length less than or equal to {}", self.max));
        }
        if length < self.min {
            broken.push(format!("Member must have length greater than or equal to {}", self.min));
        }
        if let Some(pattern) = self.pattern.filter(|pattern| !pattern.matches(value)) {
            broken.push(format!("Member must satisfy regular expression pattern: {}", pattern.text));
        }
        if !self.one_of.is_empty() && !self.one_of.contains(&value) {
            broken.push(format!("Member must satisfy enum value set: [{}]", self.one_of.join(", ")));
        }
        broken
    }
}

/// The members of one structure of a request, and the violations found so far.
#[derive(Debug)]
pub struct Members<'a> {
    body: &'a Map<String, Value>,
    path: String,
    broken: Vec<String>,
    /// A member of the wrong JSON type: nothing after it is worth saying.
    unreadable: Option<ApiError>,
}

impl<'a> Members<'a> {
    pub fn new(body: &'a Map<String, Value>) -> Members<'a> {
        Members { body, path: String::new(), broken: Vec::new(), unreadable: None }
    }

    /// Refuses the request if anything read so far broke the model.
    pub fn finish(self) -> Result<(), ApiError> {
        if let Some(error) = self.unreadable {
            return Err(error);
        }
        match self.broken.len() {
            0 => Ok(()),
            1 => Err(ApiError::validation(format!("1 validation error detected: {}", self.broken[0]))),
            count => {
                let all = self.broken.join("; ");
                Err(ApiError::validation(format!("{count} validation errors detected: {all}")))
            }
        }
    }

    /// A string, if it is there and in its bounds.
    pub fn text(&mut self, name: &str, rule: Text) -> Option<&'a str> {
        let value = self.value(name)?;
        let Some(text) = value.as_str() else { return self.wrong_type(name, value, "String") };
        let broken = rule.broken(text);
        for constraint in &broken {
            self.breaks(name, text, constraint);
        }
        broken.is_empty().then_some(text)
    }

    /// A string that must be there; empty if it is not, which [`Members::finish`] then reports.
    pub fn required_text(&mut self, name: &str, rule: Text) -> &'a str {
        self.require(name);
        self.text(name, rule).unwrap_or_default()
    }

    /// A whole number in a range.
    pub fn number(&mut self, name: &str, min: i64, max: i64) -> Option<i64> {
        let value = self.value(name)?;
        let Some(number) = value.as_i64() else { return self.wrong_type(name, value, "Integer") };
        if number > max {
            self.breaks(name, number, &format!("Member must have value less than or equal to {max}"));
        }
        if number < min {
            self.breaks(name, number, &format!("Member must have value greater than or equal to {min}"));
        }
        (min..=max).contains(&number).then_some(number)
    }

    /// A number, whole or not.
    pub fn decimal(&mut self, name: &str) -> Option<f64> {
        let value = self.value(name)?;
        value.as_f64().or_else(|| self.wrong_type(name, value, "Double"))
    }

    /// A list of numbers with at most `max` items; empty if it is not there.
    pub fn decimals(&mut self, name: &str, max: usize) -> Vec<f64> {
        let Some(items) = self.items(name, 0, max) else { return Vec::new() };
        let numbers: Option<Vec<f64>> = items.iter().map(Value::as_f64).collect();
        numbers.or_else(|| self.wrong_type(name, &Value::from(items.clone()), "Double")).unwrap_or_default()
    }

    /// A boolean.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        value.as_bool().or_else(|| self.wrong_type(name, value, "Boolean"))
    }

    /// A timestamp: seconds since the epoch, with a fraction.
    pub fn time(&mut self, name: &str) -> Option<SystemTime> {
        let value = self.value(name)?;
        let seconds = value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        match seconds.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)) {
            Some(time) => Some(time),
            None => self.wrong_type(name, value, "Timestamp"),
        }
    }

    /// A list of strings with at most `max` items; empty if it is not there.
    pub fn texts(&mut self, name: &str, min: usize, max: usize, rule: Text) -> Vec<&'a str> {
        let Some(items) = self.items(name, min, max) else { return Vec::new() };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            let Some(text) = item.as_str() else {
                self.wrong_type::<()>(name, item, "String");
                return Vec::new();
            };
            texts.push(text);
        }
        let broken: Vec<String> = texts.iter().flat_map(|text| rule.broken(text)).collect();
        if let Some(first) = broken.first() {
            let constraint = format!("Member must satisfy constraint: [{first}]");
            self.breaks(name, format!("[{}]", texts.join(", ")), &constraint);
            return Vec::new();
        }
        texts
    }

    /// A list of structures, each read by `read`.
    pub fn each<T>(
        &mut self,
        name: &str,
        min: usize,
        max: usize,
        mut read: impl FnMut(&mut Members<'a>) -> T,
    ) -> Vec<T> {
        let Some(items) = self.items(name, min, max) else { return Vec::new() };
        let mut all = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let place = format!("{}.{}.member.", self.place(name), index + 1);
            let Some(body) = item.as_object() else {
                self.wrong_type::<()>(name, item, "Structure");
                return Vec::new();
            };
            all.push(self.within(body, place, &mut read));
        }
        all
    }

    /// One nested structure, if it is there.
    pub fn nested<T>(&mut self, name: &str, mut read: impl FnMut(&mut Members<'a>) -> T) -> Option<T> {
        let value = self.value(name)?;
        let Some(body) = value.as_object() else { return self.wrong_type(name, value, "Structure") };
        let place = format!("{}.", self.place(name));
        Some(self.within(body, place, &mut read))
    }

    /// A map from names to structures, each read by `read`; empty if it is not there.
    pub fn each_by_name<T>(
        &mut self,
        name: &str,
        key: Text,
        mut read: impl FnMut(&mut Members<'a>) -> T,
    ) -> BTreeMap<String, T> {
        let Some(map) = self.map(name, key) else { return BTreeMap::new() };
        let mut all = BTreeMap::new();
        for (key, item) in map {
            let place = format!("{}.{key}.member.", self.place(name));
            let Some(body) = item.as_object() else {
                self.wrong_type::<()>(name, item, "Structure");
                return BTreeMap::new();
            };
            all.insert(key.clone(), self.within(body, place, &mut read));
        }
        all
    }

    /// A map from names to strings with at most `max` entries; empty if it is not there.
    pub fn texts_by_name(
        &mut self,
        name: &str,
        max: usize,
        key: Text,
        value: Text,
    ) -> BTreeMap<String, String> {
        let Some(map) = self.map(name, key) else { return BTreeMap::new() };
        if map.len() > max {
            let constraint = format!("Member must have length less than or equal to {max}");
            self.breaks(name, format!("{} entries", map.len()), &constraint);
        }
        let mut all = BTreeMap::new();
        for (key, item) in map {
            let Some(text) = item.as_str() else {
                self.wrong_type::<()>(name, item, "String");
                return BTreeMap::new();
            };
            if let Some(first) = value.broken(text).first() {
                let constraint = format!("Map value must satisfy constraint: [{first}]");
                self.breaks(name, format!("{{{key}={text}}}"), &constraint);
            }
            all.insert(key.clone(), text.to_owned());
        }
        all
    }

    /// A map from strings to lists of strings; empty if it is not there.
    pub fn lists_by_name(&mut self, name: &str) -> BTreeMap<String, Vec<String>> {
        let Some(value) = self.value(name) else { return BTreeMap::new() };
        let list = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let map = value.as_object().and_then(|map| {
            map.iter()
                .map(|(key, value)| Some((key.clone(), list(value)?)))
                .collect::<Option<BTreeMap<_, _>>>()
        });
        map.or_else(|| self.wrong_type(name, value, "Map of lists of strings")).unwrap_or_default()
    }

    /// A constraint that the model states and the methods above do not know.
    pub fn breaks(&mut self, name: &str, value: impl std::fmt::Display, constraint: &str) {
        let place = self.place(name);
        self.broken.push(format!("Value '{value}' at '{place}' failed to satisfy constraint: {constraint}"));
    }

    /// Reports a member that is missing.
    pub fn require(&mut self, name: &str) {
        if self.value(name).is_none() {
            let place = self.place(name);
            self.broken.push(format!(
                "Value null at '{place}' failed to satisfy constraint: Member must not be null"
            ));
        }
    }

    /// Whether the caller sent the member. A JSON null counts as absent.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    fn items(&mut self, name: &str, min: usize, max: usize) -> Option<&'a Vec<Value>> {
        let value = self.value(name)?;
        let Some(items) = value.as_array() else { return self.wrong_type(name, value, "List") };
        if items.len() > max {
            let constraint = format!("Member must have length less than or equal to {max}");
            self.breaks(name, shortened(value), &constraint);
            return None;
        }
        if items.len() < min {
            let constraint = format!("Member must have length greater than or equal to {min}");
            self.breaks(name, shortened(value), &constraint);
            return None;
        }
        Some(items)
    }

    /// An object whose keys keep a rule.
    fn map(&mut self, name: &str, rule: Text) -> Option<&'a Map<String, Value>> {
        let value = self.value(name)?;
        let Some(map) = value.as_object() else { return self.wrong_type(name, value, "Map") };
        for key in map.keys() {
            if let Some(first) = rule.broken(key).first() {
                let constraint = format!("Map keys must satisfy constraint: [{first}]");
                self.breaks(name, key, &constraint);
            }
        }
        Some(map)
    }

    fn within<T>(
        &mut self,
        body: &'a Map<String, Value>,
        path: String,
        read: &mut impl FnMut(&mut Members<'a>) -> T,
    ) -> T {
        let mut inner = Members { path, ..Members::new(body) };
        let result = read(&mut inner);
        self.broken.append(&mut inner.broken);
        self.unreadable = self.unreadable.take().or(inner.unreadable);
        result
    }

    fn wrong_type<T>(&mut self, name: &str, value: &Value, wanted: &str) -> Option<T> {
        let found = match value {
            Value::Null => "NULL_VALUE",
            Value::Bool(_) => "BOOLEAN_VALUE",
            Value::Number(_) => "NUMBER_VALUE",
            Value::String(_) => "STRING_VALUE",
            Value::Array(_) => "START_ARRAY",
            Value::Object(_) => "START_OBJECT",
        };
        let message = format!("{found} can not be converted to {wanted} at '{}'", self.place(name));
        self.unreadable.get_or_insert(ApiError::new("SerializationException", message));
        None
    }

    /// Where a member stands, as the service writes it: `targets.1.member.key`.
    fn place(&self, name: &str) -> String {
        let mut letters = name.chars();
        let first = letters.next().map(|first| first.to_ascii_lowercase());
        format!("{}{}{}", self.path, first.map(String::from).unwrap_or_default(), letters.as_str())
    }
}

/// A list as an error message shows it: whole if it is short.
fn shortened(value: &Value) -> String {
    const SHOWN_CHARACTERS: usize = 200;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    static LETTERS: Pattern = Pattern::new(r"^\w+$");

    fn body(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn all_violations_are_reported_at_once() {
        let body = body(json!({ "Comment": "abc", "TimeoutSeconds": 29, "Name": "é", "Ids": ["a", "-"] }));
        let mut members = Members::new(&body);
        members.text("Comment", Text::length(0, 2));
        members.number("TimeoutSeconds", 30, 100);
        members.text("Name", Text::pattern(&LETTERS));
        members.texts("Ids", 0, 2, Text::pattern(&LETTERS));
        members.require("Missing");
        let message = members.finish().unwrap_err().message;
        assert_eq!(
            message,
            "5 validation errors detected: \
             Value 'abc' at 'comment' failed to satisfy constraint: Member must have length less than or equal to 2; \
             Value '29' at 'timeoutSeconds' failed to satisfy constraint: Member must have value greater than or equal to 30; \
             Value 'é' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: ^\\w+$; \
             Value '[a, -]' at 'ids' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy regular expression pattern: ^\\w+$]; \
             Value null at 'missing' failed to satisfy constraint: Member must not be null"
        );
    }

    #[test]
    fn nested_members_carry_their_path() {
        let body = body(json!({ "Targets": [{ "Key": "tag:A" }, { "Key": "" }] }));
        let mut members = Members::new(&body);
        members.each("Targets", 0, 5, |target| target.required_text("Key", Text::length(1, 163)));
        let message = members.finish().unwrap_err().message;
        assert!(message.contains("at 'targets.2.member.key'"), "{message}");
    }

    #[test]
    fn a_wrong_type_is_a_serialization_error() {
        let body = body(json!({ "Comment": 5 }));
        let mut members = Members::new(&body);
        assert_eq!(members.text("Comment", Text::ANY), None);
        assert_eq!(members.finish().unwrap_err().code, "SerializationException");
        let body = self::body(json!({ "Values": [1, 2.5], "Counts": [1, "2"], "Threshold": 3 }));
        let mut members = Members::new(&body);
        assert_eq!(
            (members.decimals("Values", 2), members.decimal("Threshold")),
            (vec![1.0, 2.5], Some(3.0))
        );
        assert_eq!(members.decimals("Counts", 2), [0.0; 0]);
        assert_eq!(members.finish().unwrap_err().code, "SerializationException");
    }

    #[test]
    fn null_is_absent_and_times_are_fractions() {
        let body = body(json!({ "Comment": null, "At": 1.5 }));
        let mut members = Members::new(&body);
        assert_eq!(members.text("Comment", Text::length(1, 1)), None);
        assert_eq!(members.time("At"), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)));
        members.finish().unwrap();
    }
}
