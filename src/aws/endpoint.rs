//! Where the services are: by region and partition, or where the environment says.

use effects::task::prefixes::dns_suffix;
use http::Uri;

/// The three services that an agent speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Systems Manager itself.
    Ssm,
    /// The message gateway: the control channel.
    SsmMessages,
    /// The message delivery service: the long poll.
    Ec2Messages,
}

impl Service {
    /// The signing name, which is also the host's first label.
    pub fn name(self) -> &'static str {
        match self {
            Service::Ssm => "ssm",
            Service::SsmMessages => "ssmmessages",
            Service::Ec2Messages => "ec2messages",
        }
    }

    /// The variable that overrides this service's endpoint (AWS SDK convention).
    pub fn variable(self) -> &'static str {
        match self {
            Service::Ssm => "AWS_ENDPOINT_URL_SSM",
            Service::SsmMessages => "AWS_ENDPOINT_URL_SSMMESSAGES",
            Service::Ec2Messages => "AWS_ENDPOINT_URL_EC2MESSAGES",
        }
    }
}

/// Overrides every service's endpoint.
pub const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL";

/// The endpoint of each service: a scheme and an authority, no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Of [`Service::Ssm`].
    pub ssm: Uri,
    /// Of [`Service::SsmMessages`].
    pub ssmmessages: Uri,
    /// Of [`Service::Ec2Messages`].
    pub ec2messages: Uri,
}

/// An endpoint override that is no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}={value:?} is not a URL of the form http://HOST[:PORT] or https://HOST[:PORT]")]
pub struct EndpointError {
    /// Where it stands: a variable, or `region`.
    pub variable: &'static str,
    /// What stands there.
    pub value: String,
}

impl Endpoints {
    /// The endpoints for `region`, with overrides looked up by `variable`: first the service's own, then
    /// [`ENDPOINT_VARIABLE`]. An empty value counts as not set.
    ///
    /// # Errors
    /// An override that is no URL.
    pub fn resolve(
        region: &str,
        partition: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Endpoints, EndpointError> {
        let of = |service: Service| {
            for name in [service.variable(), ENDPOINT_VARIABLE] {
                if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
                    return parse(&value).ok_or(EndpointError { variable: name, value });
                }
            }
            let host = format!("https://{}.{region}.{}", service.name(), dns_suffix(partition));
            parse(&host).ok_or(EndpointError { variable: "region", value: region.to_owned() })
        };
        Ok(Endpoints {
            ssm: of(Service::Ssm)?,
            ssmmessages: of(Service::SsmMessages)?,
            ec2messages: of(Service::Ec2Messages)?,
        })
    }

    /// Host and port of all three.
    pub fn hosts(&self) -> Vec<(String, u16)> {
        let of = |endpoint: &Uri| {
            let by_scheme = if endpoint.scheme_str() == Some("http") { 80 } else { 443 };
            Some((endpoint.host()?.to_owned(), endpoint.port_u16().unwrap_or(by_scheme)))
        };
        let mut all: Vec<_> =
            [&self.ssm, &self.ssmmessages, &self.ec2messages].into_iter().filter_map(of).collect();
        all.dedup();
        all
    }

    /// The endpoint of one service.
    pub fn of(&self, service: Service) -> &Uri {
        match service {
            Service::Ssm => &self.ssm,
            Service::SsmMessages => &self.ssmmessages,
            Service::Ec2Messages => &self.ec2messages,
        }
    }
}

/// A URL cut down to scheme and authority; a path would be signed wrong and is left out.
fn parse(url: &str) -> Option<Uri> {
    let parts = url.parse::<Uri>().ok()?.into_parts();
    let scheme = parts.scheme.filter(|scheme| matches!(scheme.as_str(), "http" | "https"))?;
    Uri::builder().scheme(scheme).authority(parts.authority?).path_and_query("/").build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_endpoints_follow_region_and_partition() {
        let endpoints = Endpoints::resolve("il-central-1", "aws", |_| None).unwrap();
        assert_eq!(endpoints.ssmmessages, "https://ssmmessages.il-central-1.amazonaws.com/");
        assert_eq!(endpoints.hosts()[0], ("ssm.il-central-1.amazonaws.com".to_owned(), 443));
        let endpoints = Endpoints::resolve("cn-north-1", "aws-cn", |_| None).unwrap();
        assert_eq!(endpoints.ssm, "https://ssm.cn-north-1.amazonaws.com.cn/");
    }

    #[test]
    fn the_services_own_variable_wins() {
        let endpoints = Endpoints::resolve("us-east-1", "aws", |name| match name {
            "AWS_ENDPOINT_URL" => Some("http://127.0.0.1:4566".into()),
            "AWS_ENDPOINT_URL_SSMMESSAGES" => Some("https://localhost:8443/ignored".into()),
            "AWS_ENDPOINT_URL_EC2MESSAGES" => Some(String::new()),
            _ => None,
        })
        .unwrap();
        assert_eq!(endpoints.ssm, "http://127.0.0.1:4566/");
        assert_eq!(endpoints.ssmmessages, "https://localhost:8443/");
        assert_eq!(endpoints.ec2messages, "http://127.0.0.1:4566/");
        let hosts = [("127.0.0.1", 4566), ("localhost", 8443), ("127.0.0.1", 4566)];
        assert_eq!(endpoints.hosts(), hosts.map(|(host, port)| (host.to_owned(), port)));
    }

    #[test]
    fn a_bad_override_names_its_variable() {
        for bad in ["127.0.0.1:4566", "localhost", "ftp://x", "http://"] {
            let error = Endpoints::resolve("us-east-1", "aws", |name| {
                (name == "AWS_ENDPOINT_URL").then(|| bad.to_owned())
            })
            .unwrap_err();
            assert_eq!(error.variable, "AWS_ENDPOINT_URL", "{bad}");
        }
    }
}
