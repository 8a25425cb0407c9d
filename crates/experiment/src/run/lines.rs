//! The lines that a run prints, and its patience with a service that is yet to come.

use std::io::Write;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Where progress goes: to standard output, unless a result is to stand there alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    Stdout,
    Stderr,
}

impl Lines {
    /// Prints a line and flushes, so that a pipe sees it at once. A closed pipe is no reason to stop.
    pub(super) fn print(self, line: &str) {
        fn write(mut out: impl Write, line: &str) {
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
        match self {
            Lines::Stdout => write(std::io::stdout().lock(), line),
            Lines::Stderr => write(std::io::stderr().lock(), line),
        }
    }
}

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a run waits until all that it needs answers.
#[derive(Debug)]
pub(super) struct Patience {
    until: Instant,
    lines: Lines,
    said: Option<String>,
}

impl Patience {
    pub(super) fn of(time: Duration, lines: Lines) -> Patience {
        Patience { until: Instant::now() + time, lines, said: None }
    }

    /// A pause before the next try; false if there is no time for one. Says once why it waits.
    pub(super) async fn waits_for(&mut self, why: &str) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        if self.said.as_deref() != Some(why) {
            self.lines.print(&format!("waiting up to {:.0} s: {why}", left.as_secs_f64()));
            self.said = Some(why.to_owned());
        }
        sleep(left.min(PAUSE)).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let mut patience = Patience::of(Duration::from_secs(1), Lines::Stderr);
        let mut tries = 0;
        while patience.waits_for("nothing listens there").await {
            tries += 1;
        }
        assert_eq!(tries, 4);
        assert!(!Patience::of(Duration::ZERO, Lines::Stderr).waits_for("x").await);
    }
}
