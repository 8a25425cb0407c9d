//! A local AWS: the AWS side of the conversation, so that an experiment runs on a laptop with the
//! ordinary AWS CLI. Written to the services' documented behaviour, not to our own sidecar: the stock
//! amazon-ssm-agent must be as much at home here.

use std::time::SystemTime;

pub mod agent;
mod caller;
pub mod cloudwatch;
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
pub mod store;
pub mod sts;
pub mod switches;
mod test_calls;
mod wire;

pub use server::{Server, ServerError};
pub use shared::{Handle, Options, TaskLimits};

/// What every operation may know about the moment and the place of a call.
#[derive(Debug, Clone)]
pub struct Context {
    pub now: SystemTime,
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// How many times shorter than asked the durations of experiments and the periods of alarms are; 1 but
    /// for tests (`--speed`).
    pub speed: f64,
}
