//! What an agent and Systems Manager say to each other, as both sides need it. Pure: no I/O, no clock.
//!
//! [`frame`] is the binary frame of the control channel, [`job`] a command as it arrives, [`report`] what goes
//! back: a step's status and output in the shape that the service reads.

#![forbid(unsafe_code)]

pub mod frame;
pub mod job;
pub mod report;
