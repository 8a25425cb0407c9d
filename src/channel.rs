//! The conversation with Systems Manager: bytes to jobs, replies to bytes. Knows the wire, nothing else.

pub mod frame;
