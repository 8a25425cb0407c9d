//! An error as an AWS API says it: a code, a sentence, an HTTP status.

/// An API error. JSON 1.1 services answer it as `{"__type": code, "message": message}`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// HTTP status, 400 for nearly everything.
    pub status: u16,
    /// `InvalidInstanceId`, `ValidationException`, …
    pub code: &'static str,
    /// A sentence that says what to do.
    pub message: String,
}

impl ApiError {
    /// A client error (HTTP 400).
    pub fn new(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status: 400, code, message: message.into() }
    }

    /// A request that breaks the service's model: a length, a range, a pattern, an enum, a missing member.
    pub fn validation(message: impl Into<String>) -> ApiError {
        ApiError::new("ValidationException", message)
    }
}
