//! The grammar of policy documents, as far as a document is refused for it: what the service would not take
//! should not pass here either.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// What a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Who may take a role: has principals, no resources.
    Trust,
    /// What a role may do: has resources, no principals.
    Permissions,
}

const VERSIONS: &[&str] = &["2012-10-17", "2008-10-17"];

const STATEMENT_MEMBERS: &[&str] = &[
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

/// Checks a policy document.
///
/// # Errors
/// `MalformedPolicyDocument`, with what is wrong in it.
pub(super) fn check(text: &str, purpose: Purpose) -> Result<(), ApiError> {
    let document: Value =
        serde_json::from_str(text).map_err(|_| malformed("This policy contains invalid Json"))?;
    let document = document.as_object().ok_or_else(|| malformed("A policy is a JSON object."))?;
    if let Some(other) = document.keys().find(|key| !matches!(key.as_str(), "Version" | "Id" | "Statement")) {
        return Err(malformed(format!("Syntax errors in policy: {other} is no element of a policy.")));
    }
    if let Some(version) = document.get("Version")
        && !version.as_str().is_some_and(|version| VERSIONS.contains(&version))
    {
        return Err(malformed(format!(
            "Syntax errors in policy: Version must be {}.",
            VERSIONS.join(" or ")
        )));
    }
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.iter().collect(),
        Some(statement @ Value::Object(_)) => vec![statement],
        _ => return Err(malformed("Syntax errors in policy: Statement must have at least one statement.")),
    };
    for (index, statement) in statements.into_iter().enumerate() {
        let place = format!("statement {}", index + 1);
        let statement = statement
            .as_object()
            .ok_or_else(|| malformed(format!("Syntax errors in policy: {place} is no JSON object.")))?;
        check_statement(statement, purpose, &place)?;
    }
    Ok(())
}

fn check_statement(statement: &Map<String, Value>, purpose: Purpose, place: &str) -> Result<(), ApiError> {
    if let Some(other) = statement.keys().find(|key| !STATEMENT_MEMBERS.contains(&key.as_str())) {
        return Err(malformed(format!("Syntax errors in policy: {other} is no element of {place}.")));
    }
    if !matches!(statement.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny")) {
        return Err(malformed(format!("Syntax errors in policy: Effect of {place} must be Allow or Deny.")));
    }
    one_of(statement, "Action", "NotAction", place)?;
    let (wanted, prohibited) = match purpose {
        Purpose::Trust => ("Principal", "Resource"),
        Purpose::Permissions => ("Resource", "Principal"),
    };
    one_of(statement, wanted, &format!("Not{wanted}"), place)?;
    if statement.contains_key(prohibited) || statement.contains_key(&format!("Not{prohibited}")) {
        return Err(malformed(format!("Has prohibited field {prohibited} in {place}.")));
    }
    for member in ["Action", "NotAction", "Resource", "NotResource"] {
        if statement.get(member).is_some_and(|value| !is_texts(value)) {
            let message =
                format!("Syntax errors in policy: {member} of {place} must be a text or a list of texts.");
            return Err(malformed(message));
        }
    }
    Ok(())
}

fn one_of(statement: &Map<String, Value>, member: &str, not: &str, place: &str) -> Result<(), ApiError> {
    match (statement.contains_key(member), statement.contains_key(not)) {
        (true, false) | (false, true) => Ok(()),
        (false, false) => Err(malformed(format!("Missing required field {member} in {place}."))),
        (true, true) => Err(malformed(format!("{place} must not have both {member} and {not}."))),
    }
}

fn is_texts(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_string),
        _ => false,
    }
}

/// Whether a trust policy lets a principal take its role: `Service` and `fis.amazonaws.com`, for instance. Conditions
/// are not looked at.
pub(super) fn lets_assume(trust: &str, kind: &str, principal: &str) -> bool {
    let document: Value = serde_json::from_str(trust).unwrap_or_default();
    let all = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    all(&document["Statement"]).iter().any(|statement| {
        let named = &statement["Principal"];
        let actions = all(&statement["Action"]);
        let acts = |action: &Value| {
            action
                .as_str()
                .is_some_and(|it| ["*", "sts:*", "sts:assumerole"].contains(&&*it.to_ascii_lowercase()))
        };
        statement["Effect"] == "Allow"
            && (named == "*" || all(&named[kind]).iter().any(|it| it == principal))
            && actions.iter().any(acts)
    })
}

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::new("MalformedPolicyDocument", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(change: Value) -> String {
        let mut statement = json!({ "Effect": "Allow", "Action": "ssm:SendCommand", "Resource": ["*"] });
        statement.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
    }

    #[test]
    fn good_documents_pass() {
        check(&policy(json!({})), Purpose::Permissions).unwrap();
        let one = r#"{"Statement":{"Effect":"Deny","NotAction":["a:b"],"NotResource":"*","Sid":"x"}}"#;
        check(one, Purpose::Permissions).unwrap();
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow", "Principal": { "Service": "fis.amazonaws.com" }, "Action": "sts:AssumeRole",
                "Condition": {},
            }],
        });
        check(&trust.to_string(), Purpose::Trust).unwrap();
    }

    #[test]
    fn bad_documents_are_refused_in_words() {
        for (text, word) in [
            ("{".to_owned(), "invalid Json"),
            ("[]".to_owned(), "JSON object"),
            ("{}".to_owned(), "Statement"),
            (r#"{"Statement":[]}"#.to_owned(), "Statement"),
            (r#"{"Statement":[1]}"#.to_owned(), "statement 1"),
            (r#"{"Version":"2026-01-01","Statement":[{}]}"#.to_owned(), "Version"),
            (r#"{"Statements":[{}]}"#.to_owned(), "Statements"),
            (policy(json!({ "Effect": "allow" })), "Effect"),
            (policy(json!({ "Actions": "a:b" })), "Actions"),
            (policy(json!({ "NotAction": "a:b" })), "both"),
            (policy(json!({ "Action": [] })), "Action"),
            (policy(json!({ "Resource": 5 })), "Resource"),
            (policy(json!({ "Principal": "*" })), "prohibited field Principal"),
        ] {
            let error = check(&text, Purpose::Permissions).unwrap_err();
            assert_eq!(error.code, "MalformedPolicyDocument", "{text}");
            assert!(error.message.contains(word), "{text}: {}", error.message);
        }
        let error = check(&policy(json!({})), Purpose::Trust).unwrap_err();
        assert!(error.message.contains("Principal"), "{}", error.message);
        let error = check(&policy(json!({ "Principal": "*" })), Purpose::Trust).unwrap_err();
        assert!(error.message.contains("prohibited field Resource"), "{}", error.message);
    }
}
