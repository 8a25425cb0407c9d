//! The lines that a run prints, the one that it draws anew below them, and its patience with a service that is yet to
//! come.

use std::env;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
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
        above_status(|| match self {
            Lines::Stdout => write(std::io::stdout().lock(), line),
            Lines::Stderr => write(std::io::stderr().lock(), line),
        });
    }

    fn is_terminal(self) -> bool {
        match self {
            Lines::Stdout => std::io::stdout().is_terminal(),
            Lines::Stderr => std::io::stderr().is_terminal(),
        }
    }
}

/// There is one terminal, and several threads that write to it.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Prints while the line that a run draws anew is out of the way. Who writes to the terminal beside a run does so here.
pub fn above_status(print: impl FnOnce()) {
    match DRAWN.lock().as_ref() {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// Between two lines about how it stands where no line can be drawn anew.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// How a run stands: on a terminal one line at the foot that is drawn anew, without colours; elsewhere, and on a
/// terminal that is `dumb`, a line every ten seconds. The line goes when this is dropped.
#[derive(Debug)]
pub(super) struct Status {
    bar: Option<ProgressBar>,
    lines: Lines,
    next: Instant,
}

impl Status {
    pub(super) fn new(lines: Lines) -> Status {
        let can_draw = env::var("TERM").is_ok_and(|term| !matches!(term.as_str(), "" | "dumb"));
        let bar = (can_draw && lines.is_terminal()).then(|| {
            let target = match lines {
                Lines::Stdout => ProgressDrawTarget::stdout(),
                Lines::Stderr => ProgressDrawTarget::stderr(),
            };
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner()).tick_chars("|/-\\ ");
            ProgressBar::with_draw_target(None, target).with_style(style)
        });
        DRAWN.lock().clone_from(&bar);
        Status { bar, lines, next: Instant::now() + PLAIN_EVERY }
    }

    /// Shows how it stands, if it is time for that. `quiet` is whether other lines say it where none can be drawn.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String, quiet: bool) {
        if let Some(bar) = &self.bar {
            bar.set_message(text());
            bar.tick();
        } else if Instant::now() >= self.next {
            self.next = Instant::now() + PLAIN_EVERY;
            if !quiet {
                self.lines.print(&text());
            }
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        DRAWN.lock().take();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
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
