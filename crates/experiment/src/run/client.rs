//! The client's side of FIS at a local AWS, over HTTP as any client has it.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use http_client::Client as Http;
use record::Record;

/// How long a call may take. The local AWS answers in milliseconds; a busy machine may not.
const CALL: Duration = Duration::from_secs(20);
/// That of a local AWS that does not say its own.
const REGION: &str = "us-east-1";

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The service refused the call.
    #[error("{call}: {code}: {message}")]
    Refused {
        /// The operation, as the API names it.
        call: &'static str,
        /// The error's code, `ValidationException` for instance; the HTTP status where there is none.
        code: String,
        /// The service's message; empty where there is none.
        message: String,
    },
    /// What is at the endpoint is no local AWS and will not become one.
    #[error("{call}: {reason}")]
    NotLocal {
        /// What was to be found out.
        call: &'static str,
        /// What is there instead.
        reason: String,
    },
    /// No answer, or one that cannot be read.
    #[error("{call}: {reason}")]
    Unreachable {
        /// The operation, as the API names it.
        call: &'static str,
        /// What failed: the connection, or the form of the answer.
        reason: String,
    },
}

/// FIS at one endpoint.
#[derive(Debug, Clone)]
pub struct Fis {
    http: Http,
    endpoint: String,
    /// That of the local AWS, once it has said so.
    region: OnceLock<String>,
}

impl Fis {
    /// A client for a `taskfault-local` at `endpoint`, `http://127.0.0.1:4566` for instance.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn at(endpoint: &str) -> Result<Fis, CallError> {
        let http = Http::new(&http_client::Network::default())
            .map_err(|error| CallError::Unreachable { call: "the HTTP client", reason: error.to_string() })?;
        Ok(Fis { http, endpoint: endpoint.trim_end_matches('/').to_owned(), region: OnceLock::new() })
    }

    /// Asks whether a local AWS is there. Anything else, the real AWS for instance, is not to be talked to.
    ///
    /// # Errors
    /// [`CallError::Unreachable`].
    pub async fn is_local(&self) -> Result<(), CallError> {
        let call = "looking for taskfault-local";
        if !self.endpoint.contains("://") {
            let reason = format!("--endpoint {} does not begin with http://", self.endpoint);
            return Err(CallError::NotLocal { call, reason });
        }
        let health = self.send(call, Method::GET, "/_taskfault/health", None).await;
        match health {
            Ok(health) if health["status"] == "ok" => {
                let region = health["region"].as_str().unwrap_or(REGION);
                let _ = self.region.set(region.to_owned());
                Ok(())
            }
            Err(CallError::Unreachable { reason, .. }) => {
                let hint = "start taskfault-local, or give --endpoint";
                let reason = format!("no answer from {}: {reason}; {hint}", self.endpoint);
                Err(CallError::Unreachable { call, reason })
            }
            Ok(_) | Err(_) => {
                Err(CallError::NotLocal { call, reason: format!("{} is no taskfault-local", self.endpoint) })
            }
        }
    }

    /// CreateExperimentTemplate; the id.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create_template(&self, mut template: Map<String, Value>) -> Result<String, CallError> {
        let call = "CreateExperimentTemplate";
        template.entry("clientToken").or_insert_with(|| json!(Uuid::new_v4()));
        let answer = self.send(call, Method::POST, "/experimentTemplates", Some(&template.into())).await?;
        id(call, &answer["experimentTemplate"])
    }

    /// GetExperimentTemplate: whether it is there.
    ///
    /// # Errors
    /// [`CallError`]; it is not there, for instance.
    pub async fn has_template(&self, id: &str) -> Result<(), CallError> {
        let path = format!("/experimentTemplates/{id}");
        self.send("GetExperimentTemplate", Method::GET, &path, None).await.map(drop)
    }

    /// DeleteExperimentTemplate.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn delete_template(&self, id: &str) -> Result<(), CallError> {
        let path = format!("/experimentTemplates/{id}");
        self.send("DeleteExperimentTemplate", Method::DELETE, &path, None).await.map(drop)
    }

    /// StartExperiment; the experiment's id.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn start(&self, template: &str) -> Result<String, CallError> {
        let call = "StartExperiment";
        let body = json!({ "clientToken": Uuid::new_v4(), "experimentTemplateId": template });
        let answer = self.send(call, Method::POST, "/experiments", Some(&body)).await?;
        id(call, &answer["experiment"])
    }

    /// GetExperiment: its `experiment`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn experiment(&self, id: &str) -> Result<Value, CallError> {
        let path = format!("/experiments/{id}");
        let mut answer = self.send("GetExperiment", Method::GET, &path, None).await?;
        Ok(answer["experiment"].take())
    }

    /// ListExperimentResolvedTargets: the name of each target and the ARN of a resource that was picked for it. The
    /// first page; AWS picks no more for one experiment than it holds.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn resolved_targets(&self, id: &str) -> Result<Vec<(String, String)>, CallError> {
        let path = format!("/experiments/{id}/resolvedTargets?maxResults=100");
        let answer = self.send("ListExperimentResolvedTargets", Method::GET, &path, None).await?;
        let items = answer["resolvedTargets"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(items.iter().map(|it| (text(&it["targetName"]), text(&it["targetInformation"]["arn"]))).collect())
    }

    /// StopExperiment.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn stop(&self, id: &str) -> Result<(), CallError> {
        let path = format!("/experiments/{id}");
        self.send("StopExperiment", Method::DELETE, &path, None).await.map(drop)
    }

    /// What happened so far.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn record(&self) -> Result<Record, CallError> {
        let call = "GET /_taskfault/record";
        let answer = self.send(call, Method::GET, "/_taskfault/record", None).await?;
        serde_json::from_value(answer).map_err(|error| CallError::Unreachable {
            call,
            reason: format!("not a record of this version: {error}"),
        })
    }

    /// The region of the local AWS, once [`Fis::is_local`] has asked for it; `us-east-1` before.
    pub fn region(&self) -> &str {
        self.region.get().map_or(REGION, String::as_str)
    }

    /// What the local AWS asks of clients: the form of a signature. It knows nobody's secret, so nothing is
    /// signed.
    fn authorization(&self) -> String {
        let region = self.region();
        let day = OffsetDateTime::now_utc().date().to_string().replace('-', "");
        format!(
            "AWS4-HMAC-SHA256 Credential=local/{day}/{region}/fis/aws4_request, SignedHeaders=host, Signature={:064}",
            0
        )
    }

    async fn send(
        &self,
        call: &'static str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let unreachable = |reason: String| CallError::Unreachable { call, reason };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::AUTHORIZATION, self.authorization())
            .body(Full::new(body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()))))
            .map_err(|error| unreachable(error.to_string()))?;
        let answer = self.http.send(request, CALL).await.map_err(|error| unreachable(error.to_string()))?;
        let status = answer.status();
        let value = serde_json::from_slice::<Value>(answer.body());
        if status.is_success() {
            return value.map_err(|error| unreachable(format!("its answer is not JSON: {error}")));
        }
        let code = answer.headers().get("x-amzn-errortype").and_then(|code| code.to_str().ok());
        let code = code.map_or_else(|| status.to_string(), str::to_owned);
        let message = value.ok().and_then(|value| value["message"].as_str().map(str::to_owned));
        Err(CallError::Refused { call, code, message: message.unwrap_or_default() })
    }
}

fn id(call: &'static str, object: &Value) -> Result<String, CallError> {
    let reason = || CallError::Unreachable { call, reason: "its answer has no id".to_owned() };
    object["id"].as_str().map(str::to_owned).ok_or_else(reason)
}
