//! The table that a person reads.

use crate::figures::{Aim, Better, Entry, Row, Statistic};

/// Prints the rows of one part.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "{:<52} {:<27} {:>9} {:>9} {:>9} {:>9} {:>6}  aim",
        "what", "who", "median", "low", "high", "p99", "n"
    );
    for row in rows {
        let what = format!("{}, {}", row.case, row.unit);
        for (number, entry) in row.entries.iter().enumerate() {
            let first = number == 0;
            println!(
                "{:<52} {:<27} {}{}",
                if first { what.as_str() } else { "" },
                entry.who,
                figures(entry),
                if first { aim(row) } else { String::new() }
            );
        }
        if !row.note.is_empty() {
            println!("    {}", row.note);
        }
    }
}

fn figures(entry: &Entry) -> String {
    let (Some(median), Some((low, high)), Some(p99)) = (entry.median(), entry.extremes(), entry.p99()) else {
        return entry.said.clone();
    };
    if entry.quoted {
        return format!("{:>9}  quoted: {}", number(median), entry.said);
    }
    format!(
        "{:>9} {:>9} {:>9} {:>9} {:>6}  ",
        number(median),
        number(low),
        number(high),
        number(p99),
        entry.values.len()
    ) + &match entry.said.as_str() {
        "" => String::new(),
        said => format!("{said}; "),
    }
}

fn aim(row: &Row) -> String {
    let (Some(Aim { of, limit }), Some(met)) = (row.aim, row.met()) else { return String::new() };
    let of = match (of, row.better) {
        (Statistic::Median, _) => "median",
        (Statistic::P99, _) => "p99",
        (Statistic::Worst, Better::Near(_)) => "farthest",
        (Statistic::Worst, _) => "worst",
    };
    let sign = if row.better == Better::More { "≥" } else { "≤" };
    format!("{of} {sign} {}: {}", number(limit), if met { "met" } else { "MISSED" })
}

/// Three digits, or all those before the point.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}
