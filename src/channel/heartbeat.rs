//! The heartbeat (`UpdateInstanceInformation`): reports that the instance is reachable, and by which channel.
//!
//! Once at the start, whenever the channel changes, then every five minutes after a first random pause, so
//! that a fleet does not send them in step. Source: amazon-ssm-agent `agent/health/healthcheck.go`.

use std::time::Duration;

use serde_json::json;

use super::link::Link;
use super::mgs::ANNOUNCED_VERSION;
use crate::aws::AwsError;
use crate::aws::backoff::jitter;
use crate::aws::endpoint::Service;
use crate::identity::token::Identity;
use http_client::CALL_TIMEOUT;

const EVERY: Duration = Duration::from_secs(5 * 60);

/// What the heartbeat reports about the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// `NAME` of os-release.
    pub platform_name: String,
    /// `VERSION_ID` of os-release.
    pub platform_version: String,
    /// The host name; 1 to 255 characters.
    pub computer_name: String,
    /// The service refuses an empty one.
    pub ip_address: String,
}

/// Sends one heartbeat.
///
/// # Errors
/// The service's; `InvalidInstanceId` when it does not know us any more.
pub async fn send(identity: &Identity, machine: &Machine, channel: &str) -> Result<(), AwsError> {
    let operation = "UpdateInstanceInformation";
    let body = json!({
        "AgentName": "amazon-ssm-agent",
        "AgentStatus": "Active",
        "AgentVersion": ANNOUNCED_VERSION,
        "AvailabilityZone": "",
        "AvailabilityZoneId": "",
        "ComputerName": machine.computer_name,
        "IPAddress": machine.ip_address,
        "InstanceId": identity.instance_id(),
        "PlatformName": machine.platform_name,
        "PlatformType": "Linux",
        "PlatformVersion": machine.platform_version,
        "SSMConnectionChannel": channel,
    });
    identity.send(CALL_TIMEOUT, Service::Ssm, operation, &body).await
}

/// Sends heartbeats for ever; the caller has sent the first.
pub async fn run(identity: &Identity, machine: &Machine, link: &Link) {
    let mut channel = link.channel();
    let mut pause = jitter(EVERY);
    loop {
        tokio::select! {
            changed = channel.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => pause = EVERY,
        }
        let now = *channel.borrow_and_update();
        match send(identity, machine, now).await {
            Ok(()) => tracing::debug!(channel = now, "heartbeat"),
            Err(error) => tracing::warn!(%error, "heartbeat failed"),
        }
    }
}
