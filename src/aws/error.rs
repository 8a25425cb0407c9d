//! What can go wrong when calling AWS, and what it means for the caller.

use std::time::Duration;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// The service answered with an error.
    #[error("{operation}: {code}: {message} (HTTP {status})")]
    Service {
        /// The call's name.
        operation: String,
        /// `AccessDeniedException`, `ThrottlingException`, …
        code: String,
        /// The service's own text.
        message: String,
        /// HTTP status.
        status: u16,
        /// When to come again, where the answer says so (`Retry-After` in seconds). AWS itself hardly ever does;
        /// proxies do.
        retry_after: Option<Duration>,
    },
    /// No answer: the name did not resolve, the connection was refused or broke, TLS failed, or time ran out.
    #[error("{operation}: cannot reach {endpoint}: {reason}")]
    Unreachable {
        /// The call's name.
        operation: String,
        /// The address that was asked.
        endpoint: String,
        /// The connection's error, with its causes.
        reason: String,
        /// Somebody is there, but with a certificate that is not trusted.
        untrusted: bool,
    },
    /// The call was not made: there was nothing to sign it with.
    #[error("{operation}: cannot get the task role's credentials: {reason}")]
    Credentials {
        /// The call's name.
        operation: String,
        /// Why there are none.
        reason: String,
    },
    /// An answer that makes no sense.
    #[error("{operation}: unexpected answer: {reason}")]
    Unexpected {
        /// The call's name.
        operation: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The call was not made: the request could not be built or signed here. The same call fails again.
    #[error("{operation}: the call could not be made: {reason}")]
    NotMade {
        /// The call's name.
        operation: String,
        /// What is wrong on this side.
        reason: String,
    },
}

/// The code of an answer that names none: not how AWS refuses, so somebody in between has answered.
pub const UNKNOWN: &str = "UnknownError";

impl AwsError {
    /// The service's error code, if it is a service error.
    pub fn code(&self) -> &str {
        match self {
            AwsError::Service { code, .. } => code,
            AwsError::Unreachable { .. }
            | AwsError::Credentials { .. }
            | AwsError::Unexpected { .. }
            | AwsError::NotMade { .. } => "",
        }
    }

    /// What stands in the way of a call that may succeed later; None where time mends nothing.
    pub fn retry_reason(&self) -> Option<RetryReason> {
        match self {
            AwsError::Service { status, code, .. } if *status == 429 || is_throttling(code) => {
                Some(RetryReason::Throttled)
            }
            AwsError::Service { status, .. } if *status >= 500 => Some(RetryReason::Failing),
            AwsError::Unreachable { .. } | AwsError::Credentials { .. } => Some(RetryReason::Unreachable),
            AwsError::Unexpected { .. } => Some(RetryReason::Odd),
            AwsError::Service { code, .. } if code == UNKNOWN => Some(RetryReason::Odd),
            AwsError::Service { status, code, .. } if *status == 403 || is_denial(code) => {
                Some(RetryReason::Denied)
            }
            AwsError::Service { .. } | AwsError::NotMade { .. } => None,
        }
    }

    /// The service has not refused the call: throttling, a busy or broken service, a broken connection, an answer that
    /// is not the service's. It may have been carried out nevertheless.
    pub fn is_transient(&self) -> bool {
        self.retry_reason().is_some_and(|reason| reason != RetryReason::Denied)
    }

    /// Whether the service may have carried out the call although its answer says nothing of it.
    pub fn is_answer_lost(&self) -> bool {
        match self.retry_reason() {
            Some(RetryReason::Failing | RetryReason::Odd) => true,
            Some(RetryReason::Unreachable) => matches!(self, AwsError::Unreachable { .. }),
            Some(RetryReason::Throttled | RetryReason::Denied) | None => false,
        }
    }

    /// When the service wants the call again, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            AwsError::Service { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Why a call did not succeed this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// Too many calls: it passes, and trying harder makes it worse.
    Throttled,
    /// The service is there and cannot.
    Failing,
    /// Nobody answers, or there is nothing to sign with.
    Unreachable,
    /// What answers is not the service, or is cut off: no JSON, a redirect, a page of a proxy.
    Odd,
    /// The service refuses who we are. Roles, policies and new keys take seconds to be known everywhere.
    Denied,
}

/// Reads a `Retry-After`; as a date it counts as not said.
pub fn retry_after(value: Option<&str>) -> Option<Duration> {
    value.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs)
}

/// Codes by which AWS services say "too fast", across services and protocols.
/// Source: `THROTTLING_ERRORS` of the SDKs (aws-runtime `retries/classifiers.rs`), and what SSM has of its own.
fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "RateExceeded"
            | "RateExceededException"
            | "TooManyUpdates"
            | "SlowDown"
            | "PriorRequestNotComplete"
    )
}

/// Codes by which AWS services say that they do not (yet) know or allow who calls, with status 400 or 403.
/// Source: common errors of the API references of Systems Manager and IAM ("changes are not always immediately visible").
fn is_denial(code: &str) -> bool {
    matches!(
        code,
        "AccessDeniedException"
            | "AccessDenied"
            | "UnauthorizedOperation"
            | "NotAuthorized"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "ExpiredTokenException"
            | "ExpiredToken"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_is_told_apart_from_failures_and_refusals() {
        let reason = |code: &str, status| {
            let (operation, message) = (String::new(), String::new());
            AwsError::Service { operation, code: code.into(), message, status, retry_after: None }
                .retry_reason()
        };
        for (code, status) in
            [("ThrottlingException", 400), ("RateExceeded", 400), ("UnknownError", 429), ("SlowDown", 503)]
        {
            assert_eq!(reason(code, status), Some(RetryReason::Throttled), "{code} {status}");
        }
        assert_eq!(reason("InternalServerError", 500), Some(RetryReason::Failing));
        for (code, status) in [(UNKNOWN, 302), (UNKNOWN, 403), (UNKNOWN, 404)] {
            assert_eq!(reason(code, status), Some(RetryReason::Odd), "{code} {status}");
        }
        for (code, status) in
            [("AccessDeniedException", 400), ("UnrecognizedClientException", 400), ("X", 403)]
        {
            assert_eq!(reason(code, status), Some(RetryReason::Denied), "{code} {status}");
        }
        for (code, status) in [("RegistrationLimitExceeded", 400), ("InvalidActivation", 400), ("", 404)] {
            assert_eq!(reason(code, status), None, "{code} {status}");
        }
    }

    #[test]
    fn a_retry_after_is_seconds() {
        assert_eq!(retry_after(Some(" 7 ")), Some(Duration::from_secs(7)));
        for other in [None, Some("Wed, 21 Oct 2026 07:28:00 GMT"), Some("-1"), Some("")] {
            assert_eq!(retry_after(other), None, "{other:?}");
        }
    }
}
