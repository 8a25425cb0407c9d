//! One POST over plain HTTP to a link-local address, on the calling thread: it has to work in a Drop, without
//! any runtime.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The agent gives itself 5 s for a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(7);
/// The longest answer that is read, in bytes. The agent's have a hundred.
const ANSWER_LIMIT: u64 = 64 * 1024;

/// An answer of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    body: String,
}

impl Answer {
    /// A member of the JSON object in it that is a text.
    pub(super) fn member(&self, name: &str) -> Option<String> {
        // From brace to brace, so that it does not matter whether the answer came in chunks.
        let object = self.body.get(self.body.find('{')?..=self.body.rfind('}')?)?;
        let value: Value = serde_json::from_str(object).ok()?;
        value.get(name)?.as_str().map(str::to_owned)
    }

    /// What it says about an error, in one line of at most 300 characters.
    pub(super) fn text(&self) -> String {
        let text = self.member("Error").unwrap_or_else(|| self.body.trim().to_owned());
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
    }
}

/// Sends `body` to `url` and reads the answer.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn post(url: &str, body: &str) -> Result<Answer, String> {
    let parsed: http::Uri = url.parse().map_err(|_| "not an address".to_owned())?;
    if parsed.scheme_str() != Some("http") {
        return Err("not an http:// address".to_owned());
    }
    let host = parsed.host().ok_or("no host in it")?;
    let port = parsed.port_u16().unwrap_or(80);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let said = |error: std::io::Error| error.to_string();
    let address = (bare, port).to_socket_addrs().map_err(said)?.next().ok_or("the host has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).map_err(said)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(said)?;
    stream.set_write_timeout(Some(CONNECT_TIMEOUT)).map_err(said)?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        parsed.path(),
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).map_err(said)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut answer).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        _ => error.to_string(),
    })?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| "what it answers is not HTTP".to_owned())
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_in_chunks_and_as_text() {
        let whole = parse("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"Status\":\"running\"}").unwrap();
        assert_eq!((whole.status, whole.member("Status").as_deref()), (200, Some("running")));
        let chunked = parse("HTTP/1.1 409 Conflict\r\n\r\n10\r\n{\"Error\":\"no {}\"}\r\n0\r\n\r\n").unwrap();
        assert_eq!((chunked.status, chunked.text().as_str()), (409, "no {}"));
        let plain = parse("HTTP/1.1 429 Too Many\r\n\r\ntoo\nmany\n").unwrap();
        assert_eq!((plain.status, plain.text().as_str(), plain.member("Status")), (429, "too many", None));
        for nonsense in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
            assert_eq!(parse(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_said() {
        assert_eq!(post("https://x/api", "{}").unwrap_err(), "not an http:// address");
        assert_eq!(post("no address", "{}").unwrap_err(), "not an address");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/api", listener.local_addr().unwrap());
        drop(listener);
        assert!(post(&url, "{}").unwrap_err().contains("refused"));
    }
}
