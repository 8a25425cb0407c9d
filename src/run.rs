//! The life of one invocation: admit, start, hold, cancel, end.

pub mod board;
pub mod heartbeat;
pub mod hold;
pub mod invocation;
pub mod queue;
mod seen;
