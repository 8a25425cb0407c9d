//! The whole numbers that a parameter takes, and what is said of a value that it does not take. Pure.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

/// A parameter that is not in range. Nothing has been done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParameterError {
    /// A number outside its range, or no number at all.
    #[error("{name} is {value}; accepted are {range}")]
    OutOfRange {
        /// The name under which it was given.
        name: &'static str,
        /// As it was given, cut to 40 characters.
        value: String,
        /// What would have been accepted.
        range: Range,
    },
    /// A word that is none of those that the parameter takes.
    #[error("{name} is {value:?}; it must be {accepted}")]
    NotOneOf {
        /// The name of the parameter.
        name: &'static str,
        /// As it was given, cut.
        value: String,
        /// In words.
        accepted: Cow<'static, str>,
    },
}

impl ParameterError {
    /// A word that is none of the `accepted` ones.
    pub(crate) fn not_one_of(
        name: &'static str,
        value: &str,
        accepted: impl Into<Cow<'static, str>>,
    ) -> ParameterError {
        ParameterError::NotOneOf { name, value: value.chars().take(80).collect(), accepted: accepted.into() }
    }
}

/// The whole numbers that one parameter takes. The only place where a range stands: the command line and the
/// documents check against the same one, each under its own name for the parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub low: u64,
    /// The greatest.
    pub high: u64,
    /// In words, plural; nothing for plain numbers.
    pub unit: &'static str,
}

impl Range {
    /// A share of something, from nothing to all of it.
    pub const PERCENT_FROM_0: Range = Range { low: 0, high: 100, unit: "%" };
    /// A share of something, from a hundredth to all of it.
    pub const PERCENT: Range = Range { low: 1, high: 100, unit: "%" };
    /// A size; the most is a pebibyte.
    pub const BYTES: Range = Range { low: 0, high: 1 << 50, unit: "bytes" };
    /// Threads that one fault may ask for. stress-ng's limit, so that whatever ran as a script is accepted here.
    pub const WORKERS: Range = Range { low: 0, high: 4096, unit: "workers" };

    /// `value`, if it is in the range.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] under the parameter's `name`.
    pub fn check(self, name: &'static str, value: u64) -> Result<u64, ParameterError> {
        if (self.low..=self.high).contains(&value) {
            return Ok(value);
        }
        Err(self.refused(name, &value.to_string()))
    }

    /// The number that `text` is: plain digits, no sign, no blank, no unit.
    ///
    /// # Errors
    /// [`ParameterError::OutOfRange`] under the parameter's `name`; what is no number, or too long for one or for
    /// the type, is out of every range.
    pub fn parse<T: TryFrom<u64>>(self, name: &'static str, text: &str) -> Result<T, ParameterError> {
        let number = plain_number(text).ok_or_else(|| self.refused(name, text))?;
        T::try_from(self.check(name, number)?).map_err(|_| self.refused(name, text))
    }

    fn refused(self, name: &'static str, value: &str) -> ParameterError {
        ParameterError::OutOfRange { name, value: value.chars().take(40).collect(), range: self }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.low, self.high)?;
        if self.unit.is_empty() { Ok(()) } else { write!(f, " {}", self.unit) }
    }
}

/// A number in plain digits: no sign, which Rust's own reading would let pass. None if it is no such thing, or
/// over 64 bits.
pub fn plain_number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration::DURATION_SECONDS;

    #[test]
    fn numbers_are_plain_digits_in_range() {
        assert_eq!(DURATION_SECONDS.parse("DurationSeconds", "20"), Ok(20_u64));
        for text in
            ["", "5m", "-1", "+1", " 1", "1.5", "99999999999999999999", "0x1", "\u{661}", "0", "43201"]
        {
            let said =
                DURATION_SECONDS.parse::<u64>("DurationSeconds", text).map_err(|error| error.to_string());
            let wanted = format!("DurationSeconds is {text}; accepted are 1 to 43200 seconds");
            assert_eq!(said, Err(wanted));
        }
    }

    #[test]
    fn a_number_never_wraps_round_in_a_smaller_type() {
        let wide = Range { low: 0, high: u64::MAX, unit: "" };
        assert_eq!(wide.parse::<u8>("x", "255"), Ok(255));
        assert!(wide.parse::<u8>("x", "257").is_err());
        assert!(Range::WORKERS.parse::<u32>("workers", "4294967297").is_err());
    }
}
