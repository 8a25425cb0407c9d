//! `taskfault-local`: the AWS side of the conversation, so that an experiment runs on a laptop with the
//! ordinary AWS CLI. Written to the services' documented behaviour, not to our own sidecar: the stock
//! amazon-ssm-agent must be as much at home here.

use std::time::SystemTime;

pub mod documents;
pub mod error;
pub mod ssm;
pub mod store;
pub mod sts;

/// What every operation may know about the moment and the place of a call.
#[derive(Debug, Clone)]
pub struct Context {
    pub now: SystemTime,
    pub region: String,
    /// Twelve digits.
    pub account: String,
}
