//! A local AWS: the AWS side of the conversation, so that an experiment runs on a laptop with the
//! ordinary AWS CLI. Written to the services' documented behaviour, not to our own sidecar: the stock
//! amazon-ssm-agent must be as much at home here.

#![forbid(unsafe_code)]

mod caller;
pub mod cloudwatch;
mod context;
pub mod delivery;
mod dispatch;
pub mod documents;
pub mod ecs;
pub mod error;
mod fault_endpoints;
pub mod fis;
pub mod gateway;
pub mod iam;
pub mod log;
pub mod logs;
mod members;
pub mod metadata;
mod model;
mod query;
mod random;
mod recorder;
pub mod server;
pub mod shared;
pub mod signature;
pub mod ssm;
pub mod sts;
pub mod switches;
pub mod tags;
mod test_calls;
mod wire;
pub mod world;

pub use context::Context;
pub use server::{Server, ServerError};
pub use shared::{Handle, Options, TaskLimits};
