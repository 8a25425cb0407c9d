//! A uuid as text in the state file.

use serde::{Deserialize, Deserializer, Serializer};
use uuid::Uuid;

pub(super) fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(id)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
    Uuid::parse_str(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}
