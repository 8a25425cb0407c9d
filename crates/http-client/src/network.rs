//! The way out: certificates to trust and proxies, from the environment, as curl and the SDKs read it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

use crate::port_of;

/// Adds certificates (PEM) to the trusted roots, as the AWS CLI and SDKs do.
pub const CA_BUNDLE_VARIABLE: &str = "AWS_CA_BUNDLE";
/// The same for OpenSSL and what goes by it; counts where [`CA_BUNDLE_VARIABLE`] is not set. The roots that are compiled
/// in stay.
const CERT_FILE_VARIABLE: &str = "SSL_CERT_FILE";

/// The proxies for a scheme; the first that is set counts.
const HTTP_VARIABLES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
const HTTPS_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// Who is reached without one.
const NO_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// How other hosts are reached: by default with the roots that are compiled in, and directly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Certificates to trust besides those that are compiled in.
    pub ca_file: Option<CaFile>,
    /// Whom to reach through which proxy.
    pub proxies: Proxies,
}

/// A PEM file with certificates to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaFile {
    /// The variable that names it.
    pub variable: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// A proxy that cannot be used. It says nothing of the value, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is no address of a proxy that can be used: write it as http://[USER:PASSWORD@]HOST[:PORT], with what is \
     special in user and password percent-encoded; TLS to the proxy and SOCKS are not spoken"
)]
pub struct ProxyError(pub &'static str);

impl Network {
    /// Reads the way out; `get` gives the value of a variable. An empty one counts as not set.
    ///
    /// # Errors
    /// [`ProxyError`]: a proxy that is meant and cannot be used is no reason to go without.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Network, ProxyError> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let ca_file = [CA_BUNDLE_VARIABLE, CERT_FILE_VARIABLE]
            .into_iter()
            .find_map(|variable| Some(CaFile { variable, path: get(variable)?.into() }));
        Ok(Network { ca_file, proxies: Proxies::read(get)? })
    }

    /// The same certificates, and no proxy: for the task's own metadata and credentials.
    #[must_use]
    pub fn direct(&self) -> Network {
        Network { proxies: Proxies::default(), ..self.clone() }
    }
}

/// Whom to reach through which proxy. Cheap to clone; Debug shows no password.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Rules>>);

struct Rules {
    http: Option<Setting>,
    https: Option<Setting>,
    matcher: Matcher,
    /// Those of [`NO_VARIABLES`] that are for one port.
    no: Vec<(u16, Matcher)>,
    /// As it was read.
    no_proxy: String,
}

/// A variable with its value.
#[derive(Clone, PartialEq, Eq)]
struct Setting {
    variable: &'static str,
    value: String,
}

/// The proxy that a host is reached through.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// `http://10.0.0.1:3128/`, without user and password.
    pub uri: Uri,
    /// The variable that names it.
    pub variable: &'static str,
    /// For the header Proxy-Authorization.
    pub(crate) authorization: Option<HeaderValue>,
}

impl fmt::Display for Proxy {
    /// `http://10.0.0.1:3128 (HTTPS_PROXY)`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.uri.to_string().trim_end_matches('/'), self.variable)
    }
}

impl Proxy {
    /// Its host and port.
    pub fn host(&self) -> Option<(String, u16)> {
        Some((self.uri.host()?.to_owned(), self.uri.port_u16().unwrap_or(80)))
    }
}

impl Proxies {
    fn read(get: impl Fn(&str) -> Option<String>) -> Result<Proxies, ProxyError> {
        let find = |names: &[&'static str]| {
            names.iter().find_map(|variable| Some(Setting { variable, value: get(variable)? }))
        };
        let (http, https) = (find(&HTTP_VARIABLES), find(&HTTPS_VARIABLES));
        if http.is_none() && https.is_none() {
            return Ok(Proxies::default());
        }
        for setting in http.iter().chain(&https) {
            if !is_usable(&setting.value) {
                return Err(ProxyError(setting.variable));
            }
        }
        let no_proxy = find(&NO_VARIABLES).map(|setting| setting.value).unwrap_or_default();
        let (without_port, with_port) = split_no_proxy(&no_proxy);
        let value = |setting: &Option<Setting>| setting.clone().map(|it| it.value).unwrap_or_default();
        let matcher = |no: &str| Matcher::builder().http(value(&http)).https(value(&https)).no(no).build();
        let matcher_of = matcher(&without_port);
        let no = with_port.into_iter().map(|(host, port)| (port, matcher(&host))).collect();
        Ok(Proxies(Some(Arc::new(Rules { matcher: matcher_of, no, http, https, no_proxy }))))
    }

