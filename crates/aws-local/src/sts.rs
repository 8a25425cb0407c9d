//! The Security Token Service, as far as clients ask for it: who am I. The Query protocol, XML answers.

use std::collections::BTreeMap;

use serde_json::json;

use super::Context;
use super::model::STS;
use super::query;

/// Answers one call of the Query protocol with a status and an XML text; None if the action is not known.
/// The local AWS has one account and does not look at who signed: everybody is its root user.
pub(crate) fn call(parameters: &BTreeMap<String, String>, context: &Context) -> Option<(u16, String)> {
    let operation = STS.operation(parameters.get("Action")?)?;
    let account = &context.account;
    let caller =
        json!({ "UserId": account, "Account": account, "Arn": format!("arn:aws:iam::{account}:root") });
    Some(query::answer(operation, &Ok(caller)))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn answer(action: &str) -> Option<(u16, String)> {
        let context = Context {
            now: SystemTime::UNIX_EPOCH,
            region: "eu-west-1".into(),
            account: "123456789012".into(),
            speed: 1.0,
        };
        call(&BTreeMap::from([("Action".to_owned(), action.to_owned())]), &context)
    }

    #[test]
    fn the_caller_is_the_account() {
        let (status, text) = answer("GetCallerIdentity").unwrap();
        assert_eq!(status, 200);
        assert!(text.contains("<Account>123456789012</Account>"), "{text}");
        assert!(text.contains("<Arn>arn:aws:iam::123456789012:root</Arn>"), "{text}");
    }

    #[test]
    fn other_actions_are_not_known() {
        assert_eq!(answer("AssumeRole"), None);
    }
}
