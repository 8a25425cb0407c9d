//! Finished HTML, and numbers, times and durations for people.

use std::time::Duration;

use maud::Markup;
use time::OffsetDateTime;
use time::macros::format_description;

/// Markup as a text of HTML, without the control characters that a text may have brought along.
pub(super) fn finished(markup: Markup) -> String {
    markup.into_string().replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "\u{fffd}")
}

/// `2026-11-23 09:31:10 UTC`; empty for what no calendar has.
pub(super) fn date(seconds: f64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let since = time::Duration::checked_seconds_f64(seconds);
    let moment = since.and_then(|since| OffsetDateTime::UNIX_EPOCH.checked_add(since));
    moment.and_then(|moment| moment.format(&format).ok()).unwrap_or_default()
}

/// A moment as minutes and seconds since the record began: `1:05`, `1:02:05`.
pub(super) fn clock(seconds: f64) -> String {
    let sign = if seconds < -0.5 { "\u{2212}" } else { "" };
    let whole = whole_seconds(seconds.abs());
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match hours {
        0 => format!("{sign}{minutes}:{seconds:02}"),
        _ => format!("{sign}{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// `12.4 s`, `3 min 05 s`.
pub(super) fn lasting(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    let whole = whole_seconds(seconds);
    format!("{} min {:02} s", whole / 60, whole % 60)
}

/// To the nearest second; 0 for what is no time.
fn whole_seconds(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds.round()).unwrap_or_default().as_secs()
}

/// `850 µs` is `0.85 ms`; from a second on in seconds.
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms <= 0.0 => "0 ms".to_owned(),
        ms if ms >= 9_950.0 => format!("{:.0} s", ms / 1000.0),
        ms if ms >= 995.0 => format!("{:.1} s", ms / 1000.0),
        ms if ms >= 9.95 => format!("{ms:.0} ms"),
        ms if ms >= 0.995 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// At most so many characters, with an ellipsis where some were cut.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_shown_not_obeyed() {
        let words = "<b a=\"1\">&\u{1b}";
        assert_eq!(finished(maud::html! { (words) }), "&lt;b a=&quot;1&quot;&gt;&amp;\u{fffd}");
        assert_eq!(finished(maud::html! { p title=(words) {} }).matches('"').count(), 2);
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0.0, 65.4, 3725.0].map(clock), ["0:00", "1:05", "1:02:05"]);
        assert_eq!(clock(-6.0), "\u{2212}0:06");
        assert_eq!([3.04, 59.99, 185.0].map(lasting), ["3.0 s", "60.0 s", "3 min 05 s"]);
        assert_eq!(
            [0.0, 0.85, 4.25, 26.4, 999.0, 12_000.0].map(milliseconds),
            ["0 ms", "0.85 ms", "4.2 ms", "26 ms", "1.0 s", "12 s"]
        );
        assert_eq!([7, 1234, 1_234_567].map(count), ["7", "1,234", "1,234,567"]);
        assert_eq!(date(1_795_400_000.0), "2026-11-23 02:13:20 UTC");
        assert_eq!(cut("a long name", 7), "a long…");
    }
}
