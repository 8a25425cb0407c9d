//! Carries connections to where they were going, byte for byte, follows HTTP/1.1 in them, and fails the requests that
//! it is told to.
//!
//! Only heads are read ([`head`]); bodies are followed ([`body`]) so that it is known where the next head begins. Where
//! that is in doubt the connection passes untouched from there on. Of TLS it reads the first message of the client
//! ([`client_hello`]). [`hit`] decides, [`carry`] does, [`server`] accepts.
//!
//! Must not know how connections come here, nor what a fault is to whoever runs it.

#![forbid(unsafe_code)]

mod answer;
pub mod body;
mod buffered;
pub mod carry;
pub mod client_hello;
mod exchange;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod head;
pub mod hit;
pub mod server;
