//! How each endpoint is reached, and what is in the way: asked as the sidecar asks it, through the same proxies and with
//! the same certificates.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Uri, header};
use http_body_util::Full;

use super::Finding;
use crate::aws::endpoint::{Endpoints, Service};
use http_client::{Client, Network, SendError, host_of, port_of};

/// How long the look-up of a name may take, and then an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A finding for each service. Takes ten seconds at most.
pub(super) fn findings(endpoints: &Endpoints, network: &Network) -> Vec<Finding> {
    let (endpoints, network) = (endpoints.clone(), network.clone());
    // On a thread of its own, which ends marked: faults that are live let it through, as they do the sidecar.
    let asking = std::thread::spawn(move || {
        effects::net::lifeline::mark_this_thread();
        let client = match Client::new(&network) {
            Ok(client) => client,
            Err(error) => return vec![Finding::new("certificates", false, error.to_string())],
        };
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return Vec::new();
        };
        let control = Service::CONTROL.into_iter().filter_map(|it| Some((it, endpoints.of(it)?)));
        let asked = control.map(|(service, endpoint)| ask(&client, service, endpoint, &network));
        let found = runtime.block_on(join_all(asked));
        // Not waited for: a name look-up may hang.
        runtime.shutdown_background();
        found
    });
    asking.join().unwrap_or_default()
}

async fn ask(client: &Client, service: Service, endpoint: &Uri, network: &Network) -> Finding {
    let shown = endpoint.to_string();
    let shown = shown.trim_end_matches('/');
    let proxy = network.proxies.of(endpoint);
    let (way, next) = match &proxy {
        Some(proxy) => (format!("through the proxy {proxy}"), &proxy.uri),
        None => ("directly".to_owned(), endpoint),
    };
    let failed = |reason: String| Finding::new(service.name(), false, format!("{shown}, {way}: {reason}"));
    if let Err(reason) = look_up(next).await {
        let what = match (&proxy, service.is_fallback()) {
            (Some(_), _) => String::new(),
            (None, false) => format!(": {}", missing(service)),
            (None, true) => {
                format!(": {}; commands come by the control channel alone then", missing(service))
            }
        };
        return failed(format!("{reason}{what}"));
    }
    let request =
        Request::get(endpoint.clone()).header(header::HOST, host_of(endpoint)).body(Full::new(Bytes::new()));
    let Ok(request) = request else { return failed("it is no address".to_owned()) };
    match client.send(request, PATIENCE).await {
        // Whatever it answers to a call that is none: it is there.
        Ok(_) => Finding::new(service.name(), true, format!("{shown} answers, {way}")),
        Err(SendError::Untrusted(reason)) => failed(format!(
            "its certificate is not trusted: {reason}; AWS_CA_BUNDLE or SSL_CERT_FILE can name a file with its \
             authority (PEM)"
        )),
        Err(error @ SendError::Late(_)) if proxy.is_none() => failed(format!(
            "{error}: look at security groups, network ACLs and routes to port {}",
            port_of(endpoint)
        )),
        Err(error) => failed(error.to_string()),
    }
}

/// What a private subnet lacks where a name leads nowhere.
fn missing(service: Service) -> String {
    format!(
        "where there is no way to public DNS, give the VPC an endpoint com.amazonaws.REGION.{} with private DNS names",
        service.name()
    )
}

async fn look_up(uri: &Uri) -> Result<(), String> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port_of(uri)))).await {
        Ok(Ok(mut found)) => found.next().map(drop).ok_or_else(|| format!("{host} has no address")),
        Ok(Err(error)) => Err(format!("{host} has no address: {error}")),
        Err(_) => Err(format!("no answer from DNS about {host} within {} s", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::cli::doctor::Verdict;

    /// A server that answers whatever it is sent with `answer`, again and again.
    fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    fn found(url: &str, proxy: Option<u16>) -> Vec<Finding> {
        let get = |name: &str| (name == "AWS_ENDPOINT_URL").then(|| url.to_owned());
        let endpoints = Endpoints::resolve("eu-west-1", "aws", get).unwrap();
        let proxy = proxy.map(|port| format!("http://127.0.0.1:{port}"));
        let network = Network::read(|name| proxy.clone().filter(|_| name == "ALL_PROXY")).unwrap();
        findings(&endpoints, &network)
    }

    #[test]
    fn each_service_is_asked_and_its_way_is_said() {
        let port = server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let all = found(&format!("http://127.0.0.1:{port}"), None);
        assert_eq!(all.iter().map(|one| one.name).collect::<Vec<_>>(), ["ssm", "ssmmessages", "ec2messages"]);
        for finding in all {
            assert_eq!(finding.verdict, Verdict::Good, "{}", finding.text);
            assert!(finding.text.ends_with("answers, directly"), "{}", finding.text);
        }
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let unauthorized = server("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
        let forbidden = server("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        for (url, proxy, words) in [
            ("https://no.such.host.invalid", None, &["has no address", "com.amazonaws.REGION."][..]),
            (&format!("https://127.0.0.1:{closed}"), None, &["directly", "refused"]),
            ("https://ssm.example.com", Some(closed), &["through the proxy http://127.0.0.1", "refused"]),
            ("https://ssm.example.com", Some(unauthorized), &["(ALL_PROXY)", "a user and a password", "407"]),
            ("https://ssm.example.com", Some(forbidden), &["does not connect us to", "ssm.example.com:443"]),
        ] {
            for finding in found(url, proxy) {
                assert_eq!(finding.verdict, Verdict::Warning, "{}", finding.text);
                assert!(words.iter().all(|word| finding.text.contains(word)), "{}", finding.text);
            }
        }
    }
}
