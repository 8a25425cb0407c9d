//! A page for people with a browser, on the port where the APIs are. What it shows is not known here.

use std::convert::Infallible;
use std::fmt;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;

/// A body that may be sent bit by bit.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers requests of browsers.
pub trait Page: Send + Sync + fmt::Debug {
    /// The answer to a request that is the page's own ([`belongs_to_a_page`]).
    fn answer(&self, request: &Request<Bytes>) -> Response<Body>;

    /// The answer to a browser that asks for a path that leads nowhere.
    fn not_found(&self, path: &str) -> Response<Body>;
}

/// Whether a request is for the page: the root as a browser asks for it, metrics, and its own folder.
pub(super) fn belongs_to_a_page(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    match path {
        "/" => method == Method::GET && takes_html(headers),
        "/metrics" => method == Method::GET,
        _ => path.starts_with("/_taskfault/live/"),
    }
}

/// Whether the one who asks wants something to look at. Clients of APIs say `*/*`, or nothing.
pub(super) fn takes_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn belongs(method: &Method, path: &str, accept: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT, http::HeaderValue::from_static(accept));
        }
        belongs_to_a_page(method, path, &headers)
    }

    #[test]
    fn only_a_browser_gets_the_page_at_the_root() {
        let browser = Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        assert!(belongs(&Method::GET, "/", browser));
        assert!(belongs(&Method::GET, "/", Some("application/xml, Text/HTML;q=0.5")));
        assert!(!belongs(&Method::GET, "/", Some("*/*")) && !belongs(&Method::GET, "/", None));
        assert!(!belongs(&Method::POST, "/", browser), "that is an AWS call");
        assert!(!belongs(&Method::GET, "/experiments", browser), "that is FIS");
        assert!(
            belongs(&Method::POST, "/_taskfault/live/stop", None) && belongs(&Method::GET, "/metrics", None)
        );
        assert!(!belongs(&Method::GET, "/_taskfault/record", browser));
    }
}
