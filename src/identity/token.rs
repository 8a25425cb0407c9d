//! The managed-instance role's temporary credentials: fetched with the RSA key, refreshed at half life, and
//! the key replaced when the service asks for it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;

use super::key::{InstanceKey, KEY_TYPE, PendingKey};
use super::store::{Store, Stored};
use crate::aws::AwsError;
use crate::aws::backoff::{Backoff, jitter};
use crate::aws::endpoint::Service;
use crate::aws::json::{Auth, JsonClient};

/// A refresh never comes sooner than this, whatever life the service gives a token.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);
/// Where the service says that this machine is not who it was, asking again soon is no use.
/// Source: amazon-ssm-agent `credentialrefresher_deps.go` (25 min + up to 5).
const DENIED_PAUSE: Duration = Duration::from_secs(25 * 60);
const DENIED_JITTER: Duration = Duration::from_secs(5 * 60);

/// How long after the service refused credentials before their time is up new ones are asked for. The
/// calls that find it out have pauses of their own, so this does not become a loop.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
const REFUSED_JITTER: Duration = Duration::from_secs(2);

/// How services say that they do not take a key: too old, or not known (any more).
const REFUSALS: [&str; 5] = [
    "ExpiredTokenException",
    "ExpiredToken",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidInstanceId",
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TokenAnswer {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    /// Epoch seconds, with a fraction.
    token_expiration_date: f64,
    #[serde(default)]
    update_key_pair: bool,
}

/// The instance's identity with credentials that are kept fresh. Shared by all that sign.
#[derive(Debug)]
pub struct Identity {
    client: JsonClient,
    store: Store,
    stored: RefCell<Stored>,
    key: RefCell<Rc<InstanceKey>>,
    token: RefCell<Option<Token>>,
    /// The service did not take the credentials.
    refused: Notify,
}

#[derive(Debug, Clone)]
struct Token {
    credentials: Credentials,
    fetched: SystemTime,
    expires: SystemTime,
}

impl Identity {
    /// An identity that has no credentials yet; see [`Self::fetch`].
    pub fn new(client: JsonClient, store: Store, stored: Stored, key: InstanceKey) -> Identity {
        let (stored, key) = (RefCell::new(stored), RefCell::new(Rc::new(key)));
        Identity { client, store, stored, key, token: RefCell::new(None), refused: Notify::new() }
    }

    /// `mi-…`.
    pub fn instance_id(&self) -> String {
        self.stored.borrow().instance_id.clone()
    }

    /// The activation that it was registered with.
    pub fn activation_id(&self) -> String {
        self.stored.borrow().activation_id.clone()
    }

    /// The client that its calls go through.
    pub fn client(&self) -> &JsonClient {
        &self.client
    }

    /// The state folder that it is kept in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The current credentials; None before the first [`Self::fetch`].
    pub fn credentials(&self) -> Option<Credentials> {
        self.token.borrow().as_ref().map(|token| token.credentials.clone())
    }

    /// Makes one call with the current credentials. If the service does not take them, new ones are asked for.
    ///
    /// # Errors
    /// The service's; see [`AwsError`].
    pub async fn call(
        &self,
        limit: Duration,
        service: Service,
        operation: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, AwsError> {
        let credentials = self.credentials_for(operation)?;
        let auth = Auth::Keys(&credentials);
        let answer = self.client.call_within(limit, service, operation, auth, body).await;
        answer.inspect_err(|error| self.note_refusal(error.code()))
    }

    /// As [`Self::call`], where the answer says nothing but that the call succeeded: its body does not matter.
    ///
    /// # Errors
    /// The service's; see [`AwsError`].
    pub async fn send(
        &self,
        limit: Duration,
        service: Service,
        operation: &str,
        body: &serde_json::Value,
    ) -> Result<(), AwsError> {
        let credentials = self.credentials_for(operation)?;
        let answer = self.client.send(limit, service, operation, Auth::Keys(&credentials), body).await;
        answer.map(drop).inspect_err(|error| self.note_refusal(error.code()))
    }

    fn credentials_for(&self, operation: &str) -> Result<Credentials, AwsError> {
        self.credentials().ok_or_else(|| AwsError::NotMade {
            operation: operation.to_owned(),
            reason: "there are no credentials yet".to_owned(),
        })
    }

    /// Whether an error code means that the credentials are not taken.
    pub fn is_refusal(&self, code: &str) -> bool {
        REFUSALS.contains(&code)
    }

    /// Notes an error code of a call that was made with the current credentials.
    pub fn note_refusal(&self, code: &str) {
        if self.is_refusal(code) {
            self.refused.notify_one();
        }
    }

    /// Asks for new credentials, and replaces the key if the answer says so.
    ///
    /// # Errors
    /// The service's; a key that could not be replaced is logged and tried again at the next refresh.
    pub async fn fetch(&self) -> Result<(), AwsError> {
        let key = Rc::clone(&self.key.borrow());
        let answer = self.request_token(&key).await?;
        // The expiry is of the service's clock.
        let now = self.client.clock().now();
        let expires = expiry(answer.token_expiration_date).ok_or_else(|| AwsError::Unexpected {
            operation: "RequestManagedInstanceRoleToken".to_owned(),
            reason: format!("TokenExpirationDate {} is no date", answer.token_expiration_date),
        })?;
        let credentials = Credentials::new(
            answer.access_key_id,
            answer.secret_access_key,
            Some(answer.session_token),
            Some(expires),
            "managed-instance",
        );
        *self.token.borrow_mut() = Some(Token { credentials, fetched: now, expires });
        if answer.update_key_pair
            && let Err(error) = self.replace_key(&key).await
        {
            tracing::warn!(error, "cannot replace the instance's key, trying again at the next refresh");
        }
        Ok(())
    }

    async fn request_token(&self, key: &InstanceKey) -> Result<TokenAnswer, AwsError> {
        let (instance_id, fingerprint) = {
            let stored = self.stored.borrow();
            (stored.instance_id.clone(), stored.fingerprint.clone())
        };
        let auth = Auth::Rsa { instance_id: &instance_id, key };
        let body = json!({ "Fingerprint": fingerprint });
        self.client.call(Service::Ssm, "RequestManagedInstanceRoleToken", auth, &body).await
    }

    /// Order as in the stock agent: tell the service (signed with the old key), switch, then save; if saving
    /// fails the service gets the old key back, so that a restart still fits. If the service's answer is
    /// lost, a token call finds out which key it holds.
    async fn replace_key(&self, old: &Rc<InstanceKey>) -> Result<(), String> {
        let new = PendingKey::begin().ready().await?;
        let private = new.private_base64().map_err(|error| error.to_string())?;
        let new = Rc::new(new);
        match self.update_public_key(old, &new).await {
            Ok(()) => {}
            // A refusal is clear; anything else may have reached the service.
            Err(error) if !error.is_transient() => return Err(error.to_string()),
            Err(error) => {
                if self.request_token(old).await.is_ok() || self.request_token(&new).await.is_err() {
                    return Err(error.to_string());
                }
            }
        }
        let stored = Stored { private_key: private, ..self.stored.borrow().clone() };
        if let Err(error) = self.store.save(&stored) {
            let back = self.update_public_key(&new, old).await;
            return match back {
                Ok(()) => Err(error.to_string()),
                Err(undo) => {
                    // The service holds the new key: use it while we live, a restart will register anew.
                    *self.key.borrow_mut() = new;
                    Err(format!("{error}; and the old key could not be put back: {undo}"))
                }
            };
        }
        *self.stored.borrow_mut() = stored;
        *self.key.borrow_mut() = new;
        tracing::info!("the instance's key was replaced at the service's request");
        Ok(())
    }

    async fn update_public_key(&self, signer: &InstanceKey, new: &InstanceKey) -> Result<(), AwsError> {
        let operation = "UpdateManagedInstancePublicKey";
        let public = new
            .public_base64()
            .map_err(|error| AwsError::NotMade { operation: operation.into(), reason: error.to_string() })?;
        let instance_id = self.instance_id();
        let auth = Auth::Rsa { instance_id: &instance_id, key: signer };
        let body = json!({ "NewPublicKey": public, "NewPublicKeyType": KEY_TYPE });
        self.client.call::<serde_json::Value>(Service::Ssm, operation, auth, &body).await.map(drop)
    }

    /// Keeps the credentials fresh: asks at half of each token's life, sooner if the service does not take them, and
    /// after a failure with a back-off by the kind of failure. Ends when the service says, twice, that it does not
    /// know this instance any more.
    pub async fn keep_fresh(&self) {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));
        let mut delay = self.until_half_life();
        let (mut denied, mut unknown) = (false, false);
        loop {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.refused.notified(), if !denied => {
                    tracing::info!("the service does not take the credentials, asking for new ones");
                    tokio::time::sleep(REFUSED_PAUSE + jitter(REFUSED_JITTER)).await;
                }
            }
            delay = match self.fetch().await {
                Ok(()) => {
                    backoff.reset();
                    (denied, unknown) = (false, false);
                    let delay = self.until_half_life();
                    tracing::debug!(next_s = delay.as_secs(), "credentials refreshed");
                    delay
                }
                Err(error) => {
                    denied =
                        matches!(error.code(), "AccessDeniedException" | "MachineFingerprintDoesNotMatch");
                    let delay =
                        if denied { DENIED_PAUSE + jitter(DENIED_JITTER) } else { backoff.next_delay() };
                    let delay = delay.max(SHORTEST_REFRESH);
                    let was_unknown = std::mem::replace(&mut unknown, error.code() == "InvalidInstanceId");
                    if unknown && was_unknown {
                        return;
                    }
                    tracing::warn!(%error, next_s = delay.as_secs(), "cannot refresh the credentials");
                    delay
                }
            };
        }
    }

    fn until_half_life(&self) -> Duration {
        let token = self.token.borrow();
        let Some(token) = token.as_ref() else { return SHORTEST_REFRESH };
        half_life(token.fetched, token.expires).max(SHORTEST_REFRESH)
    }
}

/// Epoch seconds as a time; None where they are no date that anything here can count with.
fn expiry(epoch_seconds: f64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(epoch_seconds).ok()?)
}

/// Half of a token's life, counted from when it was fetched.
fn half_life(fetched: SystemTime, expires: SystemTime) -> Duration {
    expires.duration_since(fetched).unwrap_or_default() / 2
}

/// Reads bytes as a role token.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<TokenAnswer>(bytes) else { return };
    if let Some(expires) = expiry(answer.token_expiration_date) {
        let _ = half_life(SystemTime::now(), expires);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_that_is_no_date_is_refused() {
        assert_eq!(expiry(1.5), Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)));
        for bad in [-1.0, 1e19, 1e300, f64::NAN, f64::INFINITY] {
            assert_eq!(expiry(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_token_is_refreshed_at_half_its_life() {
        let fetched = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(half_life(fetched, fetched + Duration::from_secs(160)), Duration::from_secs(80));
        assert_eq!(half_life(fetched, fetched - Duration::from_secs(5)), Duration::ZERO);
    }
}
