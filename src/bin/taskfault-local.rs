//! `taskfault-local`: the stage's and the demo's commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use taskfault::local::demo::{self, DemoOptions};
use taskfault::local::stage::{InitOptions, run_init};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play the whole conversation on this machine
    Demo(DemoOptions),
    /// The first process of a task
    #[command(hide = true)]
    TaskInit(InitOptions),
}

/// Both commands make namespaces, so nothing here may start a thread before them.
fn main() -> ExitCode {
    match Line::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::TaskInit(options) => run_init(options),
    }
}