    /// The proxy for `uri`; None where it is reached directly. The host itself, and what ECS and EKS serve at link-local
    /// addresses, are never reached through one.
    pub fn of(&self, uri: &Uri) -> Option<Proxy> {
        let rules = self.0.as_ref()?;
        let (host, is_http) = (uri.host()?, uri.scheme_str() == Some("http"));
        if is_of_this_host(host) {
            return None;
        }
        let port = port_of(uri);
        if rules.no.iter().any(|(of, no)| *of == port && no.intercept(uri).is_none()) {
            return None;
        }
        let found = rules.matcher.intercept(uri)?;
        let setting = if is_http { &rules.http } else { &rules.https };
        Some(Proxy {
            uri: found.uri().clone(),
            variable: setting.as_ref()?.variable,
            authorization: found.basic_auth().cloned(),
        })
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.0.as_ref();
        let variable = |setting: &Option<Setting>| setting.as_ref().map(|setting| setting.variable);
        let named = rules.map(|rules| [variable(&rules.http), variable(&rules.https)]);
        formatter.debug_tuple("Proxies").field(&named).finish()
    }
}

impl PartialEq for Proxies {
    fn eq(&self, other: &Proxies) -> bool {
        let of = |proxies: &Proxies| {
            proxies.0.as_ref().map(|it| (it.http.clone(), it.https.clone(), it.no_proxy.clone()))
        };
        of(self) == of(other)
    }
}

impl Eq for Proxies {}

fn is_usable(value: &str) -> bool {
    let Ok(uri) = value.parse::<Uri>() else { return false };
    let scheme = uri.scheme_str().is_none_or(|scheme| scheme == "http");
    scheme && uri.host().is_some_and(|host| !host.is_empty())
}

/// The entries without a port, as a list, and those with one. `*.example.com` is `.example.com`.
fn split_no_proxy(list: &str) -> (String, Vec<(String, u16)>) {
    let (mut plain, mut with_port) = (Vec::new(), Vec::new());
    for entry in list.split([',', ' ']).filter(|entry| !entry.is_empty()) {
        let entry = entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry);
        let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_owned();
        match entry.rsplit_once(':') {
            // One colon, or brackets before it: else it is an address of IPv6.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                with_port.extend(port.parse().map(|port| (bare(host), port)));
            }
            _ => plain.push(bare(entry)),
        }
    }
    (plain.join(","), with_port)
}

