//! taskfault: parse, do, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    taskfault::cli::run()
}
