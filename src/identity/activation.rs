//! The calls that every AWS client has: make and delete the activation, deregister the instance.
//!
//! Made with aws-sdk-ssm and an explicit credential source per call: the activation with the task role, the
//! clean-up with the managed-instance role first and the task role as a fallback.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ssm::Client as Ssm;
use aws_sdk_ssm::config::retry::{ReconnectMode, RetryConfig};
use aws_sdk_ssm::config::{BehaviorVersion, Region};
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::types::Tag;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use http_client::sdk::SdkClient;

use crate::aws::AwsError;
use crate::aws::clock::{Clock, is_refusal};
use crate::aws::endpoint::Endpoints;
use crate::aws::error::{UNKNOWN, retry_after};
use crate::aws::json::without_a_message;
use http_client::{Client, chain, is_untrusted};

/// FIS finds a task's instance by this tag.
pub const TAG_TASK_ARN: &str = "ECS_TASK_ARN";
/// FIS documentation suggests this tag for zone-wide commands.
pub const TAG_ZONE: &str = "ECS_TASK_AVAILABILITY_ZONE";
/// Marks the instance as an injection sidecar; scoped policies match it.
pub const TAG_SIDECAR: &str = "FAULT_INJECTION_SIDECAR";

/// How long an unused activation stays valid. Registration follows within seconds; the service's default
/// of 24 hours would leave a usable code behind when a task dies in between.
pub const ACTIVATION_LIFE: Duration = Duration::from_secs(10 * 60);

/// What `CreateActivation` gave. The code is a secret for as long as the activation lives.
#[derive(Clone)]
pub struct Activation {
    /// Names it in DeleteActivation and in the registration.
    pub id: String,
    /// The secret that a registration proves itself with.
    pub code: String,
}

impl std::fmt::Debug for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Activation").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Systems Manager's public API with one set of credentials.
#[derive(Debug, Clone)]
pub struct Activations {
    ssm: Ssm,
    endpoint: String,
    clock: Clock,
}

impl Activations {
    /// A client of Systems Manager in `region` that signs with `credentials`.
    pub fn new(
        client: &Client,
        endpoints: &Endpoints,
        region: &str,
        credentials: SharedCredentialsProvider,
        clock: &Clock,
    ) -> Activations {
        let endpoint = endpoints.ssm.to_string();
        let config = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .endpoint_url(&endpoint)
            .credentials_provider(credentials)
            .http_client(SdkClient(client.clone()))
            // Retries are ours (`aws::retry`), so that one policy holds for every call of the agent.
            .retry_config(
                RetryConfig::disabled()
                    // The pool of our client closes broken connections by itself.
                    .with_reconnect_mode(ReconnectMode::ReuseAllConnections),
            )
            .build();
        Activations { ssm: Ssm::from_conf(config), endpoint, clock: clock.clone() }
    }

    /// Makes the activation for one task: one registration, ten minutes, the three tags that FIS and its
    /// users look for.
    ///
    /// # Errors
    /// The service's; see [`AwsError`].
    pub async fn create(&self, role: &str, task_arn: &str, zone: &str) -> Result<Activation, AwsError> {
        self.at_its_time(async || self.create_once(role, task_arn, zone).await).await
    }

    async fn create_once(&self, role: &str, task_arn: &str, zone: &str) -> Result<Activation, AwsError> {
        let tag = |key: &str, value: &str| {
            Tag::builder().key(key).value(value).build().map_err(|error| AwsError::NotMade {
                operation: "CreateActivation".into(),
                reason: error.to_string(),
            })
        };
        let answer = self
            .ssm
            .create_activation()
            .iam_role(role)
            .registration_limit(1)
            .expiration_date((self.clock.now() + ACTIVATION_LIFE).into())
            .tags(tag(TAG_ZONE, zone)?)
            .tags(tag(TAG_TASK_ARN, task_arn)?)
            .tags(tag(TAG_SIDECAR, "true")?)
            .send()
            .await
            .map_err(|error| self.error("CreateActivation", &error))?;
        match (answer.activation_id, answer.activation_code) {
            (Some(id), Some(code)) => Ok(Activation { id, code }),
            _ => Err(AwsError::Unexpected {
                operation: "CreateActivation".into(),
                reason: "the answer has no activation id or code".into(),
            }),
        }
    }

