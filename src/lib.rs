//! taskfault: an in-task fault-injection agent for Amazon ECS.
//!
//! Bytes come in at [`channel`] and become a document's steps in [`document`]; [`run`] performs them with the
//! crates `faults` (what can be asked for) and `effects` (the only one that touches the kernel), and the reply goes
//! back by the channel. [`policy`] says what may be performed, [`sidecar`] joins them, [`identity`] is the managed instance, [`aws`] the calls to the
//! services. ARCHITECTURE.md has the picture and the invariants.

#![forbid(unsafe_code)]

pub mod aws;
pub mod channel;
pub mod cli;
pub mod config;
pub mod document;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod identity;
pub mod metrics;
pub mod output;
pub mod policy;
pub mod run;
pub mod shutdown;
pub mod sidecar;
pub mod telemetry;
