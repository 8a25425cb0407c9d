//! Moments and spans of time for people.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};
use record::clock::date_text;

/// `09:31:10`, in UTC.
pub(crate) fn time_of_day(seconds: f64) -> String {
    date(seconds).get(11..19).unwrap_or_default().to_owned()
}

/// `2026-11-23T09:31:10.000Z`.
pub(crate) fn date(seconds: f64) -> String {
    let since = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    SystemTime::UNIX_EPOCH.checked_add(since).map(date_text).unwrap_or_default()
}

/// A moment as an element.
pub(crate) fn moment(seconds: f64) -> Markup {
    html! { time datetime=(date(seconds)) { (time_of_day(seconds)) } }
}

/// `12 s`, `3 min 05 s`, `2 h 03 min`.
pub(crate) fn lasting(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default().as_secs();
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people_and_machines() {
        assert_eq!(time_of_day(1_795_400_000.25), "02:13:20");
        assert_eq!(
            moment(1_795_400_000.25).into_string(),
            "<time datetime=\"2026-11-23T02:13:20.250Z\">02:13:20</time>"
        );
        assert_eq!(
            [-1.0, 0.4, 59.6, 3723.0, f64::NAN].map(lasting),
            ["0 s", "0 s", "1 min 00 s", "1 h 02 min", "0 s"]
        );
    }
}
