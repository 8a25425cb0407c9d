//! What `taskfault-local` says about each request and message: one line, with no secret in it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::wire;

/// The longest text of one column, in characters. Senders choose some of these texts.
const COLUMN_CHARS: usize = 160;

/// Where the lines go.
#[derive(Clone)]
pub struct Log(Arc<dyn Fn(&str) + Send + Sync>);

impl Log {
    /// Lines on standard error.
    pub fn stderr() -> Log {
        Log::to(|line| eprintln!("{line}"))
    }

    /// Lines to wherever `write` puts them.
    pub fn to(write: impl Fn(&str) + Send + Sync + 'static) -> Log {
        Log(Arc::new(write))
    }

    /// One line: when, who, what, and what came of it.
    pub fn line(&self, who: &str, what: &str, outcome: impl fmt::Display) {
        let now = wire::date_text(SystemTime::now());
        let (who, what) = (column(who), column(what));
        (self.0)(&format!("{now}  {who:<20}  {what:<48}  {}", column(&outcome.to_string())));
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Log")
    }
}

/// A text that stays on its line and is not endless.
fn column(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(COLUMN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let log = Log::to(move |line| sink.lock().unwrap().push(line.to_owned()));
        log.line("mi-1", "evil\nforged line", "x".repeat(10_000));
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 1);
        assert!(!lines[0].contains('\n') && lines[0].contains("evil forged line"));
        assert!(lines[0].len() < 400);
    }
}
