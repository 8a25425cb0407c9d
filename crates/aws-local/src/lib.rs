//! A local AWS: the AWS side of the conversation, so that an experiment runs on a laptop with the
//! ordinary AWS CLI. Written to the services' documented behaviour, not to our own sidecar: the stock
//! amazon-ssm-agent must be as much at home here.

#![forbid(unsafe_code)]

mod caller;
mod cloudwatch;
mod context;
mod delivery;
mod dispatch;
pub mod documents;
pub mod ecs;
pub mod error;
mod fault_endpoints;
pub mod fis;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gateway;
mod guard;
mod iam;
pub mod log;
mod logs;
mod members;
mod metadata;
mod model;
pub mod page;
mod query;
mod random;
mod recorder;
mod s3;
mod server;
pub mod shared;
mod signature;
pub mod ssm;
mod sts;
mod switches;
mod tagging;
mod tags;
mod test_calls;
mod wire;
pub mod world;
mod xml;

pub use context::Context;
pub use server::{Server, ServerError};
pub use shared::{Handle, Options, TaskLimits};
pub use tags::TASK_ARN_TAG;

/// The whole part of a number; 0 below zero and for what is no number, `u64::MAX` above it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates as said here")]
fn whole(number: f64) -> u64 {
    number as u64
}
