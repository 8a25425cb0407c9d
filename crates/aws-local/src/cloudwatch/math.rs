//! Metric math: expressions over the results of other queries, as the user guide has them ("Metric math syntax and
//! functions"). Where the results come from is not known here.

use serde::{Deserialize, Serialize};

mod functions;
mod syntax;
mod value;

pub(super) use functions::Grid;
use syntax::{Operator, Tree, parse};
pub(super) use value::{Named, Points, Value};

/// An expression that can be read, and whose functions are all known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Expression {
    text: String,
    tree: Tree,
}

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Expression, String> {
        let tree = parse(&text).map_err(|place| {
            let rest: String = text.get(place..).unwrap_or_default().chars().take(20).collect();
            match rest.is_empty() {
                true => "Invalid syntax: it ends too early".to_owned(),
                false => format!("Invalid syntax at '{rest}'"),
            }
        })?;
        functions_of(&tree)?;
        Ok(Expression { text, tree })
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> String {
        expression.text
    }
}

/// What an expression is about.
pub(super) trait Source {
    /// The result of another query.
    ///
    /// # Errors
    /// There is none with this id, or it has no result; the reason.
    fn result(&mut self, id: &str) -> Result<Value, String>;

    /// The results of all metrics of the request whose ids contain this text.
    ///
    /// # Errors
    /// One has no result; the reason.
    fn metrics(&mut self, part: &str) -> Result<Vec<Named>, String>;

    /// So many points are about to be gone through.
    ///
    /// # Errors
    /// They are more than one request may cost.
    fn spend(&mut self, points: usize) -> Result<(), String>;
}

impl Expression {
    /// As it was given.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The ids of other queries in it.
    pub(super) fn ids(&self) -> Vec<&str> {
        let mut found = Vec::new();
        each(&self.tree, &mut |tree| match tree {
            Tree::Name(name) if is_id(name) => found.push(name.as_str()),
            _ => {}
        });
        found
    }

    /// Whether all metrics of the request belong to it (`METRICS`).
    pub(super) fn takes_all(&self) -> bool {
        let mut found = false;
        each(&self.tree, &mut |tree| found |= matches!(tree, Tree::Call(name, _) if name == "METRICS"));
        found
    }

    /// What it comes to over some periods.
    ///
    /// # Errors
    /// Types that do not go together, or an error of the source.
    pub(super) fn evaluate(&self, source: &mut dyn Source, grid: Grid) -> Result<Value, String> {
        value(&self.tree, source, grid)
    }
}

/// A number at every period, as a line.
///
/// # Errors
/// There are too many periods.
pub(super) fn constant(number: f64, grid: Grid) -> Result<Points, String> {
    match functions::call("TIME_SERIES", vec![Value::Number(number)], grid)? {
        Value::Series(points) => Ok(points),
        other => Err(format!("The result is a {}, not a time series", other.kind())),
    }
}

/// Ids begin with a small letter, the words of functions (`REPEAT`, `ASC`) with a capital one.
fn is_id(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
}

fn each<'a>(tree: &'a Tree, see: &mut dyn FnMut(&'a Tree)) {
    see(tree);
    match tree {
        Tree::Negated(inner) => each(inner, see),
        Tree::Pair(_, left, right) => {
            each(left, see);
            each(right, see);
        }
        Tree::List(items) | Tree::Call(_, items) => items.iter().for_each(|item| each(item, see)),
        Tree::Number(_) | Tree::Text(_) | Tree::Name(_) => {}
    }
}

fn functions_of(tree: &Tree) -> Result<(), String> {
    let mut unknown = None;
    each(tree, &mut |tree| {
        if let Tree::Call(name, _) = tree {
            unknown = unknown.take().or(functions::is_known(name).err());
        }
    });
    unknown.map_or(Ok(()), Err)
}

