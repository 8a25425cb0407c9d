//! The task role's credentials: from the container credentials endpoint, or from plain variables.
//!
//! aws-config would do this too, with thirty crates more; this is the one provider of its chain that a
//! task needs.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use serde::Deserialize;

use http_client::Client;

/// Set by ECS in every container of a task with a role: a path below `http://169.254.170.2`.
pub const RELATIVE_URI_VARIABLE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
/// A whole URL instead (EKS, local emulators).
pub const FULL_URI_VARIABLE: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
/// Sent as Authorization to the full URI.
pub const TOKEN_VARIABLE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
/// A file with that token.
pub const TOKEN_FILE_VARIABLE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

const ECS_CREDENTIALS_HOST: &str = "http://169.254.170.2";
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the task role's credentials come from. Debug shows no token and no secret key.
#[derive(Clone)]
pub enum Source {
    /// An endpoint that serves them by HTTP.
    Container {
        /// The whole address.
        uri: Uri,
        /// Sent as Authorization.
        token: Option<String>,
        /// A file with the token, read at each request.
        token_file: Option<String>,
    },
    /// Plain keys, as they stand in the environment.
    Variables(Credentials),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Container { uri, .. } => {
                f.debug_struct("Container").field("uri", uri).finish_non_exhaustive()
            }
            Source::Variables(_) => f.write_str("Variables"),
        }
    }
}

/// The credentials cannot be found out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No variable names any.
    #[error(
        "no credentials: neither {RELATIVE_URI_VARIABLE} (ECS sets it when the task definition has a task \
         role) nor AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set; give the task a taskRoleArn"
    )]
    None,
    /// An address that the token must not be sent to, or that is none.
    #[error(
        "{variable}={value:?} is not a usable address of container credentials: https:// with any host, or http:// with \
         169.254.170.2, 169.254.170.23, [fd00:ec2::23] or a loopback address"
    )]
    Uri {
        /// The variable that holds it.
        variable: &'static str,
        /// Its value.
        value: String,
    },
}

impl Source {
    /// Finds the source by the environment: the container's endpoint first, plain keys as a fallback.
    ///
    /// # Errors
    /// Nothing is set, or what is set is no URL.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Source, SourceError> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let whole = get(RELATIVE_URI_VARIABLE)
            .map(|path| (RELATIVE_URI_VARIABLE, format!("{ECS_CREDENTIALS_HOST}{path}")))
            .or_else(|| get(FULL_URI_VARIABLE).map(|url| (FULL_URI_VARIABLE, url)));
        if let Some((variable, value)) = whole {
            let uri = value.parse::<Uri>().ok().filter(may_have_the_token);
            let uri = uri.ok_or(SourceError::Uri { variable, value })?;
            return Ok(Source::Container {
                uri,
                token: get(TOKEN_VARIABLE),
                token_file: get(TOKEN_FILE_VARIABLE),
            });
        }
        match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            (Some(key), Some(secret)) => {
                let token = get("AWS_SESSION_TOKEN");
                Ok(Source::Variables(Credentials::new(key, secret, token, None, "environment")))
            }
            _ => Err(SourceError::None),
        }
    }
}

/// Whether the token may be sent there: by TLS to anybody, without it only to this host, to ECS and to EKS. As the SDKs
/// have it (SDK reference guide, "Container credential provider").
fn may_have_the_token(uri: &Uri) -> bool {
    const WITHOUT_TLS: [&str; 4] = ["localhost", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
    let Some(host) = uri.host() else { return false };
    let host = host.trim_matches(['[', ']']);
    let address: Option<std::net::IpAddr> = host.parse().ok();
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => WITHOUT_TLS.contains(&host) || address.is_some_and(|address| address.is_loopback()),
        _ => false,
    }
}

