//! From nothing to a managed instance: an activation is minted, and used up while it lives.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::activation::{ACTIVATION_LIFE, Activation};
use crate::aws::AwsError;
use crate::aws::retry::Retry;

/// So long before its end an activation is given up: clocks differ, and a call takes its time.
const MARGIN: Duration = Duration::from_secs(30);

/// Mints an activation and registers with it. Where registrations are throttled for so long that the activation
/// would expire first, another is minted; who minted the first has to delete it.
///
/// # Errors
/// The last error of the call that did not succeed.
pub async fn enrol<I>(
    retry: &Retry<'_>,
    mint: impl AsyncFn() -> Result<Activation, AwsError>,
    register: impl AsyncFn(&Activation) -> Result<I, AwsError>,
) -> Result<(Activation, I), AwsError> {
    loop {
        let asked = Cell::new(Instant::now());
        let mint = async || {
            asked.set(Instant::now());
            mint().await
        };
        let activation = retry.call(mint).await?;
        let deadline = asked.get() + ACTIVATION_LIFE - MARGIN;
        if let Some(instance) =
            retry.call_before(Some(deadline), async || register(&activation).await).await?
        {
            return Ok((activation, instance));
        }
        tracing::warn!(
            activation = activation.id,
            "it expires before its registration's turn comes, minting another"
        );
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
        let denied = refused("AccessDeniedException", 400);
        let (result, minted, _) = enrolled(Duration::MAX, denied.clone()).await;
        assert_eq!((result, minted.len()), (Err(denied), 1));
    }
}
