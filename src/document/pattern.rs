//! `allowedPattern`: a Go (RE2) pattern, matched the way the stock agent matches it. Pure.
//!
//! The agent's match is a search: any part of the value may match, unless the pattern has anchors of its own.
//! The two dialects differ in small ways that matter here, so a pattern is rewritten before it is compiled:
//! Go's `\d \s \w \b` are ASCII where Rust's are Unicode, and a `[` or `&&` inside a class is plain text in Go.

use regex::Regex;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern in Go's syntax.
    ///
    /// # Errors
    /// The reason, in one line, if it is not a pattern.
    pub fn compile(pattern: &str) -> Result<Pattern, String> {
        let compiled = Regex::new(&rewrite(pattern));
        compiled.map(Pattern).map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => format!("pattern needs more than {limit} bytes of memory"),
            // The text draws the pattern and a marker over several lines; the last one is the reason.
            other => other.to_string().lines().last().unwrap_or_default().trim().to_owned(),
        })
    }

    /// True if any part of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        self.0.is_match(value)
    }
}

/// Go's syntax in Rust's.
fn rewrite(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let taken = match c {
            '\\' => match after.chars().next() {
                Some(escaped) => {
                    out.push_str(&escape(escaped, in_class));
                    1 + escaped.len_utf8()
                }
                None => push(&mut out, "\\", 1),
            },
            '[' if !in_class => {
                in_class = true;
                // A bracket that stands first is a member of the class.
                match after {
                    _ if after.starts_with("^]") => push(&mut out, "[^\\]", 3),
                    _ if after.starts_with('^') => push(&mut out, "[^", 2),
                    _ if after.starts_with(']') => push(&mut out, "[\\]", 2),
                    _ => push(&mut out, "[", 1),
                }
            }
            '[' => match after.strip_prefix(':').and_then(|name| name.find(":]")) {
                // `[:alpha:]` is the same in both.
                Some(end) => push(&mut out, &rest[..end + 4], end + 4),
                None => push(&mut out, "\\[", 1),
            },
            ']' => {
                in_class = false;
                push(&mut out, "]", 1)
            }
            '&' | '~' if in_class => push(&mut out, &format!("\\{c}"), 1),
            _ => push(&mut out, &rest[..c.len_utf8()], c.len_utf8()),
        };
        rest = &rest[taken..];
    }
    out
}

/// Appends `text` in the place of `taken` bytes of the pattern.
fn push(out: &mut String, text: &str, taken: usize) -> usize {
    out.push_str(text);
    taken
}

/// One escape. Inside a class the ASCII sets are nested classes, which Rust's syntax allows.
fn escape(escaped: char, in_class: bool) -> String {
    match escaped {
        'd' => "[0-9]".to_owned(),
        'D' => "[^0-9]".to_owned(),
        's' => "[\\t\\n\\f\\r ]".to_owned(),
        'S' => "[^\\t\\n\\f\\r ]".to_owned(),
        'w' => "[0-9A-Za-z_]".to_owned(),
        'W' => "[^0-9A-Za-z_]".to_owned(),
        'b' if !in_class => "(?-u:\\b)".to_owned(),
        // Rust reads these two as word borders.
        '<' | '>' | '_' => escaped.to_string(),
        _ => format!("\\{escaped}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_as_go_does() {
        for (pattern, value, expected) in [
            ("[0-9]+", "abc5def", true),
            ("^[0-9]+$", "abc5def", false),
            ("^\\d+$", "٣", false),
            ("^\\d+$", "12", true),
            ("^[\\d.]+$", "1.2", true),
            ("^[^\\s]+$", "a b", false),
            ("^[a-z[]+$", "a[b", true),
            ("^[&&]$", "&", true),
            ("^[]x]+$", "]x", true),
            ("^[^]x]+$", "]", false),
            ("^[[:alpha:]_]+$", "ab_", true),
            ("^[[:alpha:]]+$", "a1", false),
            ("^[[:]+$", "[:", true),
            ("^[^]]+$", "a", true),
            ("^[é~]+$", "é~", true),
            ("\\bcat\\b", "a cat.", true),
            ("^(100|[1-9]?[0-9])$", "101", false),
            ("\\<x\\>", "<x>", true),
            ("^(?P<n>a|b)$", "b", true),
            ("^[\\w\\-\\/\\.]{1,8}$", "a-/.", true),
        ] {
            let compiled = Pattern::compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(compiled.matches(value), expected, "{pattern} on {value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn compiling_never_panics(pattern in ".*", classes in "[\\[\\]\\\\^:a&~-]{0,16}", value in ".*") {
            for pattern in [pattern, classes] {
                if let Ok(compiled) = Pattern::compile(&pattern) {
                    compiled.matches(&value);
                }
            }
        }
    }

    #[test]
    fn a_broken_pattern_has_a_reason_of_one_line() {
        let reason = Pattern::compile("a(").unwrap_err();
        assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    }
}
