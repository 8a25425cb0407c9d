//! Filter patterns: words of unstructured text, and comparisons of one member of a JSON message.
//!
//! `error -debug "two words" ?this ?that`: all words, none of those with a minus, at least one of those with a
//! question mark. `{ $.details.reason = "x" }`: a JSON message whose member has this value; `!=` and `&&` too.
//! Other patterns (regular expressions, space-delimited columns) are refused.

use serde_json::Value;

use super::invalid;
use crate::error::ApiError;

/// See the module.
#[derive(Debug, PartialEq)]
pub(super) enum Pattern {
    Words {
        all: Vec<String>,
        none: Vec<String>,
        any: Vec<String>,
    },
    /// All must hold.
    Members(Vec<Comparison>),
}

/// A path of names, and the value that it must have or must not have.
#[derive(Debug, PartialEq)]
pub(super) struct Comparison {
    path: Vec<String>,
    equal: bool,
    value: String,
}

impl Pattern {
    /// # Errors
    /// `InvalidParameterException`: a pattern that is none, or of a kind that is not known here.
    pub(super) fn parse(text: &str) -> Result<Pattern, ApiError> {
        let text = text.trim();
        if let Some(inner) = text.strip_prefix('{') {
            let inner = inner.strip_suffix('}').ok_or_else(|| refused(text))?;
            let parts: Option<Vec<Comparison>> = inner.split("&&").map(Comparison::parse).collect();
            return parts.map(Pattern::Members).ok_or_else(|| refused(text));
        }
        if text.starts_with('[') || text.starts_with('%') {
            return Err(refused(text));
        }
        let (mut all, mut none, mut any) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = text;
        while !rest.is_empty() {
            let (list, after) = match rest.as_bytes()[0] {
                b'-' => (&mut none, &rest[1..]),
                b'?' => (&mut any, &rest[1..]),
                _ => (&mut all, rest),
            };
            let (word, after) = word(after).ok_or_else(|| refused(text))?;
            list.push(word.to_owned());
            rest = after.trim_start();
        }
        Ok(Pattern::Words { all, none, any })
    }

    /// Letters of another case are other letters.
    pub(super) fn matches(&self, message: &str) -> bool {
        match self {
            Pattern::Words { all, none, any } => {
                let has = |word: &String| message.contains(word.as_str());
                all.iter().all(has) && !none.iter().any(has) && (any.is_empty() || any.iter().any(has))
            }
            Pattern::Members(comparisons) => serde_json::from_str::<Value>(message)
                .is_ok_and(|message| comparisons.iter().all(|comparison| comparison.holds(&message))),
        }
    }
}

impl Comparison {
    fn parse(text: &str) -> Option<Comparison> {
        let (selector, value) = text.split_once('=')?;
        let (selector, equal) = match selector.strip_suffix('!') {
            Some(selector) => (selector, false),
            None => (selector, true),
        };
        let path: Vec<String> = selector.trim().strip_prefix("$.")?.split('.').map(str::to_owned).collect();
        let value = value.trim();
        let value = value.strip_prefix('"').map_or(Some(value), |value| value.strip_suffix('"'))?;
        let plain =
            |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
        // A star would match anything in the service, a parenthesis group.
        let simple = !value.is_empty() && !value.contains(['*', '(', ')', '"', '<', '>']);
        (simple && path.iter().all(plain)).then(|| Comparison { path, equal, value: value.to_owned() })
    }

    /// A member that is not there has no value to compare.
    fn holds(&self, message: &Value) -> bool {
        let found = self.path.iter().try_fold(message, |value, name| value.get(name));
        found.is_some_and(|found| {
            let same = match found {
                Value::String(text) => *text == self.value,
                Value::Number(number) => number.as_f64() == self.value.parse().ok(),
                _ => false,
            };
            same == self.equal
        })
    }
}

/// The first word, or what stands between quotation marks, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').filter(|(word, _)| !word.is_empty()),
        None => {
            let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
            let plain = |c: char| c.is_alphanumeric() || c == '_';
            (!word.is_empty() && word.chars().all(plain)).then_some((word, rest))
        }
    }
}

fn refused(text: &str) -> ApiError {
    invalid(format!(
        "Invalid filter pattern {text}: known here are words (quoted if they have more than letters, digits and _), \
         -word, ?word and {{ $.member = \"value\" }}"
    ))
}

/// Reads bytes as a pattern, a line end, and a message that it is held against.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, message) = text.split_once('\n').unwrap_or((&text, ""));
    if let Ok(pattern) = Pattern::parse(pattern) {
        let _ = pattern.matches(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found() {
        let message = "ERROR: could not stop task 7 of web-1";
        for (pattern, found) in [
            ("", true),
            ("ERROR", true),
            ("error", false),
            ("ERROR stop", true),
            ("ERROR start", false),
            ("ERROR -stop", false),
            ("\"stop task\"", true),
            ("\"task stop\"", false),
            ("?start ?stop", true),
            ("?start ?never", false),
            ("\"web-1\" -\"web-2\"", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(message), found, "{pattern}");
        }
    }

    #[test]
    fn members_are_compared() {
        let message = r#"{"event_type":"action-end","details":{"action_id":"cpu","version":2}}"#;
        for (pattern, found) in [
            ("{ $.event_type = \"action-end\" }", true),
            ("{$.event_type=action-end}", true),
            ("{ $.event_type != \"action-end\" }", false),
            ("{ $.details.version = 2 }", true),
            ("{ $.details.version = 2 && $.details.action_id = \"io\" }", false),
            ("{ $.nothing != \"x\" }", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(message), found, "{pattern}");
        }
        assert!(!Pattern::parse("{ $.a = 1 }").unwrap().matches("no JSON"));
    }

    #[test]
    fn other_patterns_are_refused() {
        for pattern in [
            "{ $.a = 1",
            "[ip, user]",
            "%regex%",
            "\"open",
            "web-1",
            "{ $.a = x* }",
            "{ a = 1 }",
            "{ $.a > 1 }",
            "-",
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap_err().code, "InvalidParameterException", "{pattern}");
        }
    }
}
