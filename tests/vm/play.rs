//! Plays effects in one process, as the sidecar holds them, and tells what the kernel has of them. One line in,
//! one line out.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use effects::net::{Environment, KeptRoots, NetworkEffect, NetworkPlan, Work};
use faults::network_source::{Selection, parse_sources};

use crate::kernel;
use crate::refuse::Refusals;

/// Answers until the input ends:
/// - `add NUMBER delay|loss|hole VALUE WAY WHAT…`: VALUE is milliseconds, per cent, or a port; WHAT is interface
///   and sources, or the protocol. `ok`, or what went wrong.
/// - `keep`: the roots stay from now on, as in a sidecar; `give`: until now.
/// - `lasts SECONDS`: those that are added from now on; `until NUMBER SECONDS`: the end of one, from now on.
/// - `end NUMBER`, as above; `extend NUMBER ADDRESS…`, `N new`.
/// - `state`, the kernel's; `ranges FAMILY TABLE SET`.
/// - `refuse FIRST LAST`: these messages to the kernel, counted from 1; `sent`: how many there were.
/// - `churn delay|…`: adds and ends for ever; says `a` before an add, `h` after it, `e` before an end.
pub(crate) fn run() {
    let state_dir = std::env::var("TASKFAULT_STATE_DIR").unwrap().into();
    let environment = Environment { state_dir, ..Environment::default() };
    let mut effects = BTreeMap::new();
    let mut refusals = None;
    let mut kept = None;
    let mut lasts = Duration::from_secs(3_600);
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u32>().unwrap();
        match words[0] {
            "add" => say(NetworkEffect::start(&plan(&words[2..], lasts), &environment).map(|effect| {
                effects.insert(words[1].to_owned(), effect);
                "ok"
            })),
            "keep" => {
                kept = Some(KeptRoots::keep());
                println!("ok");
            }
            "give" => {
                kept = None;
                println!("ok");
            }
            "lasts" => {
                lasts = Duration::from_secs(number(1).into());
                println!("ok");
            }
            "until" => {
                let deadline = effects[words[1]].deadline().unwrap();
                say(deadline.set(Duration::from_secs(number(2).into())).map(|()| "ok"));
            }
            "end" => say(effects.remove(words[1]).unwrap().undo().1.map(|()| "ok")),
            "extend" => {
                let addresses: Vec<_> = words[2..].iter().map(|address| address.parse().unwrap()).collect();
                let effect: &mut NetworkEffect = effects.get_mut(words[1]).unwrap();
                say(effect.extend(&addresses).map(|count| format!("{count} new")));
            }
            "state" => println!("{}", kernel::state()),
            "ranges" => println!("{}", kernel::ranges(words[1].parse().unwrap(), words[2], words[3])),
            "refuse" => {
                refusals.get_or_insert_with(Refusals::install).order(number(1), number(2));
                println!("ok");
            }
            "sent" => println!("{}", refusals.as_ref().map_or(0, Refusals::seen)),
            "churn" => churn(&plan(&words[1..], lasts), &environment),
            other => panic!("no command {other}"),
        }
        std::io::stdout().flush().unwrap();
    }
    drop(kept);
}

fn say(outcome: Result<impl std::fmt::Display, impl std::fmt::Display>) {
    match outcome {
        Ok(word) => println!("{word}"),
        Err(error) => println!("{error}"),
    }
}

fn churn(plan: &NetworkPlan, environment: &Environment) {
    let phase = |letter: &str| {
        let mut output = std::io::stdout();
        output.write_all(letter.as_bytes()).and_then(|()| output.flush()).unwrap();
    };
    loop {
        phase("a");
        let effect = NetworkEffect::start(plan, environment).unwrap();
        phase("h");
        std::thread::sleep(Duration::from_millis(1));
        phase("e");
        effect.undo().1.unwrap();
    }
}

fn plan(words: &[&str], lasts: Duration) -> NetworkPlan {
    let value: u64 = words[1].parse().unwrap();
    let work = match words[0] {
        "delay" => Work::Delay { delay: Duration::from_millis(value), jitter: Duration::ZERO },
        "loss" => Work::Lose { percent: value.try_into().unwrap() },
        _ => Work::Discard,
    };
    let hole = words[0] == "hole";
    NetworkPlan {
        name: "play",
        work,
        direction: words[2].parse().unwrap(),
        interfaces: (!hole).then(|| words[3].parse().unwrap()),
        sources: parse_sources(if hole { "ALL" } else { words[4] }).unwrap(),
        port: hole.then(|| (words[3].parse().unwrap(), value.try_into().unwrap())),
        selection: Selection::default(),
        flows_percent: 100,
        lasts,
    }
}
