//! Fault Injection Service: templates, experiments, and the engine that runs them.
//!
//! Members, limits and error codes are those of the service's public API model (version 2020-12-01). What the
//! engine does is what the service's guide says of it; where the guide is silent, the place says so. Where the
//! service surprises people it does so here too, and a [`Note`] says it in plain words.

use crate::error::ApiError;
use crate::model::FIS;

mod accounts;
mod actions;
mod advice;
mod alarms;
mod arn;
mod automation;
mod call;
pub mod catalog;
mod check;
mod commands;
pub(crate) mod definition;
mod document;
mod drain;
mod engine;
pub(crate) mod experiment;
mod experiments;
mod filter;
#[cfg(test)]
mod fixture;
mod lever;
mod listing;
pub(crate) mod outlook;
mod read;
mod records;
mod request;
mod restart;
mod run;
mod safety;
mod select;
pub(crate) mod services;
mod state;
mod step;
mod tags;
mod targets;
mod templates;
mod tokens;
mod view;

pub(crate) use definition::Target;
pub(crate) use engine::advance;
pub(crate) use experiment::{ActionRun, Experiment};
pub use outlook::Outlook;
pub(crate) use request::{Request, answer, call};
pub(crate) use state::{FisState, Object, TARGETS_PER_ACTION};

/// What is not there (HTTP 404).
fn not_found(message: String) -> ApiError {
    FIS.refuse("ResourceNotFoundException", message)
}

/// What the state of things does not allow (HTTP 409).
fn conflict(message: String) -> ApiError {
    FIS.refuse("ConflictException", message)
}

/// More than the service's quotas allow (HTTP 402, as the model has it).
fn over_quota(message: String) -> ApiError {
    FIS.refuse("ServiceQuotaExceededException", message)
}
