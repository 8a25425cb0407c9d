//! Talking to AWS: endpoints, one HTTP client, signing, the JSON 1.1 protocol, back-off and retries.
//!
//! Knows nothing of jobs or faults. The public operations (activations, deregistration) go through
//! aws-sdk-ssm over the same HTTP client ([`http`]); the agent's own operations are in no SDK and are
//! JSON 1.1 calls signed here.

pub mod backoff;
pub mod clock;
pub mod credentials;
pub mod endpoint;
pub mod error;
pub mod json;
pub mod retry;
pub mod sign;

pub use error::AwsError;
