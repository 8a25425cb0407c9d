//! Heads of HTTP/1.x messages: what is asked for, what was answered, and how long the body is (RFC 9112, 6.3). Pure.

use crate::body::Length;

/// A longer head is not waited for.
pub const MOST_HEAD: usize = 64 * 1024;
/// A head with more headers is not read.
const MOST_HEADERS: usize = 128;

/// What bytes are that should be a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<T> {
    /// The head, and how many bytes it has.
    Head(T, usize),
    /// They may become one.
    Partial,
    /// They are none that we understand.
    Doubt,
}

/// A header as it stands in a head.
type Header<'a> = (&'a str, &'a [u8]);

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// As it was written.
    pub method: &'a str,
    /// `/path?query`, or a whole URI, or an authority, or `*`.
    pub target: &'a str,
    /// HTTP/1.0, rather than 1.1.
    pub is_old: bool,
    headers: Vec<Header<'a>>,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// 100–999.
    pub status: u16,
    headers: Vec<Header<'a>>,
}

/// What a request is to the framing of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its answer has no body, whatever its head says.
    Head,
    /// Its answer may make the connection a tunnel.
    Connect,
    /// Any other.
    Other,
}

/// What comes after the head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Another head for the same request: this one was interim.
    Head,
    /// Anything, in both directions, until the end.
    Tunnel,
    /// A body of this length.
    Body(Length),
}

/// Reads bytes as the head of a request.
pub fn request(bytes: &[u8]) -> Read<Request<'_>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => match (head.method, head.path, head.version) {
            (Some(method), Some(target), Some(version)) => Read::Head(
                Request { method, target, is_old: version == 0, headers: list(head.headers) },
                length,
            ),
            _ => Read::Doubt,
        },
        Ok(httparse::Status::Partial) if bytes.len() < MOST_HEAD => Read::Partial,
        _ => Read::Doubt,
    }
}

/// Reads bytes as the head of an answer.
pub fn answer(bytes: &[u8]) -> Read<Answer<'_>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => match head.code {
            Some(status) => Read::Head(Answer { status, headers: list(head.headers) }, length),
            None => Read::Doubt,
        },
        Ok(httparse::Status::Partial) if bytes.len() < MOST_HEAD => Read::Partial,
        _ => Read::Doubt,
    }
}

fn list<'a>(headers: &[httparse::Header<'a>]) -> Vec<Header<'a>> {
    headers.iter().map(|header| (header.name, header.value)).collect()
}

impl<'a> Request<'a> {
    /// How long its body is.
    pub fn length(&self) -> Length {
        match framing(&self.headers) {
            // A request ends before its connection does.
            Framing::None => Length::Exact(0),
            Framing::Exact(length) => Length::Exact(length),
            Framing::Chunked => Length::Chunked,
            Framing::Doubtful => Length::Doubtful,
        }
    }

    /// What it is to the framing of its answer.
    pub fn kind(&self) -> Kind {
        match self.method {
            "HEAD" => Kind::Head,
            "CONNECT" => Kind::Connect,
            _ => Kind::Other,
        }
    }

    /// Whether the connection may be no HTTP any more after its answer.
    pub fn may_upgrade(&self) -> bool {
        self.kind() == Kind::Connect || self.values("upgrade").next().is_some()
    }

    /// Whether the client waits for a word of the server before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.values("expect").next().is_some()
    }

    /// Whether the connection ends after its answer.
    pub fn closes(&self) -> bool {
        let closes = |value: &[u8]| {
            value.split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
        };
        self.is_old || self.values("connection").any(closes)
    }

    /// The host that it is for, without its port; nothing where it names none.
    pub fn host(&self) -> &'a str {
        let of_header = || {
            let value = self.values("host").next()?;
            std::str::from_utf8(value).ok().map(str::trim)
        };
        without_port(self.authority().or_else(of_header).unwrap_or_default())
    }

    /// The host and port of a target that is a whole URI or an authority.
    fn authority(&self) -> Option<&'a str> {
        if self.kind() == Kind::Connect {
            return Some(self.target);
        }
        let (_, rest) = self.target.split_once("://").filter(|(scheme, _)| !scheme.starts_with('/'))?;
        let authority = rest.split(['/', '?', '#']).next()?;
        Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
    }

    /// The path, without its query.
    pub fn path(&self) -> &'a str {
        let target = match self.authority() {
            Some(_) if self.kind() == Kind::Connect => return "",
            Some(_) => {
                let rest = self.target.split_once("://").map_or("", |(_, rest)| rest);
                rest.find('/').map_or("/", |at| &rest[at..])
            }
            None => self.target,
        };
        target.split(['?', '#']).next().unwrap_or_default()
    }

    /// The values of a header, each as it stands there.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        values(&self.headers, name)
    }
}

impl Answer<'_> {
    /// What comes after it, as the answer to a request of this kind.
    pub fn after(&self, kind: Kind) -> After {
        match (self.status, kind) {
            (101, _) => After::Tunnel,
            (100..200, _) => After::Head,
            (200..300, Kind::Connect) => After::Tunnel,
            (204 | 304, _) | (_, Kind::Head) => After::Body(Length::Exact(0)),
            _ => After::Body(match framing(&self.headers) {
                Framing::None => Length::UntilClose,
                Framing::Exact(length) => Length::Exact(length),
                Framing::Chunked => Length::Chunked,
                Framing::Doubtful => Length::Doubtful,
            }),
        }
    }
}

enum Framing {
    None,
    Exact(u64),
    Chunked,
    Doubtful,
}

