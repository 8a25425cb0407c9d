//! Durations as people and FIS write them: `PT1H30M` (ISO 8601) or `90s`, `5m`, `2h`, `1h30m`. Pure.

#![forbid(unsafe_code)]

use std::time::Duration;

use thiserror::Error;

/// The text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a duration; write it as PT5M, PT1H30M, 90s, 5m or 2h")]
pub struct DurationError(
    /// As it was given, cut to 40 characters.
    pub String,
);

/// Reads whole days, hours, minutes and seconds. Any length, nothing included.
///
/// # Errors
/// It is not written as above.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let seconds = seconds(text).ok_or_else(|| DurationError(text.chars().take(40).collect()))?;
    Ok(Duration::from_secs(seconds))
}

fn seconds(text: &str) -> Option<u64> {
    match text.strip_prefix('P') {
        Some(iso) => {
            let (days, time) = match iso.split_once('T') {
                Some((_, "")) => return None,
                Some((days, time)) => (days, time),
                None => (iso, ""),
            };
            let days = sum(days, &[('D', 86_400)]);
            let time = sum(time, &[('H', 3600), ('M', 60), ('S', 1)]);
            if iso.is_empty() { None } else { days?.checked_add(time?) }
        }
        None if text.is_empty() => None,
        None => sum(text, &[('h', 3600), ('m', 60), ('s', 1)]),
    }
}

/// Adds up `NUMBER UNIT` pairs; each unit at most once and in the order of `units`.
fn sum(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut total = 0u64;
    let mut units = units.iter();
    while !text.is_empty() {
        let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = text[..digits].parse().ok()?;
        let letter = text[digits..].chars().next()?;
        let (_, seconds) = units.find(|(unit, _)| *unit == letter)?;
        total = total.checked_add(number.checked_mul(*seconds)?)?;
        text = &text[digits + letter.len_utf8()..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, seconds) in [
            ("PT5M", 300),
            ("PT1H30M", 5400),
            ("PT20S", 20),
            ("PT1H0M1S", 3601),
            ("PT12H", 43_200),
            ("P0DT1H", 3600),
            ("PT0090S", 90),
            ("20s", 20),
            ("90s", 90),
            ("5m", 300),
            ("2h", 7200),
            ("1h30m", 5400),
            ("12h", 43_200),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_what_to_write() {
        for text in [
            "",
            "P",
            "PT",
            "5",
            "s",
            "PT5",
            "PTM",
            "5M",
            "pt5m",
            "PT5m",
            "P1Y",
            "P1M",
            "P1W",
            "PT5M5H",
            "PT1M1M",
            "1m1h",
            "-5m",
            "PT-5M",
            "1.5h",
            "PT1.5M",
            "5 m",
            " 5m",
            "5m ",
            "P1DT",
            "٥m",
            "5µ",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert!(parse(text).is_err(), "{text:?}: {:?}", parse(text));
        }
        let said = parse("five").map_err(|error| error.to_string());
        assert_eq!(said, Err("\"five\" is not a duration; write it as PT5M, PT1H30M, 90s, 5m or 2h".into()));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,20}|P?T?([0-9]{0,20}[DHMShms]){0,4}") {
            let _ = parse(&text);
        }

        #[test]
        fn both_forms_mean_the_same(hours in 0u64..12, minutes in 0u64..60, seconds in 1u64..60) {
            let short = parse(&format!("{hours}h{minutes}m{seconds}s"));
            let iso = parse(&format!("PT{hours}H{minutes}M{seconds}S"));
            prop_assert_eq!(&short, &iso);
            prop_assert_eq!(short, Ok(Duration::from_secs(hours * 3600 + minutes * 60 + seconds)));
        }
    }
}
