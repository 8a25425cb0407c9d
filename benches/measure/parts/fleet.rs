//! A fleet that starts at the same moment under an API limit: how long until all are Online, beside the
//! bound that no fleet can beat, and how many calls were wasted.
//!
//! Virtual time: tokio's clock jumps from timer to timer. The calls, their order and the waiting are those of
//! the sidecar's start (`CreateActivation`, `RegisterManagedInstance`, `RequestManagedInstanceRoleToken`,
//! `UpdateInstanceInformation`), with its own retry and its own patience; the service is a token bucket.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use taskfault::aws::AwsError;
use taskfault::aws::backoff::retry;
use taskfault::sidecar::START_PATIENCE;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::Options;
use crate::figures::{Better, NEVER, OURS, Row, Statistic};

/// What a start asks of the service, in this order.
const CALLS: [&str; 4] = [
    "CreateActivation",
    "RegisterManagedInstance",
    "RequestManagedInstanceRoleToken",
    "UpdateInstanceInformation",
];
/// An answer takes so long, a refusal too.
const ROUND_TRIP: Duration = Duration::from_millis(20);
const FLEETS: [usize; 3] = [100, 1_000, 10_000];
/// Calls a second that the account may make, all operations together.
const LIMITS: [f64; 3] = [10.0, 50.0, 200.0];

pub fn run(options: Options) {
    let seeds = if options.full { 10 } else { 3 };
    for tasks in FLEETS {
        for limit in LIMITS {
            fleet(tasks, limit, seeds);
        }
    }
}

fn fleet(tasks: usize, limit: f64, rounds: usize) {
    let bound = (tasks * CALLS.len()) as f64 / limit;
    let outcomes: Vec<Outcome> = (0..rounds).map(|_| simulate(tasks, limit)).collect();
    let row = |what: &str, unit: &str| {
        Row::new("fleet", format!("{tasks} tasks, {limit} calls/s: {what}"), unit, Better::Less)
    };
    let lost: usize = outcomes.iter().map(|outcome| outcome.gave_up).sum();
    let over_bound = row("all Online, over the bound", "×").aim(Statistic::Median, 1.2);
    let over_bound = match lost {
        0 => over_bound.ours(outcomes.iter().map(|outcome| outcome.seconds / bound).collect()),
        // The time of those who got there would look like a good one.
        lost => over_bound.said(OURS, format!("{NEVER}: {:.1} % gave up", percent(lost, tasks * rounds))),
    };
    over_bound.note(format!("the bound is {bound:.0} s, less what the first second gives at once")).emit();
    let wasted = outcomes.iter().map(|outcome| percent(outcome.refused, outcome.calls)).collect();
    row("calls refused", "% of all").ours(wasted).emit();
    let gave_up = outcomes.iter().map(|outcome| percent(outcome.gave_up, tasks)).collect();
    Row::new("fleet", format!("{tasks} tasks, {limit} calls/s: gave up"), "%", Better::Less)
        .peer(OURS, gave_up)
        .aim(Statistic::Worst, 0.0)
        .emit();
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole as f64
}

struct Outcome {
    /// Until the last that got there was Online.
    seconds: f64,
    calls: usize,
    refused: usize,
    gave_up: usize,
}

/// The service: so many calls a second, and a second's worth of them at once.
struct Service {
    limit: f64,
    tokens: Cell<f64>,
    filled: Cell<Instant>,
    calls: Cell<usize>,
    refused: Cell<usize>,
}

impl Service {
    async fn call(&self, operation: &str) -> Result<(), AwsError> {
        sleep(ROUND_TRIP / 2).await;
        let now = Instant::now();
        let filled = self.tokens.get() + (now - self.filled.get()).as_secs_f64() * self.limit;
        self.filled.set(now);
        self.tokens.set(filled.min(self.limit));
        self.calls.set(self.calls.get() + 1);
        let granted = self.tokens.get() >= 1.0;
        match granted {
            true => self.tokens.set(self.tokens.get() - 1.0),
            false => self.refused.set(self.refused.get() + 1),
        }
        sleep(ROUND_TRIP / 2).await;
        if granted { Ok(()) } else { Err(throttled(operation)) }
    }
}

fn throttled(operation: &str) -> AwsError {
    AwsError::Service {
        operation: operation.into(),
        code: "ThrottlingException".into(),
        message: "Rate exceeded".into(),
        status: 400,
    }
}

fn simulate(tasks: usize, limit: f64) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let began = std::time::Instant::now();
    let outcome = LocalSet::new().block_on(&runtime, async {
        let start = Instant::now();
        let (tokens, filled) = (Cell::new(limit), Cell::new(start));
        let service = Rc::new(Service { limit, tokens, filled, calls: Cell::new(0), refused: Cell::new(0) });
        let online = Rc::new(RefCell::new(Vec::with_capacity(tasks)));
        let starts: Vec<_> = (0..tasks)
            .map(|_| {
                let (service, online) = (service.clone(), online.clone());
                tokio::task::spawn_local(async move {
                    for operation in CALLS {
                        if retry(START_PATIENCE, || service.call(operation)).await.is_err() {
                            return;
                        }
                    }
                    online.borrow_mut().push(start.elapsed());
                })
            })
            .collect();
        for start in starts {
            start.await.unwrap();
        }
        let online = online.borrow();
        let last = online.iter().max().copied().unwrap_or_default();
        Outcome {
            seconds: last.as_secs_f64(),
            calls: service.calls.get(),
            refused: service.refused.get(),
            gave_up: tasks - online.len(),
        }
    });
    eprintln!("{tasks} at {limit}/s took {:.1} s of real time", began.elapsed().as_secs_f64());
    outcome
}
