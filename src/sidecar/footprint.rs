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

const PATIENCE: Patience = Patience { unreachable_attempts: 4, throttled_attempts: 12 };

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

    /// The public API with one set of credentials.
    pub(super) fn api(&self, provider: SharedCredentialsProvider) -> Activations {
        Activations::new(&self.client, &self.endpoints, &self.region, provider)
    }

    /// Removes what was made, within `limit`; true if nothing is left. What is left is named in the log.
    pub(super) async fn retire(&self, limit: Duration, instance_role: Option<Credentials>) -> bool {
        if tokio::time::timeout(limit, self.remove(instance_role)).await == Ok(true) {
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

    async fn remove(&self, instance_role: Option<Credentials>) -> bool {
        let activation = self.activation.borrow().clone();
        if let Some(id) = &activation
            && self.as_either(&instance_role, |api| async move { api.delete(id).await }).await
        {
            tracing::info!(activation = id, "activation deleted");
            *self.activation.borrow_mut() = None;
        }
        // The instance last: its end is the end of the credentials that were used so far.
        let instance = self.instance.borrow().clone();
        if let Some(id) = &instance
            && self.as_either(&instance_role, |api| async move { api.deregister(id).await }).await
        {
            tracing::info!(instance = id, "instance deregistered");
            *self.instance.borrow_mut() = None;
        }
        self.activation.borrow().is_none() && self.instance.borrow().is_none()
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
