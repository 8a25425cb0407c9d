//! The text of an expression as a tree. What its names and functions mean is not known here.

use winnow::ascii::{float, multispace0};
use winnow::combinator::{Infix, Prefix, alt, delimited, expression, not, preceded, separated, terminated};
use winnow::error::{ContextError, ErrMode};
use winnow::token::{one_of, take_till, take_while};
use winnow::{ModalResult, Parser};

/// Brackets within brackets: each costs stack. The service's own bound is not known.
const DEEPEST: usize = 50;

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    Number(f64),
    Text(String),
    /// The id of another query, or a word that a function knows (`REPEAT`).
    Name(String),
    Negated(Box<Tree>),
    Pair(Operator, Box<Tree>, Box<Tree>),
    List(Vec<Tree>),
    Call(String, Vec<Tree>),
}

/// What stands between two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Plus,
    Minus,
    Times,
    Over,
    Power,
}

/// Reads an expression; the error is the place, in bytes, at which it cannot be read.
pub(super) fn parse(text: &str) -> Result<Tree, usize> {
    let mut depth = 0_usize;
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(place);
        }
    }
    preceded(multispace0, sum).parse(text).map_err(|error| error.offset())
}

type Fault = ErrMode<ContextError>;

fn sum(input: &mut &str) -> ModalResult<Tree> {
    let minus = |_: &mut &str, tree| Ok(Tree::Negated(Box::new(tree)));
    // One sign: a row of them would be a depth of its own.
    let sign = terminated(token("-"), not("-"));
    expression(operand).prefix(sign.value(Prefix(6, minus))).infix(infix).parse_next(input)
}

fn infix<'i>(input: &mut &'i str) -> ModalResult<Infix<&'i str, Tree, Fault>> {
    /// Powers as in other languages: what binds closer has the higher one.
    macro_rules! operator {
        ($text:expr, $power:literal, $operator:ident) => {
            $text.value(Infix::Left($power, |_: &mut &str, left, right| {
                Ok(Tree::Pair(Operator::$operator, Box::new(left), Box::new(right)))
            }))
        };
    }
    alt((
        operator!(alt((token("||"), word("OR"))), 1, Or),
        operator!(alt((token("&&"), word("AND"))), 2, And),
        alt((
            operator!(token("=="), 3, Equal),
            operator!(token("!="), 3, NotEqual),
            operator!(token("<="), 3, LessOrEqual),
            operator!(token("<"), 3, Less),
            operator!(token(">="), 3, GreaterOrEqual),
            operator!(token(">"), 3, Greater),
        )),
        operator!(token("+"), 4, Plus),
        operator!(token("-"), 4, Minus),
        operator!(token("*"), 5, Times),
        operator!(token("/"), 5, Over),
        operator!(token("^"), 7, Power),
    ))
    .parse_next(input)
}

fn operand(input: &mut &str) -> ModalResult<Tree> {
    alt((
        delimited(token("("), sum, token(")")),
        delimited(token("["), items, token("]")).map(Tree::List),
        number,
        text,
        call,
        name.map(Tree::Name),
    ))
    .parse_next(input)
}

fn items(input: &mut &str) -> ModalResult<Vec<Tree>> {
    separated(0.., sum, token(",")).parse_next(input)
}

fn number(input: &mut &str) -> ModalResult<Tree> {
    // The library's number may begin with a sign and may be a word (`inf`, `nan`).
    let digits = preceded(winnow::combinator::peek(one_of(('0'..='9', '.'))), float);
    terminated(digits, multispace0).map(Tree::Number).parse_next(input)
}

fn text(input: &mut &str) -> ModalResult<Tree> {
    let within = |quote: char| delimited(quote, take_till(0.., move |letter| letter == quote), quote);
    let text = alt((within('"'), within('\''))).map(|text: &str| Tree::Text(text.to_owned()));
    terminated(text, multispace0).parse_next(input)
}

fn call(input: &mut &str) -> ModalResult<Tree> {
    (name, delimited(token("("), items, token(")")))
        .map(|(name, items)| Tree::Call(name, items))
        .parse_next(input)
}

fn name(input: &mut &str) -> ModalResult<String> {
    let first = one_of(|letter: char| letter.is_ascii_alphabetic());
    let name = (first, take_while(0.., is_part)).take().map(str::to_owned);
    terminated(name, multispace0).parse_next(input)
}

fn is_part(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn token<'i>(text: &'static str) -> impl Parser<&'i str, &'i str, Fault> {
    terminated(text, multispace0)
}

/// An operator that is a word: `AND`, not the beginning of `ANDROID`.
fn word<'i>(text: &'static str) -> impl Parser<&'i str, &'i str, Fault> {
    terminated(terminated(text, not(one_of(is_part))), multispace0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree with a pair of brackets around each part.
    fn shown(tree: &Tree) -> String {
        let list = |items: &[Tree]| items.iter().map(shown).collect::<Vec<_>>().join(" ");
        match tree {
            Tree::Number(number) => number.to_string(),
            Tree::Text(text) => format!("{text:?}"),
            Tree::Name(name) => name.clone(),
            Tree::Negated(tree) => format!("(- {})", shown(tree)),
            Tree::Pair(operator, left, right) => format!("({operator:?} {} {})", shown(left), shown(right)),
            Tree::List(items) => format!("[{}]", list(items)),
            Tree::Call(name, items) => format!("{name}({})", list(items)),
        }
    }

    #[test]
    fn what_binds_closer_stands_deeper() {
        for (text, expected) in [
            ("m1", "m1"),
            (" 100 * (m1 / m2) ", "(Times 100 (Over m1 m2))"),
            ("1 - 2 - 3", "(Minus (Minus 1 2) 3)"),
            ("1 + 2 * 3 ^ 2", "(Plus 1 (Times 2 (Power 3 2)))"),
            ("-m1 ^ 2 + 1", "(Plus (- (Power m1 2)) 1)"),
            ("a > 1 AND b <= 2 || c", "(Or (And (Greater a 1) (LessOrEqual b 2)) c)"),
            ("IF(e1 == 0, .5, FILL(m_1, REPEAT))", "IF((Equal e1 0) 0.5 FILL(m_1 REPEAT))"),
            ("SUM([m1,m2,1e3])", "SUM([m1 m2 1000])"),
            ("METRICS('err')/METRICS()", "(Over METRICS(\"err\") METRICS())"),
            ("a OR ORDER", "(Or a ORDER)"),
        ] {
            assert_eq!(parse(text).map(|tree| shown(&tree)).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        for (text, place) in
            [("", 0), ("m1 +", 4), ("m1 m2", 3), ("SUM(m1", 3), ("1 ANDROID", 2), ("--m1", 1)]
        {
            assert_eq!(parse(text), Err(place), "{text}");
        }
        assert!(parse("inf").is_ok_and(|tree| tree == Tree::Name("inf".into())));
    }

    #[test]
    fn neither_depth_nor_length_exhausts_the_stack() {
        assert!(parse(&"(".repeat(2048)).is_err());
        assert!(parse(&format!("{}m{}", "(".repeat(50), ")".repeat(50))).is_ok());
        assert!(parse(&format!("1{}", "+1".repeat(1023))).is_ok());
        assert!(parse(&"-".repeat(2048)).is_err());
    }
}
