//! One invocation: admitted, started, run, cancelled, ended.

pub mod active_faults;
pub mod heartbeat;
pub mod invocation;
pub mod queue;
pub mod run_fault;
mod seen;
