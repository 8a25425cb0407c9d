//! AWS JSON 1.1: one POST per call, the operation in a header, errors as `__type` and a message.

use std::time::Duration;

use aws_credential_types::Credentials;
use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clock::{Clock, is_refusal};
use super::endpoint::{Endpoints, Service};
use super::error::{UNKNOWN, retry_after};
use super::{AwsError, sign};
use http_client::{CALL_TIMEOUT, Client, chain, host_of, is_untrusted};

/// Content-Type of every request.
pub const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// Who we are, in every request: the name and version of taskfault, not those that the heartbeat announces.
pub const USER_AGENT: &str = concat!("taskfault/", env!("CARGO_PKG_VERSION"));

/// The largest answer that is parsed, in bytes: a long poll may carry several documents. What is parsed takes up to
/// sixteen times as much memory.
const MOST_JSON: usize = 2 * 1024 * 1024;
/// The same of a refusal.
const MOST_REFUSAL: usize = 64 * 1024;
/// Characters of a refusal's message that are kept.
const MOST_WORDS: usize = 1_000;

/// How a call proves who makes it.
#[derive(Debug)]
pub enum Auth<'a> {
    /// Not at all (registration).
    Anonymous,
    /// SigV4 with a secret key.
    Keys(&'a Credentials),
    /// SigV4 with the instance's RSA key.
    Rsa {
        /// The managed instance, which stands where an access key id would.
        instance_id: &'a str,
        /// Signs with its private key.
        key: &'a dyn sign::RsaSigner,
    },
}

/// A caller of JSON 1.1 services.
#[derive(Debug, Clone)]
pub struct JsonClient {
    client: Client,
    endpoints: Endpoints,
    region: String,
    clock: Clock,
}

impl JsonClient {
    /// A client for the services of `region` at `endpoints`; `clock` hears what time it is there.
    pub fn new(client: Client, endpoints: Endpoints, region: String, clock: Clock) -> JsonClient {
        JsonClient { client, endpoints, region, clock }
    }

