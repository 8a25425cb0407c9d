//! Signature version 4, the receiving side: what was signed is built again from the request as it came.
//!
//! Two kinds of signature arrive: HMAC with a secret that we handed out, and RSA-PSS with the key a managed
//! instance registered (the same string to sign, signed differently; amazon-ssm-agent
//! `agent/managedInstances/auth/rsa_key.go` and `agent/ssm/rsaauth/v4.go`). Pure.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use time::OffsetDateTime;
use time::macros::format_description;

use super::error::ApiError;
use super::wire;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a sender's clock may be off, as the services have it.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// The Authorization header of a request, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorization {
    /// An access key id, or the id of a managed instance.
    pub access_key: String,
    /// `yyyymmdd`.
    pub date: String,
    pub region: String,
    pub service: String,
    /// Lower-case, in the order given.
    pub signed_headers: Vec<String>,
    signature: String,
}

impl Authorization {
    /// Reads the header.
    ///
    /// # Errors
    /// `MissingAuthenticationTokenException` without one, `IncompleteSignatureException` if it is not a
    /// signature version 4.
    pub(crate) fn parse(parts: &Parts) -> Result<Authorization, ApiError> {
        let text = header(parts, "authorization").ok_or_else(|| {
            ApiError::new("MissingAuthenticationTokenException", "Missing Authentication Token")
        })?;
        Authorization::parse_text(text).ok_or_else(|| {
            ApiError::new(
                "IncompleteSignatureException",
                format!(
                    "the Authorization header is not {ALGORITHM} with Credential, SignedHeaders and Signature"
                ),
            )
        })
    }

    fn parse_text(text: &str) -> Option<Authorization> {
        let fields = text.strip_prefix(ALGORITHM)?;
        let field = |name: &str| {
            let mut all = fields.split(',').map(str::trim);
            all.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let mut scope = field("Credential")?.rsplitn(5, '/');
        if scope.next() != Some("aws4_request") {
            return None;
        }
        let service = scope.next()?.to_owned();
        let region = scope.next()?.to_owned();
        let date = scope.next()?.to_owned();
        let access_key = scope.next()?.to_owned();
        let signed_headers = field("SignedHeaders")?.split(';').map(str::to_owned).collect();
        let signature = field("Signature")?.to_owned();
        let parts = [&access_key, &date, &region, &service, &signature];
        if parts.into_iter().any(String::is_empty) || !date.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        Some(Authorization { access_key, date, region, service, signed_headers, signature })
    }

    /// Checks an HMAC signature with the secret access key it should be made with.
    ///
    /// # Errors
    /// `InvalidSignatureException`: another key, another request, or a date too far off.
    pub(crate) fn verify_secret(
        &self,
        secret: &str,
        parts: &Parts,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), ApiError> {
        let text = self.string_to_sign(parts, body, now)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.signing_key(secret));
        let given = hex::decode(&self.signature).map_err(|_| mismatch())?;
        hmac::verify(&key, text.as_bytes(), &given).map_err(|_| mismatch())
    }

    /// Checks an RSA-PSS signature (SHA-256, salt of 32 bytes) with a registered public key.
    ///
    /// # Errors
    /// As [`Authorization::verify_secret`].
    pub(crate) fn verify_key(
        &self,
        public_key: &[u8],
        parts: &Parts,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), ApiError> {
        let text = self.string_to_sign(parts, body, now)?;
        let given = STANDARD.decode(&self.signature).map_err(|_| mismatch())?;
        let key = signature::UnparsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA256, public_key);
        key.verify(text.as_bytes(), &given).map_err(|_| mismatch())
    }

    fn signing_key(&self, secret: &str) -> Vec<u8> {
        let start = format!("AWS4{secret}").into_bytes();
        [self.date.as_str(), &self.region, &self.service, "aws4_request"].iter().fold(start, |key, part| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            hmac::sign(&key, part.as_bytes()).as_ref().to_vec()
        })
    }

    fn string_to_sign(&self, parts: &Parts, body: &[u8], now: SystemTime) -> Result<String, ApiError> {
        let date = header(parts, "x-amz-date").ok_or_else(|| {
            ApiError::new("IncompleteSignatureException", "the request has no X-Amz-Date header")
        })?;
        check_date(date, now)?;
        if !date.starts_with(&self.date) || !self.signed_headers.iter().any(|name| name == "host") {
            return Err(mismatch());
        }
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let canonical = wire::sha256_hex(self.canonical_request(parts, body)?.as_bytes());
        Ok(format!("{ALGORITHM}\n{date}\n{scope}\n{canonical}"))
    }

    fn canonical_request(&self, parts: &Parts, body: &[u8]) -> Result<String, ApiError> {
        let mut headers = String::new();
        for name in &self.signed_headers {
            let values = parts.headers.get_all(name.as_str());
            let values: Vec<String> = values.iter().map(canonical_value).collect();
            if values.is_empty() {
                return Err(mismatch());
            }
            headers.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        Ok(format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            parts.method,
            canonical_path(parts.uri.path(), &self.service),
            canonical_query(parts.uri.query().unwrap_or_default()),
            self.signed_headers.join(";"),
            wire::sha256_hex(body)
        ))
    }
}

