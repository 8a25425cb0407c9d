//! What this sidecar made in Systems Manager, and its removal: at the end of its life, or when its start is
//! broken off half-way.

use std::cell::RefCell;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;

use crate::aws::AwsError;
use crate::aws::backoff::{Patience, retry};
use crate::aws::credentials::TaskRole;
use crate::aws::endpoint::Endpoints;
use crate::aws::http::Client;
use crate::identity::activation::Activations;

/// All of it happens within seconds, so the pauses are short.
const PATIENCE: Patience =
    Patience { unreachable_attempts: 4, throttled_attempts: 12, longest_pause: Duration::from_secs(2) };

/// An activation and an instance, as far as they were made, and what it takes to remove them.
#[derive(Debug)]
pub(super) struct Footprint {
    pub client: Client,
    pub endpoints: Endpoints,
    pub region: String,
    pub task_role: TaskRole,
    activation: RefCell<Option<String>>,
    instance: RefCell<Option<String>>,
}

impl Footprint {
    pub(super) fn new(
        client: Client,
        endpoints: Endpoints,
        region: String,
        task_role: TaskRole,
    ) -> Footprint {
        Footprint { client, endpoints, region, task_role, activation: None.into(), instance: None.into() }
    }

    /// An activation exists from now on.
    pub(super) fn activated(&self, id: &str) {
        *self.activation.borrow_mut() = Some(id.to_owned());
    }

    /// An instance exists from now on.
    pub(super) fn registered(&self, id: &str) {
        *self.instance.borrow_mut() = Some(id.to_owned());
    }

    /// Something was made and is not removed yet.
    pub(super) fn is_some(&self) -> bool {
        self.activation.borrow().is_some() || self.instance.borrow().is_some()
    }

    /// The public API with one set of credentials.
    pub(super) fn api(&self, provider: SharedCredentialsProvider) -> Activations {
        Activations::new(&self.client, &self.endpoints, &self.region, provider)
    }

    /// Removes what was made, within `limit`; true if nothing is left. What is left is named in the log.
    pub(super) async fn retire(&self, limit: Duration, instance_role: Option<Credentials>) -> bool {
        // The activation cannot be used again and expires by itself; the instance stays a target until it is
        // removed. So the first may not use up the time of the second.
        let _ = tokio::time::timeout(limit / 3, self.remove_activation(&instance_role)).await;
        // The instance last: its end is the end of the credentials that were used so far.
        let _ = tokio::time::timeout(limit * 2 / 3, self.remove_instance(&instance_role)).await;
        if !self.is_some() {
            return true;
        }
        tracing::error!(
            activation = self.activation.borrow().as_deref().unwrap_or("-"),
            instance = self.instance.borrow().as_deref().unwrap_or("-"),
            "these could not be removed; remove them with aws ssm delete-activation and \
             aws ssm deregister-managed-instance"
        );
        false
    }

    async fn remove_activation(&self, instance_role: &Option<Credentials>) {
        let activation = self.activation.borrow().clone();
        if let Some(id) = &activation
            && self.as_either(instance_role, |api| async move { api.delete(id).await }).await
        {
            tracing::info!(activation = id, "activation deleted");
            *self.activation.borrow_mut() = None;
        }
    }

    async fn remove_instance(&self, instance_role: &Option<Credentials>) {
        let instance = self.instance.borrow().clone();
        if let Some(id) = &instance
            && self.as_either(instance_role, |api| async move { api.deregister(id).await }).await
        {
            tracing::info!(instance = id, "instance deregistered");
            *self.instance.borrow_mut() = None;
        }
    }

    /// Makes a call with the managed-instance role, and if that does not work with the task role.
    async fn as_either<F, Fut>(&self, instance_role: &Option<Credentials>, call: F) -> bool
    where
        F: Fn(Activations) -> Fut,
        Fut: Future<Output = Result<(), AwsError>>,
    {
        let instance_role = instance_role.clone().map(SharedCredentialsProvider::new);
        let task_role = Some(SharedCredentialsProvider::new(self.task_role.clone()));
        for (role, provider) in [("managed-instance role", instance_role), ("task role", task_role)] {
            let Some(api) = provider.map(|provider| self.api(provider)) else { continue };
            match retry(PATIENCE, || call(api.clone())).await {
                Ok(()) => return true,
                Err(error) => tracing::warn!(role, %error, "cannot clean up with this role"),
            }
        }
        false
    }
}
