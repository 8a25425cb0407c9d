//! A row of calls, each tried again while that may help.
//!
//! Three things can stand in the way, and each has a budget of its own ([`RetryBudget`]): the service says "too
//! fast", the service fails, or nobody answers. What answers in the service's place counts as no answer, and so does a
//! denial, because roles take seconds to be known everywhere. Any other refusal ends the row at once.
//!
//! How fast to try again under "too fast" decides what becomes of a fleet that starts at once. No task knows how
//! many others wait, nor how many calls a second the account has; all it knows is for how long it has been
//! throttled. So that is the scale: it waits a quarter of the time that it has waited already. Whatever the size
//! of the fleet, the calls offered then go down as the fleet goes on, the last task is at most a quarter late, and
//! a task makes some ten calls in vain for each tenfold of the wait. Who has got a first call through is faster,
//! so that those who have begun finish before others begin: an activation lives ten minutes only.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::AwsError;
use super::backoff::{Backoff, jitter};
use super::error::RetryReason;

/// How long to go on under each reason, from the first time that it was met.
#[derive(Debug, Clone, Copy)]
pub struct RetryBudget {
    /// No answer, nothing to sign with, an answer that is not the service's, or a denial. Each call counts for itself.
    pub unreachable: Duration,
    /// The service fails. Each call counts for itself.
    pub failing: Duration,
    /// The service says "too fast". All calls of the row together.
    pub throttled: Duration,
}

/// Pauses under "too fast": a share of the time that one has been throttled, within limits.
#[derive(Debug, Clone, Copy)]
struct Pace {
    share: f64,
    shortest: Duration,
    longest: Duration,
    /// Most that a pause differs from that, as a share of it.
    spread: f64,
}

/// Before the first call of a row was granted. The spread is small: the tasks are spread by their first pause
/// already, and a task that is late by much is what the whole fleet waits for.
const WAITING: Pace =
    Pace { share: 0.25, shortest: Duration::from_secs(1), longest: Duration::from_secs(300), spread: 0.1 };
/// After that.
const BEGUN: Pace =
    Pace { share: 0.2, shortest: Duration::from_millis(500), longest: Duration::from_secs(30), spread: 0.5 };
/// How far the first pauses are apart.
const FIRST_SPREAD: f64 = 0.5;

/// Pauses where nobody answers or the service fails: full jitter from the first to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// The same trouble is logged once in so long.
const LOG_EVERY: Duration = Duration::from_secs(60);

impl Pace {
    fn pause(&self, throttled_for: Duration) -> Duration {
        let spread = if throttled_for.is_zero() { FIRST_SPREAD } else { self.spread };
        let middle = throttled_for.mul_f64(self.share).clamp(self.shortest, self.longest);
        middle.mul_f64(1.0 - spread) + jitter(middle.mul_f64(2.0 * spread))
    }
}

/// A row of calls that belong together, such as those of a start.
#[derive(Debug)]
pub struct Retry<'a> {
    stop: &'a CancellationToken,
    budget: RetryBudget,
    /// When the row was throttled for the first time.
    throttled_since: Cell<Option<Instant>>,
    /// A call of the row was granted.
    begun: Cell<bool>,
    logged: Cell<Option<(RetryReason, Instant)>>,
    throttled: Notify,
}

