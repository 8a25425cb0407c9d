//! Parameter values: merged with defaults, checked, and put in the place of their placeholders. Pure.
//!
//! As `docparser/parameters` and `paramvalidator` of the stock agent do it: one pass, no shell escaping, and
//! only `allowedPattern` is checked, because everything else was checked by the service.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::ParseError;
use super::pattern::PatternBudget;
use super::schema::Parameter;

/// How large the inputs of a document's steps may become together when values are put in, in bytes. A few
/// placeholders in one script multiply a long value; without a limit one message could take all memory.
pub const EXPANDED_BYTES: usize = 16 * 1024 * 1024;

/// The values that placeholders stand for, by parameter name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values {
    values: BTreeMap<String, Value>,
    /// The same, but a reference to its variable for each of those in `environment`.
    for_shell: BTreeMap<String, Value>,
    /// Those that a shell step reads from its environment: variable name to text.
    environment: BTreeMap<String, String>,
}

impl Values {
    /// The caller's values, completed by the declared defaults and checked against the declared patterns.
    ///
    /// Values whose name is not made of letters and digits are dropped, as the stock agent drops them.
    ///
    /// # Errors
    /// [`ParseError::Parameters`] with every value that is wrong; [`ParseError::ParameterStore`].
    pub fn merge(
        declared: &BTreeMap<String, Parameter>,
        supplied: &Map<String, Value>,
    ) -> Result<Values, ParseError> {
        let named = supplied.iter().filter(|(name, _)| valid_name(name));
        let mut values: BTreeMap<_, _> = named.map(|(name, value)| (name.clone(), value.clone())).collect();
        for (name, parameter) in declared {
            values.entry(name.clone()).or_insert_with(|| parameter.default.clone());
        }
        for (name, value) in &values {
            refuse_parameter_store(&format!("parameter {name}"), value)?;
        }
        let mut budget = PatternBudget::default();
        let wrong: Vec<_> = declared
            .iter()
            .filter_map(|(name, parameter)| check(name, parameter, &values[name], &mut budget).err())
            .collect();
        if !wrong.is_empty() {
            return Err(ParseError::Parameters(wrong));
        }
        let (mut for_shell, mut environment) = (values.clone(), BTreeMap::new());
        for name in declared.iter().filter(|(_, parameter)| parameter.as_environment).map(|(name, _)| name) {
            for_shell.insert(name.clone(), Value::String(format!("$SSM_{name}")));
            environment.insert(format!("SSM_{name}"), go_print(&values[name]));
        }
        Ok(Values { values, for_shell, environment })
    }

    /// What a shell step finds in its environment: `SSM_name` for every `ENV_VAR` parameter.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// `input` with every placeholder replaced by its value. A string that is nothing but a placeholder
    /// becomes the value itself, list or number; within a longer text a value becomes text. `room` is what the
    /// document may still grow by, see [`EXPANDED_BYTES`].
    ///
    /// # Errors
    /// [`ParseError::TooLarge`].
    pub fn put_in(&self, input: &Value, room: &mut usize) -> Result<Value, ParseError> {
        Substitution { values: &self.values, room }.value(input)
    }

    /// As [`Values::put_in`], for the inputs of a shell step of schema 2.x: an `ENV_VAR` parameter is
    /// replaced by a reference to its variable, so that its text never becomes part of the script.
    ///
    /// # Errors
    /// [`ParseError::TooLarge`].
    pub fn put_in_shell(&self, input: &Value, room: &mut usize) -> Result<Value, ParseError> {
        Substitution { values: &self.for_shell, room }.value(input)
    }

    /// `text` with every placeholder replaced by text, as far as [`EXPANDED_BYTES`] allow.
    ///
    /// # Errors
    /// [`ParseError::TooLarge`].
    pub fn put_in_text(&self, text: &str) -> Result<String, ParseError> {
        let mut room = EXPANDED_BYTES;
        let value = Substitution { values: &self.values, room: &mut room }.text(text)?;
        Ok(go_text(&value))
    }
}

/// Fails if a `{{ssm:name}}` reference is anywhere in `value`.
pub(super) fn refuse_parameter_store(place: &str, value: &Value) -> Result<(), ParseError> {
    match value {
        Value::String(text) => match parameter_store_reference(text) {
            Some(reference) => Err(ParseError::ParameterStore {
                place: place.to_owned(),
                reference: reference.chars().take(200).collect(),
            }),
            None => Ok(()),
        },
        Value::Array(items) => items.iter().try_for_each(|item| refuse_parameter_store(place, item)),
        Value::Object(members) => {
            members.values().try_for_each(|member| refuse_parameter_store(place, member))
        }
        _ => Ok(()),
    }
}