fn value(tree: &Tree, source: &mut dyn Source, grid: Grid) -> Result<Value, String> {
    let value = match tree {
        Tree::Number(number) => Value::Number(*number),
        Tree::Text(text) => Value::Text(text.clone()),
        Tree::Name(name) if is_id(name) => source.result(name)?,
        Tree::Name(word) => Value::Text(word.clone()),
        Tree::Negated(inner) => {
            let refused = |kind| format!("Unsupported operand type for -: '{kind}'");
            value(inner, source, grid)?.map(|number| -number).map_err(refused)?
        }
        Tree::Pair(operator, left, right) => {
            pair(*operator, value(left, source, grid)?, value(right, source, grid)?)?
        }
        Tree::List(items) => list(items, source, grid)?,
        Tree::Call(name, arguments) if name == "METRICS" => match arguments.as_slice() {
            [] => Value::Array(source.metrics("")?),
            [Tree::Text(part)] => Value::Array(source.metrics(part)?),
            _ => return Err("Function 'METRICS' takes nothing, or a part of ids in quotes".to_owned()),
        },
        Tree::Call(name, arguments) => {
            let arguments = arguments.iter().map(|argument| value(argument, source, grid));
            functions::call(name, arguments.collect::<Result<_, _>>()?, grid)?
        }
    };
    source.spend(value.size())?;
    Ok(value)
}

fn list(items: &[Tree], source: &mut dyn Source, grid: Grid) -> Result<Value, String> {
    let mut all = Vec::new();
    for item in items {
        let name = if let Tree::Name(name) = item { name.clone() } else { String::new() };
        match value(item, source, grid)? {
            Value::Series(points) => all.push(Named { name, points }),
            Value::Array(more) => all.extend(more),
            other => return Err(format!("An array holds time series, not '{}'", other.kind())),
        }
    }
    Ok(Value::Array(all))
}

