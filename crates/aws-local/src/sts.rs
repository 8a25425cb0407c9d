//! The Security Token Service, as far as clients ask for it: who am I. The Query protocol, XML answers.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Context;

/// The namespace of the answers (botocore, sts/2011-06-15).
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers one call of the Query protocol with a status and an XML text; None if the action is not known.
/// The local AWS has one account and does not look at who signed: everybody is its root user.
pub fn call(parameters: &BTreeMap<String, String>, context: &Context) -> Option<(u16, String)> {
    if parameters.get("Action").map(String::as_str) != Some("GetCallerIdentity") {
        return None;
    }
    let (account, request) = (&context.account, Uuid::new_v4());
    let text = format!(
        "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{account}:root</Arn><UserId>{account}</UserId><Account>{account}</Account>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>"
    );
    Some((200, text))
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
