//! Who is calling: a managed instance with credentials of ours, one with its own key, or anybody else.
//!
//! Calls that only agents make need credentials that were issued here, unexpired, and a signature that is
//! right. Client calls are let through with any credentials; with credentials of ours they must be right.

use std::time::SystemTime;

use http::request::Parts;

use super::error::ApiError;
use super::shared::Shared;
use super::signature::{Authorization, header};
use crate::ssm::agent::unknown_instance;
use crate::ssm::state::RoleToken;

/// The managed instance that signed a request with a role token.
///
/// # Errors
/// What AWS says to missing, unknown, expired or wrong credentials, or to those of another service.
pub(super) fn instance(
    shared: &Shared,
    parts: &Parts,
    body: &[u8],
    service: &str,
) -> Result<String, ApiError> {
    let authorization = Authorization::parse(parts)?;
    let token = shared.read(|state| state.ssm.tokens.get(&authorization.access_key).cloned());
    let token = token.ok_or_else(|| {
        ApiError::new("UnrecognizedClientException", "the security token included in the request is invalid")
    })?;
    check_scope(shared, &authorization, service)?;
    check_token(&authorization, &token, parts, body)?;
    Ok(token.instance_id)
}

/// The managed instance that signed a request with its registered key.
///
/// # Errors
/// `InvalidInstanceId` if there is no such instance, else as [`instance`].
pub(super) fn key_holder(shared: &Shared, parts: &Parts, body: &[u8]) -> Result<String, ApiError> {
    let authorization = Authorization::parse(parts)?;
    let id = authorization.access_key.clone();
    let key = shared.read(|state| Some(state.ssm.instances.get(&id)?.public_key.clone()));
    let key = key.ok_or_else(|| unknown_instance(&id))?;
    check_scope(shared, &authorization, "ssm")?;
    authorization.verify_key(&key, parts, body, SystemTime::now())?;
    Ok(id)
}

/// A client: anybody who signs for `service`. Returns what to call it in the log.
///
/// # Errors
/// No signature, one for another service, or a role token of ours that is expired or used wrongly.
pub(super) fn client(shared: &Shared, parts: &Parts, body: &[u8], service: &str) -> Result<String, ApiError> {
    let authorization = Authorization::parse(parts)?;
    if authorization.service != service {
        let message = format!("Credential should be scoped to correct service: '{service}'.");
        return Err(ApiError::new("InvalidSignatureException", message));
    }
    let token = shared.read(|state| state.ssm.tokens.get(&authorization.access_key).cloned());
    let Some(token) = token else { return Ok("client".to_owned()) };
    check_token(&authorization, &token, parts, body)?;
    Ok(token.instance_id)
}

/// The instance that an agent's request names must be the one that signed it.
///
/// # Errors
/// `AccessDeniedException`.
pub(super) fn same(signer: &str, named: &str) -> Result<(), ApiError> {
    if signer == named {
        return Ok(());
    }
    let message = format!("the credentials of {signer} do not allow this for {named}");
    Err(ApiError::new("AccessDeniedException", message))
}

fn check_token(
    authorization: &Authorization,
    token: &RoleToken,
    parts: &Parts,
    body: &[u8],
) -> Result<(), ApiError> {
    let now = SystemTime::now();
    if now >= token.expires {
        let message = "the security token included in the request is expired";
        return Err(ApiError::new("ExpiredTokenException", message));
    }
    if header(parts, "x-amz-security-token") != Some(token.session_token.as_str()) {
        let message = "the security token included in the request is invalid";
        return Err(ApiError::new("UnrecognizedClientException", message));
    }
    authorization.verify_secret(&token.secret_access_key, parts, body, now)
}

fn check_scope(shared: &Shared, authorization: &Authorization, service: &str) -> Result<(), ApiError> {
    let Authorization { region, service: said, .. } = authorization;
    if *region == shared.region && said == service {
        return Ok(());
    }
    let message = format!(
        "credential should be scoped to region {} and service {service}, not to {region} and {said}",
        shared.region
    );
    Err(ApiError::new("InvalidSignatureException", message))
}
