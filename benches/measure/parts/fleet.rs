//! A fleet that starts at the same moment under an API limit: how long until all are Online, beside the
//! bound that no fleet can beat, and how many calls were wasted.
//!
//! Virtual time: tokio's clock jumps from timer to timer. The calls, their order and the waiting are those of
//! the sidecar's start: its own enrolment, its own retry, its own budget; an activation that expires meanwhile
//! is refused, and one that was minted in vain is deleted afterwards, as the sidecar does it. The service is a
//! token bucket as AWS describes its own: a call that finds a token takes it, one that finds none is refused and
//! costs nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use taskfault::aws::AwsError;
use taskfault::aws::retry::Retry;
use taskfault::identity::activation::{ACTIVATION_LIFE, Activation};
use taskfault::identity::enrolment::enrol;
use taskfault::sidecar::START_RETRY_BUDGET;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::figures::{Better, NEVER, OURS, Row, Statistic};

/// Calls that a start makes of the service: CreateActivation, RegisterManagedInstance,
/// RequestManagedInstanceRoleToken, UpdateInstanceInformation.
const CALLS: usize = 4;
/// An answer takes so long, a refusal too.
const ROUND_TRIP: Duration = Duration::from_millis(20);
const FLEETS: [usize; 3] = [100, 1_000, 10_000];
/// Calls a second that the account may make, all operations together.
const LIMITS: [f64; 3] = [10.0, 50.0, 200.0];

pub(crate) fn run(options: Options) {
    let seeds = if options.full { 10 } else { 3 };
    for tasks in FLEETS {
        for limit in LIMITS {
            fleet(tasks, limit, seeds);
        }
    }
}

fn fleet(tasks: usize, limit: f64, rounds: usize) {
    let bound = (tasks * CALLS) as f64 / limit;
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
    let each = outcomes.iter().map(|outcome| outcome.calls as f64 / (tasks * CALLS) as f64).collect();
    let in_vain: usize = outcomes.iter().map(|outcome| outcome.minted.saturating_sub(tasks)).sum();
    row("calls made for each that is needed", "×")
        .ours(each)
        .note(format!(
            "{:.1} % of the activations expired unused",
            percent(in_vain, tasks * rounds + in_vain)
        ))
        .emit();
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
    /// Activations.
    minted: usize,
    gave_up: usize,
}

/// The service: so many calls a second, and a second's worth of them at once.
struct Service {
    limit: f64,
    tokens: Cell<f64>,
    filled: Cell<Instant>,
    calls: Cell<usize>,
    /// When each activation expires.
    activations: RefCell<Vec<Instant>>,
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
        if granted {
            self.tokens.set(self.tokens.get() - 1.0);
        }
        sleep(ROUND_TRIP / 2).await;
        if granted { Ok(()) } else { Err(refused(operation, "ThrottlingException")) }
    }

    async fn mint(&self) -> Result<Activation, AwsError> {
        self.call("CreateActivation").await?;
        let mut activations = self.activations.borrow_mut();
        activations.push(Instant::now() + ACTIVATION_LIFE);
        Ok(Activation { id: (activations.len() - 1).to_string(), code: String::new() })
    }

    async fn register(&self, activation: &Activation) -> Result<(), AwsError> {
        self.call("RegisterManagedInstance").await?;
        let number: usize = activation.id.parse().unwrap();
        if self.activations.borrow()[number] <= Instant::now() {
            return Err(refused("RegisterManagedInstance", "ActivationExpired"));
        }
        Ok(())
    }
}

fn refused(operation: &str, code: &str) -> AwsError {
    AwsError::Service {
        operation: operation.into(),
        code: code.into(),
        message: String::new(),
        status: 400,
        retry_after: None,
    }
}

/// One task's start, as `sidecar::start` makes it; how many activations it minted.
async fn start(service: &Service) -> Result<usize, AwsError> {
    let (never, minted) = (CancellationToken::new(), Cell::new(0));
    let retry = Retry::new(&never, START_RETRY_BUDGET);
    let mint = async || {
        let activation = service.mint().await?;
        minted.set(minted.get() + 1);
        Ok(activation)
    };
    enrol(&retry, mint, async |activation: &Activation| service.register(activation).await).await?;
    retry.call(async || service.call("RequestManagedInstanceRoleToken").await).await?;
    retry.call(async || service.call("UpdateInstanceInformation").await).await?;
    Ok(minted.get())
}

/// What a sidecar does once it is Online: deletes the activations that expired meanwhile.
async fn tidy_up(service: &Service, expired: usize) {
    let never = CancellationToken::new();
    let retry = Retry::new(&never, START_RETRY_BUDGET);
    for _ in 0..expired {
        let _ = retry.call(async || service.call("DeleteActivation").await).await;
    }
}

fn simulate(tasks: usize, limit: f64) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let began = Instant::now();
        let service = Rc::new(Service {
            limit,
            tokens: Cell::new(limit),
            filled: Cell::new(began),
            calls: Cell::new(0),
            activations: RefCell::default(),
        });
        let online = Rc::new(RefCell::new(Vec::with_capacity(tasks)));
        let starts: Vec<_> = (0..tasks)
            .map(|_| {
                let (service, online) = (service.clone(), online.clone());
                tokio::task::spawn_local(async move {
                    if let Ok(minted) = start(&service).await {
                        online.borrow_mut().push(began.elapsed());
                        tidy_up(&service, minted - 1).await;
                    }
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
            minted: service.activations.borrow().len(),
            gave_up: tasks - online.len(),
        }
    })
}
