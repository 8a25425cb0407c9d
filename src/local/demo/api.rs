//! The client's side of Systems Manager: what a user, or FIS, asks. Through the real SDK.

use aws_sdk_ssm::Client as Ssm;
use aws_sdk_ssm::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_ssm::error::{DisplayErrorContext, SdkError};
use aws_sdk_ssm::types::{CommandInvocationStatus, InstanceInformation};

use super::DemoError;
use crate::aws::http;

/// Systems Manager at one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Api {
    ssm: Ssm,
}

/// One step of a command on one instance, as GetCommandInvocation says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StepOutput {
    pub name: String,
    pub status: String,
    pub response_code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Api {
    /// A client for `endpoint`, with keys that mean nothing.
    pub(super) fn at(endpoint: &str) -> Result<Api, DemoError> {
        let client = http::Client::new(None)
            .map_err(|error| DemoError::Api { call: "the HTTP client", reason: error.to_string() })?;
        let config = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new("demo", "demo", None, None, "demo"))
            .http_client(client)
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

    /// Sends a document by name to one instance; the command's id.
    pub(super) async fn send(
        &self,
        instance: &str,
        document: &str,
        parameters: &[(&str, String)],
    ) -> Result<String, DemoError> {
        let mut request = self.ssm.send_command().document_name(document).instance_ids(instance);
        for (name, value) in parameters {
            request = request.parameters(*name, vec![value.clone()]);
        }
        let answer = request.send().await.map_err(failed("SendCommand"))?;
        answer.command.and_then(|command| command.command_id).ok_or_else(|| DemoError::Api {
            call: "SendCommand",
            reason: "no command id in the answer".into(),
        })
    }

    /// CancelCommand for all its instances.
    pub(super) async fn cancel(&self, command: &str) -> Result<(), DemoError> {
        self.ssm.cancel_command().command_id(command).send().await.map_err(failed("CancelCommand"))?;
        Ok(())
    }

    /// The state of a command on its one instance; None until ListCommandInvocations has it.
    pub(super) async fn state(&self, command: &str) -> Result<Option<CommandInvocationStatus>, DemoError> {
        let answer = self.ssm.list_command_invocations().command_id(command).send().await;
        let list = answer.map_err(failed("ListCommandInvocations"))?.command_invocations.unwrap_or_default();
        Ok(list.into_iter().next().and_then(|invocation| invocation.status))
    }

    /// The steps of a command on one instance, each as GetCommandInvocation shows it.
    pub(super) async fn steps(&self, command: &str, instance: &str) -> Result<Vec<StepOutput>, DemoError> {
        let answer = self.ssm.list_command_invocations().command_id(command).details(true).send().await;
        let list = answer.map_err(failed("ListCommandInvocations"))?.command_invocations.unwrap_or_default();
        let names = list.into_iter().flat_map(|invocation| invocation.command_plugins.unwrap_or_default());
        let mut steps = Vec::new();
        for name in names.filter_map(|plugin| plugin.name) {
            steps.push(self.step(command, instance, name).await?);
        }
        Ok(steps)
    }

    async fn step(&self, command: &str, instance: &str, name: String) -> Result<StepOutput, DemoError> {
        let request = self.ssm.get_command_invocation().command_id(command).instance_id(instance);
        let answer = request.plugin_name(&name).send().await.map_err(failed("GetCommandInvocation"))?;
        Ok(StepOutput {
            name,
            status: answer.status_details.unwrap_or_default(),
            response_code: answer.response_code,
            stdout: answer.standard_output_content.unwrap_or_default(),
            stderr: answer.standard_error_content.unwrap_or_default(),
        })
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
