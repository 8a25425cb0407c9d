//! The log: one line an event, on standard error, for people or as JSON.
//!
//! Lines go through a bounded queue to a thread that writes them, because standard error may be a pipe that is not
//! drained: then lines are dropped and counted, and whoever logs goes on.

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How many lines wait at most.
const QUEUED_LINES: usize = 1024;
/// How long the end of the process waits for the lines that are queued.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A line of text for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
    /// As [`Format::Json`], and metrics in CloudWatch's embedded metric format.
    Emf,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            "emf" => Ok(Format::Emf),
            other => Err(format!("{other:?} is none of text, json and emf")),
        }
    }
}

/// The crate that logs beside `taskfault` itself. Who names `taskfault` in a filter means it too.
const EFFECTS: &str = "effects";

/// Starts the log. `filter` is a level (`info`) or targets with levels (`taskfault=debug,hyper=warn`).
///
/// # Errors
/// A filter that cannot be read, with the reason; a thread that cannot be started.
pub fn init(filter: &str, format: Format) -> Result<LogGuard, String> {
    let targets = targets(filter)?;
    let colours = format == Format::Text && io::stderr().is_terminal() && wants_colours();
    let (queue, messages) = Queue::new(colours);
    let dropped = Arc::clone(&queue.dropped);
    let thread = std::thread::Builder::new().name("log".to_owned());
    thread
        .spawn(move || write_lines(&messages, &dropped, io::stderr()))
        .map_err(|error| format!("cannot start the log's thread: {error}"))?;
    let metrics = (format == Format::Emf).then(|| Lines(queue.clone()));
    let guard = LogGuard { messages: queue.messages.clone(), metrics };
    let layer = tracing_subscriber::fmt::layer().with_writer(move || queue.clone()).with_target(false);
    let registry = tracing_subscriber::registry().with(targets);
    match format {
        Format::Text => registry.with(layer.with_ansi(colours)).init(),
        Format::Json | Format::Emf => registry.with(layer.json().flatten_event(true)).init(),
    }
    Ok(guard)
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

enum Message {
    Line(Vec<u8>),
    /// Answered once every line before it is written.
    Flush(SyncSender<()>),
}

/// The way to the log's thread. Never waits.
#[derive(Debug, Clone)]
struct Queue {
    messages: SyncSender<Message>,
    /// Lines that found the queue full, since the start.
    dropped: Arc<AtomicU64>,
    /// Escape sequences are colours of ours.
    colours: bool,
}

impl Queue {
    fn new(colours: bool) -> (Queue, Receiver<Message>) {
        let (messages, receiver) = sync_channel(QUEUED_LINES);
        (Queue { messages, dropped: Arc::default(), colours }, receiver)
    }
}

impl Write for Queue {
    /// The formatter writes each event with one call.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if self.messages.try_send(Message::Line(one_line(event, self.colours))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Unless `NO_COLOR` is set (no-color.org) or the terminal is dumb.
fn wants_colours() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// An event as one line: a line break inside comes from outside (a document, an answer), and would forge another.
fn one_line(event: &[u8], colours: bool) -> Vec<u8> {
    let text = event.strip_suffix(b"\n").unwrap_or(event);
    let mut line = Vec::with_capacity(event.len() + 1);
    for byte in text {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            0x1b if colours => line.push(*byte),
            b'\t' => line.push(*byte),
            0..0x20 | 0x7f => line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            _ => line.push(*byte),
        }
    }
    line.push(b'\n');
    line
}

/// The log's thread. A line that cannot be written is lost: there is no other place to say it.
fn write_lines(messages: &Receiver<Message>, dropped: &AtomicU64, mut out: impl Write) {
    let mut reported = 0;
    while let Ok(message) = messages.recv() {
        match message {
            Message::Line(line) => {
                let _ = out.write_all(&line);
            }
            Message::Flush(written) => {
                let _ = written.try_send(());
            }
        }
        let in_all = dropped.load(Ordering::Relaxed);
        if in_all != reported {
            reported = in_all;
            // Counted and reported again, should there be no room for this line.
            tracing::warn!(in_all, "log lines were dropped: they were not taken as fast as they came");
        }
    }
}

/// Keeps the log open. Dropped at the end of the process, it waits for the queued lines, for half a second at most.
#[must_use = "what is queued when the process ends is lost without it"]
#[derive(Debug)]
pub struct LogGuard {
    messages: SyncSender<Message>,
    metrics: Option<Lines>,
}

impl LogGuard {
    /// Where metrics are written, if the format has them.
    pub fn metrics(&self) -> Option<Lines> {
        self.metrics.clone()
    }
}

/// Whole lines of their own in the log, whatever its level.
#[derive(Debug, Clone)]
pub struct Lines(Queue);

impl Lines {
    /// Writes one line, as the log's lines are written: it never waits.
    pub fn write(&self, line: &str) {
        // The queue takes all, or counts what it drops.
        let _ = self.0.clone().write_all(line.as_bytes());
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_LIMIT;
        let (written, done) = sync_channel(1);
        while self.messages.try_send(Message::Flush(written.clone())).is_err() {
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
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

    /// A log pipe that is not drained: no line waits, what is lost is counted and reported once there is room.
    #[test]
    fn a_log_that_is_not_drained_holds_no_caller_and_counts_what_it_drops() {
        let (reader, writer) = io::pipe().unwrap();
        let (mut queue, messages) = Queue::new(false);
        let dropped = Arc::clone(&queue.dropped);
        let subscriber = {
            let queue = queue.clone();
            tracing_subscriber::registry()
                .with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || queue.clone()))
        };
        std::thread::spawn(move || {
            tracing::subscriber::with_default(subscriber, || write_lines(&messages, &dropped, writer));
        });
        let began = Instant::now();
        // A pipe holds 64 KiB, the queue a thousand lines.
        for _ in 0..5000 {
            queue.write_all(&[b'x'; 100]).unwrap();
        }
        drop(LogGuard { messages: queue.messages.clone(), metrics: None });
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        let lost = queue.dropped.load(Ordering::Relaxed);
        assert!(lost > 2000, "{lost}");
        let (found, reported) = sync_channel(1);
        std::thread::spawn(move || {
            let mut lines = io::BufRead::lines(io::BufReader::new(reader)).map(Result::unwrap);
            // A report that finds the queue full is dropped and counted itself, so the number may be higher.
            let counted =
                |line: String| line.split_once("in_all=").and_then(|(_, number)| number.parse::<u64>().ok());
            found.send(lines.any(|line| counted(line).is_some_and(|number| number >= lost)))
        });
        assert_eq!(reported.recv_timeout(Duration::from_secs(20)), Ok(true));
    }

    #[test]
    fn an_event_cannot_forge_a_line() {
        let line = one_line(b"bad\nINFO forged\r\x1b[2Jx\ty\n", false);
        assert_eq!(line, b"bad\\nINFO forged\\r\\x1b[2Jx\ty\n");
        assert_eq!(one_line("\x1b[2mä\n".as_bytes(), true), "\x1b[2mä\n".as_bytes());
    }
}
