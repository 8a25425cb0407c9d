//! The log: one line an event, on standard error, for people or as JSON.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A line of text for people.
    #[default]
    Text,
    /// A JSON object a line.
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

/// The crate that logs beside `taskfault` itself. Who names `taskfault` in a filter means it too.
const EFFECTS: &str = "effects";

/// Starts the log. `filter` is a level (`info`) or targets with levels (`taskfault=debug,hyper=warn`).
///
/// # Errors
/// A filter that cannot be read, with the reason.
pub fn init(filter: &str, format: Format) -> Result<(), String> {
    let targets = targets(filter)?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        Format::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(())
}

fn targets(filter: &str) -> Result<Targets, String> {
    if let Ok(level) = filter.parse::<LevelFilter>() {
        // Libraries stay quiet unless they are named.
        let ours = Targets::new().with_target("taskfault", level).with_target(EFFECTS, level);
        return Ok(ours.with_default(LevelFilter::WARN));
    }
    let named = filter.parse::<Targets>().map_err(|error| format!("log filter {filter:?}: {error}"))?;
    let level_of = |target| named.iter().find(|(name, _)| *name == target).map(|(_, level)| level);
    Ok(match (level_of("taskfault"), level_of(EFFECTS)) {
        (Some(level), None) => named.with_target(EFFECTS, level),
        _ => named,
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn what_holds_for_taskfault_holds_for_what_it_does_to_the_kernel() {
        for filter in ["info", "taskfault=info,hyper=warn"] {
            let targets = targets(filter).unwrap();
            for ours in ["taskfault::sidecar", "effects::ecs_agent"] {
                assert!(targets.would_enable(ours, &Level::INFO), "{filter} {ours}");
                assert!(!targets.would_enable(ours, &Level::DEBUG), "{filter} {ours}");
            }
            assert!(!targets.would_enable("hyper", &Level::INFO), "{filter}");
        }
        assert!(!targets("taskfault=info,effects=warn").unwrap().would_enable("effects", &Level::INFO));
        assert!(targets("loud").is_ok() && targets("taskfault=loud").is_err());
    }
}
