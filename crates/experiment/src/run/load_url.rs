//! `--load URL`: what is asked, and who answers at the addresses that it means.

use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use http::Uri;
use tokio::net::lookup_host;

use crate::traffic::{Failure, Target, Timeouts, get};

/// A URL of the service under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadUrl {
    /// A name or an address, IPv6 without brackets.
    host: String,
    port: u16,
    /// `HOST[:PORT]`, as the `Host` header has it.
    authority: String,
    /// With the query.
    path: String,
}

impl FromStr for LoadUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<LoadUrl, String> {
        let wrong = |why: &str| format!("{why}; give it as http://HOST[:PORT][/PATH]");
        match text.split_once("://") {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {}
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err(
                    "the load speaks no https: give the http:// address that lies behind TLS".to_owned()
                );
            }
            _ => return Err(wrong("it does not begin with http://")),
        }
        let uri: Uri = text.parse().map_err(|error| wrong(&format!("not a URL: {error}")))?;
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("user names and passwords are not sent"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().ok().filter(|port| *port > 0),
            _ => Some(80),
        };
        let port = port.ok_or_else(|| wrong("its port is none (1 to 65535)"))?;
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // `http://host?query` asks for the root.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(LoadUrl { host: host.to_owned(), port, authority: authority.as_str().to_owned(), path })
    }
}

impl LoadUrl {
    /// For people: `GET HOST:PORT/PATH`.
    pub(super) fn request_line(&self) -> String {
        format!("GET {}{}", self.authority, self.path)
    }

    /// Whether the URL itself names this address.
    pub(super) fn is_at(&self, address: &str) -> bool {
        self.authority == address
    }

    /// Whether a target is one of this URL's.
    pub(super) fn is_of(&self, target: &Target) -> bool {
        target.host == self.authority && target.path == self.path
    }

    /// A target for every address that the host has now.
    ///
    /// # Errors
    /// The name cannot be looked up.
    pub(super) async fn targets(&self) -> io::Result<Vec<Target>> {
        let mut addresses: Vec<SocketAddr> = lookup_host((self.host.as_str(), self.port)).await?.collect();
        addresses.sort();
        addresses.dedup();
        let target = |address: SocketAddr| Target {
            task: address.to_string(),
            address,
            host: self.authority.clone(),
            path: self.path.clone(),
        };
        Ok(addresses.into_iter().map(target).collect())
    }

    /// Probes every address of the host once: those that answer with success, and those without a listener.
    ///
    /// A name often has an address without a listener (`localhost` has one of IPv6), so one that answers is
    /// enough. One that answers with an error would make every request of the load a failed one.
    ///
    /// # Errors
    /// No listener, or an answer that a service at rest should not give; as text.
    pub(super) async fn probe(&self) -> Result<(Vec<Target>, Vec<SocketAddr>), String> {
        let about = |why: &str| format!("--load http://{}{}: {why}", self.authority, self.path);
        let all = self.targets().await.map_err(|error| about(&error.to_string()))?;
        let (mut answering, mut unreachable, mut why) = (Vec::new(), Vec::new(), "no address".to_owned());
        for target in all {
            let wrong = match get(&target, &target.path, Timeouts::default()).await {
                Ok(()) => {
                    answering.push(target);
                    continue;
                }
                Err(Failure::Refused) => "nothing listens there",
                Err(Failure::Unreachable) => "there is no route to it",
                Err(Failure::ConnectTimeout) => "no connection within a second",
                Err(Failure::Status) => {
                    return Err(about(&answered(&target, "answers, but with no success (2xx)")));
                }
                Err(Failure::AnswerTimeout) => {
                    return Err(about(&answered(&target, "does not answer within 2 s")));
                }
                Err(_) => return Err(about(&answered(&target, "closes the connection without an answer"))),
            };
            why = format!("{}: {wrong}", target.address);
            unreachable.push(target.address);
        }
        if answering.is_empty() { Err(about(&why)) } else { Ok((answering, unreachable)) }
    }
}

fn answered(target: &Target, how: &str) -> String {
    format!("{} {how}; the load needs a service that is healthy before the experiment", target.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> LoadUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = parsed("http://shop.example:8080/a/b?c=d#e");
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("shop.example", 8080, "/a/b?c=d"));
        assert_eq!(url.request_line(), "GET shop.example:8080/a/b?c=d");
        assert_eq!(parsed("HTTP://127.0.0.1").request_line(), "GET 127.0.0.1/");
        assert_eq!((parsed("http://a").port, parsed("http://a?b=c").path.as_str()), (80, "/?b=c"));
        let six = parsed("http://[::1]:81/");
        assert_eq!((six.host.as_str(), six.port, six.authority.as_str()), ("::1", 81, "[::1]:81"));
        assert_eq!(parsed("http://[::1]").port, 80);
    }

    #[test]
    fn what_cannot_be_requested_is_refused_with_a_reason() {
        for (text, words) in [
            ("https://shop.example/", "speaks no https"),
            ("127.0.0.1:8080", "does not begin with http://"),
            ("ftp://a/", "does not begin with http://"),
            ("http://", "http://HOST[:PORT][/PATH]"),
            ("http://:80/", "names no host"),
            ("http://a:0/", "its port is none"),
            ("http://a:70000/", "http://HOST[:PORT][/PATH]"),
            ("http://a b/", "not a URL"),
            ("http://me:secret@a/", "passwords are not sent"),
        ] {
            let said = text.parse::<LoadUrl>().unwrap_err();
            assert!(said.contains(words) && !said.contains("secret"), "{text}: {said}");
        }
    }

    #[tokio::test]
    async fn an_address_without_a_listener_is_named() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let said = parsed(&format!("http://{free}/x")).probe().await.unwrap_err();
        assert_eq!(said, format!("--load http://{free}/x: {free}: nothing listens there"));
        let said = parsed("http://no.such.name.invalid/").probe().await.unwrap_err();
        assert!(said.starts_with("--load http://no.such.name.invalid/: "), "{said}");
    }
}
