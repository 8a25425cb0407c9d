//! taskfault: parse, do, exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // The commit it was built from: `make build` and the Dockerfile know it.
    taskfault::cli::run(option_env!("TASKFAULT_COMMIT"))
}
