//! The functions of metric math, by the user guide's table ("Metric math syntax and functions").

use super::value::{Named, Points, Value, pair};

/// Functions of the service that are not played here.
const NOT_PLAYED: &[&str] = &[
    "ANOMALY_DETECTION_BAND",
    "DATE",
    "DAY",
    "DB_PERF_INSIGHTS",
    "HOUR",
    "INSIGHT_RULE_METRIC",
    "LAMBDA",
    "MINUTE",
    "MONTH",
    "SEARCH",
    "SERVICE_QUOTA",
    "YEAR",
];

const PLAYED: &[&str] = &[
    "ABS",
    "AVG",
    "CEIL",
    "DATAPOINT_COUNT",
    "DIFF",
    "DIFF_TIME",
    "EPOCH",
    "FILL",
    "FIRST",
    "FLOOR",
    "IF",
    "LAST",
    "LOG",
    "LOG10",
    "MAX",
    "METRICS",
    "METRIC_COUNT",
    "MIN",
    "PERIOD",
    "RATE",
    "REMOVE_EMPTY",
    "RUNNING_SUM",
    "SLICE",
    "SORT",
    "STDDEV",
    "SUM",
    "TIME_SERIES",
];

/// Whether there is such a function here.
///
/// # Errors
/// There is none.
pub(super) fn is_known(name: &str) -> Result<(), String> {
    if NOT_PLAYED.contains(&name) {
        return Err(format!("Function '{name}' is not played by the local CloudWatch"));
    }
    // Recorded from the service.
    PLAYED.contains(&name).then_some(()).ok_or_else(|| format!("Function '{name}' not found"))
}

/// The periods that an expression is about.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Grid {
    /// Milliseconds since 1970, the beginning of a period; and before which the last one begins.
    pub(in super::super) start: u64,
    pub(in super::super) end: u64,
    /// Milliseconds; not 0.
    pub(in super::super) period: u64,
    /// Seconds, as asked for.
    pub(in super::super) seconds: u32,
}

impl Grid {
    /// How many periods there are.
    pub(super) fn count(self) -> u64 {
        self.end.saturating_sub(self.start).div_ceil(self.period)
    }

    fn starts(self) -> impl Iterator<Item = u64> {
        (self.start..self.end).step_by(usize::try_from(self.period).unwrap_or(usize::MAX))
    }
}

/// The most periods that are filled: as many points as one answer of GetMetricData may have.
const MOST_FILLED: u64 = 100_800;

