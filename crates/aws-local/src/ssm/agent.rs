//! The calls of Systems Manager that only agents make: registration, role tokens, keys, heartbeats.

use std::time::Duration;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PSS_2048_8192_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::ssm::state::{Instance, RoleToken, SsmState};
use crate::switches::Switches;
use crate::wire::{epoch_seconds, text};
use crate::{Context, random};

type Body = Map<String, Value>;

/// `RegisterManagedInstance`, the one call without any signature: the activation code is the proof.
///
/// # Errors
/// `InvalidActivation`, `ActivationExpired`, `RegistrationLimitExceeded`, `InvalidPublicKey`,
/// `ValidationException`. A refused registration changes nothing.
pub(crate) fn register(body: &Body, state: &mut SsmState, context: &Context) -> Result<Value, ApiError> {
    let (id, code) = (text(body, "ActivationId")?, text(body, "ActivationCode")?);
    let fingerprint = text(body, "Fingerprint")?.to_owned();
    let public_key = public_key(body, "PublicKey", "PublicKeyType")?;
    let activation =
        state.activations.get_mut(id).filter(|activation| activation.code == code).ok_or_else(|| {
            ApiError::new("InvalidActivation", "the activation id or the activation code is not valid")
        })?;
    if context.now >= activation.expires {
        return Err(ApiError::new("ActivationExpired", "the activation has expired; create a new one"));
    }
    if activation.registrations >= activation.registration_limit {
        let limit = activation.registration_limit;
        let message = format!("the activation has been used for {limit} registrations, its limit");
        return Err(ApiError::new("RegistrationLimitExceeded", message));
    }
    activation.registrations += 1;
    let instance = Instance {
        id: random::instance_id(),
        activation_id: activation.id.clone(),
        iam_role: activation.iam_role.clone(),
        name: activation.default_instance_name.clone(),
        registered: context.now,
        public_key,
        fingerprint,
        tags: activation.tags.clone(),
        information: Map::new(),
        last_ping: None,
    };
    let answer = json!({ "InstanceId": instance.id });
    state.instances.insert(instance.id.clone(), instance);
    Ok(answer)
}

/// `RequestManagedInstanceRoleToken`, after its RSA signature has been checked.
///
/// # Errors
/// `InvalidInstanceId`, `MachineFingerprintDoesNotMatch`, `ValidationException`.
pub(crate) fn request_role_token(
    instance_id: &str,
    body: &Body,
    state: &mut SsmState,
    switches: &Switches,
    context: &Context,
) -> Result<Value, ApiError> {
    let fingerprint = text(body, "Fingerprint")?;
    let instance = state.instances.get(instance_id).ok_or_else(|| unknown_instance(instance_id))?;
    if switches.fingerprint_mismatch || instance.fingerprint != fingerprint {
        let message = format!("the fingerprint is not the one {instance_id} registered with");
        return Err(ApiError::new("MachineFingerprintDoesNotMatch", message));
    }
    let token = RoleToken {
        access_key_id: random::access_key_id(),
        instance_id: instance_id.to_owned(),
        secret_access_key: random::secret(),
        session_token: random::token(),
        expires: context.now + Duration::from_secs(switches.token_lifetime_seconds),
    };
    let answer = json!({
        "AccessKeyId": token.access_key_id,
        "SecretAccessKey": token.secret_access_key,
        "SessionToken": token.session_token,
        "TokenExpirationDate": epoch_seconds(token.expires),
        "UpdateKeyPair": switches.update_key_pair,
    });
    state.tokens.insert(token.access_key_id.clone(), token);
    Ok(answer)
}

/// `UpdateManagedInstancePublicKey`, after its RSA signature, with the old key, has been checked.
///
/// # Errors
/// `InvalidInstanceId`, `InvalidPublicKey`, `PublicKeyAlreadyRegistered`, `ValidationException`.
pub(crate) fn update_public_key(
    instance_id: &str,
    body: &Body,
    state: &mut SsmState,
) -> Result<Value, ApiError> {
    let key = public_key(body, "NewPublicKey", "NewPublicKeyType")?;
    if state.instances.values().any(|instance| instance.public_key == key) {
        return Err(ApiError::new("PublicKeyAlreadyRegistered", "the public key is registered already"));
    }
    let instance = state.instances.get_mut(instance_id).ok_or_else(|| unknown_instance(instance_id))?;
    instance.public_key = key;
    Ok(json!({}))
}

/// `UpdateInstanceInformation`, the heartbeat. What an earlier one said stays until a later one says
/// otherwise: the first heartbeat of the stock agent carries very little.
///
/// # Errors
/// `InvalidInstanceId`, `InvalidInstanceInformationValue`, `ValidationException`.
pub(crate) fn update_information(
    body: &Body,
    state: &mut SsmState,
    context: &Context,
) -> Result<Value, ApiError> {
    let id = text(body, "InstanceId")?;
    check_information(body)?;
    let instance = state.instances.get_mut(id).ok_or_else(|| unknown_instance(id))?;
    for (member, value) in body.iter().filter(|(member, _)| *member != "InstanceId") {
        instance.information.insert(member.clone(), value.clone());
    }
    instance.last_ping = Some(context.now);
    Ok(json!({}))
}

/// `InvalidInstanceId` for an id that is not (or no longer) registered.
pub(crate) fn unknown_instance(id: &str) -> ApiError {
    ApiError::new("InvalidInstanceId", format!("instance {id} is not registered here"))
}

/// Lengths as in the stock agent's model of the call (`vendor/…/ssm/api.go`), the version pattern as in
/// botocore's DescribeInstanceInformation.
fn check_information(body: &Body) -> Result<(), ApiError> {
    let version = text(body, "AgentVersion")?;
    let pattern = Regex::new(r"^[0-9]{1,6}(\.[0-9]{1,6}){2,3}$").expect("the pattern is valid");
    if version.len() < 5 || !pattern.is_match(version) {
        let message = format!("AgentVersion {version:?} is not three or four numbers with dots between");
        return Err(ApiError::new("InvalidInstanceInformationValue", message));
    }
    let platform = text(body, "PlatformType")?;
    if !["Linux", "MacOS", "Windows"].contains(&platform) {
        let message = format!("PlatformType {platform:?} is not one of Linux, MacOS, Windows");
        return Err(ApiError::new("InvalidInstanceInformationValue", message));
    }
    for (member, longest) in [("IPAddress", 46), ("ComputerName", 255)] {
        let Some(value) = body.get(member) else { continue };
        let length = value.as_str().map_or(0, |text| text.chars().count());
        if length == 0 || length > longest {
            return Err(ApiError::validation(format!(
                "{member} must be a string of 1 to {longest} characters"
            )));
        }
    }
    Ok(())
}

/// A PKIX SubjectPublicKeyInfo in base64; an RSA key of 2048 bits has 392 characters, the model's minimum.
fn public_key(body: &Body, member: &str, type_member: &str) -> Result<Vec<u8>, ApiError> {
    let invalid = |why: &str| ApiError::new("InvalidPublicKey", format!("{member} {why}"));
    let encoded = text(body, member)?;
    if text(body, type_member)? != "Rsa" {
        return Err(invalid(&format!("is of a type that is not supported; {type_member} must be Rsa")));
    }
    if encoded.len() < 392 {
        return Err(ApiError::validation(format!("{member} must have 392 characters or more")));
    }
    let der = STANDARD.decode(encoded).map_err(|_| invalid("is not base64"))?;
    ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &der)
        .map_err(|_| invalid("is not an RSA public key of 2048 bits or more"))?;
    Ok(der)
}
