//! What a step of an execution may use.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::state::{Job, Scripts};
use crate::Context;
use crate::error::ApiError;
use crate::ssm::state::Command;

/// What a runbook reaches: the APIs of the services here.
pub(crate) trait Apis: std::fmt::Debug {
    /// Makes a call as a client would; None if there is no such operation here.
    fn call(
        &mut self,
        service: &str,
        operation: &str,
        body: &Map<String, Value>,
        context: &Context,
    ) -> Option<Result<Value, ApiError>>;

    /// A command of Run Command.
    fn command(&self, id: &str) -> Option<&Command>;
}

/// What a step may use.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) apis: &'a mut dyn Apis,
    pub(super) scripts: &'a Scripts,
    pub(super) jobs: &'a mut BTreeMap<String, Job>,
    pub(super) context: &'a Context,
}