/// A function of values. `METRICS` is none: it knows the queries.
///
/// # Errors
/// It takes other arguments; the reason.
pub(super) fn call(name: &str, arguments: Vec<Value>, grid: Grid) -> Result<Value, String> {
    let kinds: Vec<&str> = arguments.iter().map(Value::kind).collect();
    let refused = || format!("Function '{name}' does not take ({})", kinds.join(", "));
    let mut given = arguments.into_iter();
    let arguments = (given.next(), given.next(), given.next(), given.next());
    if given.next().is_some() {
        return Err(refused());
    }
    if matches!(name, "FILL" | "TIME_SERIES") && grid.count() > MOST_FILLED {
        return Err(format!(
            "Function '{name}' would fill {} periods, more than {MOST_FILLED}",
            grid.count()
        ));
    }
    let value = match (name, arguments) {
        ("ABS", (Some(of), None, ..)) => of.map(f64::abs).ok(),
        ("CEIL", (Some(of), None, ..)) => of.map(f64::ceil).ok(),
        ("FLOOR", (Some(of), None, ..)) => of.map(f64::floor).ok(),
        ("LOG", (Some(of), None, ..)) => of.map(f64::ln).ok(),
        ("LOG10", (Some(of), None, ..)) => of.map(f64::log10).ok(),
        ("AVG" | "MAX" | "MIN" | "STDDEV" | "SUM", (Some(of), None, ..)) => gather(of, statistic(name)),
        ("DATAPOINT_COUNT", (Some(of), None, ..)) => match of {
            Value::Series(points) => Some(Value::Number(points.len() as f64)),
            Value::Array(all) => Some(across(&all, &|values| values.len() as f64)),
            _ => None,
        },
        ("DIFF", (Some(of), None, ..)) => of.map_series(None, |it| steps(&it, |change, _| change)).ok(),
        ("DIFF_TIME", (Some(of), None, ..)) => of.map_series(None, |it| steps(&it, |_, time| time)).ok(),
        ("RATE", (Some(of), None, ..)) => {
            of.map_series(None, |it| steps(&it, |change, time| change / time)).ok()
        }
        ("RUNNING_SUM", (Some(of), None, ..)) => of.map_series(None, running_sum).ok(),
        ("EPOCH", (Some(of), None, ..)) => of.map_series(None, epochs).ok(),
        ("FILL", (Some(of), Some(with), None, _)) => fill(of, &with, grid),
        ("FIRST", (Some(Value::Array(all)), None, ..)) => {
            all.into_iter().next().map(|it| Value::Series(it.points))
        }
        ("LAST", (Some(Value::Array(all)), None, ..)) => {
            all.into_iter().last().map(|it| Value::Series(it.points))
        }
        ("IF", (Some(condition), Some(yes), no, None)) => choose(condition, yes, no),
        ("METRIC_COUNT", (Some(Value::Array(all)), None, ..)) => Some(Value::Number(all.len() as f64)),
        ("PERIOD", (Some(Value::Series(_)), None, ..)) => Some(Value::Number(f64::from(grid.seconds))),
        ("REMOVE_EMPTY", (Some(Value::Array(mut all)), None, ..)) => {
            all.retain(|one| !one.points.is_empty());
            Some(Value::Array(all))
        }
        ("SLICE", (Some(Value::Array(all)), Some(Value::Number(from)), to, None)) => slice(all, from, to),
        ("SORT", (Some(Value::Array(all)), Some(Value::Text(by)), Some(Value::Text(order)), most)) => {
            sort(all, &by, &order, most)
        }
        ("TIME_SERIES", (Some(Value::Number(number)), None, ..)) => Some(constant(number, grid)),
        _ => None,
    };
    value.ok_or_else(refused)
}

/// A number at every period.
fn constant(number: f64, grid: Grid) -> Value {
    let starts = grid.starts().filter(|_| number.is_finite());
    Value::Series(starts.map(|at| (at, number)).collect())
}

type Statistic = fn(&[f64]) -> f64;

fn statistic(name: &str) -> Statistic {
    fn average(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }
    match name {
        "AVG" => average,
        "MAX" => |values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "MIN" => |values| values.iter().copied().fold(f64::INFINITY, f64::min),
        "STDDEV" => |values| {
            let mean = average(values);
            average(&values.iter().map(|value| (value - mean).powi(2)).collect::<Vec<_>>()).sqrt()
        },
        _ => |values| values.iter().sum(),
    }
}

/// A series becomes one number, an array one series.
fn gather(of: Value, statistic: Statistic) -> Option<Value> {
    match of {
        Value::Series(points) => {
            let values: Vec<f64> = points.into_values().collect();
            Some(Value::Number(if values.is_empty() { f64::NAN } else { statistic(&values) }))
        }
        Value::Array(all) => Some(across(&all, &statistic)),
        _ => None,
    }
}

/// At each time of any of the series, over those that have a point there.
fn across(all: &[Named], statistic: &dyn Fn(&[f64]) -> f64) -> Value {
    let mut values: std::collections::BTreeMap<u64, Vec<f64>> = Default::default();
    for (at, value) in all.iter().flat_map(|one| &one.points) {
        values.entry(*at).or_default().push(*value);
    }
    Value::Series(values.into_iter().map(|(at, values)| (at, statistic(&values))).collect())
}

/// From each point to the next: what the value has changed by, and how many seconds have passed.
fn steps(points: &Points, step: impl Fn(f64, f64) -> f64) -> Points {
    let later = points.iter().skip(1);
    let pairs = points.iter().zip(later);
    pairs.map(|((from, before), (at, now))| (*at, step(now - before, (at - from) as f64 / 1000.0))).collect()
}

fn running_sum(points: Points) -> Points {
    let mut sum = 0.0;
    let mut add = |value: f64| {
        sum += value;
        sum
    };
    points.into_iter().map(|(at, value)| (at, add(value))).collect()
}

fn epochs(points: Points) -> Points {
    points.into_keys().map(|at| (at, at as f64 / 1000.0)).collect()
}