fn pair(operator: Operator, left: Value, right: Value) -> Result<Value, String> {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    let (sign, join): (&str, &dyn Fn(f64, f64) -> f64) = match operator {
        Operator::Or => ("||", &|one, other| truth(one != 0.0 || other != 0.0)),
        Operator::And => ("&&", &|one, other| truth(one != 0.0 && other != 0.0)),
        Operator::Equal => ("==", &|one, other| truth(one == other)),
        Operator::NotEqual => ("!=", &|one, other| truth(one != other)),
        Operator::LessOrEqual => ("<=", &|one, other| truth(one <= other)),
        Operator::Less => ("<", &|one, other| truth(one < other)),
        Operator::GreaterOrEqual => (">=", &|one, other| truth(one >= other)),
        Operator::Greater => (">", &|one, other| truth(one > other)),
        Operator::Plus => ("+", &|one, other| one + other),
        Operator::Minus => ("-", &|one, other| one - other),
        Operator::Times => ("*", &|one, other| one * other),
        Operator::Over => ("/", &|one, other| one / other),
        Operator::Power => ("^", &f64::powf),
    };
    let kinds = (left.kind(), right.kind());
    value::pair(left, right, join)
        .ok_or_else(|| format!("Unsupported operand type(s) for {sign}: '[{}, {}]'", kinds.0, kinds.1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Queries with these results, in periods of 60 s from 0 on; None is a period without data.
    struct Results(BTreeMap<&'static str, Vec<Option<f64>>>);

    const GRID: Grid = Grid { start: 0, end: 240_000, period: 60_000, seconds: 60 };

    fn points(values: &[Option<f64>]) -> Points {
        let at = (0..).step_by(60_000);
        at.zip(values).filter_map(|(at, value)| Some((at, (*value)?))).collect()
    }

    impl Source for Results {
        fn result(&mut self, id: &str) -> Result<Value, String> {
            let values = self.0.get(id).ok_or_else(|| format!("no {id}"))?;
            Ok(Value::Series(points(values)))
        }

        fn metrics(&mut self, part: &str) -> Result<Vec<Named>, String> {
            let wanted = self.0.iter().filter(|(id, _)| id.contains(part));
            Ok(wanted.map(|(id, values)| Named { name: (*id).into(), points: points(values) }).collect())
        }

        fn spend(&mut self, _: usize) -> Result<(), String> {
            Ok(())
        }
    }

    fn outcome(text: &str) -> Result<Value, String> {
        let results = [
            ("m1", vec![Some(1.0), Some(4.0), None, Some(10.0)]),
            ("m2", vec![Some(2.0), Some(0.0), Some(5.0), None]),
            ("empty", vec![]),
        ];
        Expression::try_from(text.to_owned())?.evaluate(&mut Results(results.into()), GRID)
    }

    /// The value of each period, `-` where there is none.
    fn row(text: &str) -> String {
        match outcome(text).unwrap_or_else(|error| panic!("{text}: {error}")) {
            Value::Number(number) => format!("= {number}"),
            Value::Series(points) => {
                let shown = |at: u64| points.get(&at).map_or_else(|| "-".to_owned(), f64::to_string);
                [0, 60_000, 120_000, 180_000].map(shown).join(" ")
            }
            Value::Array(all) => format!("{} series", all.len()),
            Value::Text(text) => text,
        }
    }

    #[test]
    fn operators_and_functions_are_those_of_the_user_guide() {
        for (text, expected) in [
            ("m1 + m2", "3 4 - -"),
            ("100 * m1 / m2", "50 - - -"),
            ("-m1", "-1 -4 - -10"),
            ("m1 > 2", "0 1 - 1"),
            ("m1 > 2 AND m2 == 0", "0 1 - -"),
            ("AVG(m1)", "= 5"),
            ("m1 - MIN(m1)", "0 3 - 9"),
            ("SUM(METRICS())", "3 4 5 10"),
            ("MAX([m1, m2])", "2 4 5 10"),
            ("SUM(METRICS('m1'))", "1 4 - 10"),
            ("FILL(m1, 0)", "1 4 0 10"),
            ("FILL(m1, REPEAT)", "1 4 4 10"),
            ("FILL(m1, LINEAR)", "1 4 7 10"),
            ("FILL(empty, 7)", "7 7 7 7"),
            ("FILL(m1, m2)", "1 4 5 10"),
            ("IF(m1 > 2, 1, 0)", "0 1 - 1"),
            ("IF(m1 > 2, m1)", "- 4 - 10"),
            ("IF(FILL(m2, 0) == 0, 9, m2)", "2 9 5 9"),
            ("DIFF(m1)", "- 3 - 6"),
            ("RATE(m1)", "- 0.05 - 0.05"),
            ("DIFF_TIME(m1)", "- 60 - 120"),
            ("RUNNING_SUM(m1)", "1 5 - 15"),
            ("TIME_SERIES(2)", "2 2 2 2"),
            ("METRIC_COUNT(METRICS())", "= 3"),
            ("DATAPOINT_COUNT(m1)", "= 3"),
            ("PERIOD(m1)", "= 60"),
            ("m1 / PERIOD(m1) * 60", "1 4 - 10"),
            ("FIRST(SORT(METRICS('m'), MAX, DESC))", "1 4 - 10"),
            ("SLICE(METRICS('m'), 2)", "2 0 5 -"),
            ("METRIC_COUNT(REMOVE_EMPTY(METRICS()))", "= 2"),
            ("METRICS('m') * 2", "3 series"),
            ("STDDEV(m2)", &format!("= {}", (38.0_f64 / 9.0).sqrt())),
            ("CEIL(m1 / 4) + FLOOR(m1 / 4) + ABS(-1)", "2 3 - 6"),
        ] {
            assert_eq!(row(text), expected, "{text}");
        }
    }

    #[test]
    fn what_has_no_sense_is_refused() {
        for (text, reason) in [
            ("ANOMALY_DETECTOR(m1)", "Function 'ANOMALY_DETECTOR' not found"),
            ("SEARCH('x', 'Sum', 60)", "Function 'SEARCH' is not played by the local CloudWatch"),
            ("METRICS() + METRICS()", "Unsupported operand type(s) for +: '[TimeSeries[], TimeSeries[]]'"),
            ("'a' + 1", "Unsupported operand type(s) for +: '[String, Scalar]'"),
            ("ABS(m1, 2)", "Function 'ABS' does not take (TimeSeries, Scalar)"),
            ("m1 +", "Invalid syntax: it ends too early"),
            ("m1 ; m2", "Invalid syntax at '; m2'"),
        ] {
            assert_eq!(outcome(text).unwrap_err(), reason, "{text}");
        }
    }

    #[test]
    fn a_long_row_of_operators_is_evaluated() {
        let text = format!("m1{}", "+m1".repeat(682));
        assert_eq!(row(&text), "683 2732 - 6830");
    }

    #[test]
    fn ids_are_told_from_words() {
        let expression = Expression::try_from("FILL(m1, REPEAT) + SUM(METRICS())".to_owned()).unwrap();
        assert_eq!((expression.ids(), expression.takes_all()), (vec!["m1"], true));
    }
}
