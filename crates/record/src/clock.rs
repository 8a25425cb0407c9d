//! Times as the AWS APIs write them. Pure.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::macros::format_description;

/// `2026-11-23T02:59:52.042Z`.
pub fn date_text(when: SystemTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from(when).format(&format).unwrap_or_default()
}

/// Seconds since 1970, with milliseconds.
pub fn epoch_seconds(when: SystemTime) -> f64 {
    epoch_ms(when) as f64 / 1000.0
}

/// Milliseconds since 1970; 0 before that.
pub fn epoch_ms(when: SystemTime) -> u64 {
    let since = when.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
