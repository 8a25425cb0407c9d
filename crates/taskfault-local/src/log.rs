//! The local AWS's log: a line for each of its events, in columns.

use std::fmt;
use std::time::SystemTime;

use aws_local::log::{Line, TARGET};
use record::clock::date_text;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The longest text of one column, in characters. Senders choose some of these texts.
const COLUMN_CHARS: usize = 160;

/// Writes what the local AWS of this process says to `writer`, a line each. A line that cannot be written is lost.
///
/// # Errors
/// The process has a log already.
pub fn start<W>(writer: W) -> Result<(), String>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().event_format(Columns).with_writer(writer);
    let started = tracing_subscriber::registry()
        .with(Targets::new().with_target(TARGET, LevelFilter::INFO))
        // A full disk must not end an experiment, nor fill the terminal.
        .with(lines.log_internal_errors(false))
        .try_init();
    started.map_err(|error| format!("starting the log: {error}"))
}

/// When, who, what, and what came of it.
#[derive(Debug)]
struct Columns;

impl<S, N> FormatEvent<S, N> for Columns
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writeln!(out, "{}", text(&date_text(SystemTime::now()), &Line::of(event)))
    }
}

fn text(now: &str, line: &Line) -> String {
    let (who, what, outcome) = (column(&line.who), column(&line.what), column(&line.outcome));
    format!("{now}  {who:<20}  {what:<48}  {outcome}")
}

/// A text that stays on its line and is not endless.
fn column(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(COLUMN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        let (who, what) = ("mi-1".to_owned(), "evil\nforged line".to_owned());
        let line = text("2026-01-01T00:00:00.000Z", &Line { who, what, outcome: "x".repeat(10_000) });
        assert!(!line.contains('\n') && line.contains("evil forged line"));
        assert!(line.len() < 400);
    }

    #[test]
    fn the_columns_stand_below_each_other() {
        let [who, what, outcome] = ["mi-1", "GetMessages", "200"].map(str::to_owned);
        let line = text("2026-01-01T00:00:00.000Z", &Line { who, what, outcome });
        let expected = format!("2026-01-01T00:00:00.000Z  mi-1{:16}  GetMessages{:37}  200", "", "");
        assert_eq!(line, expected);
    }
}