/// A header as text, if it is there and is text.
pub(super) fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

fn check_date(date: &str, now: SystemTime) -> Result<(), ApiError> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let signed = time::PrimitiveDateTime::parse(date, &format).map_err(|_| mismatch())?.assume_utc();
    let off = (OffsetDateTime::from(now) - signed).unsigned_abs();
    if off > SKEW {
        let message = format!("signature expired: {date} is {} s away from the time here", off.as_secs());
        return Err(ApiError::new("InvalidSignatureException", message));
    }
    Ok(())
}

fn mismatch() -> ApiError {
    ApiError::new(
        "InvalidSignatureException",
        "the request signature we calculated does not match the signature you provided",
    )
}

/// Trimmed, and runs of spaces as one.
fn canonical_value(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every service but S3 signs the path with each segment encoded once more than on the wire.
fn canonical_path(path: &str, service: &str) -> String {
    if service == "s3" {
        return path.to_owned();
    }
    path.split('/').map(|segment| wire::percent_encoded(segment.as_bytes())).collect::<Vec<_>>().join("/")
}

fn canonical_query(query: &str) -> String {
    let again = |text: &str| wire::percent_encoded(&wire::percent_decoded(text));
    // Not as a form: a plus is a plus here.
    let parts = query.split('&').filter(|part| !part.is_empty());
    let named = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    let mut pairs: Vec<_> = named.map(|(name, value)| (again(name), again(value))).collect();
    pairs.sort();
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
}

/// Reads bytes as the value of an Authorization header.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = std::str::from_utf8(bytes).ok().and_then(Authorization::parse_text);
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The key of AWS's Signature Version 4 test suite, and its moment, 2015-08-30 12:36:00 UTC.
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn moment() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160)
    }

    fn vector(method: &str, uri: &str, signature: &str) -> Parts {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={signature}"
        );
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z")
            .header("authorization", authorization);
        request.body(()).unwrap().into_parts().0
    }

    fn verify(parts: &Parts, secret: &str, body: &[u8], now: SystemTime) -> Result<(), &'static str> {
        let authorization = Authorization::parse(parts).unwrap();
        authorization.verify_secret(secret, parts, body, now).map_err(|error| error.code)
    }

    /// Vectors get-vanilla, post-vanilla and get-vanilla-query-order-key-case of that suite.
    const VECTORS: [(&str, &str, &str); 3] = [
        ("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
    ];

    #[test]
    fn the_vectors_of_aws_are_right_and_nothing_else_is() {
        for (method, uri, signature) in VECTORS {
            let parts = vector(method, uri, signature);
            assert_eq!(verify(&parts, SECRET, b"", moment()), Ok(()), "{method} {uri}");
            let wrong = Err("InvalidSignatureException");
            assert_eq!(verify(&parts, "other", b"", moment()), wrong);
            assert_eq!(verify(&parts, SECRET, b"body", moment()), wrong);
            let other = vector(method, "/?Param1=value2", signature);
            assert_eq!(verify(&other, SECRET, b"", moment()), wrong);
        }
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_either_way() {
        let (method, uri, signature) = VECTORS[0];
        let parts = vector(method, uri, signature);
        for (off, good) in [(299, true), (301, false)] {
            let off = Duration::from_secs(off);
            assert_eq!(verify(&parts, SECRET, b"", moment() + off).is_ok(), good);
            assert_eq!(verify(&parts, SECRET, b"", moment() - off).is_ok(), good);
        }
    }

    #[test]
    fn an_authorization_of_another_kind_is_said_so() {
        for text in ["", "Basic abc", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b/c, Signature=x"] {
            let request = Request::builder().header("authorization", text).body(()).unwrap();
            let error = Authorization::parse(&request.into_parts().0).unwrap_err();
            assert_eq!(error.code, "IncompleteSignatureException", "{text:?}");
        }
        let request = Request::builder().body(()).unwrap();
        let error = Authorization::parse(&request.into_parts().0).unwrap_err();
        assert_eq!(error.code, "MissingAuthenticationTokenException");
    }

    #[test]
    fn values_and_paths_have_one_form() {
        let value = http::HeaderValue::from_static("  a   b ");
        assert_eq!(canonical_value(&value), "a b");
        assert_eq!(canonical_path("/v1/mi-1", "ssmmessages"), "/v1/mi-1");
        assert_eq!(canonical_path("/a%20b", "fis"), "/a%2520b");
        assert_eq!(canonical_path("/a%20b", "s3"), "/a%20b");
        assert_eq!(canonical_query("stream=input&role=a%2Fb&x"), "role=a%2Fb&stream=input&x=");
    }
}
