//! The addresses that this task's metadata, credentials and agent are reached at, from its environment.

use std::net::{IpAddr, ToSocketAddrs};

/// The variables that ECS (and the SDKs) name such addresses by.
const VARIABLES: [&str; 4] = [
    "ECS_CONTAINER_METADATA_URI_V4",
    "ECS_CONTAINER_METADATA_URI",
    "ECS_AGENT_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// The addresses that the variables name; `get` gives the value of a variable. Loopback is left out: nothing
/// needs to be let through there, and a fault on it may be meant.
pub fn addresses(get: impl Fn(&str) -> Option<String>) -> Vec<IpAddr> {
    let uris = VARIABLES.iter().filter_map(|name| get(name)?.parse::<http::Uri>().ok());
    let mut found: Vec<IpAddr> = uris.filter_map(|uri| Some(of_host(uri.host()?))).flatten().collect();
    found.retain(|address| !address.is_loopback());
    found.sort_unstable();
    found.dedup();
    found
}

fn of_host(host: &str) -> Vec<IpAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host, 0).to_socket_addrs().map(|all| all.map(|one| one.ip()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_all_variables_are_found_once() {
        let get = |name: &str| match name {
            "ECS_CONTAINER_METADATA_URI_V4" => Some("http://169.254.170.2/v4/x".to_owned()),
            "ECS_AGENT_URI" => Some("http://169.254.170.2/api/x".to_owned()),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI" => {
                Some("http://[fd00:ec2::23]:80/v1/credentials".to_owned())
            }
            _ => None,
        };
        let expected: Vec<IpAddr> = vec!["169.254.170.2".parse().unwrap(), "fd00:ec2::23".parse().unwrap()];
        assert_eq!(addresses(get), expected);
        assert!(addresses(|_| Some("http://127.0.0.1:4566/v4".into())).is_empty());
        assert!(addresses(|_| Some("not an address".into())).is_empty());
    }
}
