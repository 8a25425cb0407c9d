//! AWS Signature Version 4: with a secret key (aws-sigv4), and with an RSA key, which no library does.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_lc_rs::digest;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use http::Request;

use super::endpoint::Service;

/// The label in the Authorization header, for RSA too: the stock agent keeps it.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A request that could not be signed; only a malformed request can cause it.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign the request: {0}")]
pub struct SignError(String);

/// Signs `request` in place for `service` in `region`: adds X-Amz-Date, X-Amz-Security-Token and
/// Authorization. Every header that is already there is signed, except User-Agent.
///
/// # Errors
/// A header value that is not text, or a URI that cannot be parsed.
pub fn sign_v4<B: AsRef<[u8]>>(
    request: &mut Request<B>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Result<(), SignError> {
    let fail = |error: &dyn std::error::Error| SignError(http_client::chain(error));
    let identity = credentials.clone().into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(settings(service))
        .build()
        .map_err(|error| fail(&error))?
        .into();
    let uri = request.uri().to_string();
    let mut headers = Vec::new();
    for (name, value) in request.headers() {
        headers.push((name.as_str(), value.to_str().map_err(|error| fail(&error))?));
    }
    let body = SignableBody::Bytes(request.body().as_ref());
    let signable = SignableRequest::new(request.method().as_str(), uri, headers.into_iter(), body)
        .map_err(|error| fail(&error))?;
    let (instructions, _signature) = sign(signable, &params).map_err(|error| fail(&error))?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

/// S3 signs the path as it is, and wants the digest of the body as a header.
fn settings(service: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if service == Service::S3.name() {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}

/// What signs the RSA-signed calls: the key of a managed instance.
pub trait RsaSigner: std::fmt::Debug {
    /// Base64 of the PSS signature over `message`.
    ///
    /// # Errors
    /// The key could not sign, in words.
    fn sign(&self, message: &[u8]) -> Result<String, String>;
}

/// What an RSA-signed call signs: a JSON 1.1 POST to `/`.
#[derive(Debug)]
pub struct RsaSignable<'a> {
    /// The Host header.
    pub host: &'a str,
    /// The Content-Type header.
    pub content_type: &'a str,
    /// `yyyymmddThhmmssZ`.
    pub date: &'a str,
    /// X-Amz-Target.
    pub target: &'a str,
    /// The region in the credential scope.
    pub region: &'a str,
    /// The whole body; its digest is signed.
    pub body: &'a [u8],
}

const RSA_SIGNED_HEADERS: &str = "content-type;host;x-amz-date;x-amz-target";

impl RsaSignable<'_> {
    fn scope(&self) -> String {
        format!("{}/{}/ssm/aws4_request", &self.date[..8.min(self.date.len())], self.region)
    }

    /// The SigV4 string to sign. Source: amazon-ssm-agent `agent/ssm/rsaauth/v4.go`.
    pub fn string_to_sign(&self) -> String {
        let canonical = format!(
            "POST\n/\n\ncontent-type:{}\nhost:{}\nx-amz-date:{}\nx-amz-target:{}\n\n{RSA_SIGNED_HEADERS}\n{}",
            self.content_type,
            self.host,
            self.date,
            self.target,
            sha256_hex(self.body),
        );
        format!("{ALGORITHM}\n{}\n{}\n{}", self.date, self.scope(), sha256_hex(canonical.as_bytes()))
    }

    /// The Authorization header: the instance id stands where the access key id does, and `signature` is
    /// the base64 of an RSASSA-PSS signature over [`Self::string_to_sign`].
    pub fn authorization(&self, instance_id: &str, signature: &str) -> String {
        format!(
            "{ALGORITHM} Credential={instance_id}/{}, SignedHeaders={RSA_SIGNED_HEADERS}, Signature={signature}",
            self.scope(),
        )
    }
}

/// Lower-case hexadecimal SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// `now` as SigV4 dates are written: `20261123T025945Z`.
pub fn amz_date(now: SystemTime) -> String {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    time::OffsetDateTime::from(now).format(&format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_compact_utc() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_402_785);
        assert_eq!(amz_date(now), "20261123T025945Z");
    }

    #[test]
    fn the_rsa_string_to_sign_is_plain_sigv4() {
        let signable = RsaSignable {
            host: "ssm.us-east-1.amazonaws.com",
            content_type: "application/x-amz-json-1.1",
            date: "20261123T025945Z",
            target: "AmazonSSM.RequestManagedInstanceRoleToken",
            region: "us-east-1",
            body: b"{}",
        };
        let text = signable.string_to_sign();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            ["AWS4-HMAC-SHA256", "20261123T025945Z", "20261123/us-east-1/ssm/aws4_request"]
        );
        assert_eq!(lines[3].len(), 64);
        assert_eq!(
            signable.authorization("mi-0123456789abcdef0", "AAAA"),
            "AWS4-HMAC-SHA256 Credential=mi-0123456789abcdef0/20261123/us-east-1/ssm/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=AAAA"
        );
    }

    /// The canonical request that the SDK's own signer makes of the same request is the same.
    #[test]
    fn sigv4_signs_what_the_sdk_signs() {
        let mut request = Request::post("http://127.0.0.1:4566/")
            .header("host", "127.0.0.1:4566")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "AmazonSSM.UpdateInstanceInformation")
            .header("user-agent", "not signed")
            .body(b"{}".to_vec())
            .unwrap();
        let credentials = Credentials::new("ASIAEXAMPLE", "secret", Some("token".into()), None, "test");
        sign_v4(&mut request, &credentials, "us-east-1", "ssm", SystemTime::UNIX_EPOCH).unwrap();
        let authorization = request.headers()["authorization"].to_str().unwrap();
        assert!(
            authorization.contains(
                "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature="
            ),
            "{authorization}"
        );
    }
}
