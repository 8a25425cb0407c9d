//! What this sidecar made in Systems Manager, and its removal: at the end of its life, or when its start is
//! broken off half-way.

use std::cell::RefCell;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use tokio_util::sync::CancellationToken;

use crate::aws::AwsError;
use crate::aws::clock::Clock;
use crate::aws::credentials::TaskRole;
use crate::aws::endpoint::Endpoints;
use crate::aws::retry::{Retry, RetryBudget};
use crate::identity::activation::Activations;
use http_client::Client;

/// All of it happens within seconds.
const RETRY_BUDGET: RetryBudget = RetryBudget {
    unreachable: Duration::from_secs(3),
    failing: Duration::from_secs(10),
    throttled: Duration::from_secs(10),
};

/// Activations and an instance, as far as they were made, and what it takes to remove them.
#[derive(Debug)]
pub(super) struct Footprint {
    pub client: Client,
    pub endpoints: Endpoints,
    pub region: String,
    pub task_role: TaskRole,
    pub clock: Clock,
    /// The last one is the one in use; those before it expired while their registration was throttled.
    activations: RefCell<Vec<String>>,
    instance: RefCell<Option<String>>,
}

impl Footprint {
    pub(super) fn new(
        client: Client,
        endpoints: Endpoints,
        region: String,
        task_role: TaskRole,
        clock: Clock,
    ) -> Footprint {
        Footprint {
            client,
            endpoints,
            region,
            task_role,
            clock,
            activations: RefCell::default(),
            instance: None.into(),
        }
    }

    /// An activation exists from now on.
    pub(super) fn activated(&self, id: &str) {
        self.activations.borrow_mut().push(id.to_owned());
    }

    /// An instance exists from now on.
    pub(super) fn registered(&self, id: &str) {
        *self.instance.borrow_mut() = Some(id.to_owned());
    }

    /// Something was made and is not removed yet.
    pub(super) fn is_some(&self) -> bool {
        !self.activations.borrow().is_empty() || self.instance.borrow().is_some()
    }

    /// The public API with one set of credentials.
    pub(super) fn api(&self, provider: SharedCredentialsProvider) -> Activations {
        Activations::new(&self.client, &self.endpoints, &self.region, provider, &self.clock)
    }

    /// Removes what was made, within `limit`; true if nothing is left. What is left is named in the log.
    pub(super) async fn retire(&self, limit: Duration, instance_role: Option<Credentials>) -> bool {
        // The activation cannot be used again and expires by itself; the instance stays a target until it is
        // removed. So the first may not use up the time of the second.
        let _ = tokio::time::timeout(limit / 3, self.remove_activations(&instance_role)).await;
        // The instance last: its end is the end of the credentials that were used so far.
        let _ = tokio::time::timeout(limit * 2 / 3, self.remove_instance(&instance_role)).await;
        if !self.is_some() {
            return true;
        }
        tracing::error!(
            activations = self.activations.borrow().join(","),
            instance = self.instance.borrow().as_deref().unwrap_or("-"),
            "these could not be removed; remove them with aws ssm delete-activation and \
             aws ssm deregister-managed-instance"
        );
        false
    }

    /// Removes the activations that expired before they could be used, for as long as it takes.
    pub(super) async fn remove_expired(&self, stop: &CancellationToken, budget: RetryBudget) {
        let api = self.api(SharedCredentialsProvider::new(self.task_role.clone()));
        let retry = Retry::new(stop, budget);
        let expired = self.activations.borrow().iter().rev().skip(1).cloned().collect::<Vec<_>>();
        for id in expired {
            match retry.call(async || api.delete(&id).await).await {
                Ok(()) => self.removed(&id),
                Err(error) => {
                    tracing::warn!(activation = id, %error, "an expired activation stays until the end")
                }
            }
        }
    }

    fn removed(&self, id: &str) {
        tracing::info!(activation = id, "activation deleted");
        self.activations.borrow_mut().retain(|other| other != id);
    }

    async fn remove_activations(&self, instance_role: &Option<Credentials>) {
        let activations = self.activations.borrow().clone();
        for id in activations.iter().rev() {
            if self.as_either(instance_role, async |api| api.delete(id).await).await {
                self.removed(id);
            }
        }
    }

    async fn remove_instance(&self, instance_role: &Option<Credentials>) {
        let instance = self.instance.borrow().clone();
        if let Some(id) = &instance
            && self.as_either(instance_role, async |api| api.deregister(id).await).await
        {
            tracing::info!(instance = id, "instance deregistered");
            *self.instance.borrow_mut() = None;
        }
    }

    /// Makes a call with the managed-instance role, and if that does not work with the task role.
    async fn as_either(
        &self,
        instance_role: &Option<Credentials>,
        call: impl AsyncFn(&Activations) -> Result<(), AwsError>,
    ) -> bool {
        // Who calls this has a time limit; it is broken off no other way.
        let never = CancellationToken::new();
        let instance_role = instance_role.clone().map(SharedCredentialsProvider::new);
        let task_role = Some(SharedCredentialsProvider::new(self.task_role.clone()));
        for (role, provider) in [("managed-instance role", instance_role), ("task role", task_role)] {
            let Some(api) = provider.map(|provider| self.api(provider)) else { continue };
            match Retry::new(&never, RETRY_BUDGET).call(async || call(&api).await).await {
                Ok(()) => return true,
                Err(error) => tracing::warn!(role, %error, "cannot clean up with this role"),
            }
        }
        false
    }
}