    /// Deletes an activation. One that is gone already is a success.
    ///
    /// # Errors
    /// The service's; see [`AwsError`].
    pub async fn delete(&self, id: &str) -> Result<(), AwsError> {
        let call = async || {
            let result = self.ssm.delete_activation().activation_id(id).send().await;
            result.map_err(|error| self.error("DeleteActivation", &error))
        };
        match self.at_its_time(call).await {
            Err(error) if matches!(error.code(), "InvalidActivation" | "InvalidActivationId") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Removes the instance. One that is gone already is a success.
    ///
    /// # Errors
    /// The service's; see [`AwsError`].
    pub async fn deregister(&self, instance_id: &str) -> Result<(), AwsError> {
        let call = async || {
            let result = self.ssm.deregister_managed_instance().instance_id(instance_id).send().await;
            result.map_err(|error| self.error("DeregisterManagedInstance", &error))
        };
        match self.at_its_time(call).await {
            Err(error) if error.code() == "InvalidInstanceId" => Ok(()),
            other => other.map(drop),
        }
    }

    /// Makes a call, and once more if the answer says that the clock of this machine is off. The SDK makes up for that by
    /// itself, from its second call on, so its own clock is left to it.
    async fn at_its_time<T>(&self, call: impl AsyncFn() -> Result<T, AwsError>) -> Result<T, AwsError> {
        let answer = self.clock.corrected(call, |error: &AwsError| is_refusal(error.code())).await;
        answer.map_err(|error| self.clock.explain(error))
    }

    fn error<E>(&self, operation: &str, error: &SdkError<E, HttpResponse>) -> AwsError
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        let operation = operation.to_owned();
        self.clock.hear(error.raw_response().and_then(|answer| answer.headers().get("date")));
        match error {
            SdkError::ServiceError(answer) => AwsError::Service {
                operation,
                code: answer.err().code().unwrap_or(UNKNOWN).to_owned(),
                message: answer
                    .err()
                    .message()
                    .map_or_else(|| without_a_message(answer.raw().headers().get("location")), str::to_owned),
                status: answer.raw().status().as_u16(),
                retry_after: retry_after(answer.raw().headers().get("retry-after")),
            },
            // Not the service's own words: a proxy or a load balancer in between.
            SdkError::ResponseError(answer) if !answer.raw().status().is_success() => AwsError::Service {
                operation,
                code: UNKNOWN.to_owned(),
                message: without_a_message(answer.raw().headers().get("location")),
                status: answer.raw().status().as_u16(),
                retry_after: retry_after(answer.raw().headers().get("retry-after")),
            },
            SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => match credentials_error(error) {
                Some(reason) => AwsError::Credentials { operation, reason },
                None => AwsError::Unreachable {
                    operation,
                    endpoint: self.endpoint.clone(),
                    reason: chain(error),
                    untrusted: is_untrusted(error),
                },
            },
            SdkError::ConstructionFailure(_) => AwsError::NotMade { operation, reason: chain(error) },
            _ => AwsError::Unexpected { operation, reason: chain(error) },
        }
    }
}

/// Why there were no credentials, if that is what `error` comes from: the SDK calls it a failed dispatch.
fn credentials_error(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<CredentialsError>() {
            return Some(found.source().map_or_else(|| found.to_string(), chain));
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::credentials::{Source, TaskRole};

    /// The answer to a CreateActivation that is made with `source`, by a service that answers every call so.
    async fn refusal(source: Source, answer: &'static str) -> AwsError {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = async {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _ = socket.read(&mut [0; 16384]).await.unwrap();
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let client = Client::new(&http_client::Network::default()).unwrap();
        let endpoints =
            Endpoints::resolve("eu-west-1", "aws", |name| (name == "AWS_ENDPOINT_URL").then(|| url.clone()))
                .unwrap();
        let role = SharedCredentialsProvider::new(TaskRole { source, client: client.clone() });
        let api = Activations::new(&client, &endpoints, "eu-west-1", role, &Clock::default());
        tokio::select! {
            result = api.create("role", "arn", "zone") => result.unwrap_err(),
            () = service => unreachable!("it serves for ever"),
        }
    }

    #[tokio::test]
    async fn what_a_proxy_says_in_html_has_its_status() {
        let keys = Source::Variables(aws_credential_types::Credentials::new("A", "B", None, None, "test"));
        for status in ["503 Unavailable", "403 Forbidden", "302 Found\r\nlocation: http://elsewhere/"] {
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 6\r\n\r\n<html>");
            let error = refusal(keys.clone(), answer.leak()).await;
            assert!(matches!(error, AwsError::Service { .. }), "{error}");
            assert!(error.is_transient() && error.is_answer_lost(), "{error}");
            assert_eq!(error.to_string().contains("http://elsewhere/"), status.starts_with("302"), "{error}");
        }
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_had_are_not_blamed_on_the_service() {
        let source = Source::Container {
            uri: "http://127.0.0.1:1/creds".parse().unwrap(),
            token: None,
            token_file: Some("/nonexistent/token".into()),
        };
        let error = refusal(source, "").await;
        let text = error.to_string();
        assert!(matches!(error, AwsError::Credentials { .. }), "{text}");
        assert!(text.contains("/nonexistent/token") && !text.contains("cannot reach"), "{text}");
    }
}
