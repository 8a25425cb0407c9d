//! taskfault: an in-task fault-injection agent for Amazon ECS.
//!
//! The modules below stand in the order of the flow: bytes come in at [`channel`], become a document's
//! steps in [`document`], the parameters of one fault in [`fault`], live for a while in [`run`], touch the
//! kernel in [`effect`] and nowhere else, and go back as a reply through [`report`]. [`identity`] (who am
//! I) and [`task`] (where am I) stand beside the flow. ARCHITECTURE.md has the picture and the invariants.

#![forbid(unsafe_code)]

pub mod aws;
pub mod channel;
pub mod cli;
pub mod config;
pub mod document;
pub mod identity;
pub mod run;
pub mod shutdown;
pub mod sidecar;
pub mod telemetry;
