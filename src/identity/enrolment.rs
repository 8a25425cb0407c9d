//! From nothing to a managed instance: an activation is minted, and used up while it lives.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::activation::{ACTIVATION_LIFE, Activation};
use crate::aws::AwsError;
use crate::aws::retry::Retry;

/// So long before its end an activation is given up: clocks differ, and a call takes its time.
const MARGIN: Duration = Duration::from_secs(30);

/// What the service says of an activation with which its one registration was made.
const USED_UP: &str = "RegistrationLimitExceeded";

/// So often the answer to a registration may be lost before the start gives up.
const MOST_LOST: u32 = 3;

/// Mints an activation and registers with it. Where registrations are throttled for so long that the activation
/// would expire first, or where one registration has used it up and its answer was lost, another is minted; who minted
/// the first has to delete it.
///
/// # Errors
/// The last error of the call that did not succeed.
pub async fn enrol<I>(
    retry: &Retry<'_>,
    mint: impl AsyncFn() -> Result<Activation, AwsError>,
    register: impl AsyncFn(&Activation) -> Result<I, AwsError>,
) -> Result<(Activation, I), AwsError> {
    let mut lost = 0;
    loop {
        let asked = Cell::new(Instant::now());
        let mint = async || {
            asked.set(Instant::now());
            mint().await
        };
        let activation = retry.call(mint).await?;
        let deadline = asked.get() + ACTIVATION_LIFE - MARGIN;
        let answer_lost = Cell::new(false);
        let register = async || {
            let answer = register(&activation).await;
            answer.inspect_err(|error| answer_lost.set(answer_lost.get() || error.is_answer_lost()))
        };
        match retry.call_before(Some(deadline), register).await {
            Ok(Some(instance)) => return Ok((activation, instance)),
            Ok(None) => tracing::warn!(
                activation = activation.id,
                "it expires before its registration's turn comes, minting another"
            ),
            Err(error) if error.code() == USED_UP && answer_lost.get() && lost < MOST_LOST => {
                lost += 1;
                tracing::warn!(
                    activation = activation.id,
                    "an instance was registered with it, but the answer that names the instance was lost; minting \
                     another (aws ssm describe-instance-information --filters Key=ActivationIds,Values=… shows the \
                     instance, which nobody uses)"
                );
            }
            Err(error) => return Err(error),
        }
        retry.start_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::retry::tests::{RETRY_BUDGET, refused};
    use tokio_util::sync::CancellationToken;

    /// Enrols where registrations are answered so for the first `busy`; what came of it, when each activation was
    /// minted, and those that a registration was tried with after they had expired.
    async fn enrolled(
        busy: Duration,
        error: AwsError,
    ) -> (Result<(String, &'static str), AwsError>, Vec<Duration>, Vec<String>) {
        let (stop, began) = (CancellationToken::new(), Instant::now());
        let minted = std::cell::RefCell::new(Vec::new());
        let expired = std::cell::RefCell::new(Vec::new());
        let mint = async || {
            minted.borrow_mut().push(began.elapsed());
            Ok(Activation { id: (minted.borrow().len() - 1).to_string(), code: String::new() })
        };
        let register = async |activation: &Activation| {
            let number: usize = activation.id.parse().unwrap();
            if began.elapsed() >= minted.borrow()[number] + ACTIVATION_LIFE {
                expired.borrow_mut().push(activation.id.clone());
            }
            if began.elapsed() < busy { Err(error.clone()) } else { Ok("mi-1") }
        };
        let result = enrol(&Retry::new(&stop, RETRY_BUDGET), mint, register).await;
        (
            result.map(|(activation, instance)| (activation.id, instance)),
            minted.into_inner(),
            expired.into_inner(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn an_activation_that_would_expire_is_replaced() {
        let (result, minted, expired) =
            enrolled(Duration::from_secs(1500), refused("ThrottlingException", 400)).await;
        assert_eq!(minted.len(), 3, "{minted:?}");
        assert_eq!(result, Ok(("2".to_owned(), "mi-1")));
        assert_eq!(expired, Vec::<String>::new());
        assert!(minted[1] > Duration::from_secs(500), "{minted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_lives_long_enough_is_used() {
        let (result, minted, _) =
            enrolled(Duration::from_secs(300), refused("ThrottlingException", 400)).await;
        assert_eq!((result, minted.len()), (Ok(("0".to_owned(), "mi-1")), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_registration_ends_it() {
        let no = refused("InvalidActivation", 400);
        let (result, minted, _) = enrolled(Duration::MAX, no.clone()).await;
        assert_eq!((result, minted.len()), (Err(no), 1));
    }

    /// Enrols where the service answers so for each activation: first `first`, then that the activation is used up,
    /// but for the `good`-th.
    async fn enrolled_after(first: AwsError, good: usize) -> (Result<String, AwsError>, usize) {
        let (stop, minted, tried) = (CancellationToken::new(), Cell::new(0), Cell::new(0));
        let mint = async || {
            minted.set(minted.get() + 1);
            tried.set(0);
            Ok(Activation { id: minted.get().to_string(), code: String::new() })
        };
        let register = async |_: &Activation| {
            tried.set(tried.get() + 1);
            match tried.get() {
                _ if minted.get() == good => Ok(()),
                1 => Err(first.clone()),
                _ => Err(refused(USED_UP, 400)),
            }
        };
        let result = enrol(&Retry::new(&stop, RETRY_BUDGET), mint, register).await;
        (result.map(|(activation, ())| activation.id), minted.get())
    }

    #[tokio::test(start_paused = true)]
    async fn a_registration_whose_answer_was_lost_is_made_with_another_activation() {
        let cut =
            || AwsError::Unexpected { operation: "RegisterManagedInstance".into(), reason: "cut".into() };
        assert_eq!(enrolled_after(cut(), 2).await, (Ok("2".to_owned()), 2));
        assert_eq!(enrolled_after(refused("UnknownError", 302), 3).await, (Ok("3".to_owned()), 3));
        // Not for ever, and not where somebody else has used it up.
        assert_eq!(enrolled_after(cut(), 9).await, (Err(refused(USED_UP, 400)), 4));
        assert_eq!(
            enrolled_after(refused("ThrottlingException", 400), 9).await,
            (Err(refused(USED_UP, 400)), 1)
        );
    }
}