    /// The services' time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Calls `operation` of `service` and reads the answer as `T`, within 15 s.
    ///
    /// # Errors
    /// See [`AwsError`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        service: Service,
        operation: &str,
        auth: Auth<'_>,
        body: &impl Serialize,
    ) -> Result<T, AwsError> {
        self.call_within(CALL_TIMEOUT, service, operation, auth, body).await
    }

    /// As [`Self::call`], with a time limit of the caller's (a long poll).
    pub async fn call_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        service: Service,
        operation: &str,
        auth: Auth<'_>,
        body: &impl Serialize,
    ) -> Result<T, AwsError> {
        let answer = self.send(limit, service, operation, auth, body).await?;
        let text: &[u8] = if answer.is_empty() { b"{}" } else { &answer };
        if text.len() > MOST_JSON {
            let reason = format!("it has {} bytes, of which {MOST_JSON} are read at most", text.len());
            return Err(AwsError::Unexpected { operation: operation.to_owned(), reason });
        }
        serde_json::from_slice(text).map_err(|error| AwsError::Unexpected {
            operation: operation.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Makes a call of whose answer nothing is needed but that it succeeded. Gives the answer's body as it came.
    ///
    /// # Errors
    /// See [`AwsError`].
    pub async fn send(
        &self,
        limit: Duration,
        service: Service,
        operation: &str,
        auth: Auth<'_>,
        body: &impl Serialize,
    ) -> Result<Bytes, AwsError> {
        let not_made = |reason: String| AwsError::NotMade { operation: operation.to_owned(), reason };
        let body = serde_json::to_vec(body).map_err(|error| not_made(error.to_string()))?;
        let call = async || self.send_once(limit, service, operation, &auth, body.clone()).await;
        let answer = self.clock.corrected(call, |error: &AwsError| is_refusal(error.code())).await;
        answer.map_err(|error| self.clock.explain(error))
    }

    async fn send_once(
        &self,
        limit: Duration,
        service: Service,
        operation: &str,
        auth: &Auth<'_>,
        body: Vec<u8>,
    ) -> Result<Bytes, AwsError> {
        let not_made = |reason: String| AwsError::NotMade { operation: operation.to_owned(), reason };
        let endpoint = self.endpoints.of(service).ok_or_else(|| not_made("it speaks no JSON".to_owned()))?;
        let request = self
            .request(service, endpoint, operation, auth, body)
            .map_err(|error| not_made(chain(&*error)))?;
        let answer = self.client.send(request, limit).await.map_err(|error| AwsError::Unreachable {
            operation: operation.to_owned(),
            endpoint: endpoint.to_string(),
            reason: error.to_string(),
            untrusted: is_untrusted(&error),
        })?;
        self.clock.hear(answer.headers().get(header::DATE).and_then(|date| date.to_str().ok()));
        match answer.status().is_success() {
            true => Ok(answer.into_body()),
            false => Err(service_error(operation, &answer)),
        }
    }

    fn request(
        &self,
        service: Service,
        endpoint: &Uri,
        operation: &str,
        auth: &Auth<'_>,
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, Box<dyn std::error::Error>> {
        let prefix = match service {
            Service::Ssm => "AmazonSSM",
            // Source: amazon-ssm-agent `vendor/…/ssmmds`; the name is historical.
            Service::Ec2Messages => "EC2WindowsMessageDeliveryService",
            Service::Logs => "Logs_20140328",
            Service::SsmMessages | Service::S3 => "",
        };
        let target = format!("{prefix}.{operation}");
        let host = host_of(endpoint);
        let mut request = Request::post(endpoint)
            .header(header::HOST, &host)
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::CONTENT_LENGTH, body.len())
            .header("x-amz-target", &target)
            .body(Bytes::from(body))?;
        let now = self.clock.now();
        match auth {
            Auth::Anonymous => {}
            Auth::Keys(credentials) => {
                sign::sign_v4(&mut request, credentials, &self.region, service.name(), now)?;
            }
            Auth::Rsa { instance_id, key } => {
                let date = sign::amz_date(now);
                let signable = sign::RsaSignable {
                    host: &host,
                    content_type: CONTENT_TYPE,
                    date: &date,
                    target: &target,
                    region: &self.region,
                    body: request.body(),
                };
                let signature = key.sign(signable.string_to_sign().as_bytes())?;
                let authorization = signable.authorization(instance_id, &signature);
                let digest = sign::sha256_hex(request.body());
                let headers = request.headers_mut();
                headers.insert(header::AUTHORIZATION, authorization.parse()?);
                headers.insert("x-amz-date", date.parse()?);
                // Sent but not signed, as the stock agent has it.
                headers.insert("x-amz-content-sha256", digest.parse()?);
            }
        }
        request.headers_mut().insert(header::USER_AGENT, header::HeaderValue::from_static(USER_AGENT));
        Ok(request.map(Full::new))
    }
}

/// What an answer without a message says: where it sends us, if it is a redirect. Redirects are not followed: what is
/// signed is for one host.
pub(crate) fn without_a_message(location: Option<&str>) -> String {
    location.map_or_else(|| "(no message)".to_owned(), |to| format!("redirected to {to}"))
}

/// Reads the error of a JSON 1.1 answer: `__type` is a code or `namespace#code`, the message is called
/// `message` or `Message`.
fn service_error(operation: &str, answer: &Response<Bytes>) -> AwsError {
    let body: serde_json::Value = match answer.body().len() {
        ..=MOST_REFUSAL => serde_json::from_slice(answer.body()).unwrap_or_default(),
        _ => serde_json::Value::Null,
    };
    let text = |name: &str| body.get(name).and_then(serde_json::Value::as_str);
    let header = |name: header::HeaderName| answer.headers().get(name).and_then(|it| it.to_str().ok());
    let kind = text("__type").unwrap_or(UNKNOWN);
    let message =
        text("message").or_else(|| text("Message")).map(|text| text.chars().take(MOST_WORDS).collect());
    let code = kind.rsplit('#').next().unwrap_or(kind);
    AwsError::Service {
        operation: operation.to_owned(),
        code: code.split(':').next().unwrap_or(code).to_owned(),
        message: message.unwrap_or_else(|| without_a_message(header(header::LOCATION))),
        status: answer.status().as_u16(),
        retry_after: retry_after(header(header::RETRY_AFTER)),
    }
}

/// Reads bytes as the refusal of a JSON 1.1 service.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut answer = Response::new(Bytes::copy_from_slice(bytes));
    *answer.status_mut() = http::StatusCode::BAD_REQUEST;
    let error = service_error("Fuzz", &answer);
    let _ = (error.retry_reason(), error.is_answer_lost(), error.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_not_parsed() {
        let answer = |body: String| Response::builder().status(400).body(Bytes::from(body)).unwrap();
        let refusal = |padding: usize| {
            let body = format!(r#"{{"__type":"X","message":"{}"}}"#, "m".repeat(padding));
            match service_error("Op", &answer(body)) {
                AwsError::Service { code, message, .. } => (code, message.len()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refusal(10), ("X".to_owned(), 10));
        assert_eq!(refusal(5_000), ("X".to_owned(), MOST_WORDS));
        assert_eq!(refusal(MOST_REFUSAL).0, "UnknownError");
    }

    #[test]
    fn errors_are_read_in_every_spelling() {
        for (body, code, message) in [
            (r#"{"__type":"InvalidActivation","message":"no"}"#, "InvalidActivation", "no"),
            (r#"{"__type":"com.amazon.ssm#TooManyUpdates","Message":"slow"}"#, "TooManyUpdates", "slow"),
            ("<html>", "UnknownError", "(no message)"),
        ] {
            let answer = Response::builder().status(400).header("retry-after", "7").body(Bytes::from(body));
            let AwsError::Service { code: got, message: text, status, retry_after, .. } =
                service_error("Op", &answer.unwrap())
            else {
                panic!("not a service error");
            };
            assert_eq!((got.as_str(), text.as_str(), status), (code, message, 400));
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
        }
    }
}
