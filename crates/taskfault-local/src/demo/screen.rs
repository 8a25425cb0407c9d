//! What the demo shows: plain lines for a terminal of 80 columns or more. Knows nothing of the experiments.

use std::io::{IsTerminal, Write};

use record::Second;

/// Columns of the bar that stands for 0 to 100 %.
const BAR_COLUMNS: usize = 30;
/// Columns of a remark, without its margin.
const LINE_COLUMNS: usize = 92;

/// Standard output, as it can show things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Screen {
    colours: bool,
    /// The locale is UTF-8.
    symbols: bool,
}

impl Screen {
    /// Colours on a terminal that is not `dumb`, without `NO_COLOR` (no-color.org); block characters in a UTF-8
    /// locale.
    pub(super) fn for_stdout() -> Screen {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Screen {
            colours: std::io::stdout().is_terminal()
                && set("NO_COLOR").is_none()
                && set("TERM").as_deref() != Some("dumb"),
            symbols: locale.ends_with("utf-8") || locale.ends_with("utf8"),
        }
    }

    /// The first line of a part.
    pub(super) fn heading(&self, text: &str) {
        self.line(&format!("\n{}", self.paint(text, "1")));
    }

    /// Something that has happened and was checked.
    pub(super) fn done(&self, name: &str, text: &str) {
        let mark = self.paint(if self.symbols { "✓" } else { "ok" }, "32");
        self.line(&format!("  {mark} {name:<18} {text}"));
    }

    /// The heading of the lines that [`Screen::second`] prints.
    pub(super) fn seconds_heading(&self) {
        self.line(&self.paint("    second   sent  failed        P95", "2"));
    }

    /// One second of load, with a remark.
    pub(super) fn second(&self, number: usize, second: &Second, slowest_ms: f64, word: &str) {
        let p95 = second.p95_ms.unwrap_or_default();
        let failed = match second.failed() {
            0 => format!("{:>6}", 0),
            some => self.paint(&format!("{some:>6}"), "1;31"),
        };
        let bar = self.bar(100.0 * p95 / slowest_ms);
        self.line(&format!("    {number:>6} {:>6}  {failed}  {p95:>6.0} ms  {bar}  {word}", second.sent));
    }

    /// Text as it came, set off from the rest.
    pub(super) fn quote(&self, title: &str, text: &str) {
        self.line(&format!("    {}", self.paint(title, "2")));
        let edge = if self.symbols { "│" } else { "|" };
        for line in text.lines() {
            self.line(&format!("    {} {line}", self.paint(edge, "2")));
        }
    }

    /// A remark between the lines.
    pub(super) fn note(&self, text: &str) {
        for line in wrapped(text, LINE_COLUMNS) {
            self.line(&format!("    {line}"));
        }
    }

    /// The end of a log.
    pub(super) fn log(&self, name: &str, lines: &[&str]) {
        self.quote(&format!("the end of {name}:"), &lines.join("\n"));
    }

    /// What failed.
    pub(super) fn failure(&self, text: &str) {
        let mark = self.paint(if self.symbols { "✗" } else { "FAILED:" }, "1;31");
        self.line(&format!("\n  {mark} {text}"));
    }

    fn bar(&self, percent: f64) -> String {
        let (full, empty) = if self.symbols { ('█', '░') } else { ('#', '.') };
        let filled = filled(percent);
        let text: String =
            (0..BAR_COLUMNS).map(|column| if column < filled { full } else { empty }).collect();
        self.paint(&text, "36")
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Each line at once, so that a pipe sees it too. A closed pipe is no reason to panic.
    fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// A text in lines of at most `columns` characters, broken between words; a longer word stays whole.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(format!("  {word}"));
        }
    }
    lines
}

/// Columns that `percent` fills; more than 100 % fills all.
fn filled(percent: f64) -> usize {
    (1..=BAR_COLUMNS)
        .take_while(|column| percent * BAR_COLUMNS as f64 / 100.0 >= *column as f64 - 0.5)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_rounds_and_never_overflows() {
        assert_eq!(
            [0.0, 1.0, 1.3, 50.0, 60.0, 99.0, 100.0, 250.0].map(filled),
            [0, 0, 0, 15, 18, 30, 30, 30]
        );
        assert_eq!(filled(f64::NAN), 0);
    }

    #[test]
    fn remarks_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "  three"]);
        assert_eq!(wrapped("unbreakable", 4), ["unbreakable"]);
    }

    #[test]
    fn plain_output_is_plain() {
        let plain = Screen { colours: false, symbols: false };
        assert_eq!(plain.bar(50.0), format!("{}{}", "#".repeat(15), ".".repeat(15)));
        let rich = Screen { colours: true, symbols: true };
        assert!(rich.bar(50.0).contains('█') && rich.bar(50.0).starts_with("\x1b[36m"));
    }
}
