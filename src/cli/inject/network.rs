//! The options of the network faults.

use std::time::Duration;

use super::{Asked, plain_number};
use faults::duration;
use faults::network_blackhole_port::NetworkBlackholePort;
use faults::network_latency::NetworkLatency;
use faults::network_packet_loss::NetworkPacketLoss;
use faults::network_source::Scope;
use faults::{Fault, ParameterError};

/// What latency and packet loss have in common.
#[derive(Debug, clap::Args)]
pub(super) struct ScopeArgs {
    /// How long, 1 s to 12 h: PT5M, PT1H30M, 90s, 5m, 2h
    #[arg(long, value_parser = duration::parse)]
    duration: Duration,
    /// The other side, a list with commas: IPv4, IPv6, CIDRs, host names, ALL, DYNAMODB, S3
    #[arg(long, default_value = "ALL")]
    sources: String,
    /// Share of the flows, 1-100: all packets of a connection, or none
    #[arg(long, value_parser = plain_number, default_value_t = 100)]
    flows_percent: u64,
    /// egress or ingress
    #[arg(long, default_value = "egress")]
    traffic_type: String,
    /// DEFAULT, ALL, or names with commas
    #[arg(long, default_value = "DEFAULT")]
    interface: String,
}

impl ScopeArgs {
    fn scope(&self) -> Result<Scope, ParameterError> {
        Scope::new(&self.sources, &self.traffic_type, &self.interface, self.flows_percent)
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct LatencyArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// How much longer each packet takes, 1-120000, or 0 with a jitter
    #[arg(long, value_parser = plain_number, default_value_t = 200)]
    delay_milliseconds: u64,
    /// The delay varies evenly by this much more or less, 0-120000
    #[arg(long, value_parser = plain_number, default_value_t = 10)]
    jitter_milliseconds: u64,
}

impl LatencyArgs {
    pub(super) fn asked(self) -> Result<Asked, ParameterError> {
        let (delay, jitter) = (self.delay_milliseconds, self.jitter_milliseconds);
        let latency = NetworkLatency::new(delay, jitter, self.scope.scope()?)?;
        Ok((Fault::NetworkLatency(latency), self.scope.duration))
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct PacketLossArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Share of the packets that are lost, 1-100
    #[arg(long, value_parser = plain_number, default_value_t = 7)]
    loss_percent: u64,
}

impl PacketLossArgs {
    pub(super) fn asked(self) -> Result<Asked, ParameterError> {
        let loss = NetworkPacketLoss::new(self.loss_percent, self.scope.scope()?)?;
        Ok((Fault::NetworkPacketLoss(loss), self.scope.duration))
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct BlackholePortArgs {
    /// How long, 1 s to 12 h: PT5M, PT1H30M, 90s, 5m, 2h
    #[arg(long, value_parser = duration::parse)]
    duration: Duration,
    /// The port that packets are sent to, 1-65535
    #[arg(long, value_parser = plain_number)]
    port: u64,
    /// egress or ingress
    #[arg(long)]
    traffic_type: String,
    /// tcp or udp
    #[arg(long, default_value = "tcp")]
    protocol: String,
}

impl BlackholePortArgs {
    pub(super) fn asked(self) -> Result<Asked, ParameterError> {
        let hole = NetworkBlackholePort::new(self.port, &self.protocol, &self.traffic_type)?;
        Ok((Fault::NetworkBlackholePort(hole), self.duration))
    }
}
