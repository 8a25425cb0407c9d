//! The life of one invocation: admit, start, run, cancel, end.

pub mod board;
pub mod heartbeat;
pub mod invocation;
pub mod queue;
pub mod run_fault;
mod seen;
