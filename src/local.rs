//! `taskfault-local`: the AWS side of the conversation, so that an experiment runs on a laptop with the
//! ordinary AWS CLI. Written to the services' documented behaviour, not to our own sidecar: the stock
//! amazon-ssm-agent must be as much at home here.

pub mod demo;
pub mod error;
pub mod stage;
pub mod store;
