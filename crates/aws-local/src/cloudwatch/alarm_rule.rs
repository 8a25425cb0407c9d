//! `AlarmRule` of PutCompositeAlarm: `ALARM(cpu) AND NOT (OK("5xx") OR INSUFFICIENT_DATA(latency))`. Pure.

use serde::{Deserialize, Serialize};
use winnow::ascii::multispace0;
use winnow::combinator::{Infix, Prefix, alt, delimited, expression, not, preceded, terminated};
use winnow::error::{ContextError, ErrMode};
use winnow::token::{one_of, take_till, take_while};
use winnow::{ModalResult, Parser};

use super::AlarmState;

/// The user guide's bound: "an expression may have 500 elements" (alarms, operators, constants).
const MOST_ELEMENTS: usize = 500;

/// Brackets within brackets: each costs stack.
const DEEPEST: usize = 50;

/// A rule that can be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct AlarmRule {
    text: String,
    tree: Tree,
}

#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Constant(bool),
    /// An alarm, by name or ARN, is in this state.
    Is(AlarmState, String),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

impl TryFrom<String> for AlarmRule {
    type Error = String;

    fn try_from(text: String) -> Result<AlarmRule, String> {
        if text.is_empty() || text.trim() != text {
            return Err("AlarmRule must not contain leading or trailing whitespace or be null".to_owned());
        }
        let mut depth = 0_usize;
        for byte in text.bytes() {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEEPEST {
                return Err(format!(
                    "AlarmRule must not have more than {DEEPEST} brackets within each other"
                ));
            }
        }
        let tree = either.parse(&text).map_err(|error| {
            let rest: String = text.get(error.offset()..).unwrap_or_default().chars().take(40).collect();
            format!(
                "Error in AlarmRule at '{rest}': it is made of ALARM(name), OK(name), INSUFFICIENT_DATA(name), \
                 TRUE, FALSE, AND, OR, NOT and brackets"
            )
        })?;
        let mut elements = 0;
        each(&tree, &mut |_| elements += 1);
        if elements > MOST_ELEMENTS {
            return Err(format!("AlarmRule has {elements} elements; {MOST_ELEMENTS} are allowed"));
        }
        Ok(AlarmRule { text, tree })
    }
}

impl From<AlarmRule> for String {
    fn from(rule: AlarmRule) -> String {
        rule.text
    }
}

impl AlarmRule {
    /// As it was given.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Names and ARNs of the alarms in it, as they stand there.
    pub(super) fn alarms(&self) -> Vec<&str> {
        let mut found = Vec::new();
        each(&self.tree, &mut |tree| match tree {
            Tree::Is(_, alarm) if !found.contains(&alarm.as_str()) => found.push(alarm.as_str()),
            _ => {}
        });
        found
    }

    /// Whether it holds. An alarm that is not there is in no state.
    pub(super) fn holds(&self, state: &dyn Fn(&str) -> Option<AlarmState>) -> bool {
        holds(&self.tree, state)
    }
}

fn holds(tree: &Tree, state: &dyn Fn(&str) -> Option<AlarmState>) -> bool {
    match tree {
        Tree::Constant(value) => *value,
        Tree::Is(wanted, alarm) => state(alarm) == Some(*wanted),
        Tree::Not(inner) => !holds(inner, state),
        Tree::And(one, other) => holds(one, state) && holds(other, state),
        Tree::Or(one, other) => holds(one, state) || holds(other, state),
    }
}

fn each<'a>(tree: &'a Tree, see: &mut dyn FnMut(&'a Tree)) {
    see(tree);
    match tree {
        Tree::Not(inner) => each(inner, see),
        Tree::And(one, other) | Tree::Or(one, other) => {
            each(one, see);
            each(other, see);
        }
        Tree::Constant(_) | Tree::Is(..) => {}
    }
}

type Fault = ErrMode<ContextError>;

