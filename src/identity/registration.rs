//! RegisterManagedInstance: an activation and a public key become a managed instance.

use serde::{Deserialize, Serialize};

use super::activation::Activation;
use super::key::{InstanceKey, KEY_TYPE};
use crate::aws::AwsError;
use crate::aws::endpoint::Service;
use crate::aws::json::{Auth, JsonClient};

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    activation_code: &'a str,
    activation_id: &'a str,
    fingerprint: &'a str,
    public_key: &'a str,
    public_key_type: &'static str,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    instance_id: String,
}

/// Registers and returns the new `mi-` id. The call is not signed: the activation code is the proof.
///
/// # Errors
/// `InvalidActivation`, `ActivationExpired`, `RegistrationLimitExceeded`, …; see [`AwsError`].
pub async fn register(
    client: &JsonClient,
    activation: &Activation,
    key: &InstanceKey,
    fingerprint: &str,
) -> Result<String, AwsError> {
    let public_key = key.public_base64().map_err(|error| AwsError::NotMade {
        operation: "RegisterManagedInstance".to_owned(),
        reason: error.to_string(),
    })?;
    let request = Request {
        activation_code: &activation.code,
        activation_id: &activation.id,
        fingerprint,
        public_key: &public_key,
        public_key_type: KEY_TYPE,
    };
    let answer: Response =
        client.call(Service::Ssm, "RegisterManagedInstance", Auth::Anonymous, &request).await?;
    Ok(answer.instance_id)
}

/// Reads bytes as the answer to a registration.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = serde_json::from_slice::<Response>(bytes);
}
