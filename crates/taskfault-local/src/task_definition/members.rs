//! Members of the objects in a task definition, by name. null counts as absent, as ECS has it.

use serde_norway::{Mapping, Sequence, Value};

/// A member that is there.
pub(super) fn value<'a>(object: &'a Mapping, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

/// A text that is not empty.
pub(super) fn text<'a>(object: &'a Mapping, name: &str) -> Option<&'a str> {
    value(object, name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A list.
pub(super) fn list<'a>(object: &'a Mapping, name: &str) -> Option<&'a Sequence> {
    value(object, name).and_then(Value::as_sequence)
}

/// The objects of a list; none if there is no list.
pub(super) fn objects<'a>(object: &'a Mapping, name: &str) -> impl Iterator<Item = &'a Mapping> + use<'a> {
    list(object, name).into_iter().flatten().filter_map(Value::as_mapping)
}

/// The texts of a list; none if there is no list.
pub(super) fn texts<'a>(object: &'a Mapping, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    list(object, name).into_iter().flatten().filter_map(Value::as_str)
}

/// An object in an object.
pub(super) fn object<'a>(within: &'a Mapping, name: &str) -> Option<&'a Mapping> {
    value(within, name).and_then(Value::as_mapping)
}

/// An object in an object; an empty one is put in where there is none.
///
/// # Errors
/// There is something else.
pub(super) fn object_mut<'a>(within: &'a mut Mapping, name: &str) -> Result<&'a mut Mapping, String> {
    let there = within.entry(name.into()).or_insert(Value::Null);
    if there.is_null() {
        *there = Value::Mapping(Mapping::new());
    }
    there.as_mapping_mut().ok_or_else(|| format!("{name} is no object"))
}

/// A list in an object; an empty one is put in where there is none.
///
/// # Errors
/// There is something else.
pub(super) fn list_mut<'a>(within: &'a mut Mapping, name: &str) -> Result<&'a mut Sequence, String> {
    let there = within.entry(name.into()).or_insert(Value::Null);
    if there.is_null() {
        *there = Value::Sequence(Sequence::new());
    }
    there.as_sequence_mut().ok_or_else(|| format!("{name} is no list"))
}

/// Sets a member: in its place if it is there, at the end if not.
pub(super) fn set(object: &mut Mapping, name: &str, value: impl Into<Value>) {
    object.insert(name.into(), value.into());
}

/// Sets a member that is not there.
pub(super) fn set_missing(object: &mut Mapping, name: &str, to: impl Into<Value>) {
    if value(object, name).is_none() {
        set(object, name, to);
    }
}

/// Whether the object of a list has this `name`.
pub(super) fn is_called(object: &Value, name: &str) -> bool {
    object.as_mapping().and_then(|object| text(object, "name")) == Some(name)
}