fn is_of_this_host(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_link_local(),
        // fd00:ec2::/32 is where ECS and EKS serve what 169.254.170.2 serves.
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.segments()[..2] == [0xfd00, 0x0ec2],
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(variables: &[(&str, &str)]) -> Result<Network, ProxyError> {
        let value = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|it| it.1.to_owned());
        Network::read(value)
    }

    /// The way to a URL: the proxy and its variable, or nothing.
    fn way(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = network(variables).unwrap().proxies;
        proxies.of(&url.parse().unwrap()).map(|proxy| proxy.to_string())
    }

    const SSM: &str = "https://ssm.eu-west-1.amazonaws.com/";

    #[test]
    fn each_scheme_has_its_variable_and_both_cases_count() {
        let proxy = "http://proxy:3128";
        let said = |variable: &str| Some(format!("http://proxy:3128 ({variable})"));
        assert_eq!(way(&[("HTTPS_PROXY", proxy)], SSM), said("HTTPS_PROXY"));
        assert_eq!(way(&[("https_proxy", proxy)], SSM), said("https_proxy"));
        assert_eq!(way(&[("ALL_PROXY", "proxy:3128")], SSM), said("ALL_PROXY"));
        assert_eq!(way(&[("HTTPS_PROXY", proxy), ("ALL_PROXY", "http://other:1")], SSM), said("HTTPS_PROXY"));
        assert_eq!(way(&[("HTTP_PROXY", proxy)], SSM), None);
        assert_eq!(way(&[("HTTP_PROXY", proxy)], "http://local-aws:4566/"), said("HTTP_PROXY"));
        assert_eq!(way(&[("HTTPS_PROXY", "")], SSM), None);
    }

    #[test]
    fn who_is_reached_directly() {
        let through =
            |no: &str, url: &str| way(&[("ALL_PROXY", "http://proxy:3128"), ("NO_PROXY", no)], url).is_some();
        for (no, url, proxied) in [
            ("ssm.eu-west-1.amazonaws.com", SSM, false),
            (".amazonaws.com", SSM, false),
            ("amazonaws.com", SSM, false),
            ("*.amazonaws.com", SSM, false),
            ("example.com, amazonaws.com", SSM, false),
            ("AMAZONAWS.COM", SSM, false),
            ("notamazonaws.com,aws.com", SSM, true),
            ("*", SSM, false),
            ("amazonaws.com:443", SSM, false),
            ("amazonaws.com:8443", SSM, true),
            ("amazonaws.com:8443", "https://ssm.eu-west-1.amazonaws.com:8443/", false),
            ("10.0.0.0/8", "https://10.1.2.3/", false),
            ("10.0.0.0/8", "https://11.1.2.3/", true),
            ("10.1.2.3:8443", "https://10.1.2.3/", true),
            ("10.1.2.3:8443", "https://10.1.2.3:8443/", false),
            ("fd12::/16", "https://[fd12::1]/", false),
            ("[fd12::1]:8443", "https://[fd12::1]:8443/", false),
            ("[fd12::1]:8443", "https://[fd12::1]/", true),
            ("", SSM, true),
        ] {
            assert_eq!(through(no, url), proxied, "{no} {url}");
        }
    }

    #[test]
    fn what_the_host_and_ecs_serve_is_never_reached_through_a_proxy() {
        for url in [
            "http://169.254.170.2/v4/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://127.0.0.1:4566/",
            "http://[::1]:4566/",
            "http://localhost:4566/",
        ] {
            assert_eq!(way(&[("ALL_PROXY", "http://proxy:3128")], url), None, "{url}");
        }
        let all = network(&[("ALL_PROXY", "http://proxy:3128")]).unwrap();
        assert!(all.direct().proxies.of(&SSM.parse().unwrap()).is_none());
    }

    #[test]
    fn user_and_password_are_decoded_and_not_shown() {
        let network = network(&[("HTTPS_PROXY", "http://ann:p%40ss@proxy:3128")]).unwrap();
        let proxy = network.proxies.of(&SSM.parse().unwrap()).unwrap();
        // ann:p@ss
        assert_eq!(proxy.authorization.as_ref().unwrap(), "Basic YW5uOnBAc3M=");
        for shown in [format!("{network:?}"), format!("{proxy:?}"), proxy.to_string()] {
            assert!(!shown.contains("p%40ss") && !shown.contains("YW5u"), "{shown}");
        }
        assert_eq!(proxy.host(), Some(("proxy".to_owned(), 3128)));
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_without_its_value() {
        for value in
            ["https://u:secret@proxy", "socks5://proxy:1080", "http://", "http:// u:secret@proxy", "/x"]
        {
            let error = network(&[("HTTPS_PROXY", value)]).unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY is no address") && !error.contains("secret"), "{error}");
        }
        assert!(network(&[("all_proxy", "ftp://proxy")]).is_err());
    }

    #[test]
    fn the_certificates_of_openssl_count_where_there_are_none_of_aws() {
        let file = |variables: &[(&str, &str)]| network(variables).unwrap().ca_file.map(|it| it.variable);
        assert_eq!(file(&[("SSL_CERT_FILE", "/a")]), Some("SSL_CERT_FILE"));
        assert_eq!(file(&[("SSL_CERT_FILE", "/a"), ("AWS_CA_BUNDLE", "/b")]), Some("AWS_CA_BUNDLE"));
        assert_eq!(file(&[]), None);
    }
}