/// The task role, as a provider for aws-sdk-ssm. The endpoint is asked anew each time: a task asks twice
/// in its life, at the start and at the end.
#[derive(Debug, Clone)]
pub struct TaskRole {
    /// Where they come from.
    pub source: Source,
    /// What asks the endpoint.
    pub client: Client,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerCredentials {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl TaskRole {
    async fn load(&self) -> Result<Credentials, String> {
        let (uri, token) = match &self.source {
            Source::Variables(credentials) => return Ok(credentials.clone()),
            Source::Container { uri, token: Some(token), .. } => (uri, Some(token.clone())),
            Source::Container { uri, token_file: Some(file), .. } => {
                let token =
                    std::fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?;
                (uri, Some(token.trim().to_owned()))
            }
            Source::Container { uri, .. } => (uri, None),
        };
        let mut request = Request::get(uri).header(http::header::HOST, http_client::host_of(uri));
        if let Some(token) = token {
            request = request.header(http::header::AUTHORIZATION, token);
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|error| error.to_string())?;
        let answer = self.client.send(request, TIMEOUT).await.map_err(|reason| format!("{uri}: {reason}"))?;
        if !answer.status().is_success() {
            return Err(format!("{uri} answered {}", answer.status()));
        }
        let answer: ContainerCredentials =
            serde_json::from_slice(answer.body()).map_err(|error| format!("{uri}: {error}"))?;
        let expires = answer.expiration.as_deref().and_then(parse_rfc3339);
        Ok(Credentials::new(
            answer.access_key_id,
            answer.secret_access_key,
            answer.token,
            expires,
            "container",
        ))
    }
}

fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
        .ok()
        .map(SystemTime::from)
}

impl ProvideCredentials for TaskRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.load().await.map_err(CredentialsError::provider_error) })
    }
}

/// Reads bytes as what the endpoint of container credentials answers, and as its address.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Ok(answer) = serde_json::from_slice::<ContainerCredentials>(bytes) {
        let _ = answer.expiration.as_deref().and_then(parse_rfc3339);
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = Source::find(|name| (name == FULL_URI_VARIABLE).then(|| text.clone().into_owned()));
    let _ = Source::find(|name| (name == RELATIVE_URI_VARIABLE).then(|| text.clone().into_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)]) -> Result<Source, SourceError> {
        Source::find(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_container_endpoint_comes_before_plain_keys() {
        let source = find(&[
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY", "B"),
            (RELATIVE_URI_VARIABLE, "/v2/credentials/x"),
        ]);
        let Ok(Source::Container { uri, .. }) = source else { panic!("{source:?}") };
        assert_eq!(uri, "http://169.254.170.2/v2/credentials/x");
    }

    #[test]
    fn keys_alone_will_do_and_nothing_is_an_error() {
        let keys = find(&[("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "B")]);
        assert!(matches!(keys, Ok(Source::Variables(_))));
        assert_eq!(find(&[("AWS_ACCESS_KEY_ID", "A")]).unwrap_err(), SourceError::None);
        assert_eq!(find(&[]).unwrap_err(), SourceError::None);
        let not_ours = [
            "http://example.com/x",
            "http://169.254.170.2.example.com/x",
            "http://10.0.0.1/x",
            "http://[fd00::1]/x",
        ];
        for bad in ["not a url", "nope", "ftp://x/y"].into_iter().chain(not_ours) {
            let error = find(&[(FULL_URI_VARIABLE, bad)]).unwrap_err();
            assert!(matches!(error, SourceError::Uri { variable: FULL_URI_VARIABLE, .. }), "{bad}");
        }
    }

    #[test]
    fn the_token_is_for_this_host_for_ecs_and_eks_or_goes_by_tls() {
        for good in [
            "https://example.com/x",
            "http://localhost:4566/x",
            "http://127.8.9.1/x",
            "http://[::1]:80/x",
            "http://169.254.170.2/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert!(find(&[(FULL_URI_VARIABLE, good)]).is_ok(), "{good}");
        }
    }

    #[test]
    fn the_token_stays_out_of_debug_output() {
        let source = find(&[(FULL_URI_VARIABLE, "https://x/y"), (TOKEN_VARIABLE, "SECRET")]).unwrap();
        assert!(!format!("{source:?}").contains("SECRET"));
    }
}
