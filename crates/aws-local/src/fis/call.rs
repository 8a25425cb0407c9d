//! One call of an operation, whatever protocol it came by.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::members::Members;
use crate::model::{Operation, Place};

/// One call: its members, wherever in the request they stood.
#[derive(Debug)]
pub(crate) struct Call {
    operation: Operation,
    members: Map<String, Value>,
}

impl Call {
    /// Holds the members against the operation's model.
    ///
    /// # Errors
    /// `ValidationException`, or `SerializationException` for a member of a wrong type.
    pub(super) fn new(operation: Operation, members: Map<String, Value>) -> Result<Call, ApiError> {
        operation.check(&members)?;
        Ok(Call { operation, members })
    }

    pub(super) fn members(&self) -> Members<'_> {
        Members::new(&self.members)
    }

    /// All members as they were sent.
    pub(super) fn all(&self) -> &Map<String, Value> {
        &self.members
    }

    /// The id of what the path names. Operations call the member otherwise (`experimentId`), the path does not.
    pub(super) fn id(&self) -> &str {
        let in_path = |(_, place, there): &(&str, Place, &str)| *place == Place::Uri && *there == "id";
        let member = self.operation.elsewhere().find(in_path).map(|(name, ..)| name);
        self.members().required(member.unwrap_or("id"))
    }
}
