//! Where the services are: by region and partition, or where the environment says.

use aws_sdk_ssm::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use effects::task::partitions::Partition;
use futures_util::FutureExt;
use http::Uri;
use http_client::{Proxies, port_of};

/// The services that are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Systems Manager itself.
    Ssm,
    /// The message gateway: the control channel.
    SsmMessages,
    /// The message delivery service: the long poll.
    Ec2Messages,
    /// CloudWatch Logs: the output of commands, where it is asked for.
    Logs,
    /// S3: the same.
    S3,
}

impl Service {
    /// Those that a sidecar lives on.
    pub const CONTROL: [Service; 3] = [Service::Ssm, Service::SsmMessages, Service::Ec2Messages];

    /// The signing name, which is also the host's first label.
    pub fn name(self) -> &'static str {
        match self {
            Service::Ssm => "ssm",
            Service::SsmMessages => "ssmmessages",
            Service::Ec2Messages => "ec2messages",
            Service::Logs => "logs",
            Service::S3 => "s3",
        }
    }

    /// Whether the sidecar does without it where another serves.
    pub fn is_fallback(self) -> bool {
        self == Service::Ec2Messages
    }

    /// The variable that overrides this service's endpoint (AWS SDK convention).
    pub fn variable(self) -> &'static str {
        match self {
            Service::Ssm => "AWS_ENDPOINT_URL_SSM",
            Service::SsmMessages => "AWS_ENDPOINT_URL_SSMMESSAGES",
            Service::Ec2Messages => "AWS_ENDPOINT_URL_EC2MESSAGES",
            Service::Logs => "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
            Service::S3 => "AWS_ENDPOINT_URL_S3",
        }
    }
}

/// Overrides every service's endpoint.
pub const ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL";
/// `true`: endpoints whose cryptography is validated by FIPS 140 (AWS SDK convention).
pub const FIPS_VARIABLE: &str = "AWS_USE_FIPS_ENDPOINT";
/// `true`: endpoints that have addresses of IPv6 as well (AWS SDK convention).
pub const DUAL_STACK_VARIABLE: &str = "AWS_USE_DUALSTACK_ENDPOINT";

/// The endpoint of each service: a scheme and an authority, no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Of [`Service::Ssm`].
    pub ssm: Uri,
    /// Of [`Service::SsmMessages`].
    pub ssmmessages: Uri,
    /// Of [`Service::Ec2Messages`].
    pub ec2messages: Uri,
    /// Of [`Service::Logs`].
    pub logs: Uri,
}

/// Why there is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// An override that is no URL.
    #[error("{variable}={value:?} is not a URL of the form http://HOST[:PORT] or https://HOST[:PORT]")]
    Url {
        /// The variable that has it.
        variable: &'static str,
        /// What stands there.
        value: String,
    },
    /// A variable that is neither true nor false.
    #[error("{variable}={value:?} is neither true nor false")]
    Switch {
        /// The variable.
        variable: &'static str,
        /// What stands there.
        value: String,
    },
    /// A partition that came after this program.
    #[error(
        "the partition {partition} of this task's ARN is not known to this version of taskfault, so neither are its \
         endpoints: name them with {ENDPOINT_VARIABLE}_SSM, _SSMMESSAGES and _EC2MESSAGES, or take a newer version"
    )]
    Partition {
        /// As the ARN has it.
        partition: String,
    },
    /// A region that the partition does not have.
    #[error(
        "{region:?} is no region of the partition {partition}, by its name: its endpoints can be named with \
         {ENDPOINT_VARIABLE}_SSM, _SSMMESSAGES and _EC2MESSAGES"
    )]
    Region {
        /// As the ARN has it.
        region: String,
        /// Its partition.
        partition: &'static str,
    },
    /// The service's own rules have none.
    #[error("there is no endpoint of {service} in {region}: {reason}")]
    None {
        /// The service.
        service: &'static str,
        /// The region.
        region: String,
        /// Why, in the words of the rules.
        reason: String,
    },
}

/// Which of a service's endpoints are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variant {
    fips: bool,
    dual_stack: bool,
}

impl Variant {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Variant, EndpointError> {
        let switch = |name| match variable(name).filter(|value| !value.is_empty()) {
            None => Ok(false),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
            Some(value) => Err(EndpointError::Switch { variable: name, value }),
        };
        Ok(Variant { fips: switch(FIPS_VARIABLE)?, dual_stack: switch(DUAL_STACK_VARIABLE)? })
    }
}

