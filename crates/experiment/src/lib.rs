//! One experiment on a service, from outside: load ([`traffic`]), its run at an endpoint ([`run`]), and the
//! [`report`] of what happened. Knows the FIS API and the record, nothing of the sidecar.

#![forbid(unsafe_code)]

pub mod effect;
pub mod interruption;
pub mod report;
pub mod run;
pub mod traffic;
