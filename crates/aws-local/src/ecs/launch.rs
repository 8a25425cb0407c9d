//! Where a request wants its tasks: launch type or capacity provider, platform version, subnets.

use serde_json::Value;

use super::definition::Definition;
use super::request::{Request, invalid};
use super::zone::Zone;
use super::{Cluster, Launch, Placement, fargate};
use crate::Context;
use crate::error::ApiError;
use crate::members::Members;

/// The platform version that `LATEST` is (Amazon ECS developer guide, "Fargate platform versions for Linux").
pub(super) const LATEST_PLATFORM: &str = "1.4.0";

/// `launchType`, `capacityProviderStrategy` or the cluster's default, and `platformVersion`.
///
/// # Errors
/// They contradict each other, what they ask for is not played here, or the task definition is not for Fargate.
pub(super) fn launch(
    request: &Request<'_>,
    cluster: Option<&Cluster>,
    definition: &Definition,
) -> Result<Launch, ApiError> {
    let launch_type = request.text("launchType");
    let asked = provider(request.value("capacityProviderStrategy"));
    if launch_type.is_some() && asked.is_some() {
        return Err(invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ));
    }
    let default = || provider(cluster?.kept.get("defaultCapacityProviderStrategy"));
    let provider = if launch_type.is_some() { None } else { asked.or_else(default) };
    let platform_version = request.text("platformVersion");
    match (launch_type, provider) {
        (None | Some("EC2"), None) => match platform_version {
            None => Ok(Launch::Ec2),
            Some(_) => Err(invalid("The platform version must be null when specifying an EC2 launch type.")),
        },
        (Some("FARGATE"), _) | (None, Some("FARGATE" | "FARGATE_SPOT")) => {
            on_fargate(provider, platform_version.unwrap_or("LATEST"), definition)
        }
        (Some(other), _) => Err(invalid(format!("The launch type {other} is not played here."))),
        (None, Some(other)) => Err(invalid(format!(
            "The specified capacity provider '{other}' was not found. FARGATE and FARGATE_SPOT are played here."
        ))),
    }
}

fn on_fargate(
    provider: Option<&str>,
    platform_version: &str,
    definition: &Definition,
) -> Result<Launch, ApiError> {
    if let Some(problem) = fargate::problem(&definition.body) {
        // The second sentence is ours.
        return Err(invalid(format!("Task definition does not support launch_type FARGATE. {problem}")));
    }
    Ok(Launch::Fargate {
        provider: provider.map(str::to_owned),
        platform_version: platform_version.to_owned(),
    })
}

/// The same of UpdateService, which has no `launchType`.
///
/// # Errors
/// As [`launch`].
pub(super) fn relaunch(
    request: &Request<'_>,
    before: &Launch,
    definition: &Definition,
) -> Result<Launch, ApiError> {
    match before {
        Launch::Fargate { provider, platform_version } if !request.has("capacityProviderStrategy") => {
            let version = request.text("platformVersion").unwrap_or(platform_version);
            on_fargate(provider.as_deref(), version, definition)
        }
        _ => launch(request, None, definition),
    }
}

/// The first capacity provider of a strategy.
fn provider(strategy: Option<&Value>) -> Option<&str> {
    strategy?.as_array()?.first()?["capacityProvider"].as_str()
}

/// The subnets of `networkConfiguration`, with the zone of each; all zones where the network mode needs none.
///
/// # Errors
/// The configuration is missing where the network mode needs it, or there where it does not.
pub(super) fn placement(
    request: &Request<'_>,
    definition: &Definition,
    launch: &Launch,
    context: &Context,
) -> Result<Placement, ApiError> {
    let region = context.region.as_str();
    let network = request.members().nested("networkConfiguration");
    let network = network.and_then(|it| it.nested("awsvpcConfiguration"));
    if definition.text("networkMode") != Some("awsvpc") {
        return match network {
            None => Ok(Zone::all().map(|zone| (zone, zone.subnet_id(region))).collect()),
            Some(_) => Err(invalid(
                "Network Configuration is not valid for the given networkMode of this task definition.",
            )),
        };
    }
    let network = network.ok_or_else(|| {
        invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    })?;
    check_network(network, launch)?;
    let subnets = network.texts("subnets").into_iter().enumerate();
    Ok(subnets.map(|(place, subnet)| (Zone::of_subnet(subnet, place, region), subnet.to_owned())).collect())
}

fn check_network(network: Members<'_>, launch: &Launch) -> Result<(), ApiError> {
    for (member, most) in [("subnets", 16), ("securityGroups", 5)] {
        if network.texts(member).len() > most {
            return Err(invalid(format!("{member} can have at most {most} items.")));
        }
    }
    if network.texts("subnets").is_empty() {
        return Err(invalid("subnets can not be empty."));
    }
    if *launch == Launch::Ec2 && network.text("assignPublicIp") == Some("ENABLED") {
        return Err(invalid("Assign public IP is not supported for this launch type."));
    }
    Ok(())
}
