//! The inner loops: runs the criterion benchmarks shortly, and hands over what they found.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Options;
use crate::figures::{Better, Row};

pub(crate) fn run(options: Options) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(["bench", "--locked", "--offline", "--quiet", "--bench", "loops", "--"]);
    if !options.full {
        command.args(["--warm-up-time", "0.3", "--measurement-time", "1", "--sample-size", "20"]);
    }
    command.arg("--noplot").stdin(Stdio::null()).stdout(Stdio::null());
    assert!(command.status().unwrap().success(), "cargo bench --bench loops");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into());
    let mut found = Vec::new();
    collect(&Path::new(&target).join("criterion"), &mut found);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, microseconds) in found {
        Row::new("loops", name, "µs", Better::Less).ours(microseconds).emit();
    }
}

/// Every benchmark below a folder of criterion's: its name, and the time of one pass in each sample.
fn collect(folder: &Path, found: &mut Vec<(String, Vec<f64>)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name == "new") {
            let read = |file: &str| -> Value {
                let text = fs::read_to_string(path.join(file)).unwrap_or_default();
                serde_json::from_str(&text).unwrap_or_default()
            };
            let (about, sample) = (read("benchmark.json"), read("sample.json"));
            let numbers = |key: &str| -> Vec<f64> {
                sample[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
            };
            let each =
                numbers("times").iter().zip(numbers("iters")).map(|(ns, passes)| ns / passes / 1e3).collect();
            found.push((about["full_id"].as_str().unwrap_or_default().to_owned(), each));
        } else if path.is_dir() {
            collect(&path, found);
        }
    }
}
