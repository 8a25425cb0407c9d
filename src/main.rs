//! taskfault: parse, do, exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    taskfault::cli::run()
}
