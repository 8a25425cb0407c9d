//! The answer in the server's place. Pure.

use crate::head::{Kind, Request};
use faults::http_fault::HttpFault;

/// Names of the codes that are usual (RFC 9110, 15; RFC 6585). Clients do not read them.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Injected",
    }
}

/// An answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// All of it.
    pub(crate) bytes: Vec<u8>,
    /// Whether the connection ends behind it.
    pub(crate) closes: bool,
}

/// The answer that the fault has for a request.
pub(crate) fn to(request: &Request<'_>, fault: &HttpFault) -> Answer {
    // Who waits for a word of the server may send the body now or never, and nobody knows which.
    let closes = request.closes() || request.expects_continue() || request.kind() == Kind::Connect;
    let (status, body) = (fault.status, fault.body.bytes());
    let mut bytes = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in fault.headers.iter() {
        bytes += &format!("{name}: {value}\r\n");
    }
    let is_bodiless = matches!(status, 204 | 304);
    if !is_bodiless {
        bytes += &format!("Content-Length: {}\r\n", body.len());
    }
    if closes {
        bytes += "Connection: close\r\n";
    }
    bytes += "\r\n";
    let mut bytes = bytes.into_bytes();
    if !is_bodiless && request.kind() != Kind::Head {
        bytes.extend(body);
    }
    Answer { bytes, closes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{self, Read};
    use crate::hit::tests::fault;

    fn answer(head: &str, status: &str) -> (String, bool) {
        let options =
            [("action", "status"), ("status", status), ("body", "no\n"), ("answer-headers", "X-A: b|Y: c")];
        match head::request(head.as_bytes()) {
            Read::Head(request, _) => {
                let Answer { bytes, closes } = to(&request, &fault(&options));
                (String::from_utf8(bytes).unwrap(), closes)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_has_what_was_asked_for_and_frames_itself() {
        let expected = "HTTP/1.1 503 Service Unavailable\r\nX-A: b\r\nY: c\r\nContent-Length: 3\r\n\r\nno\n";
        assert_eq!(answer("GET / HTTP/1.1\r\n\r\n", "503"), (expected.to_owned(), false));
        let (head, _) = answer("HEAD / HTTP/1.1\r\n\r\n", "503");
        assert!(head.contains("Content-Length: 3") && head.ends_with("\r\n\r\n"), "{head}");
        let (empty, _) = answer("GET / HTTP/1.1\r\n\r\n", "204");
        assert!(!empty.contains("Content-Length") && empty.ends_with("\r\n\r\n"), "{empty}");
    }

    #[test]
    fn the_connection_ends_where_the_request_says_so_or_its_body_may_not_come() {
        for head in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n",
            "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        ] {
            let (answer, closes) = answer(head, "500");
            assert!(closes && answer.contains("Connection: close\r\n"), "{head}");
        }
    }
}
