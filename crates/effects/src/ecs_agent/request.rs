//! The body of a fault's requests (`ecs-agent/tmds/handlers/fault/v1/types/types.go`). Pure.

use serde_json::{Value, json};

use super::target::Targets;
use faults::network_blackhole_port::NetworkBlackholePort;
use faults::network_latency::NetworkLatency;
use faults::network_packet_loss::NetworkPacketLoss;
use faults::network_source::{Direction, Interfaces, Scope};

/// One fault as the agent is asked for it: the same body starts, stops and identifies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its name in the routes.
    pub fault: &'static str,
    /// JSON.
    pub body: String,
}

/// What the agent's endpoints cannot do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// Ingress was asked for.
    #[error(
        "the ECS agent's fault endpoints affect only what leaves the task, and this asks for ingress: add NET_ADMIN to \
         the sidecar's container (EC2), or use egress on the other side"
    )]
    Ingress,
    /// Ports, a protocol or peers to leave out were named.
    #[error(
        "the ECS agent's fault endpoints know neither ports nor protocols nor sources to leave out: add NET_ADMIN to the \
         sidecar's container (EC2), or ask for all traffic of the sources"
    )]
    Selection,
    /// An interface was named: this one.
    #[error(
        "the ECS agent's fault endpoints take no interface, and this asks for {0}: use DEFAULT, which is the task's own"
    )]
    Interface(String),
}

/// Whether the agent can do what `scope` asks for.
///
/// # Errors
/// Why not.
pub fn check(scope: &Scope) -> Result<(), NotServed> {
    if scope.direction == Direction::Ingress {
        return Err(NotServed::Ingress);
    }
    if !scope.selection.is_everything() {
        return Err(NotServed::Selection);
    }
    match &scope.interfaces {
        // A task has one network interface; all of its own are that one.
        Interfaces::Default | Interfaces::All => Ok(()),
        named @ Interfaces::Named(_) => Err(NotServed::Interface(named.to_string())),
    }
}

impl Request {
    /// A request for `network-latency`: delay and jitter in milliseconds.
    pub fn latency(latency: &NetworkLatency, targets: &Targets) -> Request {
        let own = json!({
            "DelayMilliseconds": latency.delay.as_millis(),
            "JitterMilliseconds": latency.jitter.as_millis(),
        });
        Request { fault: "network-latency", body: shaping(own, &latency.scope, targets) }
    }

    /// A request for `network-packet-loss`.
    pub fn packet_loss(loss: &NetworkPacketLoss, targets: &Targets) -> Request {
        let own = json!({ "LossPercent": loss.percent });
        Request { fault: "network-packet-loss", body: shaping(own, &loss.scope, targets) }
    }

    /// A request for `network-blackhole-port`; `exempt` are addresses that it lets through.
    pub fn blackhole_port(hole: &NetworkBlackholePort, exempt: &[String]) -> Request {
        let body = json!({
            "Port": hole.port,
            "Protocol": hole.protocol.to_string(),
            "TrafficType": hole.direction.to_string(),
            "SourcesToFilter": exempt,
        });
        Request { fault: "network-blackhole-port", body: body.to_string() }
    }
}

fn shaping(mut body: Value, scope: &Scope, targets: &Targets) -> String {
    body["FlowsPercent"] = json!(scope.flows_percent);
    body["Sources"] = json!(targets.sources);
    body["SourcesToFilter"] = json!(targets.exempt);
    body.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(request: &Request) -> Value {
        serde_json::from_str(&request.body).unwrap()
    }

    /// FIS sheet §5.2.
    #[test]
    fn bodies_are_those_that_the_agent_takes() {
        let targets = Targets { sources: vec!["10.0.0.0/8".into()], exempt: vec!["169.254.170.2".into()] };
        let scope = || Scope::new("10.0.0.0/8", "egress", "DEFAULT", 30).unwrap();
        let latency = Request::latency(&NetworkLatency::new(200, 10, scope()).unwrap(), &targets);
        assert_eq!(
            read(&latency),
            json!({"DelayMilliseconds": 200, "JitterMilliseconds": 10, "FlowsPercent": 30,
                   "Sources": ["10.0.0.0/8"], "SourcesToFilter": ["169.254.170.2"]})
        );
        let loss = Request::packet_loss(&NetworkPacketLoss::new(7, scope()).unwrap(), &targets);
        assert_eq!(
            read(&loss),
            json!({"LossPercent": 7, "FlowsPercent": 30,
                   "Sources": ["10.0.0.0/8"], "SourcesToFilter": ["169.254.170.2"]})
        );
        let hole = NetworkBlackholePort::new(443, "tcp", "ingress").unwrap();
        assert_eq!(
            read(&Request::blackhole_port(&hole, &[])),
            json!({"Port": 443, "Protocol": "tcp", "TrafficType": "ingress", "SourcesToFilter": []})
        );
    }

    #[test]
    fn what_the_agent_cannot_do_is_refused_in_words() {
        let check = |direction, interfaces| check(&Scope::new("ALL", direction, interfaces, 100).unwrap());
        assert_eq!(check("egress", "DEFAULT"), Ok(()));
        assert_eq!(check("egress", "ALL"), Ok(()));
        assert!(check("ingress", "DEFAULT").unwrap_err().to_string().contains("asks for ingress"));
        assert!(check("egress", "eth0,eth1").unwrap_err().to_string().contains("asks for eth0,eth1"));
    }
}