impl<'a> Retry<'a> {
    /// After `stop` no call begins; one that is under way still ends.
    pub fn new(stop: &'a CancellationToken, budget: RetryBudget) -> Retry<'a> {
        Retry {
            stop,
            budget,
            throttled_since: Cell::new(None),
            begun: Cell::new(false),
            logged: Cell::new(None),
            throttled: Notify::new(),
        }
    }

    /// Makes a call until it succeeds, is refused, or the budget is at its end.
    ///
    /// # Errors
    /// The last error of the call.
    pub async fn call<T>(&self, operation: impl AsyncFn() -> Result<T, AwsError>) -> Result<T, AwsError> {
        loop {
            // Without a deadline there is always an answer.
            if let Some(value) = self.call_before(None, &operation).await? {
                return Ok(value);
            }
        }
    }

    /// As [`Self::call`]; None if `deadline` would pass before the next try.
    ///
    /// # Errors
    /// The last error of the call.
    pub async fn call_before<T>(
        &self,
        deadline: Option<Instant>,
        operation: impl AsyncFn() -> Result<T, AwsError>,
    ) -> Result<Option<T>, AwsError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let (mut unreachable_since, mut failing_since) = (None, None);
        loop {
            let error = match operation().await {
                Ok(value) => {
                    self.begun.set(true);
                    return Ok(Some(value));
                }
                Err(error) => error,
            };
            let Some(reason) = error.retry_reason() else { return Err(error) };
            let now = Instant::now();
            let (end, pause) = match reason {
                RetryReason::Throttled => {
                    let since = self.throttled_since.get().unwrap_or(now);
                    self.throttled_since.set(Some(since));
                    let pace = if self.begun.get() { BEGUN } else { WAITING };
                    (since + self.budget.throttled, pace.pause(now - since))
                }
                RetryReason::Failing => {
                    let since = *failing_since.get_or_insert(now);
                    (since + self.budget.failing, backoff.next_delay())
                }
                RetryReason::Unreachable | RetryReason::Odd | RetryReason::Denied => {
                    let since = *unreachable_since.get_or_insert(now);
                    (since + self.budget.unreachable, backoff.next_delay())
                }
            };
            let pause = pause.max(error.retry_after().unwrap_or_default().min(WAITING.longest));
            if self.stop.is_cancelled() || now + pause > end {
                return Err(error);
            }
            if deadline.is_some_and(|deadline| now + pause > deadline) {
                return Ok(None);
            }
            self.log(&error, reason, pause, end - now);
            if reason == RetryReason::Throttled {
                self.throttled.notify_one();
            }
            tokio::select! {
                () = self.stop.cancelled() => return Err(error),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The row begins anew: what its granted calls made is of no use any more.
    pub fn start_over(&self) {
        self.begun.set(false);
    }

    /// Is ready once a call was throttled and waits.
    pub async fn throttled(&self) {
        self.throttled.notified().await;
    }

    fn log(&self, error: &AwsError, reason: RetryReason, pause: Duration, left: Duration) {
        let (pause_ms, gives_up_s) = (pause.as_millis(), left.as_secs());
        let now = Instant::now();
        match self.logged.get() {
            Some((last, at)) if last == reason && now < at + LOG_EVERY => {
                tracing::debug!(%error, pause_ms, gives_up_s, "call failed, trying again");
            }
            _ => {
                tracing::warn!(%error, pause_ms, gives_up_s, "call failed, trying again");
                self.logged.set(Some((reason, now)));
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const RETRY_BUDGET: RetryBudget = RetryBudget {
        unreachable: Duration::from_secs(20),
        failing: Duration::from_secs(600),
        throttled: Duration::from_secs(7200),
    };

    pub(crate) fn refused(code: &str, status: u16) -> AwsError {
        let (operation, message) = ("CreateActivation".into(), "no".into());
        AwsError::Service { operation, code: code.into(), message, status, retry_after: None }
    }

    fn throttled() -> AwsError {
        refused("ThrottlingException", 400)
    }

    fn unreachable() -> AwsError {
        let (operation, endpoint, reason) = ("CreateActivation".into(), "http://x".into(), "refused".into());
        AwsError::Unreachable { operation, endpoint, reason, untrusted: false }
    }

    /// Calls that fail as `error` says until they have been made `failures` times; when each was made.
    async fn calls(
        retry: &Retry<'_>,
        failures: usize,
        error: AwsError,
    ) -> (Result<(), AwsError>, Vec<Duration>) {
        let (began, times) = (Instant::now(), std::cell::RefCell::new(Vec::new()));
        let result = retry
            .call(async || {
                times.borrow_mut().push(began.elapsed());
                if times.borrow().len() > failures { Ok(()) } else { Err(error.clone()) }
            })
            .await;
        (result, times.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn each_retry_reason_has_a_budget_of_its_own() {
        let stop = CancellationToken::new();
        for (error, least, most) in [
            (unreachable(), 4, 20),
            (AwsError::Unexpected { operation: "X".into(), reason: "no JSON".into() }, 4, 20),
            (refused("AccessDeniedException", 400), 4, 20),
            (refused("UnknownError", 302), 4, 20),
            (refused("UnknownError", 404), 4, 20),
            (refused("InternalServerError", 500), 570, 600),
            (refused("UnknownError", 503), 570, 600),
            (throttled(), 6600, 7200),
            (refused("UnknownError", 429), 6600, 7200),
        ] {
            let began = Instant::now();
            let (result, _) = calls(&Retry::new(&stop, RETRY_BUDGET), usize::MAX, error.clone()).await;
            let took = began.elapsed().as_secs();
            assert_eq!(result, Err(error.clone()));
            assert!((least..=most).contains(&took), "{error}: {took} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_retried() {
        let (stop, no) = (CancellationToken::new(), refused("InvalidActivation", 400));
        let (result, times) = calls(&Retry::new(&stop, RETRY_BUDGET), usize::MAX, no.clone()).await;
        assert_eq!((result, times.len()), (Err(no), 1));
    }

    /// One odd answer of each kind, then the right one.
    #[tokio::test(start_paused = true)]
    async fn one_odd_answer_does_not_end_it() {
        let odd = AwsError::Unexpected { operation: "X".into(), reason: "no JSON".into() };
        for error in [odd, refused("UnknownError", 307), refused("UnrecognizedClientException", 400)] {
            let stop = CancellationToken::new();
            let (result, times) = calls(&Retry::new(&stop, RETRY_BUDGET), 1, error).await;
            assert_eq!((result, times.len()), (Ok(()), 2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_is_a_quarter_of_the_time_throttled_so_far() {
        let stop = CancellationToken::new();
        let (result, times) = calls(&Retry::new(&stop, RETRY_BUDGET), 40, throttled()).await;
        assert_eq!(result, Ok(()));
        let first = times[1].as_secs_f64();
        assert!((0.5..=1.5).contains(&first), "{first}");
        for pair in times[1..].windows(2) {
            let (since, pause) = (pair[0].as_secs_f64(), (pair[1] - pair[0]).as_secs_f64());
            let middle = (0.25 * since).clamp(1.0, 300.0);
            // Timers have a grain of a millisecond.
            assert!((0.9 * middle - 0.01..=1.1 * middle + 0.01).contains(&pause), "{since} s: {pause} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_begun_is_faster_until_it_starts_over() {
        let stop = CancellationToken::new();
        let retry = Retry::new(&stop, RETRY_BUDGET);
        // Some twenty calls in vain are an hour.
        assert_eq!(calls(&retry, 35, throttled()).await.0, Ok(()));
        let (_, times) = calls(&retry, 1, throttled()).await;
        assert!((15..=45).contains(&times[1].as_secs()), "{times:?}");
        retry.start_over();
        let (_, times) = calls(&retry, 1, throttled()).await;
        assert!((270..=330).contains(&times[1].as_secs()), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_done_before_the_deadline_is_given_up() {
        let stop = CancellationToken::new();
        let (retry, began) = (Retry::new(&stop, RETRY_BUDGET), Instant::now());
        let deadline = began + Duration::from_secs(60);
        let result = retry.call_before::<()>(Some(deadline), async || Err(throttled())).await;
        assert_eq!(result, Ok(None));
        assert!((40..=60).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_says_when_is_believed_within_reason() {
        let stop = CancellationToken::new();
        for (says, least, most) in [(20, 20, 21), (86_400, 300, 301)] {
            let mut busy = throttled();
            if let AwsError::Service { retry_after, .. } = &mut busy {
                *retry_after = Some(Duration::from_secs(says));
            }
            let (_, times) = calls(&Retry::new(&stop, RETRY_BUDGET), 1, busy).await;
            assert!((least..=most).contains(&times[1].as_secs()), "{says}: {times:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_pauses_and_not_the_call() {
        let stop = CancellationToken::new();
        let retry = Retry::new(&stop, RETRY_BUDGET);
        let made = Cell::new(0);
        let result: Result<(), _> = retry
            .call(async || {
                made.set(made.get() + 1);
                stop.cancel();
                tokio::time::sleep(Duration::from_secs(5)).await;
                Err(throttled())
            })
            .await;
        assert_eq!((result, made.get()), (Err(throttled()), 1));
        let stop = CancellationToken::new();
        let retry = Retry::new(&stop, RETRY_BUDGET);
        let began = Instant::now();
        let waits = calls(&retry, usize::MAX, throttled());
        let cancel = async {
            tokio::time::sleep(Duration::from_secs(3000)).await;
            stop.cancel();
        };
        let ((result, _), ()) = tokio::join!(waits, cancel);
        assert_eq!((result, began.elapsed().as_secs()), (Err(throttled()), 3000));
    }
}
