//! AssumeRole of STS: credentials of a role for a while.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::document;
use super::state::{IamState, Session};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;
use crate::random;
use crate::wire::epoch_seconds;

/// How long credentials last where the caller says nothing.
const SECONDS: i64 = 3600;
/// Sessions are kept for a while after their end, so that a client is told *expired*, not *unknown*.
const KEPT: Duration = Duration::from_secs(3600);

/// AssumeRole, by `caller`.
///
/// # Errors
/// `AccessDenied`: there is no such role, or its trust policy does not name the caller's account;
/// `ValidationError`: it is for longer than the role allows.
pub(crate) fn assume(
    body: &Map<String, Value>,
    caller: &str,
    state: &mut IamState,
    context: &Context,
) -> Result<Value, ApiError> {
    let members = Members::new(body);
    let (arn, name) = (members.required("RoleArn"), members.required("RoleSessionName"));
    let seconds = members.number("DurationSeconds").unwrap_or(SECONDS);
    let role = state.roles.values().find(|role| role.arn == arn);
    let account = &context.account;
    let trusted = |role: &&super::state::Role| {
        let principals =
            ["*".to_owned(), account.clone(), format!("arn:aws:iam::{account}:root"), caller.to_owned()];
        principals.iter().any(|principal| document::lets_assume(&role.trust, "AWS", principal))
    };
    let role = role.filter(trusted).ok_or_else(|| {
        let message = format!(
            "User: {caller} is not authorized to perform: sts:AssumeRole on resource: {arn}. The role must exist, and \
             its trust policy must name arn:aws:iam::{account}:root as an AWS principal."
        );
        ApiError { status: 403, code: "AccessDenied", message }
    })?;
    if seconds > role.max_session_seconds {
        let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        return Err(ApiError::new("ValidationError", message));
    }
    let expires = context.now + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let session = Session {
        id: format!("{}:{name}", role.id),
        arn: format!("arn:aws:sts::{account}:assumed-role/{}/{name}", role.name),
        secret_access_key: random::secret(),
        session_token: random::token(),
        expires,
    };
    let key = random::access_key_id();
    let answer = json!({
        "Credentials": {
            "AccessKeyId": key,
            "SecretAccessKey": session.secret_access_key,
            "SessionToken": session.session_token,
            "Expiration": epoch_seconds(expires),
        },
        "AssumedRoleUser": { "AssumedRoleId": session.id, "Arn": session.arn },
        "SourceIdentity": members.text("SourceIdentity"),
    });
    state.sessions.retain(|_, session| session.expires + KEPT > context.now);
    state.sessions.insert(key, session);
    Ok(answer)
}
