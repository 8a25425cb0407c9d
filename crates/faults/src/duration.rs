//! How long a fault is to live, as people and FIS write it ([`durations`]). Pure.

use std::time::Duration;

use durations::DurationError as FormError;
use thiserror::Error;

use crate::{ParameterError, check_duration};

/// Why a duration was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    #[error(transparent)]
    Form(#[from] FormError),
    #[error(transparent)]
    Range(#[from] ParameterError),
}

/// Reads the duration of a fault: whole days, hours, minutes and seconds, 1 s to 12 h in all.
///
/// # Errors
/// [`DurationError::Form`] if it is not written so, [`DurationError::Range`] outside 1 s to 12 h.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    Ok(check_duration(durations::parse(text)?)?)
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
}
