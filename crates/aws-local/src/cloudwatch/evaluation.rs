//! How an alarm decides: M out of N data points, and what missing ones count for. Pure.

use serde::{Deserialize, Serialize};

use super::AlarmState;

/// How a value is compared with the threshold (`ComparisonOperator`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Comparison {
    GreaterOrEqual,
    Greater,
    Less,
    LessOrEqual,
}

impl Comparison {
    /// None if it is not one of the four on a fixed threshold.
    pub(super) fn parse(name: &str) -> Option<Comparison> {
        Some(match name {
            "GreaterThanOrEqualToThreshold" => Comparison::GreaterOrEqual,
            "GreaterThanThreshold" => Comparison::Greater,
            "LessThanThreshold" => Comparison::Less,
            "LessThanOrEqualToThreshold" => Comparison::LessOrEqual,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Comparison::GreaterOrEqual => "GreaterThanOrEqualToThreshold",
            Comparison::Greater => "GreaterThanThreshold",
            Comparison::Less => "LessThanThreshold",
            Comparison::LessOrEqual => "LessThanOrEqualToThreshold",
        }
    }

    pub(super) fn breaches(self, value: f64, threshold: f64) -> bool {
        match self {
            Comparison::GreaterOrEqual => value >= threshold,
            Comparison::Greater => value > threshold,
            Comparison::Less => value < threshold,
            Comparison::LessOrEqual => value <= threshold,
        }
    }

    /// As it stands in a sentence: "was … the threshold".
    pub(super) fn as_text(self) -> &'static str {
        match self {
            Comparison::GreaterOrEqual => "greater than or equal to",
            Comparison::Greater => "greater than",
            Comparison::Less => "less than",
            Comparison::LessOrEqual => "less than or equal to",
        }
    }
}

/// What a missing data point counts for (`TreatMissingData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Missing {
    /// `missing`: for nothing.
    Unknown,
    Ignore,
    Breaching,
    NotBreaching,
}

impl Missing {
    pub(super) const NAMES: &'static [&'static str] = &["breaching", "notBreaching", "ignore", "missing"];

    /// None if it is none of [`Missing::NAMES`].
    pub(super) fn parse(name: &str) -> Option<Missing> {
        Some(match name {
            "missing" => Missing::Unknown,
            "ignore" => Missing::Ignore,
            "breaching" => Missing::Breaching,
            "notBreaching" => Missing::NotBreaching,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Missing::Unknown => "missing",
            Missing::Ignore => "ignore",
            Missing::Breaching => "breaching",
            Missing::NotBreaching => "notBreaching",
        }
    }
}

/// M out of N.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// M: `DatapointsToAlarm`, at least 1.
    pub(super) to_alarm: usize,
    /// N: `EvaluationPeriods`, at least M.
    pub(super) periods: usize,
    pub(super) missing: Missing,
}

/// How many periods an evaluation looks at. The service says that it is more than the evaluation periods, not
/// how many more; in its examples it is two.
pub(super) fn range(periods: usize) -> usize {
    periods + 2
}

/// The state that an alarm is to have; None if it keeps the one it has.
///
/// `points` are the periods of the evaluation range, newest first: whether the data point breaches, None if it
/// is missing. The rules are the user guide's: with at least N real points the newest N of them decide; with
/// fewer, all of them and as many missing ones as there are too few.
pub(super) fn decide(points: &[Option<bool>], rule: Rule) -> Option<AlarmState> {
    let real: Vec<bool> = points.iter().flatten().copied().collect();
    let used = &real[..real.len().min(rule.periods)];
    let breaching = used.iter().filter(|breaches| **breaches).count();
    let filled = rule.periods - used.len();
    let crossed = |count: usize| if count >= rule.to_alarm { AlarmState::Alarm } else { AlarmState::Ok };
    if filled == 0 {
        return Some(crossed(breaching));
    }
    match rule.missing {
        Missing::Breaching => Some(crossed(breaching + filled)),
        Missing::NotBreaching => Some(crossed(breaching)),
        Missing::Unknown if used.is_empty() => Some(AlarmState::InsufficientData),
        Missing::Ignore if used.is_empty() => None,
        _ if breaching >= rule.to_alarm || breaching < used.len() => Some(crossed(breaching)),
        // Every real point breaches, and there are too few: an alarm would be premature until the oldest of
        // them is M periods old, because the next one may be fine.
        Missing::Unknown if oldest(points) >= rule.to_alarm => Some(AlarmState::Alarm),
        Missing::Unknown | Missing::Ignore => None,
    }
}

