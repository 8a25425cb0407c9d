//! One call of an operation, whatever protocol it came by.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::members::Members;
use crate::model::Operation;

/// One call: its members, wherever in the request they stood.
#[derive(Debug)]
pub(crate) struct Call(Map<String, Value>);

impl Call {
    /// Holds the members against the operation's model.
    ///
    /// # Errors
    /// `ValidationException`, or `SerializationException` for a member of a wrong type.
    pub(super) fn new(operation: Operation, members: Map<String, Value>) -> Result<Call, ApiError> {
        operation.check(&members)?;
        Ok(Call(members))
    }

    pub(super) fn members(&self) -> Members<'_> {
        Members::new(&self.0)
    }

    /// All members as they were sent.
    pub(super) fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The id of what the path names.
    pub(super) fn id(&self) -> &str {
        self.members().required("id")
    }
}
