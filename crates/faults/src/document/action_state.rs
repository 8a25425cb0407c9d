//! `FISActionState`: what FIS sends with every call of an `-ECS` document. Pure.

use crate::parameter::Field;

/// As compact JSON with its members in this order. Anything else is refused.
pub(super) const FIELD: Field = Field {
    name: "FISActionState",
    pattern: r#"^\{"id":"[a-zA-Z0-9-]{1,128}","callTime":"?[0-9]{10}"?,"callCount":"?[0-9]+"?\}$"#,
    default: None,
};

/// One call of FIS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionState {
    /// The same in all calls of one action.
    pub id: String,
    /// Seconds since 1970, by the clock of FIS.
    pub call_time: u64,
    /// 1 starts the fault; every other one extends its life. More than a `u64` holds counts as the largest.
    pub call_count: u64,
}

impl ActionState {
    /// Reads a value that has [`FIELD`]'s pattern; None if it has not.
    pub(super) fn parse(text: &str) -> Option<ActionState> {
        let rest = text.strip_prefix(r#"{"id":""#)?;
        let (id, rest) = rest.split_once(r#"","callTime":"#)?;
        let (time, count) = rest.strip_suffix('}')?.split_once(r#","callCount":"#)?;
        let number = |text: &str| {
            let digits = text.trim_matches('"');
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse().unwrap_or(u64::MAX))
        };
        Some(ActionState { id: id.to_owned(), call_time: number(time)?, call_count: number(count)? })
    }

    /// Whether this call starts the fault.
    pub fn starts(&self) -> bool {
        self.call_count == 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    #[test]
    fn calls_are_read_with_and_without_quotes() {
        let pattern = Regex::new(FIELD.pattern).unwrap();
        let expected = ActionState { id: "6d2e-F".into(), call_time: 1_766_000_000, call_count: 12 };
        for text in [
            r#"{"id":"6d2e-F","callTime":1766000000,"callCount":12}"#,
            r#"{"id":"6d2e-F","callTime":"1766000000","callCount":"12"}"#,
        ] {
            assert!(pattern.is_match(text));
            assert_eq!(ActionState::parse(text).as_ref(), Some(&expected));
        }
        let huge = r#"{"id":"a","callTime":1766000000,"callCount":99999999999999999999999}"#;
        assert_eq!(ActionState::parse(huge).map(|call| call.starts()), Some(false));
    }

    #[test]
    fn anything_else_breaks_the_pattern() {
        let pattern = Regex::new(FIELD.pattern).unwrap();
        for text in [
            "",
            "{}",
            r#"{"id":"a", "callTime":1766000000,"callCount":1}"#,
            r#"{"callTime":1766000000,"id":"a","callCount":1}"#,
            r#"{"id":"","callTime":1766000000,"callCount":1}"#,
            r#"{"id":"../a","callTime":1766000000,"callCount":1}"#,
            r#"{"id":"a","callTime":176600000,"callCount":1}"#,
            r#"{"id":"a","callTime":1766000000,"callCount":-1}"#,
            r#"{"id":"a","callTime":1766000000,"callCount":1.5}"#,
            r#"{"id":"a","callTime":1766000000,"callCount":1,"x":1}"#,
            "{\"id\":\"a\",\"callTime\":1766000000,\"callCount\":1}\n",
        ] {
            assert!(!pattern.is_match(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_has_the_pattern_can_be_read(text in r#"\{"id":"[a-zA-Z0-9-]{1,128}","callTime":"?[0-9]{10}"?,"callCount":"?[0-9]{1,30}"?\}"#) {
            prop_assert!(ActionState::parse(&text).is_some());
        }

        #[test]
        fn reading_never_panics(text in ".*") {
            let _ = ActionState::parse(&text);
        }
    }
}
