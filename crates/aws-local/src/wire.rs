//! Small pieces of the wire formats: bodies, dates, percent-encoding, answers of the JSON 1.1 protocol.

use std::borrow::Cow;
use std::io::Read as _;

use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(crate) use record::clock::{date_text, epoch_ms, epoch_seconds};

use super::error::ApiError;
use super::model::Model;

/// An answer with its whole body.
pub(super) type Answer = Response<Full<Bytes>>;

/// The largest request body that is looked at, in bytes. Documents and replies stay well below.
pub(super) const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// A body over the limit is still read, and thrown away, up to here, so that its sender gets to see the error.
const DRAIN_LIMIT: usize = 64 * 1024 * 1024;

/// Reads a request body, chunked or not.
pub(super) async fn read_body(mut body: Incoming) -> Result<Bytes, ApiError> {
    let mut kept = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| bad_request(format!("request body cut off: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len();
        if seen <= BODY_LIMIT {
            kept.extend_from_slice(data);
        } else if seen > DRAIN_LIMIT {
            break;
        }
    }
    if seen > BODY_LIMIT {
        return Err(too_large());
    }
    Ok(kept.freeze())
}

/// A body as it was before its sender packed it. The AWS CLI and boto3 send PutMetricData that way from 10 KiB.
///
/// # Errors
/// It is not what its `Content-Encoding` says, or over [`BODY_LIMIT`] unpacked.
pub(super) fn inflated<'a>(parts: &Parts, body: &'a [u8]) -> Result<Cow<'a, [u8]>, ApiError> {
    let packed = parts.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip");
    if !packed {
        return Ok(Cow::Borrowed(body));
    }
    let mut unpacked = Vec::new();
    let limit = BODY_LIMIT as u64 + 1;
    let read = GzDecoder::new(body).take(limit).read_to_end(&mut unpacked);
    read.map_err(|error| bad_request(format!("request body is not gzip: {error}")))?;
    match unpacked.len() > BODY_LIMIT {
        true => Err(too_large()),
        false => Ok(Cow::Owned(unpacked)),
    }
}

fn too_large() -> ApiError {
    ApiError {
        status: 413,
        code: "RequestEntityTooLargeException",
        message: format!("request body is over {BODY_LIMIT} bytes"),
    }
}

fn bad_request(message: String) -> ApiError {
    ApiError::new("SerializationException", message)
}

/// The object in a JSON body; an empty body counts as an empty object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(bad_request("request body is not a JSON object".to_owned())),
        Err(error) => Err(bad_request(format!("request body is not JSON: {error}"))),
    }
}

/// A text member that must be there; empty counts as missing.
pub(super) fn text<'a>(body: &'a Map<String, Value>, member: &str) -> Result<&'a str, ApiError> {
    let found = body.get(member).and_then(Value::as_str).filter(|text| !text.is_empty());
    found
        .ok_or_else(|| ApiError::validation(format!("{member} must be given, as a string that is not empty")))
}

/// Any answer.
pub(super) fn answer(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static(content_type));
    if let Ok(id) = http::HeaderValue::try_from(Uuid::new_v4().to_string()) {
        headers.insert("x-amzn-requestid", id);
    }
    answer
}

/// An answer of the JSON 1.1 protocol, with errors as the service's model has them, if it has one.
pub(super) fn json_answer(model: Option<&'static Model>, result: &Result<Value, ApiError>) -> Answer {
    const TYPE: &str = "application/x-amz-json-1.1";
    match result {
        Ok(value) => answer(200, TYPE, value.to_string()),
        Err(error) => answer(error.status, TYPE, error_body(model, error).to_string()),
    }
}

/// An error of the JSON and CBOR protocols.
pub(super) fn error_body(model: Option<&'static Model>, error: &ApiError) -> Value {
    let member = model.map_or("message", |model| model.message_member(error.code));
    json!({ "__type": error.code, member: error.message })
}

/// An answer in plain JSON, as the task metadata and the test switches give it.
pub(super) fn plain_json(status: u16, value: &Value) -> Answer {
    answer(status, "application/json", value.to_string())
}

/// A refusal that no API of AWS makes; every kind of client finds its code.
pub(super) fn refused(status: u16, code: &'static str, message: &str) -> Answer {
    let mut answer = plain_json(status, &json!({ "__type": code, "message": message }));
    answer.headers_mut().insert("x-amzn-errortype", http::HeaderValue::from_static(code));
    answer
}

/// Letters and digits and four more: what AWS leaves as it is in names, values and documents (RFC 3986).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Percent-encoded, with capital digits.
pub(super) fn percent_encoded(bytes: &[u8]) -> String {
    percent_encoding::percent_encode(bytes, &UNRESERVED).to_string()
}

/// Undoes percent-encoding. A stray `%` stays as it is.
pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

/// The names and values of a query or a form.
pub(super) fn form(bytes: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(bytes).map(|(name, value)| (name.into_owned(), value.into_owned()))
}

/// The SHA-256 of some bytes, in hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_survives_nonsense() {
        assert_eq!(percent_decoded("a%20b%2fc%"), b"a b/c%");
        assert_eq!(percent_decoded("%zz%+1%4"), b"%zz%+1%4");
        assert_eq!(percent_encoded(b"a-_.~ /%\xff"), "a-_.~%20%2F%25%FF");
        let pairs: Vec<_> = form(b"a+b%2B=%26&c&&=d").collect();
        let texts = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(pairs, texts(&[("a b+", "&"), ("c", ""), ("", "d")]));
    }

    #[test]
    fn a_packed_body_is_unpacked_up_to_a_limit() {
        use std::io::Write as _;
        let pack = |bytes: &[u8]| {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            packed.write_all(bytes).unwrap();
            packed.finish().unwrap()
        };
        let plain = http::Request::new(()).into_parts().0;
        let mut gzip = plain.clone();
        gzip.headers.insert("content-encoding", http::HeaderValue::from_static("gzip"));
        assert_eq!(*inflated(&plain, b"as it is").unwrap(), *b"as it is");
        assert_eq!(*inflated(&gzip, &pack(b"packed")).unwrap(), *b"packed");
        assert_eq!(inflated(&gzip, b"not packed").unwrap_err().code, "SerializationException");
        assert_eq!(inflated(&gzip, &pack(&vec![0; BODY_LIMIT + 1])).unwrap_err().status, 413);
    }

    #[test]
    fn a_body_is_an_object_or_an_error() {
        assert!(object(b"").unwrap().is_empty());
        assert_eq!(object(b"[1]").unwrap_err().code, "SerializationException");
        assert_eq!(object(b"{\"a\":").unwrap_err().code, "SerializationException");
        assert_eq!(
            object(&[b'{', b'"', 0xff, b'"', b':', b'1', b'}']).unwrap_err().code,
            "SerializationException"
        );
    }
}
