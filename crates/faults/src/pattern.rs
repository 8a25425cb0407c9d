//! Patterns that the parameters of several documents have (`allowedPattern`).

/// Digits alone; whether they are in range is seen when the fault is to start.
pub(crate) const DIGITS: &str = "^[0-9]+$";
/// 0 to 100 without leading zeros.
pub(crate) const PERCENT_FROM_0: &str = "^(100|[1-9]?[0-9])$";
/// 1 to 100 without leading zeros.
pub(crate) const PERCENT: &str = "^(100|[1-9][0-9]?)$";
