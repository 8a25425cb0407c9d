//! One request to the ECS agent, on the calling thread: it has to work in a Drop.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_client::{SendError, blocking};
use serde_json::Value;

/// The agent gives itself 5 s for a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7);

/// Whether it is there at all shows sooner.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: StatusCode,
    body: Bytes,
}

impl From<Response<Bytes>> for Answer {
    fn from(answer: Response<Bytes>) -> Answer {
        Answer { status: answer.status(), body: answer.into_body() }
    }
}

impl Answer {
    /// A member of the JSON object in it that is a text.
    pub(super) fn member(&self, name: &str) -> Option<String> {
        let value: Value = serde_json::from_slice(&self.body).ok()?;
        value.get(name)?.as_str().map(str::to_owned)
    }

    /// What it says about an error, in one line of at most 300 characters.
    pub(super) fn text(&self) -> String {
        let whole = || String::from_utf8_lossy(&self.body).trim().to_owned();
        let text = self.member("Error").unwrap_or_else(whole);
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
    }
}

/// Sends `body` to `url` and reads the answer.
///
/// # Errors
/// Why there is none.
pub(super) fn post(url: &str, body: &str) -> Result<Answer, SendError> {
    blocking::post_json(url, body, ANSWER_TIMEOUT).map(Answer::from)
}

/// As [`post`], for a question that somebody waits for.
///
/// # Errors
/// Why there is no answer.
pub(super) fn ask(url: &str, body: &str) -> Result<Answer, SendError> {
    blocking::post_json(url, body, QUESTION_TIMEOUT).map(Answer::from)
}

/// Reads bytes as an answer of the ECS agent's.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let answer = Answer { status: StatusCode::OK, body: Bytes::copy_from_slice(bytes) };
    assert!(
        answer.text().chars().count() <= 300 && !answer.text().contains('\n'),
        "one line, and not a long one"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer { status: StatusCode::from_u16(status).unwrap(), body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn answers_are_read_as_json_and_as_text() {
        let good = answer(200, "{\"Status\":\"running\"}");
        assert_eq!(good.member("Status").as_deref(), Some("running"));
        assert_eq!(answer(409, "{\"Error\":\"no {}\"}").text(), "no {}");
        let plain = answer(429, "too\nmany\n");
        assert_eq!((plain.text().as_str(), plain.member("Status")), ("too many", None));
    }

    #[test]
    fn an_address_that_is_none_is_said() {
        assert_eq!(post("https://x/api", "{}").unwrap_err().to_string(), "not an http:// address");
        assert_eq!(post("no address", "{}").unwrap_err().to_string(), "not an address");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/api", listener.local_addr().unwrap());
        drop(listener);
        assert!(post(&url, "{}").unwrap_err().to_string().contains("refused"));
    }
}
