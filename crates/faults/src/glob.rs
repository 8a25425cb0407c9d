//! Patterns with `*`, which stands for any run of characters, an empty one too. Pure.

use std::fmt;

/// No pattern is longer, in bytes.
const LONGEST: usize = 253;

/// A pattern: every other character but `*` stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// What stands for everything.
    pub const ALL: &str = "*";

    /// Takes a pattern of 1 to 253 bytes, all of which are `*` or `allowed`; None otherwise.
    pub fn parse(pattern: &str, allowed: impl Fn(u8) -> bool) -> Option<Glob> {
        let good = |byte| byte == b'*' || allowed(byte);
        ((1..=LONGEST).contains(&pattern.len()) && pattern.bytes().all(good))
            .then(|| Glob(pattern.to_owned()))
    }

    /// Whether everything matches.
    pub fn is_all(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        self.matches_by(text, |one, other| one == other)
    }

    /// Whether all of `text` matches, with letters of ASCII taken alike, be they large or small.
    pub fn matches_any_case(&self, text: &str) -> bool {
        self.matches_by(text, |one, other| one.eq_ignore_ascii_case(&other))
    }

    /// Goes on from the latest `*` after a difference: no text takes longer than the product of both lengths.
    fn matches_by(&self, text: &str, same: impl Fn(u8, u8) -> bool) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut in_text) = (0, 0);
        // The place after the latest `*`, and where in the text it was tried last.
        let mut again: Option<(usize, usize)> = None;
        while in_text < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    again = Some((at + 1, in_text));
                    at += 1;
                }
                Some(byte) if same(*byte, text[in_text]) => {
                    at += 1;
                    in_text += 1;
                }
                _ => match &mut again {
                    Some((after, from)) => {
                        *from += 1;
                        (at, in_text) = (*after, *from);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn glob(pattern: &str) -> Glob {
        Glob::parse(pattern, |_| true).unwrap()
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("*", "anything", true),
            ("a", "a", true),
            ("a", "A", false),
            ("a", "ab", false),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "example.com", false),
            ("/v1/*/orders", "/v1/7/8/orders", true),
            ("/v1/*/orders", "/v1/orders", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("**a**", "a", true),
        ] {
            assert_eq!(glob(pattern).matches(text), matches, "{pattern} {text}");
        }
        assert!(glob("API.*").matches_any_case("api.Example.com"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        assert_eq!(Glob::parse("", |_| true), None);
        assert_eq!(Glob::parse("a b", |byte| byte.is_ascii_alphanumeric()), None);
        assert_eq!(Glob::parse(&"a".repeat(254), |_| true), None);
    }

    proptest! {
        #[test]
        fn it_matches_what_the_same_regular_expression_matches(
            pattern in "[ab*]{1,12}", text in "[abc]{0,24}",
        ) {
            let regex = Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).unwrap();
            prop_assert_eq!(glob(&pattern).matches(&text), regex.is_match(&text));
        }
    }
}
