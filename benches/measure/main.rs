//! `make bench`: what taskfault does, beside what people use instead, measured in one run on one machine.
//!
//! `measure [--full] [--into FOLDER] [PART…]` runs the parts that are named, or all, and prints a table; the
//! same goes as `bench.json` and `bench.svg` into FOLDER. A figure that is bad is a figure, never a failure. What
//! cannot be measured here is said in its place.
//!
//! Each part runs as a process in namespaces of its own (pid, mount, network): nothing of the machine is
//! touched, and nothing outlives the part. Ours and the peer's runs take turns, because a machine's speed
//! drifts.

#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot measure may as well stop; its part then says so"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod cloud;
mod figures;
mod ground;
mod machine;
mod parts;
mod plot;
mod probe;
mod process;
mod script;
mod table;

use figures::Row;
use parts::Part;

/// How a part is to measure.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// Everything, however long it takes; otherwise what fits into a quarter of an hour.
    pub full: bool,
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let options = Options { full: take(&mut words, "--full") };
    match words.first().map(String::as_str) {
        Some("part") => parts::find(&words[1]).map_or(ExitCode::FAILURE, |part| {
            (part.run)(options);
            ExitCode::SUCCESS
        }),
        // In the virtual machine: one part, its rows as they are.
        Some("inside") => {
            // The machine is this part's own: packets that a slow CPU has received and not looked at yet have room.
            let _ = std::fs::write("/proc/sys/net/core/netdev_max_backlog", "100000");
            let trouble = parts::perform(parts::find(&words[1]).unwrap(), options, Row::emit);
            trouble.map_or(ExitCode::SUCCESS, |trouble| {
                println!("{trouble}");
                ExitCode::FAILURE
            })
        }
        Some("far") => ground::far(),
        _ => bench(options, words),
    }
}

fn take(words: &mut Vec<String>, word: &str) -> bool {
    let place = words.iter().position(|other| other == word);
    place.map(|place| words.remove(place)).is_some()
}

fn bench(options: Options, mut words: Vec<String>) -> ExitCode {
    let into = words.iter().position(|word| word == "--into").map(|place| {
        words.remove(place);
        PathBuf::from(words.remove(place))
    });
    let wanted: Option<Vec<&Part>> = match words.is_empty() {
        true => Some(parts::ALL.iter().collect()),
        false => words.iter().map(|word| parts::find(word)).collect(),
    };
    let Some(wanted) = wanted else {
        eprintln!("the parts are:");
        parts::ALL.iter().for_each(|part| eprintln!("  {:<10} {}", part.name, part.about));
        return ExitCode::from(64);
    };
    let before = machine::Machine::read();
    println!("{before}");
    let (began, mut rows, mut silent) = (Instant::now(), Vec::new(), Vec::new());
    for part in wanted {
        println!("\n== {}: {}", part.name, part.about);
        let (began, mut found) = (Instant::now(), Vec::new());
        let trouble = parts::perform(part, options, |row| found.push(row));
        table::print(&found);
        if let Some(trouble) = trouble {
            println!("    not all of it was measured: {trouble}");
            silent.push(format!("{}: {trouble}", part.name));
        }
        let more = if options.full || part.only_full.is_empty() {
            String::new()
        } else {
            format!("; --full: {}", part.only_full)
        };
        println!("    ({} of {} s{more})", began.elapsed().as_secs(), part.limit(options).as_secs());
        rows.extend(found);
    }
    println!();
    summary(&rows, began.elapsed());
    if let Some(into) = into {
        std::fs::create_dir_all(&into).unwrap();
        let report = serde_json::json!({
            "machine": before, "load_after": machine::load(), "seconds": began.elapsed().as_secs(),
            "full": options.full, "rows": rows.iter().map(told).collect::<Vec<_>>(), "not_measured": silent,
        });
        let (json, svg) = (into.join("bench.json"), into.join("bench.svg"));
        std::fs::write(&json, serde_json::to_string_pretty(&report).unwrap()).unwrap();
        plot::draw(&svg, &rows, &before.to_string());
        println!("written: {}, {}", json.display(), svg.display());
    }
    ExitCode::SUCCESS
}

/// A row as the report has it: with what readers would compute of its values.
fn told(row: &Row) -> serde_json::Value {
    let mut told = serde_json::json!(row);
    told["met"] = serde_json::json!(row.met());
    for (number, entry) in row.entries.iter().enumerate() {
        let (low, high) = entry.extremes().unzip();
        told["entries"][number]["summary"] = serde_json::json!({
            "n": entry.values.len(), "median": entry.median(), "low": low, "high": high, "p99": entry.p99(),
        });
    }
    told
}

fn summary(rows: &[Row], took: Duration) {
    let met: Vec<bool> = rows.iter().filter_map(Row::met).collect();
    let good = met.iter().filter(|met| **met).count();
    println!("{} figures in {} s; {good} of {} aims met", rows.len(), took.as_secs(), met.len());
    for row in rows.iter().filter(|row| row.met() == Some(false)) {
        println!("  missed: {}: {}", row.part, row.case);
    }
}