/// How many periods ago the oldest real point was; 1 is the newest period.
fn oldest(points: &[Option<bool>]) -> usize {
    points.iter().rposition(Option::is_some).map_or(0, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of the user guide's tables: oldest first, 0 within the threshold, X breaching, - missing.
    fn outcome(row: &str, to_alarm: usize, missing: Missing) -> Option<AlarmState> {
        let points: Vec<Option<bool>> = row
            .chars()
            .rev()
            .map(|point| match point {
                '0' => Some(false),
                'X' => Some(true),
                _ => None,
            })
            .collect();
        assert_eq!(points.len(), range(3));
        decide(&points, Rule { to_alarm, periods: 3, missing })
    }

    const OK: Option<AlarmState> = Some(AlarmState::Ok);
    const ALARM: Option<AlarmState> = Some(AlarmState::Alarm);
    const UNKNOWN: Option<AlarmState> = Some(AlarmState::InsufficientData);
    const KEPT: Option<AlarmState> = None;

    #[test]
    fn the_tables_of_the_user_guide_hold() {
        let columns = [Missing::Unknown, Missing::Ignore, Missing::Breaching, Missing::NotBreaching];
        for (row, to_alarm, expected) in [
            ("0-X-X", 3, [OK, OK, OK, OK]),
            ("0----", 3, [OK, OK, OK, OK]),
            ("-----", 3, [UNKNOWN, KEPT, ALARM, OK]),
            ("0XX-X", 3, [ALARM, ALARM, ALARM, ALARM]),
            ("--X--", 3, [ALARM, KEPT, ALARM, OK]),
            ("0-X-X", 2, [ALARM, ALARM, ALARM, ALARM]),
            ("00X0X", 2, [ALARM, ALARM, ALARM, ALARM]),
            ("0-X--", 2, [OK, OK, ALARM, OK]),
            ("----0", 2, [OK, OK, ALARM, OK]),
            ("---X-", 2, [ALARM, KEPT, ALARM, OK]),
        ] {
            for (missing, expected) in columns.into_iter().zip(expected) {
                assert_eq!(outcome(row, to_alarm, missing), expected, "{row}, {to_alarm} of 3, {missing:?}");
            }
        }
    }

    #[test]
    fn a_single_breach_among_missing_points_is_not_yet_an_alarm() {
        for row in ["----X", "---X-"] {
            assert_eq!(outcome(row, 3, Missing::Unknown), KEPT, "{row}");
        }
        assert_eq!(outcome("---X0", 3, Missing::Unknown), OK);
    }

    #[test]
    fn one_of_one_follows_the_last_point_there_is() {
        let rule = Rule { to_alarm: 1, periods: 1, missing: Missing::NotBreaching };
        assert_eq!(decide(&[Some(true), Some(false), None], rule), ALARM);
        assert_eq!(decide(&[None, Some(true), None], rule), ALARM);
        assert_eq!(decide(&[None, None, None], rule), OK);
    }

    #[test]
    fn comparisons_are_what_they_are_called() {
        let names = [
            "GreaterThanOrEqualToThreshold",
            "GreaterThanThreshold",
            "LessThanThreshold",
            "LessThanOrEqualToThreshold",
        ];
        let results = |value: f64| {
            names.map(|name| {
                let comparison = Comparison::parse(name).unwrap();
                assert_eq!(comparison.as_str(), name);
                comparison.breaches(value, 2.0)
            })
        };
        assert_eq!(results(1.0), [false, false, true, true]);
        assert_eq!(results(2.0), [true, false, false, true]);
        assert_eq!(results(3.0), [true, true, false, false]);
    }
}
