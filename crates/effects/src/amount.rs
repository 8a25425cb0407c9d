//! Amounts in words, shares of them, and as other types.

/// `percent` of `amount`, rounded down.
pub(crate) fn share_of(amount: u64, percent: u8) -> u64 {
    u64::try_from(u128::from(amount) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

/// An amount as the length of something in memory; the largest length where it is larger, which no memory has.
pub(crate) fn whole(amount: u64) -> usize {
    usize::try_from(amount).unwrap_or(usize::MAX)
}

/// A figure without its fraction; 0 for what is below or no number, the largest amount for what is above.
pub(crate) fn from_float(figure: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, and takes what is no number for 0: both are meant"
    )]
    let amount = figure as u64;
    amount
}

/// Bytes in words: `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut units = ["bytes", "KiB", "MiB", "GiB", "TiB"].iter().peekable();
    loop {
        let unit = units.next().copied().unwrap_or("PiB");
        if value < 1024.0 || units.peek().is_none() {
            return if unit == "bytes" { format!("{count} bytes") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
}

/// `1 worker`, `2 workers`.
pub(crate) fn many(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// At most two decimals, none where there are none to show.
pub fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_amounts_within_bounds() {
        let figures = [2.9, 0.0, -1.0, f64::NAN, f64::INFINITY, 1e30];
        assert_eq!(figures.map(from_float), [2, 0, 0, 0, u64::MAX, u64::MAX]);
        assert_eq!(whole(7), 7);
    }

    #[test]
    fn amounts_are_said_in_words() {
        for (count, words) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes(count), words);
        }
        assert_eq!((many(1, "worker"), many(0, "worker")), ("1 worker".into(), "0 workers".into()));
    }
}
