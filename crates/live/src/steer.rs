//! What a browser may change: start an experiment, rehearse one, stop one. Only with the token, only from the page.

use aws_local::Handle;
use aws_local::error::ApiError;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::token::Token;

/// What a change came to: a status, and what the page reads.
pub(crate) type Outcome = (StatusCode, Value);

/// Starts (`start`, `rehearse`) or stops (`stop`) an experiment. The body names the `template` or the `experiment`.
pub(crate) fn answer(handle: &Handle, token: &Token, what: &str, request: &Request<Bytes>) -> Outcome {
    if let Err(refused) = check(token, request.headers()) {
        return refused;
    }
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let named = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
    let done = match what {
        "start" => start(handle, &named("template"), "run-all"),
        "rehearse" => start(handle, &named("template"), "skip-all"),
        "stop" => order(handle, "StopExperiment", &json!({ "id": named("experiment") })),
        _ => return (StatusCode::NOT_FOUND, json!({ "message": format!("there is no {what} here") })),
    };
    match done {
        Ok(answer) => (StatusCode::OK, json!({ "experiment": answer["experiment"]["id"] })),
        Err(error) => (
            StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST),
            json!({ "message": error.message }),
        ),
    }
}

fn start(handle: &Handle, template: &str, mode: &str) -> Result<Value, ApiError> {
    let members = json!({
        "clientToken": uuid::Uuid::new_v4().to_string(),
        "experimentTemplateId": template,
        "experimentOptions": { "actionsMode": mode },
    });
    order(handle, "StartExperiment", &members)
}

fn order(handle: &Handle, operation: &str, members: &Value) -> Result<Value, ApiError> {
    let members: Map<String, Value> = members.as_object().cloned().unwrap_or_default();
    handle.order("page", operation, &members)
}

/// JSON, which no other page sends without being asked first; of this origin; with the token.
fn check(token: &Token, headers: &HeaderMap) -> Result<(), Outcome> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text("content-type").unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        let message = "the body must be application/json";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, json!({ "message": message })));
    }
    let host = text(header::HOST.as_str()).unwrap_or_default();
    let own = |origin: &str| origin.split_once("://").is_some_and(|(_, it)| it.eq_ignore_ascii_case(host));
    if !text("origin").is_none_or(own) {
        return Err((
            StatusCode::FORBIDDEN,
            json!({ "message": "a page from elsewhere may change nothing" }),
        ));
    }
    if !token.is(text("x-taskfault-token").unwrap_or_default()) {
        let message = "this needs the token: open the address with #token= that taskfault-local has printed";
        return Err((StatusCode::FORBIDDEN, json!({ "message": message })));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_with_the_token_changes_something() {
        let token = Token::new().unwrap();
        let checked = |kind: &str, origin: Option<&str>, given: Option<&str>| {
            let mut request =
                Request::builder().header("host", "localhost:4566").header("content-type", kind);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            if let Some(given) = given {
                request = request.header("x-taskfault-token", given);
            }
            check(&token, request.body(()).unwrap().headers()).map_err(|(status, _)| status.as_u16())
        };
        let (ours, given) = (Some("http://localhost:4566"), Some(token.text()));
        assert_eq!(checked("application/json", ours, given), Ok(()));
        assert_eq!(checked("application/json; charset=utf-8", None, given), Ok(()));
        assert_eq!(checked("text/plain", ours, given), Err(415));
        for origin in ["http://localhost:3000", "null", "http://evil.example"] {
            assert_eq!(checked("application/json", Some(origin), given), Err(403), "{origin}");
        }
        for wrong in [None, Some(""), Some("0123456789abcdef0123456789abcdef")] {
            assert_eq!(checked("application/json", ours, wrong), Err(403));
        }
    }
}
