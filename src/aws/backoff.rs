//! Exponential back-off with full jitter, and the retry of transient errors.
//!
//! Full jitter (a uniform draw between zero and the current ceiling) spreads a fleet that starts at the
//! same moment better than a jittered fixed delay does, and wastes fewer calls.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::AwsError;

/// A series of delays: the n-th is drawn uniformly from zero to `base`·2ⁿ, never above `cap`.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    pub fn new(base: Duration, cap: Duration) -> Backoff {
        Backoff { base, cap, attempt: 0 }
    }

    /// The ceiling of the next delay.
    fn ceiling(&self) -> Duration {
        self.base.saturating_mul(2u32.saturating_pow(self.attempt)).min(self.cap)
    }

    /// The next delay; the one after it may be twice as long.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.ceiling().mul_f64(fastrand());
        self.attempt = self.attempt.saturating_add(1);
        delay
    }

    /// Starts again from the base, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// A uniform draw from `[0, 1)`.
fn fastrand() -> f64 {
    // The random bits of a version-4 UUID; no second generator is needed for jitter.
    let bits = uuid::Uuid::new_v4().as_u128() as u64 & 0x000f_ffff_ffff_ffff;
    bits as f64 / (1u64 << 52) as f64
}

/// A duration drawn uniformly from zero to `ceiling`.
pub fn jitter(ceiling: Duration) -> Duration {
    ceiling.mul_f64(fastrand())
}

/// How long to keep trying a call that fails for transient reasons.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Calls that got no answer at all, the first included.
    pub unreachable_attempts: u32,
    /// Calls that the service refused as too fast, or failed at, the first included.
    pub throttled_attempts: u32,
    /// No pause between two calls is longer.
    pub longest_pause: Duration,
}

/// Calls `operation` until it succeeds, fails for good, or `patience` is at its end; logs each retry.
///
/// # Errors
/// The last error of the call.
pub async fn retry<T, F, Fut>(patience: Patience, operation: F) -> Result<T, AwsError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, AwsError>>,
{
    retry_until(&CancellationToken::new(), patience, operation).await
}

/// As [`retry`], but begins no call after `stop`; one that is under way still ends.
///
/// # Errors
/// The last error of the call.
pub async fn retry_until<T, F, Fut>(
    stop: &CancellationToken,
    patience: Patience,
    mut operation: F,
) -> Result<T, AwsError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, AwsError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(500), patience.longest_pause);
    let (mut unreachable, mut throttled) = (0, 0);
    loop {
        let error = match operation().await {
            Ok(value) => return Ok(value),
            Err(error) if !error.is_transient() => return Err(error),
            Err(error) => error,
        };
        let exhausted = match error {
            AwsError::Unreachable { .. } | AwsError::Credentials { .. } => {
                unreachable += 1;
                unreachable >= patience.unreachable_attempts
            }
            _ => {
                throttled += 1;
                throttled >= patience.throttled_attempts
            }
        };
        if exhausted || stop.is_cancelled() {
            return Err(error);
        }
        let delay = backoff.next_delay();
        tracing::warn!(%error, delay_ms = delay.as_millis() as u64, "call failed, trying again");
        tokio::select! {
            () = stop.cancelled() => return Err(error),
            () = tokio::time::sleep(delay) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_below_a_doubling_ceiling_and_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        for ceiling in [1, 2, 4, 8, 8, 8] {
            assert_eq!(backoff.ceiling(), Duration::from_secs(ceiling));
            assert!(backoff.next_delay() <= Duration::from_secs(ceiling));
        }
        backoff.reset();
        assert_eq!(backoff.ceiling(), Duration::from_secs(1));
    }

    #[test]
    fn many_attempts_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..200 {
            assert!(backoff.next_delay() <= Duration::from_secs(60));
        }
    }

    fn throttled() -> AwsError {
        AwsError::Service {
            operation: "CreateActivation".into(),
            code: "ThrottlingException".into(),
            message: "Rate exceeded".into(),
            status: 400,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_is_retried_until_it_passes() {
        let mut calls = 0;
        let patience = Patience {
            unreachable_attempts: 1,
            throttled_attempts: 10,
            longest_pause: Duration::from_secs(20),
        };
        let result = retry(patience, || {
            calls += 1;
            let answer = if calls < 5 { Err(throttled()) } else { Ok(calls) };
            async move { answer }
        })
        .await;
        assert_eq!(result, Ok(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_pauses_and_not_the_call() {
        let (stop, mut calls) = (CancellationToken::new(), 0);
        let patience = Patience {
            unreachable_attempts: 9,
            throttled_attempts: 9,
            longest_pause: Duration::from_secs(20),
        };
        let result: Result<(), _> = retry_until(&stop, patience, || {
            calls += 1;
            let stop = stop.clone();
            async move {
                stop.cancel();
                tokio::time::sleep(Duration::from_secs(5)).await;
                Err(throttled())
            }
        })
        .await;
        assert_eq!((result, calls), (Err(throttled()), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_retried() {
        let denied = AwsError::Service {
            operation: "CreateActivation".into(),
            code: "AccessDeniedException".into(),
            message: "no".into(),
            status: 400,
        };
        let mut calls = 0;
        let patience = Patience {
            unreachable_attempts: 9,
            throttled_attempts: 9,
            longest_pause: Duration::from_secs(20),
        };
        let result: Result<(), _> = retry(patience, || {
            calls += 1;
            let answer = Err(denied.clone());
            async move { answer }
        })
        .await;
        assert_eq!((result, calls), (Err(denied.clone()), 1));
    }
}
