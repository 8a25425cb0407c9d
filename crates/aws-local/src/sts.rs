//! The Security Token Service: who am I, and credentials of a role. The Query protocol, XML answers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Context;
use super::error::ApiError;
use super::iam::{self, IamState, Session};
use super::model::STS;
use super::query;

/// Answers one call of the Query protocol with a status and an XML text; None if the action is not known.
/// `session` is that of a role whose credentials signed the call; everybody else is the account's root user.
pub(crate) fn call(
    parameters: &BTreeMap<String, String>,
    session: Option<&Session>,
    state: &mut IamState,
    context: &Context,
) -> Option<(u16, String)> {
    let operation = STS.operation(parameters.get("Action")?)?;
    let outcome = query::decode(parameters, operation)
        .and_then(|body| {
            operation.check(&body)?;
            perform(operation.name, &body, session, state, context)
        })
        .map_err(|error| match error.code {
            "ValidationException" | "SerializationException" => ApiError { code: "ValidationError", ..error },
            _ => error,
        });
    Some(query::answer(operation, &outcome))
}

fn perform(
    operation: &str,
    body: &Map<String, Value>,
    session: Option<&Session>,
    state: &mut IamState,
    context: &Context,
) -> Result<Value, ApiError> {
    let account = &context.account;
    let root = format!("arn:aws:iam::{account}:root");
    let (id, arn) = session.map_or((account, &root), |session| (&session.id, &session.arn));
    match operation {
        "AssumeRole" => iam::assume(body, arn, state, context),
        _ => Ok(json!({ "UserId": id, "Account": account, "Arn": arn })),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn context() -> Context {
        Context {
            now: SystemTime::UNIX_EPOCH,
            region: "eu-west-1".into(),
            account: "123456789012".into(),
            speed: 1.0,
        }
    }

    fn ask(state: &mut IamState, pairs: &[(&str, &str)]) -> Option<(u16, String)> {
        let form = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        call(&form, None, state, &context())
    }

    #[test]
    fn the_caller_is_the_account() {
        let (status, text) = ask(&mut IamState::default(), &[("Action", "GetCallerIdentity")]).unwrap();
        assert_eq!(status, 200);
        assert!(text.contains("<Account>123456789012</Account>"), "{text}");
        assert!(text.contains("<Arn>arn:aws:iam::123456789012:root</Arn>"), "{text}");
    }

    #[test]
    fn a_role_is_assumed_by_those_that_it_trusts() {
        let mut state = IamState::default();
        let trust = |principal: &str| {
            format!(
                r#"{{"Statement":{{"Effect":"Allow","Principal":{principal},"Action":"sts:AssumeRole"}}}}"#
            )
        };
        for (name, principal) in [
            ("mine", r#"{"AWS":"arn:aws:iam::123456789012:root"}"#),
            ("other", r#"{"AWS":["210987654321"]}"#),
            ("fis", r#"{"Service":"fis.amazonaws.com"}"#),
        ] {
            let form = [
                ("Action", "CreateRole"),
                ("RoleName", name),
                ("AssumeRolePolicyDocument", &trust(principal)),
            ];
            let form = form.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(iam::call(&form, &mut state, &context()).unwrap().0, 200);
        }
        let mut assume = |role: &str, seconds: &str| {
            let arn = format!("arn:aws:iam::123456789012:role/{role}");
            let form = [
                ("Action", "AssumeRole"),
                ("RoleArn", &arn),
                ("RoleSessionName", "me"),
                ("DurationSeconds", seconds),
            ];
            ask(&mut state, &form).unwrap()
        };
        let (status, text) = assume("mine", "900");
        assert!(
            status == 200 && text.contains("assumed-role/mine/me") && text.contains("<SessionToken>"),
            "{text}"
        );
        for role in ["other", "fis", "none"] {
            let (status, text) = assume(role, "900");
            assert!(status == 403 && text.contains("<Code>AccessDenied</Code>"), "{role}: {text}");
        }
        for seconds in ["3601", "1"] {
            let (status, text) = assume("mine", seconds);
            assert!(status == 400 && text.contains("<Code>ValidationError</Code>"), "{seconds}: {text}");
        }
        assert_eq!(state.sessions().len(), 1);
    }

    #[test]
    fn other_actions_are_not_known() {
        assert_eq!(ask(&mut IamState::default(), &[("Action", "GetSessionToken")]), None);
    }
}
