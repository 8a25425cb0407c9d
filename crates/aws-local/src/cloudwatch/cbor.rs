//! Smithy RPC v2 CBOR: bodies as maps, times as tag 1.

use ciborium::Value as Cbor;
use serde_json::{Map, Number, Value};

use crate::error::ApiError;
use crate::model::{Node, Shape};

/// The tag of a time in seconds since 1970 (RFC 8949, 3.4.2).
const EPOCH_TAG: u64 = 1;

/// The members of a request; an empty body has none.
///
/// # Errors
/// `SerializationException`: not CBOR, not a map, or something that JSON does not have either.
pub(super) fn decode(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    let read: Cbor =
        ciborium::from_reader(body).map_err(|error| wrong(format!("the body is not CBOR: {error}")))?;
    match value(read)? {
        Value::Object(members) => Ok(members),
        _ => Err(wrong("the body is not a map".to_owned())),
    }
}

fn value(cbor: Cbor) -> Result<Value, ApiError> {
    Ok(match cbor {
        Cbor::Null => Value::Null,
        Cbor::Bool(flag) => Value::Bool(flag),
        Cbor::Text(text) => Value::String(text),
        Cbor::Integer(number) => {
            let number = i64::try_from(number).map_err(|_| wrong("a number is out of range".to_owned()))?;
            Value::from(number)
        }
        Cbor::Float(number) => {
            let number = Number::from_f64(number);
            number
                .map(Value::Number)
                .ok_or_else(|| wrong("NaN and infinities are not supported".to_owned()))?
        }
        Cbor::Tag(EPOCH_TAG, time) => value(*time)?,
        Cbor::Array(items) => items.into_iter().map(value).collect::<Result<_, _>>()?,
        Cbor::Map(entries) => {
            let entry = |(key, item): (Cbor, Cbor)| match key {
                Cbor::Text(key) => Ok((key, value(item)?)),
                _ => Err(wrong("the keys of a map must be texts".to_owned())),
            };
            Value::Object(entries.into_iter().map(entry).collect::<Result<_, _>>()?)
        }
        other => return Err(wrong(format!("{other:?} is not of any type of this API"))),
    })
}

fn wrong(message: String) -> ApiError {
    ApiError::new("SerializationException", message)
}

/// The body of an answer; `node` is what it is.
pub(super) fn encode(answer: &Value, node: Option<Node>) -> Vec<u8> {
    let mut body = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = ciborium::into_writer(&cbor(answer, node), &mut body);
    body
}

fn cbor(value: &Value, node: Option<Node>) -> Cbor {
    let item = || node.and_then(Node::item);
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(flag) => Cbor::Bool(*flag),
        Value::String(text) => Cbor::Text(text.clone()),
        Value::Number(number) if node.is_some_and(|node| matches!(node.shape, Shape::Timestamp)) => {
            Cbor::Tag(EPOCH_TAG, Box::new(Cbor::Float(number.as_f64().unwrap_or_default())))
        }
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cbor::Integer(whole.into()),
            None => Cbor::Float(number.as_f64().unwrap_or_default()),
        },
        Value::Array(items) => Cbor::Array(items.iter().map(|value| cbor(value, item())).collect()),
        Value::Object(members) => {
            let part = |name: &str| node.and_then(|node| node.member(name)).or_else(item);
            let present = members.iter().filter(|(_, member)| !member.is_null());
            Cbor::Map(
                present.map(|(key, member)| (Cbor::Text(key.clone()), cbor(member, part(key)))).collect(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Model;

    #[test]
    fn a_request_is_read_from_the_bytes_of_another_encoder() {
        // {"Namespace": "N", "MetricData": [_ {"Value": 1.5, "Timestamp": 1(1700000000)}]}, by hand.
        let body = b"\xa2\x69Namespace\x61N\x6aMetricData\x9f\xa2\x65Value\xf9\x3e\x00\x69Timestamp\xc1\x1a\x65\x53\xf1\x00\xff";
        assert_eq!(
            Value::from(decode(body).unwrap()),
            json!({ "Namespace": "N", "MetricData": [{ "Value": 1.5, "Timestamp": 1_700_000_000 }] })
        );
        assert!(decode(b"").unwrap().is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        let deep = [0x81_u8; 100_000];
        for body in
            [&b"\x01"[..], b"\xff", b"\xa1\x01\x01", b"\xa1\x61a\xf9\x7e\x00", b"\xa1\x61a\x41a", &deep]
        {
            assert_eq!(decode(body).unwrap_err().code, "SerializationException", "{:.20?}", body);
        }
    }

    #[test]
    fn times_of_an_answer_are_tagged() {
        static MODEL: Model = Model::new(
            r#"{
            "version": "2026-01-01", "errors": {}, "operations": { "Do": { "output": "Output" } },
            "shapes": {
                "Output": { "type": "structure", "members": {
                    "Timestamps": "Times", "Threshold": "Number", "Period": "Whole", "None": "Whole"
                } },
                "Times": { "type": "list", "member": "Time" },
                "Time": { "type": "timestamp" },
                "Number": { "type": "double" },
                "Whole": { "type": "integer" }
            } }"#,
        );
        let answer = json!({ "Timestamps": [2.5], "Threshold": 1.0, "Period": 60, "None": null });
        let body = encode(&answer, MODEL.operation("Do").unwrap().output());
        let read: Cbor = ciborium::from_reader(&body[..]).unwrap();
        let entries = read.into_map().unwrap();
        let get = |name: &str| {
            entries.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value.clone())
        };
        let time = Cbor::Tag(EPOCH_TAG, Box::new(Cbor::Float(2.5)));
        assert_eq!(get("Timestamps"), Some(Cbor::Array(vec![time])));
        assert_eq!(get("Threshold"), Some(Cbor::Float(1.0)));
        assert_eq!(get("Period"), Some(Cbor::Integer(60.into())));
        assert_eq!(get("None"), None);
    }
}
