//! What an expression is made of and comes to: numbers, time series, arrays of them.

use std::collections::BTreeMap;

/// Values by the beginning of their period, in milliseconds since 1970. Where there is none, data is missing.
pub(in super::super) type Points = BTreeMap<u64, f64>;

/// A series of an array, with what it is called.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Named {
    pub(in super::super) name: String,
    pub(in super::super) points: Points,
}

/// The types of the user guide ("Metric math syntax and functions"): S, TS, TS[] and string.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) enum Value {
    Number(f64),
    Series(Points),
    Array(Vec<Named>),
    Text(String),
}

impl Value {
    /// The type as the guide writes it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Number(_) => "Scalar",
            Value::Series(_) => "TimeSeries",
            Value::Array(_) => "TimeSeries[]",
            Value::Text(_) => "String",
        }
    }

    /// How many numbers it holds: what it costs to go through it.
    pub(super) fn size(&self) -> usize {
        match self {
            Value::Number(_) | Value::Text(_) => 1,
            Value::Series(points) => points.len(),
            Value::Array(all) => all.iter().map(|one| one.points.len()).sum(),
        }
    }

    /// Each number by itself.
    ///
    /// # Errors
    /// The type, if it is a text.
    pub(super) fn map(self, change: impl Fn(f64) -> f64) -> Result<Value, &'static str> {
        self.map_series(Some(&change), |points| {
            points.into_iter().filter_map(|(at, value)| Some((at, finite(change(value))?))).collect()
        })
    }

    /// Each series by itself; numbers too, where `number` is given.
    ///
    /// # Errors
    /// The type, if it is another.
    pub(super) fn map_series(
        self,
        number: Option<&dyn Fn(f64) -> f64>,
        change: impl Fn(Points) -> Points,
    ) -> Result<Value, &'static str> {
        match (self, number) {
            (Value::Series(points), _) => Ok(Value::Series(change(points))),
            (Value::Array(all), _) => {
                let each = |one: Named| Named { name: one.name, points: change(one.points) };
                Ok(Value::Array(all.into_iter().map(each).collect()))
            }
            (Value::Number(value), Some(number)) => Ok(Value::Number(number(value))),
            (other, _) => Err(other.kind()),
        }
    }
}

/// Two values, number by number: a series with another where both have a point, a number with every point.
///
/// # Errors
/// None: these two types do not go together.
pub(super) fn pair(left: Value, right: Value, join: &dyn Fn(f64, f64) -> f64) -> Option<Value> {
    let with = |points: &Points, number: &dyn Fn(f64) -> f64| -> Points {
        points.iter().filter_map(|(at, value)| Some((*at, finite(number(*value))?))).collect()
    };
    let both = |left: &Points, right: &Points| -> Points {
        let pairs = left.iter().filter_map(|(at, value)| Some((*at, *value, *right.get(at)?)));
        pairs.filter_map(|(at, left, right)| Some((at, finite(join(left, right))?))).collect()
    };
    let each = |all: Vec<Named>, change: &dyn Fn(&Points) -> Points| {
        let each = |one: Named| Named { points: change(&one.points), name: one.name };
        Value::Array(all.into_iter().map(each).collect())
    };
    Some(match (left, right) {
        (Value::Number(left), Value::Number(right)) => Value::Number(join(left, right)),
        (Value::Series(left), Value::Number(right)) => Value::Series(with(&left, &|it| join(it, right))),
        (Value::Number(left), Value::Series(right)) => Value::Series(with(&right, &|it| join(left, it))),
        (Value::Series(left), Value::Series(right)) => Value::Series(both(&left, &right)),
        (Value::Array(left), Value::Number(right)) => {
            each(left, &|points| with(points, &|it| join(it, right)))
        }
        (Value::Number(left), Value::Array(right)) => {
            each(right, &|points| with(points, &|it| join(left, it)))
        }
        (Value::Array(left), Value::Series(right)) => each(left, &|points| both(points, &right)),
        (Value::Series(left), Value::Array(right)) => each(right, &|points| both(&left, points)),
        _ => return None,
    })
}

/// A division by zero has no result: the point is missing.
fn finite(value: f64) -> Option<f64> {
    Some(value).filter(|value| value.is_finite())
}
