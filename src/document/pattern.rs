//! `allowedPattern`: a Go (RE2) pattern, matched the way the stock agent matches it. Pure.
//!
//! The agent's match is a search: any part of the value may match, unless the pattern has anchors of its own.
//! The two dialects differ in small ways that matter here, so a pattern is rewritten before it is compiled:
//! Go's `\d \s \w \b` are ASCII where Rust's are Unicode, and a `[` or `&&` inside a class is plain text in Go.

use regex_automata::meta::{Config, Regex};

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// What the patterns of one document may cost in all. A document is planned on the control thread, which has to hear a
/// cancel within some ten milliseconds; and patterns of a few bytes can stand for thousands of states, each of which
/// is looked at for each byte of a value.
#[derive(Debug)]
pub struct PatternBudget {
    /// Bytes of states that may still be made.
    memory: usize,
    /// Bytes of values times bytes of states that may still be looked at.
    work: usize,
}

/// The largest pattern: `^.{1,1000}$`, the longest repetition that Go allows, needs three quarters of it. Those of
/// AWS's documents need 1 to 8 KiB.
const MEMORY_EACH: usize = 512 * 1024;
const MEMORY_IN_ALL: usize = 1024 * 1024;
/// A list of a thousand addresses against a pattern of 8 KiB takes half of it.
const WORK_IN_ALL: usize = 256 * 1024 * 1024;

impl Default for PatternBudget {
    fn default() -> PatternBudget {
        PatternBudget { memory: MEMORY_IN_ALL, work: WORK_IN_ALL }
    }
}

impl PatternBudget {
    /// As [`Pattern::compile`], at the expense of the budget.
    ///
    /// # Errors
    /// The reason, in one line, if it is not a pattern, or too much for what is left.
    pub fn compile(&mut self, pattern: &str) -> Result<Pattern, String> {
        let limit = MEMORY_EACH.min(self.memory);
        let compiled = build(pattern, limit);
        // What was too large has cost as much as the largest.
        let cost = compiled.as_ref().map_or(limit, |compiled| compiled.0.memory_usage());
        self.memory = self.memory.saturating_sub(cost);
        compiled
    }

    /// As [`Pattern::matches`], at the expense of the budget.
    ///
    /// # Errors
    /// The reason, in one line, if it is too much for what is left.
    pub fn matches(&mut self, pattern: &Pattern, value: &str) -> Result<bool, String> {
        let work = value.len().saturating_mul(pattern.0.memory_usage());
        self.work = self.work.checked_sub(work).ok_or_else(|| {
            format!(
                "matching a value of {} bytes, with the others of this document, takes too long here",
                value.len()
            )
        })?;
        Ok(pattern.matches(value))
    }
}

impl Pattern {
    /// Compiles a pattern in Go's syntax, of at most 512 KiB of states.
    ///
    /// # Errors
    /// The reason, in one line, if it is not a pattern, or too large.
    pub fn compile(pattern: &str) -> Result<Pattern, String> {
        build(pattern, MEMORY_EACH)
    }

    /// True if any part of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        self.0.is_match(value)
    }
}

fn build(pattern: &str, limit: usize) -> Result<Pattern, String> {
    let config = Config::new().nfa_size_limit(Some(limit));
    let compiled = Regex::builder().configure(config).build(&rewrite(pattern));
    compiled.map(Pattern).map_err(|error| match (error.size_limit(), error.syntax_error()) {
        (Some(_), _) => format!(
            "the pattern needs more than {limit} bytes of states, of {MEMORY_EACH} for one pattern and {MEMORY_IN_ALL} \
             for all of a document"
        ),
        // The text draws the pattern and a marker over several lines; the last one is the reason.
        (_, Some(error)) => last_line(&error.to_string()),
        _ => last_line(&error.to_string()),
    })
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim().to_owned()
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

/// Reads bytes as a pattern, a line end, and a value that it is held against.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, value) = text.split_once('\n').unwrap_or((&text, ""));
    let mut budget = PatternBudget::default();
    if let Ok(pattern) = budget.compile(pattern) {
        let _ = budget.matches(&pattern, value);
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
    fn patterns_have_a_size_each_and_in_all() {
        let refused = Pattern::compile("(\\pL{40}){5}|x|N").unwrap_err();
        assert!(refused.contains("more than 524288 bytes of states"), "{refused}");
        let mut budget = PatternBudget::default();
        let one = "[a-z]{1000}";
        let compiled = (0..1_000).map_while(|_| budget.compile(one).ok()).count();
        assert!((5..100).contains(&compiled), "{compiled}");
        assert!(budget.compile(one).unwrap_err().contains("1048576 for all of a document"));
        // The longest that Go allows, and as many as a document of AWS has.
        let mut budget = PatternBudget::default();
        budget.compile("^.{1,1000}$").unwrap_or_else(|error| panic!("{error}"));
        for _ in 0..10 {
            budget.compile("^[0-9a-zA-Z.\\-=_,:/]{1,128}$").unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn values_are_matched_as_long_as_that_takes_little() {
        let mut budget = PatternBudget::default();
        let pattern = budget.compile("^[a-z]{1,100}x*$").unwrap();
        assert_eq!(budget.matches(&pattern, "abc"), Ok(true));
        assert_eq!(budget.matches(&pattern, "ABC"), Ok(false));
        let refused = budget.matches(&pattern, &"a".repeat(1_000_000)).unwrap_err();
        assert!(refused.contains("value of 1000000 bytes"), "{refused}");
        assert_eq!(budget.matches(&pattern, "abc"), Ok(true), "what was refused costs nothing");
    }

    #[test]
    fn a_broken_pattern_has_a_reason_of_one_line() {
        let reason = Pattern::compile("a(").unwrap_err();
        assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    }
}
