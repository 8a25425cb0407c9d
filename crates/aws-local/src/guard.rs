//! Who may speak to the local AWS at all. It listens on a port that every page in a browser of this machine can
//! send requests to, and `up` runs commands with the user's files. So a request is refused whose `Host` is not a
//! name of ours (a page that had its own name resolve to this address), or whose `Origin` is another page.
//! Pure.

use std::net::{IpAddr, Ipv6Addr};

use http::uri::Authority;
use http::{HeaderMap, Method, Uri};

/// Why a request is not answered, as a sentence that says what to do.
///
/// `local` is the address that the request came in by, `allowed` are names of `--allow-host`.
///
/// # Errors
/// No or several `Host`, a foreign one, or a foreign `Origin`.
pub(super) fn check(
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    local: Option<IpAddr>,
    allowed: &[String],
) -> Result<(), String> {
    let mut hosts = headers.get_all(http::header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()),
        _ => None,
    };
    let host =
        host.ok_or("the request must have one Host header, a name or an address with or without a port")?;
    for name in [Some(host.host()), uri.host()].into_iter().flatten() {
        if !is_ours(name, local, allowed) {
            return Err(format!(
                "the Host {name:?} is not one of this server; --allow-host {name} allows it"
            ));
        }
    }
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(origin) = header("origin")
        && origin
            .split_once("://")
            .is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host.as_str()))
    {
        return Err(format!("requests of pages from elsewhere are not answered (Origin {origin:?})"));
    }
    // What leads to a page of ours by a link is harmless, and its answer is not shown to who linked.
    let navigates = *method == Method::GET && header("sec-fetch-mode") == Some("navigate");
    match header("sec-fetch-site") {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) if navigates => Ok(()),
        Some(site) => {
            Err(format!("requests of pages from elsewhere are not answered (Sec-Fetch-Site {site:?})"))
        }
    }
}

/// Whether a body was declared as JSON, which no page can send elsewhere without asking first.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind =
        headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn is_ours(name: &str, local: Option<IpAddr>, allowed: &[String]) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    if allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
        return true;
    }
    let name = name.to_ascii_lowercase();
    match address(&name) {
        Some(address) => address.is_loopback() || local.map(|local| local.to_canonical()) == Some(address),
        // Browsers and resolvers never ask a name server about these.
        None => name == "localhost" || name.ends_with(".localhost"),
    }
}

fn address(name: &str) -> Option<IpAddr> {
    let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match bracketed {
        Some(name) => name.parse().ok().map(|address: Ipv6Addr| IpAddr::V6(address).to_canonical()),
        None => name.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str, headers: &[(&str, &str)], allowed: &[&str]) -> Result<(), String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let local = Some("172.17.0.2".parse().unwrap());
        let method = if uri.starts_with("GET ") { Method::GET } else { Method::POST };
        check((&method, &uri.trim_start_matches("GET ").parse().unwrap(), &map), local, &allowed)
    }

    #[test]
    fn names_of_ours_are_answered() {
        for host in [
            "localhost",
            "LocalHost:4566",
            "aws.localhost",
            "localhost.",
            "127.0.0.1:4566",
            "127.8.9.1",
            "[::1]:4566",
            "[::ffff:127.0.0.1]",
            "172.17.0.2:4566",
            "local-aws:4566",
            "LOCAL-AWS",
        ] {
            assert_eq!(asked("/", &[("host", host)], &["local-aws"]), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_names_are_refused() {
        for host in [
            "",
            "evil.example",
            "evil.example:4566",
            "localhost.evil.example",
            "evillocalhost",
            "192.168.1.7:4566",
            "169.254.169.254",
            "[2001:db8::1]",
            "local-aws.evil.example",
            "127.0.0.1.nip.io",
            "127.0.0.1@evil.example",
        ] {
            assert!(asked("/", &[("host", host)], &["local-aws"]).is_err(), "{host}");
        }
        assert!(asked("/", &[], &[]).is_err());
        assert!(asked("/", &[("host", "localhost"), ("host", "evil.example")], &[]).is_err());
        assert!(asked("http://evil.example/", &[("host", "localhost")], &[]).is_err());
        let error = asked("/", &[("host", "aws.test")], &[]).unwrap_err();
        assert!(error.contains("--allow-host aws.test"), "{error}");
    }

    #[test]
    fn pages_from_elsewhere_are_refused() {
        let from = |header: (&str, &str)| asked("/", &[("host", "localhost:4566"), header], &[]);
        assert_eq!(from(("origin", "http://localhost:4566")), Ok(()));
        for origin in
            ["http://evil.example", "http://localhost:3000", "http://localhost", "null", "", "file://"]
        {
            assert!(from(("origin", origin)).is_err(), "{origin}");
        }
        for (site, fine) in
            [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)]
        {
            assert_eq!(from(("sec-fetch-site", site)).is_ok(), fine, "{site}");
        }
        let link = [("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(asked("GET /", &link, &[]), Ok(()));
        assert!(asked("/", &link, &[]).is_err());
    }

    #[test]
    fn only_json_is_json() {
        let kind = |kind: &str| {
            is_json(&HeaderMap::from_iter([(http::header::CONTENT_TYPE, kind.parse().unwrap())]))
        };
        assert!(kind("application/json") && kind("Application/JSON; charset=utf-8"));
        assert!(!kind("text/plain") && !kind("text/plain; application/json") && !kind("application/jsonp"));
        assert!(!is_json(&HeaderMap::new()));
    }
}