fn either(input: &mut &str) -> ModalResult<Tree> {
    let negation = |_: &mut &str, tree| Ok(Tree::Not(Box::new(tree)));
    // One at a time: a row of them would be a depth of its own.
    let sign = terminated(word("NOT"), not("NOT")).value(Prefix(5, negation));
    let and = |_: &mut &str, one, other| Ok(Tree::And(Box::new(one), Box::new(other)));
    let or = |_: &mut &str, one, other| Ok(Tree::Or(Box::new(one), Box::new(other)));
    let joint = alt((word("AND").value(Infix::Left(3, and)), word("OR").value(Infix::Left(1, or))));
    expression(operand).prefix(sign).infix(joint).parse_next(input)
}

fn operand(input: &mut &str) -> ModalResult<Tree> {
    alt((
        delimited(token("("), either, token(")")),
        word("TRUE").value(Tree::Constant(true)),
        word("FALSE").value(Tree::Constant(false)),
        is("ALARM", AlarmState::Alarm),
        is("OK", AlarmState::Ok),
        is("INSUFFICIENT_DATA", AlarmState::InsufficientData),
    ))
    .parse_next(input)
}

fn is<'i>(function: &'static str, state: AlarmState) -> impl Parser<&'i str, Tree, Fault> {
    let quoted = |quote: char| delimited(quote, take_till(1.., move |letter| letter == quote), token2(quote));
    let plain = take_till(1.., |letter: char| matches!(letter, '(' | ')' | '"' | '\''));
    let name = alt((quoted('"'), quoted('\''), plain.map(str::trim_end)));
    preceded(word(function), delimited(token("("), name, token(")")))
        .map(move |alarm: &str| Tree::Is(state, alarm.to_owned()))
}

fn token<'i>(text: &'static str) -> impl Parser<&'i str, &'i str, Fault> {
    terminated(text, multispace0)
}

fn token2<'i>(letter: char) -> impl Parser<&'i str, char, Fault> {
    terminated(letter, multispace0)
}

fn word<'i>(text: &'static str) -> impl Parser<&'i str, &'i str, Fault> {
    let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    terminated(terminated(text, not(one_of(part))), take_while(0.., char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let rule = AlarmRule::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{text}: {error}"));
        rule.holds(&|name| match name {
            "on" | "arn:aws:cloudwatch:us-east-1:000000000000:alarm:on" => Some(AlarmState::Alarm),
            "off" | "an alarm with blanks" => Some(AlarmState::Ok),
            "new" => Some(AlarmState::InsufficientData),
            _ => None,
        })
    }

    #[test]
    fn rules_are_read_as_the_service_writes_them() {
        for (text, expected) in [
            ("TRUE", true),
            ("FALSE", false),
            ("ALARM(on)", true),
            ("ALARM(\"on\")", true),
            ("ALARM('off')", false),
            ("OK( an alarm with blanks )", true),
            ("INSUFFICIENT_DATA(new)", true),
            ("ALARM(arn:aws:cloudwatch:us-east-1:000000000000:alarm:on)", true),
            ("NOT ALARM(on)", false),
            ("NOT(ALARM(off))", true),
            ("ALARM(off) AND ALARM(on) OR TRUE", true),
            ("TRUE OR ALARM(off) AND FALSE", true),
            ("(TRUE OR ALARM(off)) AND FALSE", false),
            ("NOT ALARM(off) AND (ALARM(on) OR OK(on))", true),
            ("ALARM(gone) OR OK(gone) OR INSUFFICIENT_DATA(gone)", false),
        ] {
            assert_eq!(holds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_with_its_place() {
        for (text, part) in [
            ("", "whitespace"),
            (" TRUE", "whitespace"),
            ("ALARM(a) XOR ALARM(b)", "at 'XOR ALARM(b)'"),
            ("ALARM()", "at "),
            ("ALARM(a", "at "),
            ("NOT NOT TRUE", "at "),
        ] {
            let error = AlarmRule::try_from(text.to_owned()).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(AlarmRule::try_from("(".repeat(10_000)).is_err());
        assert!(AlarmRule::try_from(format!("TRUE{}", " OR TRUE".repeat(600))).is_err());
    }

    #[test]
    fn each_alarm_is_named_once() {
        let rule = AlarmRule::try_from("ALARM(a) OR OK(a) AND NOT ALARM(\"b c\")".to_owned()).unwrap();
        assert_eq!(rule.alarms(), ["a", "b c"]);
    }
}