/// The first `{{ssm:name}}` or `{{ssm-secure:name}}` in `text`.
pub(super) fn parameter_store_reference(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let after = &rest[start..];
        if let Some((name, length)) = placeholder(after)
            && (name.starts_with("ssm:") || name.starts_with("ssm-secure:"))
        {
            return Some(&after[..length]);
        }
        rest = &after[1..];
    }
    None
}

fn valid_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric())
}

/// `allowedPattern`, with the texts of `allowedregexparamvalidator.go`.
fn check(name: &str, parameter: &Parameter, value: &Value, budget: &mut PatternBudget) -> Result<(), String> {
    if parameter.allowed_pattern.is_empty() {
        return Ok(());
    }
    check_pattern(&parameter.kind, &parameter.allowed_pattern, value, budget)
        .map_err(|reason| wrong(name, &reason))
}

/// One line of [`ParseError::Parameters`].
pub(super) fn wrong(name: &str, reason: &str) -> String {
    format!("error thrown in 'AllowedRegexParamValidator' while validating parameter /{name}/: {reason}")
}

fn check_pattern(kind: &str, pattern: &str, value: &Value, budget: &mut PatternBudget) -> Result<(), String> {
    let compiled = budget.compile(pattern).map_err(|error| {
        format!("encountered error while compiling allowed pattern - internal error: {error}")
    })?;
    let mut matched = |text: &str, value: &Value| match budget.matches(&compiled, text)? {
        true => Ok(()),
        false => {
            let value = go_print(value);
            Err(format!("parameter value /{value}/ does not match the allowed pattern /{pattern}/"))
        }
    };
    match value {
        Value::String(text) => matched(text, value),
        Value::Array(items) => items.iter().try_for_each(|item| matched(&go_text(item), item)),
        Value::Object(_) => matched(&go_json(value), value),
        _ => Err(format!("invalid parameter type {kind} with parameter value {}", go_print(value))),
    }
}

/// One walk through an input.
struct Substitution<'a> {
    values: &'a BTreeMap<String, Value>,
    room: &'a mut usize,
}

impl Substitution<'_> {
    fn value(&mut self, input: &Value) -> Result<Value, ParseError> {
        match input {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => {
                let put = members.iter().map(|(key, value)| Ok((key.clone(), self.value(value)?)));
                Ok(Value::Object(put.collect::<Result<_, ParseError>>()?))
            }
            other => Ok(other.clone()),
        }
    }

    fn text(&mut self, text: &str) -> Result<Value, ParseError> {
        if let Some((name, length)) = placeholder(text)
            && length == text.len()
            && let Some(value) = self.values.get(name).filter(|_| valid_name(name))
        {
            self.take(weight(value))?;
            return Ok(value.clone());
        }
        self.take(text.len())?;
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        // One pass from left to right: what a value brings in is never looked at again.
        while let Some(start) = rest.find("{{") {
            let after = &rest[start..];
            match placeholder(after).and_then(|(name, length)| Some((self.values.get(name)?, length))) {
                Some((value, length)) => {
                    self.take(weight(value))?;
                    out.push_str(&rest[..start]);
                    // The agent's own quirk, kept for documents that count on it.
                    out.push_str(&go_text(value).replace("$$", "$"));
                    rest = &after[length..];
                }
                None => {
                    out.push_str(&rest[..=start]);
                    rest = &after[1..];
                }
            }
        }
        out.push_str(rest);
        Ok(Value::String(out))
    }

    fn take(&mut self, bytes: usize) -> Result<(), ParseError> {
        *self.room = self.room.checked_sub(bytes).ok_or(ParseError::TooLarge)?;
        Ok(())
    }
}

/// About how many bytes a value takes as text.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| weight(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => {
            members.iter().map(|(key, value)| key.len() + weight(value) + 4).sum::<usize>() + 2
        }
        _ => 24,
    }
}

/// The name and the length of the placeholder that `text` begins with.
fn placeholder(text: &str) -> Option<(&str, usize)> {
    let space = |c: char| matches!(c, '\t' | '\n' | '\x0c' | '\r' | ' ');
    let inner = text.strip_prefix("{{")?.trim_start_matches(space);
    let end = inner.find(|c: char| space(c) || c == '{' || c == '}')?;
    let (name, after) = inner.split_at(end);
    let rest = after.trim_start_matches(space).strip_prefix("}}")?;
    Some((name, text.len() - rest.len()))
}

