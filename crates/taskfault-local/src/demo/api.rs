//! The client's side of Systems Manager, through the real SDK.

use aws_sdk_ssm::Client as Ssm;
use aws_sdk_ssm::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ssm::error::{DisplayErrorContext, SdkError};
use aws_sdk_ssm::types::InstanceInformation;

use super::DemoError;
use http_client::sdk::SdkClient;

/// Systems Manager at one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Api {
    ssm: Ssm,
}

impl Api {
    /// A client for `endpoint`, with keys that mean nothing.
    pub(super) fn at(endpoint: &str) -> Result<Api, DemoError> {
        let client = http_client::Client::new(&http_client::Network::default())
            .map_err(|error| DemoError::Api { call: "the HTTP client", reason: error.to_string() })?;
        let config = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new("demo", "demo", None, None, "demo"))
            .http_client(SdkClient(client))
            .build();
        Ok(Api { ssm: Ssm::from_conf(config) })
    }

    /// Every managed instance.
    pub(super) async fn instances(&self) -> Result<Vec<InstanceInformation>, DemoError> {
        let answer = self.ssm.describe_instance_information().send().await;
        Ok(answer
            .map_err(failed("DescribeInstanceInformation"))?
            .instance_information_list
            .unwrap_or_default())
    }

    /// The ids of all activations.
    pub(super) async fn activations(&self) -> Result<Vec<String>, DemoError> {
        let answer = self.ssm.describe_activations().send().await.map_err(failed("DescribeActivations"))?;
        let list = answer.activation_list.unwrap_or_default();
        Ok(list.into_iter().filter_map(|activation| activation.activation_id).collect())
    }
}

fn failed<E, R>(call: &'static str) -> impl FnOnce(SdkError<E, R>) -> DemoError
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
    SdkError<E, R>: std::error::Error,
{
    move |error| DemoError::Api { call, reason: DisplayErrorContext(&error).to_string() }
}
