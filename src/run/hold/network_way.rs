//! A network fault by the best means of this task: by ourselves, or by the ECS agent.

use std::time::Duration;

use super::network::{self, Asked};
use super::{Live, ecs_agent};
use effects::task::Task;
use effects::task::capabilities::Capabilities;
use effects::task::ecs_agent::{Way, choose};
use effects::task::prefixes::expand;
use faults::Fault;

pub(super) async fn start(fault: &Fault, duration: Duration, task: &Task) -> Result<Box<dyn Live>, String> {
    match choose(&Capabilities::read(), &task.ecs_agent) {
        Way::Netlink => netlink(&with_prefixes(fault, task).await?, duration, task).await,
        Way::Endpoints(uri) => {
            ecs_agent::start(&with_prefixes(fault, task).await?, duration, task, &uri).await
        }
        Way::Neither(reason) => Err(reason),
    }
}

/// With the prefixes of the region where a source is a service.
async fn with_prefixes(fault: &Fault, task: &Task) -> Result<Fault, String> {
    let mut fault = fault.clone();
    let sources = match &mut fault {
        Fault::NetworkLatency(latency) => &mut latency.scope.sources,
        Fault::NetworkPacketLoss(loss) => &mut loss.scope.sources,
        _ => return Ok(fault),
    };
    expand(sources, &task.region).await.map_err(|error| error.to_string())?;
    Ok(fault)
}

/// With NET_ADMIN.
async fn netlink(fault: &Fault, duration: Duration, task: &Task) -> Result<Box<dyn Live>, String> {
    let asked = match fault {
        Fault::NetworkBlackholePort(hole) => Asked::blackhole_port(hole),
        Fault::NetworkLatency(latency) => Asked::latency(latency),
        Fault::NetworkPacketLoss(loss) => Asked::packet_loss(loss),
        other => return Err(format!("{} is no network fault", other.name())),
    };
    network::start(fault.name(), asked, duration, task).await
}