/// Gives periods without data a value: a number, that of another series, the one before (`REPEAT`), or what
/// lies on the line between the neighbours (`LINEAR`).
fn fill(of: Value, with: &Value, grid: Grid) -> Option<Value> {
    let filled = |points: Points, value: &dyn Fn(&Points, u64) -> Option<f64>| -> Points {
        let at = |at: u64| Some((at, points.get(&at).copied().or_else(|| value(&points, at))?));
        grid.starts().filter_map(at).collect()
    };
    let value: &dyn Fn(&Points, u64) -> Option<f64> = match with {
        Value::Number(number) => &|_, _| Some(*number),
        Value::Series(other) => &|_, at| other.get(&at).copied(),
        Value::Text(word) if word == "REPEAT" => {
            &|points, at| points.range(..at).next_back().map(|(_, it)| *it)
        }
        Value::Text(word) if word == "LINEAR" => &between,
        _ => return None,
    };
    of.map_series(None, |points| filled(points, value)).ok()
}

fn between(points: &Points, at: u64) -> Option<f64> {
    let (before, from) = points.range(..at).next_back()?;
    let (after, to) = points.range(at..).next()?;
    Some(from + (to - from) * (at - before) as f64 / (after - before) as f64)
}

/// `yes` where the condition is not 0, `no` where it is; without a `no` there is no point then.
fn choose(condition: Value, yes: Value, no: Option<Value>) -> Option<Value> {
    if let Value::Number(number) = condition {
        return if number == 0.0 { Some(no.unwrap_or(Value::Series(Points::new()))) } else { Some(yes) };
    }
    let part = |value: Value, wanted: bool| {
        // Points that are there only where the condition is as wanted.
        let there = condition.clone().map_series(None, |points| {
            points.into_iter().filter(|(_, value)| (*value != 0.0) == wanted).collect()
        });
        pair(there.ok()?, value, &|_, value| value)
    };
    let yes = part(yes, true)?;
    let Some(no) = no else { return Some(yes) };
    let merged = |mut one: Points, other: Points| {
        one.extend(other);
        one
    };
    Some(match (yes, part(no, false)?) {
        (Value::Series(yes), Value::Series(no)) => Value::Series(merged(yes, no)),
        (Value::Array(yes), Value::Array(no)) if yes.len() == no.len() => {
            let both = yes.into_iter().zip(no);
            let each =
                |(yes, no): (Named, Named)| Named { name: yes.name, points: merged(yes.points, no.points) };
            Value::Array(both.map(each).collect())
        }
        (Value::Array(yes), Value::Series(no)) => {
            let each = |yes: Named| Named { name: yes.name, points: merged(yes.points, no.clone()) };
            Value::Array(yes.into_iter().map(each).collect())
        }
        (Value::Series(yes), Value::Array(no)) => {
            let each = |no: Named| Named { name: no.name, points: merged(yes.clone(), no.points) };
            Value::Array(no.into_iter().map(each).collect())
        }
        _ => return None,
    })
}

fn slice(all: Vec<Named>, from: f64, to: Option<Value>) -> Option<Value> {
    let place = |number: f64| crate::whole(number.max(0.0)).try_into().unwrap_or(usize::MAX).min(all.len());
    let from = place(from);
    match to {
        // A single place is one series.
        None => all.into_iter().nth(from).map(|one| Value::Series(one.points)),
        Some(Value::Number(to)) => {
            let to = place(to).max(from);
            Some(Value::Array(all.into_iter().take(to).skip(from).collect()))
        }
        Some(_) => None,
    }
}

fn sort(mut all: Vec<Named>, by: &str, order: &str, most: Option<Value>) -> Option<Value> {
    if !matches!(by, "AVG" | "MIN" | "MAX" | "SUM") || !matches!(order, "ASC" | "DESC") {
        return None;
    }
    let most = match most {
        None => all.len(),
        Some(Value::Number(most)) => crate::whole(most.max(0.0)).try_into().unwrap_or(usize::MAX),
        Some(_) => return None,
    };
    let statistic = statistic(by);
    let of = |one: &Named| statistic(&one.points.values().copied().collect::<Vec<_>>());
    all.sort_by(|one, other| of(one).total_cmp(&of(other)));
    if order == "DESC" {
        all.reverse();
    }
    all.truncate(most);
    Some(Value::Array(all))
}
