//! `allowedPattern` of a document's parameters: Java's syntax, matched against the whole value, within bounds.
//! The state's lock is held meanwhile, and patterns of a few bytes can stand for thousands of states, each of which
//! is looked at for each byte of a value. Pure.

use regex_automata::meta::{Config, Regex};

use crate::model::java_pattern;

/// The largest pattern in bytes of states. Those of AWS's documents need 1 to 8 KiB.
const MEMORY_EACH: usize = 512 * 1024;
/// The same of all patterns of a document together.
const MEMORY_IN_ALL: usize = 1024 * 1024;
/// Bytes of values times bytes of states. A list of a thousand addresses against a pattern of 8 KiB takes half.
const WORK_IN_ALL: usize = 256 * 1024 * 1024;

/// What the patterns of one document may still cost.
#[derive(Debug)]
pub(super) struct Budget {
    memory: usize,
    work: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { memory: MEMORY_IN_ALL, work: WORK_IN_ALL }
    }
}

impl Budget {
    /// Whether it is a pattern, and one that the others leave room for.
    pub(super) fn allows(&mut self, pattern: &str) -> bool {
        self.compile(pattern).is_some()
    }

    /// Whether the whole value matches; not if finding out costs too much.
    pub(super) fn matches(&mut self, regex: &Regex, value: &str) -> bool {
        let work = value.len().saturating_mul(regex.memory_usage());
        let left = self.work.checked_sub(work);
        self.work = left.unwrap_or(0);
        left.is_some() && regex.is_match(value)
    }

    /// A pattern for [`Budget::matches`]; None if it is none, or too large for what is left.
    pub(super) fn compile(&mut self, pattern: &str) -> Option<Regex> {
        let limit = MEMORY_EACH.min(self.memory);
        let whole = format!("^(?:{})$", java_pattern(pattern));
        let config = Config::new().nfa_size_limit(Some(limit));
        let compiled = Regex::builder().configure(config).build(&whole).ok();
        // What was too large has cost as much as the largest.
        let cost = compiled.as_ref().map_or(limit, Regex::memory_usage);
        self.memory = self.memory.saturating_sub(cost);
        compiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        let mut budget = Budget::default();
        budget.compile(pattern).is_some_and(|pattern| budget.matches(&pattern, value))
    }

    #[test]
    fn a_pattern_matches_the_whole_value() {
        assert!(matches("a|ab", "ab") && !matches("a|ab", "abc"));
        assert!(matches(r"^[\w-]{1,128}$", "a-b_c") && !matches(r"\w+", "é"));
        assert!(matches("^.{1,300}$", &"é".repeat(300)) && !matches("^.{1,300}$", &"é".repeat(301)));
        assert!(!matches("(", "("));
    }

    #[test]
    fn costly_patterns_and_values_are_refused_at_once() {
        assert!(!Budget::default().allows("((a{1,100}){1,100}){1,100}"));
        let mut budget = Budget::default();
        assert!(budget.allows("^.{1,400}$"));
        assert!((0..10).any(|_| !budget.allows("^.{1,1000}$")), "the document's own bound");
        assert!(!matches("^.{1,400}$", &"a".repeat(1024 * 1024)));
    }
}
