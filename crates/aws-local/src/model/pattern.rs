//! The models' patterns: Java's regular expressions, matched against the whole value.

use std::borrow::Cow;
use std::sync::OnceLock;

use regex::Regex;
use serde::Deserialize;

/// A pattern of a model: shown as the model has it, compiled when it is first matched.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct Pattern {
    text: String,
    regex: OnceLock<Option<Regex>>,
}

/// Patterns that the regex crate does not take (they look ahead), and what is matched for them.
const REWRITTEN: [(&str, &str); 1] = [
    // Not blank, on one line.
    (r"^(?!\s*$).+", r".*\S.*"),
];

impl Pattern {
    /// As the model has it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn matches(&self, value: &str) -> bool {
        // A test compiles every pattern of the tables; one that could not be compiled would let everything pass.
        self.regex.get_or_init(|| compile(&self.text)).as_ref().is_none_or(|regex| regex.is_match(value))
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Pattern {
        Pattern { text, regex: OnceLock::new() }
    }
}

fn compile(text: &str) -> Option<Regex> {
    let text = REWRITTEN.iter().find(|(known, _)| *known == text).map_or(text, |(_, own)| own);
    Regex::new(&format!("^(?:{})$", translated(text))).ok()
}

/// Java's classes `\w`, `\d` and `\s` are ASCII, and its `.` stops at more line ends than a line feed.
pub(crate) fn translated(java: &str) -> String {
    let mut out = String::with_capacity(java.len());
    let mut letters = java.chars();
    let mut in_class = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.push_str(&escape(letters.next().unwrap_or('\\'))),
            '.' if !in_class => out.push_str(r"[^\n\r\u0085\u2028\u2029]"),
            _ => {
                in_class = letter == '[' || (in_class && letter != ']');
                out.push(letter);
            }
        }
    }
    out
}

fn escape(letter: char) -> Cow<'static, str> {
    Cow::Borrowed(match letter {
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[ \t\n\x0B\f\r]",
        'S' => r"[^ \t\n\x0B\f\r]",
        other => return Cow::Owned(format!("\\{other}")),
    })
}

/// Every one compiles, and every rewritten one is there.
#[cfg(test)]
pub(super) fn assert_all_work<'p>(patterns: impl Iterator<Item = &'p Pattern>) {
    let texts: std::collections::BTreeSet<&str> = patterns.map(Pattern::text).collect();
    for text in &texts {
        assert!(compile(text).is_some(), "{text}");
    }
    for (text, _) in REWRITTEN {
        assert!(texts.contains(text) && Regex::new(text).is_err(), "{text} need not be rewritten");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        Pattern::from(pattern.to_owned()).matches(value)
    }

    #[test]
    fn a_pattern_means_what_it_means_in_java() {
        assert!(matches(r"[\w+=,.@-]+", "a_b.c@d-"));
        assert!(!matches(r"[\w+=,.@-]+", "é"));
        assert!(matches(r"[\S]+", "é") && !matches(r"[\S]+", "a b"));
        assert!(matches(r"[\s\S]+", "a\nb"));
        assert!(matches("[^:].*", "a:b") && !matches("[^:].*", "ab\rc"));
        assert!(matches(r"\u002F[\u0021-\u007F]*", "/team/") && !matches(r"\u002F[\u0021-\u007F]*", "team/"));
        assert!(matches(r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$", "é 1"));
    }

    #[test]
    fn a_pattern_is_for_the_whole_value() {
        assert!(!matches("[0-9]{12}", "1234567890123"));
        assert!(!matches("a|bc", "abc"));
    }

    #[test]
    fn a_rewritten_pattern_keeps_its_meaning() {
        let pattern = REWRITTEN[0].0;
        for (value, fits) in [("a", true), (" a ", true), ("", false), (" \t", false), ("a\nb", false)] {
            assert_eq!(matches(pattern, value), fits, "{value:?}");
        }
    }
}
