//! Who is calling: a managed instance with credentials of ours, one with its own key, or anybody else.
//!
//! Calls that only agents make need credentials that were issued here, unexpired, and a signature that is
//! right. Client calls are let through with any credentials; with credentials of ours they must be right.

use std::time::SystemTime;

use http::request::Parts;

use super::error::ApiError;
use super::iam::Session;
use super::shared::Shared;
use super::signature::{Authorization, header};
use crate::ssm::agent::unknown_instance;
use crate::ssm::state::RoleToken;
use crate::world::is_region;

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
    let (region, token) = token(shared, &authorization).ok_or_else(|| {
        ApiError::new("UnrecognizedClientException", "the security token included in the request is invalid")
    })?;
    check_scope(&region, &authorization, service)?;
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
    let key = shared.read_of(&id, |state| Some(state.ssm.instances.get(&id)?.public_key.clone()));
    let key = key.ok_or_else(|| unknown_instance(&id))?;
    let region = shared.regions(|regions| regions.of_instance(&id).to_owned());
    check_scope(&region, &authorization, "ssm")?;
    authorization.verify_key(&key, parts, body, SystemTime::now())?;
    Ok(id)
}

/// Who made a call, and where it acts.
#[derive(Debug)]
pub(super) struct Client {
    /// What to call it in the log.
    pub name: String,
    /// The region that it signed for.
    pub region: String,
    /// The role whose credentials it has.
    pub session: Option<Session>,
}

/// A client: anybody who signs for `service`.
///
/// # Errors
/// No signature, one for another service or for no region, or credentials of ours that are expired or used wrongly.
pub(super) fn client(shared: &Shared, parts: &Parts, body: &[u8], service: &str) -> Result<Client, ApiError> {
    let authorization = Authorization::parse(parts)?;
    if authorization.service != service {
        let message = format!("Credential should be scoped to correct service: '{service}'.");
        return Err(ApiError::new("InvalidSignatureException", message));
    }
    if authorization.region != shared.region && !is_region(&authorization.region) {
        let message =
            format!("Credential should be scoped to a valid region, not to '{}'.", authorization.region);
        return Err(ApiError::new("InvalidSignatureException", message));
    }
    let region = authorization.region.clone();
    if let Some((_, token)) = token(shared, &authorization) {
        check_token(&authorization, &token, parts, body)?;
        return Ok(Client { name: token.instance_id, region, session: None });
    }
    let key = authorization.access_key.as_str();
    let session = shared.regions(|regions| regions.home().iam.sessions().get(key).cloned());
    if let Some(session) = &session {
        let secret = (session.secret_access_key.as_str(), session.session_token.as_str());
        check_secret(&authorization, secret, session.expires, parts, body)?;
    }
    let name = session.as_ref().map_or("client", |session| session.arn.as_str());
    Ok(Client { name: name.to_owned(), region, session })
}

/// The role token that a request is signed with, and its region.
fn token(shared: &Shared, authorization: &Authorization) -> Option<(String, RoleToken)> {
    shared.regions(|regions| {
        regions.token(&authorization.access_key).map(|(region, token)| (region.to_owned(), token.clone()))
    })
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
    let secret = (token.secret_access_key.as_str(), token.session_token.as_str());
    check_secret(authorization, secret, token.expires, parts, body)
}

/// Checks a signature with credentials that were given out here.
fn check_secret(
    authorization: &Authorization,
    (secret, session_token): (&str, &str),
    expires: SystemTime,
    parts: &Parts,
    body: &[u8],
) -> Result<(), ApiError> {
    let now = SystemTime::now();
    if now >= expires {
        let message = "the security token included in the request is expired";
        return Err(ApiError::new("ExpiredTokenException", message));
    }
    if header(parts, "x-amz-security-token") != Some(session_token) {
        let message = "the security token included in the request is invalid";
        return Err(ApiError::new("UnrecognizedClientException", message));
    }
    authorization.verify_secret(secret, parts, body, now)
}

fn check_scope(home: &str, authorization: &Authorization, service: &str) -> Result<(), ApiError> {
    let Authorization { region, service: said, .. } = authorization;
    if region == home && said == service {
        return Ok(());
    }
    let message = format!(
        "credential should be scoped to region {home} and service {service}, not to {region} and {said}"
    );
    Err(ApiError::new("InvalidSignatureException", message))
}
