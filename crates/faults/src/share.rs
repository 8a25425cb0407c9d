//! Shares of packets, finer than whole percent. Pure.

use std::fmt;

use crate::ParameterError;

/// A share from nothing to all, in thousandths of a percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

/// As documents write one: 0 to 100 with up to three decimals.
pub(crate) const PATTERN: &str = "^([0-9]{1,3}([.][0-9]{1,3})?)?$";
/// The same in words.
pub(crate) const ACCEPTS: &str = "0-100 %, three decimals";

impl Share {
    /// Decimals of a percent.
    const DECIMALS: usize = 3;
    /// Of all.
    const THOUSANDTHS: u32 = 100_000;

    /// All of them.
    pub const ALL: Share = Share(Share::THOUSANDTHS);

    /// The share that a text is: plain digits, at most three behind a point.
    ///
    /// # Errors
    /// [`ParameterError::NotOneOf`] under the parameter's `name`.
    pub fn parse(name: &'static str, text: &str) -> Result<Share, ParameterError> {
        let refused = || ParameterError::not_one_of(name, text, "0 to 100, with at most three decimals");
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole)
            || !plain(decimals)
            || whole.len() > Share::DECIMALS
            || decimals.len() > Share::DECIMALS
        {
            return Err(refused());
        }
        let digits = format!("{whole}{decimals:0<width$}", width = Share::DECIMALS);
        let thousandths = digits.parse().map_err(|_| refused())?;
        if thousandths > Share::THOUSANDTHS { Err(refused()) } else { Ok(Share(thousandths)) }
    }

    /// Whether it is nothing.
    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// As a part of one.
    pub fn of_one(self) -> f64 {
        f64::from(self.0) / f64::from(Share::THOUSANDTHS)
    }

    /// In percent.
    pub fn percent(self) -> f64 {
        100.0 * self.of_one()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, thousandths) = (self.0 / 1_000, self.0 % 1_000);
        let decimals = format!("{thousandths:03}");
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            decimals => write!(f, "{whole}.{decimals}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_three_decimals_and_is_at_most_all() {
        for (text, shown) in
            [("0", "0"), ("7", "7"), ("0.5", "0.5"), ("0.001", "0.001"), ("100", "100"), ("1.50", "1.5")]
        {
            assert_eq!(Share::parse("x", text).unwrap().to_string(), shown);
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e1", "100.001", "101", "0.0001", "0100", "١"] {
            assert!(Share::parse("x", text).is_err(), "{text}");
        }
        assert!((Share::parse("x", "0.5").unwrap().of_one() - 0.005).abs() < 1e-12);
    }
}