/// What the headers say of the length. Whatever two programs could read in two ways is doubtful.
fn framing(headers: &[Header<'_>]) -> Framing {
    let mut codings = values(headers, "transfer-encoding");
    let mut lengths = values(headers, "content-length");
    match (codings.next(), lengths.next()) {
        (None, None) => Framing::None,
        (Some(coding), None)
            if codings.next().is_none() && coding.trim_ascii().eq_ignore_ascii_case(b"chunked") =>
        {
            Framing::Chunked
        }
        (None, Some(length)) if lengths.next().is_none() => {
            number(length.trim_ascii()).map_or(Framing::Doubtful, Framing::Exact)
        }
        _ => Framing::Doubtful,
    }
}

/// Plain digits, at most 18 of them.
fn number(digits: &[u8]) -> Option<u64> {
    let plain = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| digits.iter().fold(0, |number, digit| 10 * number + u64::from(digit - b'0')))
}

fn values<'a>(headers: &[Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

fn without_port(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        // An address of IPv6 stands in brackets.
        Some(_) => authority.find(']').map_or(authority, |end| &authority[..=end]),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Request<'_> {
        match request(text.as_bytes()) {
            Read::Head(request, length) => {
                assert_eq!(length, text.len());
                request
            }
            other => panic!("{other:?}"),
        }
    }

    fn after(head: &str, kind: Kind) -> After {
        match answer(head.as_bytes()) {
            Read::Head(answer, _) => answer.after(kind),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_says_what_it_is_for() {
        for (head, host, path) in [
            ("GET /a/b?c=d HTTP/1.1\r\nHost: api.example.com:8080\r\n\r\n", "api.example.com", "/a/b"),
            ("GET http://u@api.example.com:80/a?b HTTP/1.1\r\nHost: other\r\n\r\n", "api.example.com", "/a"),
            ("GET http://api.example.com HTTP/1.1\r\n\r\n", "api.example.com", "/"),
            ("GET /x?u=http://b/c HTTP/1.1\r\nhost:a\r\n\r\n", "a", "/x"),
            ("GET / HTTP/1.1\r\nHost: [fd00::1]:80\r\n\r\n", "[fd00::1]", "/"),
            ("CONNECT api.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", "api.example.com", ""),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "a", "*"),
            ("GET / HTTP/1.0\r\n\r\n", "", "/"),
        ] {
            let request = read(head);
            assert_eq!((request.host(), request.path()), (host, path), "{head}");
        }
    }

    #[test]
    fn the_length_of_a_body_is_known_or_doubtful() {
        for (headers, length) in [
            ("", Length::Exact(0)),
            ("Content-Length: 12\r\n", Length::Exact(12)),
            ("content-length:\t12 \r\n", Length::Exact(12)),
            ("Transfer-Encoding: Chunked\r\n", Length::Chunked),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Length::Doubtful),
            ("Content-Length: 1, 1\r\n", Length::Doubtful),
            ("Content-Length: +1\r\n", Length::Doubtful),
            ("Content-Length:\r\n", Length::Doubtful),
            ("Content-Length: 9999999999999999999\r\n", Length::Doubtful),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Length::Doubtful),
            ("Transfer-Encoding: gzip, chunked\r\n", Length::Doubtful),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Length::Doubtful),
        ] {
            assert_eq!(read(&format!("POST / HTTP/1.1\r\n{headers}\r\n")).length(), length, "{headers}");
        }
    }

    #[test]
    fn what_comes_after_an_answer_hangs_on_the_request() {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(after(ok, Kind::Other), After::Body(Length::Exact(5)));
        assert_eq!(after(ok, Kind::Head), After::Body(Length::Exact(0)));
        assert_eq!(after(ok, Kind::Connect), After::Tunnel);
        assert_eq!(after("HTTP/1.1 100 Continue\r\n\r\n", Kind::Other), After::Head);
        assert_eq!(after("HTTP/1.1 101 Switching Protocols\r\n\r\n", Kind::Other), After::Tunnel);
        let unchanged = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(after(unchanged, Kind::Other), After::Body(Length::Exact(0)));
        assert_eq!(after("HTTP/1.0 200 OK\r\n\r\n", Kind::Other), After::Body(Length::UntilClose));
    }

    #[test]
    fn what_is_no_head_is_doubtful_at_once() {
        let binary: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc";
        for bytes in [
            &b"PING\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            binary,
            b"GET / HTTP/1.1\r\n a: b\r\n\r\n",
        ] {
            assert_eq!(request(bytes), Read::Doubt, "{bytes:?}");
        }
        assert_eq!(request(b"GET / HT"), Read::Partial);
        assert_eq!(request(&[b'a'; MOST_HEAD]), Read::Doubt, "too long");
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(request(many.as_bytes()), Read::Doubt);
    }

    proptest! {
        #[test]
        fn a_head_is_the_same_however_it_arrives(
            path in "/[a-z0-9/]{0,20}", host in "[a-z]{1,9}\\.example", value in "[ -~]{0,30}", rest in any::<Vec<u8>>(),
        ) {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX: {value}\r\n\r\n");
            for cut in 1..head.len() {
                prop_assert_eq!(request(&head.as_bytes()[..cut]), Read::Partial);
            }
            let bytes = [head.as_bytes(), &rest].concat();
            match request(&bytes) {
                Read::Head(request, length) => {
                    prop_assert_eq!((length, request.path(), request.host()), (head.len(), &*path, &*host));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn no_bytes_break_it(bytes in any::<Vec<u8>>()) {
            if let Read::Head(request, length) = request(&bytes) {
                prop_assert!(length <= bytes.len());
                let _ = (request.host(), request.path(), request.length());
            }
            let _ = answer(&bytes);
        }
    }
}
