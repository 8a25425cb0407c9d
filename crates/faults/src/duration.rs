//! How long a fault is to live, as people and FIS write it ([`durations`]). Pure.

use std::time::Duration;

use durations::DurationError as FormError;
use thiserror::Error;

use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::pattern::DIGITS;
use crate::{ParameterError, Range};

/// How long a fault may live: up to 12 hours (FIS: the documents enforce 1–43200).
pub const DURATION_SECONDS: Range = Range { low: 1, high: 43_200, unit: "seconds" };

/// The parameter of all faults that live for a time.
pub const DURATION: Parameter = Parameter {
    option: "duration",
    fis: Some("duration"),
    document: Some(InDocument::new("DurationSeconds", DIGITS)),
    default: Preset::Required,
    values: Values::Duration,
    description: "how long the fault lives",
};

/// Why a duration was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// It is not written as one.
    #[error(transparent)]
    Form(#[from] FormError),
    /// It is one, but too short or too long.
    #[error(transparent)]
    Range(#[from] ParameterError),
}

/// Reads the duration of a fault: whole days, hours, minutes and seconds, 1 s to 12 h in all.
///
/// # Errors
/// [`DurationError::Form`] if it is not written so, [`DurationError::Range`] outside 1 s to 12 h.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    Ok(check(durations::parse(text)?)?)
}

/// `duration`, if a fault may live that long: 1 s to 12 h.
///
/// # Errors
/// [`ParameterError::OutOfRange`] with the duration in whole seconds.
pub fn check(duration: Duration) -> Result<Duration, ParameterError> {
    let Range { low, high, .. } = DURATION_SECONDS;
    let long_enough = duration >= Duration::from_secs(low);
    if long_enough && duration <= Duration::from_secs(high) {
        return Ok(duration);
    }
    // Rounded away from the range, so that 43200.5 s does not read as 43200.
    let above = u64::from(long_enough && duration.subsec_nanos() > 0);
    DURATION_SECONDS.check("duration", duration.as_secs().saturating_add(above)).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_short_or_too_long_is_refused_with_the_range() {
        for text in ["0s", "PT0S", "P1D", "13h", "PT12H1S", "43201s"] {
            assert!(matches!(parse(text), Err(DurationError::Range(_))), "{text}");
        }
    }

    #[test]
    fn durations_outside_one_second_to_twelve_hours_are_refused() {
        for (seconds, good) in
            [(0.0, false), (0.999, false), (1.0, true), (43_200.0, true), (43_200.5, false)]
        {
            let checked = check(Duration::from_secs_f64(seconds));
            assert_eq!(checked.is_ok(), good, "{seconds}");
        }
        assert!(check(Duration::MAX - Duration::from_secs(1)).is_err());
    }
}