/// A value as text: a string as it is, anything else as JSON.
pub(super) fn go_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => go_json(other),
    }
}

/// JSON as Go's encoder writes it: sorted members, whole numbers without a fraction, and `<`, `>`, `&`
/// escaped. It matters because the text ends up in scripts.
pub(super) fn go_json(value: &Value) -> String {
    let json = match value {
        Value::Number(number) => go_number(number),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go_json).collect::<Vec<_>>().join(","))
        }
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let members: Vec<_> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", go_json(&Value::String(key.clone())), go_json(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        other => other.to_string(),
    };
    match value {
        Value::String(_) => ["<", ">", "&", "\u{2028}", "\u{2029}"].iter().fold(json, |json, special| {
            let code = special.chars().next().map_or(0, u32::from);
            json.replace(special, &format!("\\u{code:04x}"))
        }),
        _ => json,
    }
}

fn go_number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 && float.abs() < 1e21 => {
            format!("{float:.0}")
        }
        _ => number.to_string(),
    }
}

/// As Go's `%v` prints a value.
pub(super) fn go_print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_print).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let members: Vec<_> =
                sorted.into_iter().map(|(key, value)| format!("{key}:{}", go_print(value))).collect();
            format!("map[{}]", members.join(" "))
        }
        other => go_text(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn declared(pairs: &[(&str, Parameter)]) -> BTreeMap<String, Parameter> {
        pairs.iter().map(|(name, parameter)| ((*name).to_owned(), parameter.clone())).collect()
    }

    fn values(supplied: Value) -> Values {
        let Value::Object(supplied) = supplied else { panic!("parameters are an object") };
        Values::merge(&BTreeMap::new(), &supplied).unwrap()
    }

    fn put(values: &Values, input: Value) -> Value {
        values.put_in(&input, &mut EXPANDED_BYTES.clone()).unwrap()
    }

    fn with_pattern(pattern: &str) -> Parameter {
        Parameter { kind: "String".to_owned(), allowed_pattern: pattern.to_owned(), ..Parameter::default() }
    }

    fn refusal(pattern: &str, supplied: Value) -> String {
        let Value::Object(supplied) = supplied else { panic!("parameters are an object") };
        Values::merge(&declared(&[("p", with_pattern(pattern))]), &supplied).unwrap_err().to_string()
    }

    /// Protocol sheet §7.3, replacement rules.
    #[test]
    fn placeholders_become_values_or_text() {
        let all =
            values(json!({"s": "x y", "l": ["a", "b<"], "n": 5, "b": true, "m": {"k": "v"}, "d": "a$$b"}));
        for (input, expected) in [
            (json!("{{ l }}"), json!(["a", "b<"])),
            (json!("{{l}}"), json!(["a", "b<"])),
            (json!("{{\t n\n}}"), json!(5)),
            (json!(" {{ n }}"), json!(" 5")),
            (json!("echo {{ s }} {{s}}."), json!("echo x y x y.")),
            (json!("echo {{ l }}"), json!("echo [\"a\",\"b\\u003c\"]")),
            (json!("echo {{ b }} {{ m }}"), json!("echo true {\"k\":\"v\"}")),
            (json!("echo {{ nosuch }}"), json!("echo {{ nosuch }}")),
            (json!("{{ nosuch }}"), json!("{{ nosuch }}")),
            (json!("{{{ s }}}"), json!("{x y}")),
            (json!("{{ s"), json!("{{ s")),
            (json!("{{ s } }"), json!("{{ s } }")),
            (json!("{{{{s}}"), json!("{{x y")),
            (json!("<{{ d }}>"), json!("<a$b>")),
            (json!("{{ d }}"), json!("a$$b")),
            (json!(["{{ s }}", {"{{ s }}": "{{ n }}"}, 7, null]), json!(["x y", {"{{ s }}": 5}, 7, null])),
        ] {
            assert_eq!(put(&all, input.clone()), expected, "{input}");
        }
    }

    #[test]
    fn defaults_fill_in_and_bad_names_fall_out() {
        let parameters = declared(&[
            ("a", Parameter { default: json!("A"), ..Parameter::default() }),
            ("b", Parameter { default: json!("B"), ..Parameter::default() }),
            ("c", Parameter::default()),
        ]);
        let supplied = json!({"b": "mine", "no-name": "x"});
        let values = Values::merge(&parameters, supplied.as_object().unwrap()).unwrap();
        let text = put(&values, json!("{{a}} {{b}} {{c}} {{no-name}}"));
        assert_eq!(text, json!("A mine null {{no-name}}"));
    }

    #[test]
    fn patterns_are_searched_in_every_element() {
        let stock = "all errors during param validation errors: error thrown in 'AllowedRegexParamValidator' while \
                     validating parameter /p/: ";
        assert_eq!(
            refusal("^[a-z]+$", json!({"p": "A b"})),
            format!("{stock}parameter value /A b/ does not match the allowed pattern /^[a-z]+$/")
        );
        assert_eq!(
            refusal("^[a-z]+$", json!({"p": ["ok", "NO"]})),
            format!("{stock}parameter value /NO/ does not match the allowed pattern /^[a-z]+$/")
        );
        assert_eq!(
            refusal("x", json!({})),
            format!("{stock}invalid parameter type String with parameter value <nil>")
        );
        assert!(
            refusal("(", json!({"p": "x"})).contains("encountered error while compiling allowed pattern")
        );
        let unanchored = declared(&[("p", with_pattern("[0-9]"))]);
        assert!(Values::merge(&unanchored, json!({"p": "a1; rm"}).as_object().unwrap()).is_ok());
    }

    #[test]
    fn an_environment_parameter_is_only_referred_to() {
        let parameter = Parameter { as_environment: true, ..Parameter::default() };
        let supplied = json!({"p": "$(reboot)"});
        let values = Values::merge(&declared(&[("p", parameter)]), supplied.as_object().unwrap()).unwrap();
        let input = json!(["echo {{ p }}", "{{p}}"]);
        let shell = values.put_in_shell(&input, &mut EXPANDED_BYTES.clone()).unwrap();
        assert_eq!(shell, json!(["echo $SSM_p", "$SSM_p"]));
        assert_eq!(put(&values, input), json!(["echo $(reboot)", "$(reboot)"]));
        assert_eq!(values.environment()["SSM_p"], "$(reboot)");
    }

    #[test]
    fn the_parameter_store_is_refused_by_name() {
        let supplied = json!({"p": ["x {{ ssm:/my/secret:3 }}"]});
        let error = Values::merge(&BTreeMap::new(), supplied.as_object().unwrap()).unwrap_err().to_string();
        assert!(
            error.contains("parameter p refers to the Parameter Store ({{ ssm:/my/secret:3 }})"),
            "{error}"
        );
    }

    #[test]
    fn a_value_cannot_be_multiplied_without_limit() {
        let all = values(json!({"p": "x".repeat(1024 * 1024)}));
        let input = json!(vec!["{{ p }} {{ p }} {{ p }}"; 1000]);
        assert_eq!(all.put_in(&input, &mut EXPANDED_BYTES.clone()), Err(ParseError::TooLarge));
        let list = json!(vec!["{{ p }}"; 1000]);
        assert_eq!(all.put_in(&list, &mut EXPANDED_BYTES.clone()), Err(ParseError::TooLarge));
    }

    #[test]
    fn numbers_read_as_go_writes_them() {
        for (number, text) in [("5", "5"), ("5.0", "5"), ("-2.0", "-2"), ("1.5", "1.5"), ("1e3", "1000")] {
            assert_eq!(go_text(&serde_json::from_str(number).unwrap()), text);
        }
    }

    proptest! {
        /// What a value brings in is never looked at again.
        #[test]
        fn substitution_is_a_single_pass(
            before in "[a-z{} ]{0,8}",
            value in "[a-z{} pq]{0,12}",
            after in "[a-z{} ]{0,8}",
        ) {
            // Neither side may make a placeholder of its own, alone or with the one in the middle.
            let sides = !before.contains('{') && !after.contains('}');
            prop_assume!(sides);
            let all = values(json!({"p": value, "q": "{{p}}{{q}}"}));
            let put = put(&all, json!(format!("|{before}{{{{p}}}}{after}|{{{{ q }}}}")));
            prop_assert_eq!(put, json!(format!("|{before}{value}{after}|{{{{p}}}}{{{{q}}}}")));
        }

        #[test]
        fn text_without_placeholders_stays(text in "[^{]*") {
            prop_assert_eq!(put(&values(json!({"p": "x"})), json!(text.clone())), json!(text));
        }
    }
}