impl Endpoints {
    /// The endpoints for `region`, with overrides looked up by `variable`: first the service's own, then
    /// [`ENDPOINT_VARIABLE`]. An empty value counts as not set.
    ///
    /// # Errors
    /// See [`EndpointError`]; of a partition or a region that is not known only where an endpoint is not overridden.
    pub fn resolve(
        region: &str,
        partition: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Endpoints, EndpointError> {
        let of = |service| resolve(service, region, partition, &variable);
        Ok(Endpoints {
            ssm: of(Service::Ssm)?,
            ssmmessages: of(Service::SsmMessages)?,
            ec2messages: of(Service::Ec2Messages)?,
            logs: of(Service::Logs)?,
        })
    }

    /// Host and port of those that a sidecar lives on, or of the proxy that leads there.
    pub fn hosts(&self, proxies: &Proxies) -> Vec<(String, u16)> {
        let of = |endpoint: &Uri| {
            if let Some(proxy) = proxies.of(endpoint) {
                return proxy.host();
            }
            Some((endpoint.host()?.to_owned(), port_of(endpoint)))
        };
        let mut all: Vec<_> =
            Service::CONTROL.into_iter().filter_map(|service| of(self.of(service)?)).collect();
        all.dedup();
        all
    }

    /// The endpoint of one service; None of S3, whose endpoint is that of the bucket's region ([`resolve`]).
    pub fn of(&self, service: Service) -> Option<&Uri> {
        match service {
            Service::Ssm => Some(&self.ssm),
            Service::SsmMessages => Some(&self.ssmmessages),
            Service::Ec2Messages => Some(&self.ec2messages),
            Service::Logs => Some(&self.logs),
            Service::S3 => None,
        }
    }
}

/// The endpoint of one service; see [`Endpoints::resolve`].
///
/// # Errors
/// [`EndpointError`]
pub fn resolve(
    service: Service,
    region: &str,
    partition: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Uri, EndpointError> {
    for name in [service.variable(), ENDPOINT_VARIABLE] {
        if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
            return parse(&value).ok_or(EndpointError::Url { variable: name, value });
        }
    }
    by_region(service, region, partition, Variant::read(variable)?)
}

fn by_region(
    service: Service,
    region: &str,
    partition: &str,
    variant: Variant,
) -> Result<Uri, EndpointError> {
    let known = Partition::find(partition);
    let known = known.ok_or_else(|| EndpointError::Partition { partition: partition.to_owned() })?;
    if !known.may_have(region) {
        return Err(EndpointError::Region { region: region.to_owned(), partition: known.name });
    }
    let none =
        |reason: String| EndpointError::None { service: service.name(), region: region.to_owned(), reason };
    let fips = if variant.fips { "-fips" } else { "" };
    let suffix = if variant.dual_stack { known.dual_stack_suffix } else { known.dns_suffix };
    let url = match service {
        Service::Ssm => by_the_sdk(region, variant).map_err(none)?,
        // No SDK has these two. Source: Systems Manager user guide, "ec2messages, ssmmessages", and for FIPS "Creating
        // FIPS endpoints for SSM Agent"; the suffixes are the partition's.
        Service::SsmMessages | Service::Ec2Messages => {
            format!("https://{}{fips}.{region}.{suffix}", service.name())
        }
        // The endpoints of us-gov are validated as they are.
        Service::Logs if known.name == "aws-us-gov" && !variant.dual_stack => {
            format!("https://logs.{region}.{suffix}")
        }
        Service::Logs => format!("https://logs{fips}.{region}.{suffix}"),
        Service::S3 if variant.fips && known.name == "aws-cn" => {
            return Err(none("the partition aws-cn has none that is validated by FIPS".to_owned()));
        }
        Service::S3 => {
            let dual_stack = if variant.dual_stack { ".dualstack" } else { "" };
            format!("https://s3{fips}{dual_stack}.{region}.{}", known.dns_suffix)
        }
    };
    parse(&url).ok_or_else(|| none(format!("{url} is no URL")))
}

/// By the rules of Systems Manager, which its SDK has.
fn by_the_sdk(region: &str, variant: Variant) -> Result<String, String> {
    let params = Params::builder()
        .region(region.to_owned())
        .use_fips(variant.fips)
        .use_dual_stack(variant.dual_stack)
        .build()
        .map_err(|error| error.to_string())?;
    let found = DefaultResolver::new().resolve_endpoint(&params).now_or_never();
    match found {
        Some(Ok(endpoint)) => Ok(endpoint.url().to_owned()),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the rules did not come to an end at once".to_owned()),
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
    fn the_host_behind_a_proxy_is_the_proxy() {
        let network = http_client::Network::read(|name| match name {
            "HTTPS_PROXY" => Some("http://10.0.0.1:3128".to_owned()),
            "NO_PROXY" => Some("ec2messages.eu-west-1.amazonaws.com".to_owned()),
            _ => None,
        });
        let endpoints = Endpoints::resolve("eu-west-1", "aws", |_| None).unwrap();
        let hosts = endpoints.hosts(&network.unwrap().proxies);
        let expected = [("10.0.0.1", 3128), ("ec2messages.eu-west-1.amazonaws.com", 443)];
        assert_eq!(hosts, expected.map(|(host, port)| (host.to_owned(), port)));
    }

    #[test]
    fn default_endpoints_follow_region_and_partition() {
        let endpoints = Endpoints::resolve("il-central-1", "aws", |_| None).unwrap();
        assert_eq!(endpoints.ssmmessages, "https://ssmmessages.il-central-1.amazonaws.com/");
        assert_eq!(
            endpoints.hosts(&Proxies::default())[0],
            ("ssm.il-central-1.amazonaws.com".to_owned(), 443)
        );
        let endpoints = Endpoints::resolve("cn-north-1", "aws-cn", |_| None).unwrap();
        assert_eq!(endpoints.ssm, "https://ssm.cn-north-1.amazonaws.com.cn/");
    }

    /// Every region that botocore knows, with and without FIPS and dual-stack (`scripts/partitions`).
    #[test]
    fn the_endpoints_are_those_of_botocore() {
        let table = include_str!("../../tests/data/endpoints.txt");
        let mut lines = 0;
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<_> = line.split(' ').collect();
            let [partition, region, fips, dual_stack, ssm, logs, s3] = words[..] else { panic!("{line}") };
            let variable = |name: &str| match name {
                FIPS_VARIABLE => Some(fips.to_owned()),
                DUAL_STACK_VARIABLE => Some(dual_stack.to_owned()),
                _ => None,
            };
            let endpoints = Endpoints::resolve(region, partition, variable).unwrap();
            assert_eq!(endpoints.ssm.to_string(), format!("https://{ssm}/"), "{line}");
            assert_eq!(endpoints.logs.to_string(), format!("https://{logs}/"), "{line}");
            match resolve(Service::S3, region, partition, variable) {
                Ok(found) => assert_eq!(found.to_string(), format!("https://{s3}/"), "{line}"),
                Err(_) => assert_eq!(s3, "-", "{line}"),
            }
            // Those that no SDK has: after the same pattern, but in us-gov, where they have FIPS hosts of their own.
            for service in [Service::SsmMessages, Service::Ec2Messages] {
                let (name, suffix) = (service.name(), ssm.split_once(region).unwrap().1);
                let label = if fips == "true" { format!("{name}-fips") } else { name.to_owned() };
                assert_eq!(
                    endpoints.of(service).unwrap().to_string(),
                    format!("https://{label}.{region}{suffix}/"),
                    "{line}"
                );
            }
            lines += 1;
        }
        assert!(lines > 150, "{lines}");
    }

    #[test]
    fn what_is_not_known_is_not_guessed_unless_it_is_named() {
        let refused = |region: &str, partition: &str| {
            Endpoints::resolve(region, partition, |_| None).unwrap_err().to_string()
        };
        let text = refused("moon-east-1", "aws-moon");
        assert!(text.contains("partition aws-moon") && text.contains("AWS_ENDPOINT_URL_SSM"), "{text}");
        let text = refused("eusc-de-east-1", "aws");
        assert!(text.contains("\"eusc-de-east-1\" is no region of the partition aws"), "{text}");
        // A region that is newer than the table has a name of the same form.
        let new = Endpoints::resolve("ap-northwest-7", "aws", |_| None).unwrap();
        assert_eq!(new.ssm, "https://ssm.ap-northwest-7.amazonaws.com/");
        let named = |name: &str| (name == ENDPOINT_VARIABLE).then(|| "https://ssm.example.com".to_owned());
        assert!(Endpoints::resolve("moon-east-1", "aws-moon", named).is_ok());
    }

    #[test]
    fn a_switch_that_is_no_switch_is_an_error() {
        let resolved = |value: &'static str| {
            Endpoints::resolve("us-east-1", "aws", |name| (name == FIPS_VARIABLE).then(|| value.to_owned()))
        };
        assert_eq!(
            resolved("yes").unwrap_err().to_string(),
            "AWS_USE_FIPS_ENDPOINT=\"yes\" is neither true nor false"
        );
        assert_eq!(resolved("TRUE").unwrap().ssm, "https://ssm-fips.us-east-1.amazonaws.com/");
        assert_eq!(resolved("").unwrap(), resolved("false").unwrap());
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
        assert_eq!(endpoints.hosts(&Proxies::default()), hosts.map(|(host, port)| (host.to_owned(), port)));
    }

    #[test]
    fn a_bad_override_names_its_variable() {
        for bad in ["127.0.0.1:4566", "localhost", "ftp://x", "http://"] {
            let error = Endpoints::resolve("us-east-1", "aws", |name| {
                (name == "AWS_ENDPOINT_URL").then(|| bad.to_owned())
            })
            .unwrap_err();
            assert!(
                matches!(error, EndpointError::Url { variable: "AWS_ENDPOINT_URL", .. }),
                "{bad}: {error}"
            );
        }
    }
}
