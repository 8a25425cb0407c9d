//! The log: one line an event, on standard error, for people or as JSON.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            other => Err(format!("{other:?} is neither text nor json")),
        }
    }
}

/// Starts the log. `filter` is a level (`info`) or targets with levels (`taskfault=debug,hyper=warn`).
///
/// # Errors
/// A filter that cannot be read, in words.
pub fn init(filter: &str, format: Format) -> Result<(), String> {
    let targets = match filter.parse::<LevelFilter>() {
        // Libraries stay quiet unless they are named.
        Ok(level) => Targets::new().with_target("taskfault", level).with_default(LevelFilter::WARN),
        Err(_) => filter.parse::<Targets>().map_err(|error| format!("log filter {filter:?}: {error}"))?,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        Format::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}
