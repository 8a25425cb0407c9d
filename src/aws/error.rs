//! What can go wrong when calling AWS, and what it means for the caller.

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// The service answered with an error.
    #[error("{operation}: {code}: {message} (HTTP {status})")]
    Service {
        operation: String,
        /// `AccessDeniedException`, `ThrottlingException`, …
        code: String,
        message: String,
        status: u16,
    },
    /// No answer: the name did not resolve, the connection was refused or broke, TLS failed, or time ran out.
    #[error("{operation}: cannot reach {endpoint}: {reason}")]
    Unreachable { operation: String, endpoint: String, reason: String },
    /// The call was not made: there was nothing to sign it with.
    #[error("{operation}: cannot get the task role's credentials: {reason}")]
    Credentials { operation: String, reason: String },
    /// An answer that makes no sense.
    #[error("{operation}: unexpected answer: {reason}")]
    Unexpected { operation: String, reason: String },
}

impl AwsError {
    /// The service's error code, if it is a service error.
    pub fn code(&self) -> &str {
        match self {
            AwsError::Service { code, .. } => code,
            AwsError::Unreachable { .. } | AwsError::Credentials { .. } | AwsError::Unexpected { .. } => "",
        }
    }

    /// The same call may succeed later: throttling, a busy or broken service, a broken connection.
    pub fn is_transient(&self) -> bool {
        match self {
            AwsError::Service { status, code, .. } => *status >= 500 || *status == 429 || is_throttling(code),
            AwsError::Unreachable { .. } | AwsError::Credentials { .. } => true,
            AwsError::Unexpected { .. } => false,
        }
    }
}

/// Codes by which AWS services say "too fast", across services and protocols.
fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "TooManyUpdates"
            | "SlowDown"
            | "PriorRequestNotComplete"
    )
}
