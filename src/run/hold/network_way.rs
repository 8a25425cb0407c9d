//! A network fault by the best means of this task: by ourselves, or by the ECS agent.

use std::time::Duration;

use super::{Live, ecs_agent};
use crate::fault::Fault;
use crate::task::Task;
use crate::task::capabilities::Capabilities;
use crate::task::ecs_agent::{Way, choose};

pub(super) async fn start(fault: &Fault, duration: Duration, task: &Task) -> Result<Box<dyn Live>, String> {
    match choose(&Capabilities::read(), &task.ecs_agent) {
        Way::Netlink => netlink(fault, duration, task).await,
        Way::Endpoints(uri) => ecs_agent::start(fault, duration, task, &uri).await,
        Way::Neither(reason) => Err(reason),
    }
}

/// With NET_ADMIN.
async fn netlink(fault: &Fault, _duration: Duration, _task: &Task) -> Result<Box<dyn Live>, String> {
    Err(format!(
        "this process has NET_ADMIN, and {} by its own means is not in this version yet; without NET_ADMIN it goes \
         through the ECS agent's fault endpoints",
        fault.name()
    ))
}
