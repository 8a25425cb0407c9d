//! A hostile control plane: real sidecars at a real local AWS, with a relay in between that drops, cuts, repeats,
//! reorders and garbles what the two say, from the first byte and while commands run.
//!
//! `make chaos N=300 SEED=1` runs so many mutations, `make kills N=500` so many `kill -9`. The same seed draws the same
//! mutations; when each of them hits is up to the machine. What must hold whatever is done (`life`): no panic and no end but one that time could not mend, no command
//! runs twice, each is answered, the next plain command succeeds, and the memory stays bounded.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails; clippy knows tests by their attribute only"
)]

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

mod cloud;
mod exchange;
mod frames;
mod json;
mod kills;
mod life;
mod mutation;
mod relay;

use life::{Life, Outcome, Plan};

/// Sidecars side by side. They wait nearly all the time.
const LANES: usize = 20;
/// Mutations, where nobody says how many.
const RUNS: u64 = 300;
/// Kills of each sidecar.
const KILLS_EACH: u64 = 10;
/// Faults that are killed side by side.
const KILL_LANES: u64 = 8;

fn main() -> ExitCode {
    let number =
        |name: &str| std::env::var(name).ok().filter(|it| !it.is_empty()).map(|it| it.parse().unwrap());
    let seed: u64 = number("CHAOS_SEED").unwrap_or(1);
    let only: Option<u64> = number("CHAOS_ONLY");
    let good = match number("CHAOS_KILLS") {
        // Half of them hit faults by themselves, half a sidecar.
        Some(kills) => {
            let injected = injected(seed, kills / 2);
            lives(seed, only, Plan::Kills(KILLS_EACH), (kills - kills / 2).div_ceil(KILLS_EACH)) && injected
        }
        None => lives(seed, only, Plan::Mutations, number("CHAOS_RUNS").unwrap_or(RUNS).div_ceil(life::RUNS)),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays so many lives; whether everything held.
fn lives(seed: u64, only: Option<u64>, plan: Plan, count: u64) -> bool {
    let began = Instant::now();
    let waiting: VecDeque<u64> = (0..count).filter(|life| only.is_none_or(|only| only == *life)).collect();
    let waiting = Arc::new(Mutex::new(waiting));
    let lanes: Vec<_> = (0..LANES)
        .map(|_| {
            let waiting = Arc::clone(&waiting);
            std::thread::spawn(move || {
                let mut outcomes = Vec::new();
                loop {
                    let Some(life) = waiting.lock().unwrap().pop_front() else { return outcomes };
                    outcomes.push((life, Life::play(seed, life, plan)));
                }
            })
        })
        .collect();
    let outcomes: Vec<(u64, Outcome)> = lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect();
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(|(_, outcome)| of(outcome)).sum::<u64>();
    let most_kib = outcomes.iter().map(|(_, outcome)| outcome.most_kib).max().unwrap_or_default();
    let what = match plan {
        Plan::Mutations => format!("{} mutations ({} events hit)", sum(|it| it.runs), sum(|it| it.hits)),
        Plan::Kills(_) => format!("{} kills", sum(|it| it.runs)),
    };
    println!(
        "seed {seed}: {what} on {} sidecars, {} commands, {} refused starts, most memory {} MiB, {} s",
        outcomes.len(),
        sum(|it| it.commands),
        sum(|it| it.refused_starts),
        most_kib / 1024,
        began.elapsed().as_secs(),
    );
    let broken: Vec<_> = outcomes.iter().filter(|(_, outcome)| !outcome.violations.is_empty()).collect();
    for (life, outcome) in &broken {
        println!("FAIL sidecar {life} (again: SEED={seed} ONLY={life}):");
        outcome.violations.iter().for_each(|violation| println!("    {violation}"));
    }
    broken.is_empty() && !outcomes.is_empty()
}

/// Kills so many faults; whether nothing of them was left.
fn injected(seed: u64, count: u64) -> bool {
    let began = Instant::now();
    let each = count.div_ceil(KILL_LANES);
    let lanes = (0..KILL_LANES).map(|lane| std::thread::spawn(move || kills::play(seed, lane, each)));
    let lanes: Vec<_> = lanes.collect();
    let violations: Vec<String> = lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect();
    println!("seed {seed}: {} kills of faults, {} s", each * KILL_LANES, began.elapsed().as_secs());
    violations.iter().for_each(|violation| println!("FAIL {violation}"));
    violations.is_empty()
}
