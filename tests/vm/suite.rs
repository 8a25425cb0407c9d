//! Network faults on a real kernel: run inside the virtual machine by `scripts/vm-test`, as its only work.
//!
//! Each test has two network namespaces with a veth pair between them, runs `taskfault` in the one and
//! looks from outside: with ping and sockets, `tc` and `nft`. It changes the network of the machine it runs
//! on, so it refuses to run anywhere else.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails; clippy knows tests by their attribute only"
)]

use std::panic;
use std::process::ExitCode;

mod control;
mod faults;
mod ground;
mod http;
mod impairment;
mod kernel;
mod model;
mod play;
mod probe;
mod refuse;
mod sequences;
mod undo;

// A whole task: its service, its limits, its kernel.
mod lifeline;
mod limits;
mod places;
mod service;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "probe") {
        return probe::run(&arguments[1..]);
    }
    if std::env::var_os("TASKFAULT_VM").is_none() {
        println!("SKIP vm: these tests change the network of the machine; run scripts/vm-test");
        return ExitCode::SUCCESS;
    }
    let is_asked =
        |name: &str| arguments.is_empty() || arguments.iter().any(|word| name.contains(word.as_str()));
    panic::set_hook(Box::new(|info| println!("    {info}")));
    let (mut passed, mut failed) = (0, 0);
    let network = [control::TESTS, faults::TESTS, http::TESTS, impairment::TESTS].concat();
    let network = [network, [sequences::TESTS, undo::TESTS].concat()].concat();
    let tests = [network, [lifeline::TESTS, limits::TESTS, places::TESTS].concat()].concat();
    for (name, test) in tests.into_iter().filter(|(name, _)| is_asked(name)) {
        let began = std::time::Instant::now();
        let good = panic::catch_unwind(test).is_ok();
        let word = if good { "ok  " } else { "FAIL" };
        println!("{word} {name} ({:.1} s)", began.elapsed().as_secs_f64());
        passed += u32::from(good);
        failed += u32::from(!good);
    }
    println!("{passed} passed, {failed} failed, 0 skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
