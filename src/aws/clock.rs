//! The service's time, where this machine's clock is off: calls are signed with it, and what the service dates is held
//! against it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::AwsError;

/// A clock that is off by less is right: a Date has whole seconds, and is on its way for a while.
const LEAST_SECONDS: u64 = 5;
/// A clock that is off by more is not corrected: there is something wrong with this machine, or with who answers.
const MOST_SECONDS: u64 = 3600;

/// How services refuse a call for the time that it was signed at. Source: the SDKs' clock-skew errors, and what services
/// answer where they find the signature of another time wrong.
const REFUSALS: [&str; 7] = [
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "InvalidSignatureException",
    "InvalidSignature",
    "SignatureDoesNotMatch",
    "AuthFailure",
];

/// A clock that goes as the service's does. All clones are one.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Seconds that the service's clock is ahead of this machine's.
    ahead: Arc<AtomicI64>,
}

impl Clock {
    /// The service's time, as far as it is known; else this machine's.
    pub fn now(&self) -> SystemTime {
        let (now, ahead) = (SystemTime::now(), self.now_ahead());
        let by = Duration::from_secs(ahead.unsigned_abs());
        if ahead > 0 { now + by } else { now - by }
    }

    /// Hears the `Date` of an answer of the service. One that cannot be read says nothing.
    pub fn hear(&self, date: Option<&str>) {
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        let Some(service) = date.map(|date| date.secs()) else { return };
        let ahead = service.saturating_sub(DateTime::from(SystemTime::now()).secs());
        let before = self.ahead.swap(ahead, Ordering::Relaxed);
        if before.abs_diff(ahead) > LEAST_SECONDS && ahead.unsigned_abs() > LEAST_SECONDS {
            tracing::warn!("{}", off(ahead));
        }
    }

    /// Makes a call, and once more if it was refused for its time and this machine's clock is off, as its answer or an
    /// earlier one has told. `refused` says whether it was ([`is_refusal`]).
    ///
    /// # Errors
    /// That of the last call.
    pub async fn corrected<T, E>(
        &self,
        call: impl AsyncFn() -> Result<T, E>,
        refused: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let before = self.now_ahead();
        // In boxes: calls are large, and lie inside of those of all who wait for them.
        match Box::pin(call()).await {
            Err(error) if refused(&error) && (before != 0 || self.now_ahead() != before) => {
                Box::pin(call()).await
            }
            other => other,
        }
    }

    /// Adds to a refusal for its time that this machine's clock is the reason, where it is.
    pub fn explain(&self, error: AwsError) -> AwsError {
        let ahead = self.ahead.load(Ordering::Relaxed);
        match error {
            AwsError::Service { operation, code, message, status, retry_after }
                if is_refusal(&code) && ahead.unsigned_abs() > MOST_SECONDS =>
            {
                let message = format!("{message}; {}", off(ahead));
                AwsError::Service { operation, code, message, status, retry_after }
            }
            other => other,
        }
    }

    /// Seconds by which calls are signed off this machine's clock.
    fn now_ahead(&self) -> i64 {
        let ahead = self.ahead.load(Ordering::Relaxed);
        if (LEAST_SECONDS..=MOST_SECONDS).contains(&ahead.unsigned_abs()) { ahead } else { 0 }
    }
}

/// Unix epoch milliseconds, as frames, log events and metrics have them.
pub fn epoch_milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether services refuse a call for its time by this error code.
pub fn is_refusal(code: &str) -> bool {
    REFUSALS.contains(&code)
}

fn off(ahead: i64) -> String {
    let by = ahead.unsigned_abs();
    let way = if ahead > 0 { "behind" } else { "ahead of" };
    let done = match by > MOST_SECONDS {
        true => "too far to go on: set it, or look for who answers in the service's place",
        false => "calls are signed with the service's time",
    };
    format!("the clock of this machine is {by} s {way} that of the service; {done}")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn date(ahead: i64) -> String {
        let now = DateTime::from(SystemTime::now());
        DateTime::from_secs(now.secs() + ahead).fmt(Format::HttpDate).unwrap()
    }

    /// Seconds that the clock is ahead of this machine's once it has heard of such a date.
    fn heard(ahead: i64) -> i64 {
        let clock = Clock::default();
        clock.hear(Some(&date(ahead)));
        let seconds = |time: SystemTime| DateTime::from(time).secs();
        seconds(clock.now()) - seconds(SystemTime::now())
    }

    #[test]
    fn it_follows_the_service_within_an_hour() {
        for ahead in [600, -600, 3590, -3590] {
            assert!((heard(ahead) - ahead).abs() <= 2, "{ahead}: {}", heard(ahead));
        }
        for ahead in [0, 3, -3, 3700, -86_400] {
            assert!(heard(ahead).abs() <= 1, "{ahead}: {}", heard(ahead));
        }
        let clock = Clock::default();
        clock.hear(Some("yesterday"));
        clock.hear(None);
        assert_eq!(clock.now_ahead(), 0);
    }

    fn refusal(code: &str) -> AwsError {
        AwsError::Service {
            operation: "Op".into(),
            code: code.into(),
            message: "Signature expired".into(),
            status: 400,
            retry_after: None,
        }
    }

    /// How often a call is made that is refused with `code` at first, by a service so far ahead.
    async fn calls(code: &str, ahead: i64) -> u32 {
        let (clock, made) = (Clock::default(), Cell::new(0));
        let call = async || {
            made.set(made.get() + 1);
            clock.hear(Some(&date(ahead)));
            if made.get() == 1 { Err(code.to_owned()) } else { Ok(()) }
        };
        let _ = clock.corrected(call, |code: &String| is_refusal(code)).await;
        made.get()
    }

    #[tokio::test]
    async fn a_call_that_is_refused_for_its_time_is_made_once_more_at_the_right_one() {
        assert_eq!(calls("InvalidSignatureException", 1800).await, 2);
        assert_eq!(calls("InvalidSignatureException", 0).await, 1, "the clock is right, the key is wrong");
        assert_eq!(calls("InvalidSignatureException", 7200).await, 1, "too far");
        assert_eq!(calls("AccessDeniedException", 1800).await, 1);
    }

    #[test]
    fn a_clock_that_is_too_far_off_is_the_hint() {
        let clock = Clock::default();
        clock.hear(Some(&date(7200)));
        let text = clock.explain(refusal("RequestExpired")).to_string();
        assert!(text.contains("s behind that of the service; too far to go on"), "{text}");
        assert!(!clock.explain(refusal("AccessDeniedException")).to_string().contains("clock"));
        clock.hear(Some(&date(0)));
        assert!(!clock.explain(refusal("RequestExpired")).to_string().contains("clock"));
    }
}
