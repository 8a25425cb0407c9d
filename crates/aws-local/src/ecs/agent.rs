//! What a container instance takes from the control plane, and what it tells it. Pure: time is a parameter.

use std::net::Ipv4Addr;

use super::{Definition, EcsState, Health, LastStatus, StopCode, Task, schedule};
use crate::Context;

/// What the container instance is to do now.
#[derive(Debug, Default)]
pub struct Orders {
    /// To be started, oldest first.
    pub start: Vec<(Task, Definition)>,
    /// ARNs of tasks to be stopped.
    pub stop: Vec<String>,
}

/// What is to be done now. Each order is given once.
pub fn orders(state: &mut EcsState, context: &Context) -> Orders {
    schedule::settle(state, context);
    let mut orders = Orders::default();
    let mut wanted: Vec<&mut Task> = state.tasks.values_mut().collect();
    wanted.sort_by_key(|task| task.created);
    for task in wanted {
        if task.ending && !task.stop_ordered && task.last != LastStatus::Stopped {
            task.stop_ordered = true;
            orders.stop.push(task.arn.clone());
        } else if task.last == LastStatus::Provisioning {
            let revisions = state.definitions.get(&task.family).into_iter().flatten();
            let Some(definition) = revisions.into_iter().find(|it| it.revision == task.revision) else {
                continue;
            };
            task.last = LastStatus::Pending;
            orders.start.push((task.clone(), definition.clone()));
        }
    }
    orders
}

/// Wants every task ended, and every service without any: the container instance is going.
pub fn drain(state: &mut EcsState, context: &Context) {
    for service in state.services.values_mut() {
        service.desired = 0;
    }
    let reason = "The container instance is stopping";
    for task in state.tasks.values().map(|task| task.arn.clone()).collect::<Vec<_>>() {
        schedule::end_task(state, &task, StopCode::UserInitiated, reason, context.now);
    }
    schedule::settle(state, context);
}

/// A task has its address; its containers are started one after the other.
pub fn attached(state: &mut EcsState, arn: &str, address: Option<Ipv4Addr>) {
    if let Some(task) = state.tasks.get_mut(arn) {
        task.address = address;
    }
}

/// A container of a task runs.
pub fn container_started(state: &mut EcsState, arn: &str, container: &str) {
    let Some(task) = state.tasks.get_mut(arn) else { return };
    if let Some(container) = task.containers.iter_mut().find(|it| it.name == container) {
        container.last = LastStatus::Running;
    }
}

/// All containers of a task have been started.
pub fn started(state: &mut EcsState, arn: &str, context: &Context) {
    let Some(task) = state.tasks.get_mut(arn) else { return };
    task.last = LastStatus::Running;
    task.started = Some(context.now);
    schedule::settle(state, context);
}

/// A container of a task cannot be started; those that run are being ended.
pub fn cannot_start(state: &mut EcsState, arn: &str, reason: &str, context: &Context) {
    schedule::end_task(state, arn, StopCode::TaskFailedToStart, reason, context.now);
    if let Some(task) = state.tasks.get_mut(arn) {
        task.stop_ordered = true;
    }
    schedule::settle(state, context);
}

/// A task could not be started; nothing of it is left.
pub fn failed_to_start(state: &mut EcsState, arn: &str, reason: &str, context: &Context) {
    cannot_start(state, arn, reason, context);
    stopped(state, arn, context);
}

/// A container has ended with this exit code; 128 and a signal's number where one killed it.
pub fn container_ended(state: &mut EcsState, arn: &str, container: &str, exit_code: i32, context: &Context) {
    let Some(task) = state.tasks.get_mut(arn) else { return };
    let Some(container) = task.containers.iter_mut().find(|it| it.name == container) else { return };
    container.last = LastStatus::Stopped;
    container.exit_code = Some(exit_code);
    if container.essential {
        task.executed.get_or_insert(context.now);
    }
}

/// A health check of a container has had a result. A service replaces a task that is unhealthy.
pub fn health_checked(state: &mut EcsState, arn: &str, container: &str, health: Health, context: &Context) {
    let Some(task) = state.tasks.get_mut(arn) else { return };
    let Some(container) = task.containers.iter_mut().find(|it| it.name == container) else { return };
    container.health = health;
    schedule::settle(state, context);
}

/// The task is going to end: by request, or because an essential container has ended.
pub fn stopping(state: &mut EcsState, arn: &str, context: &Context) {
    // After a StopTask or a scaling this changes nothing.
    let reason = "Essential container in task exited";
    schedule::end_task(state, arn, StopCode::EssentialContainerExited, reason, context.now);
    let Some(task) = state.tasks.get_mut(arn) else { return };
    task.stop_ordered = true;
    task.last = LastStatus::Stopping;
    schedule::settle(state, context);
}

/// A task of a service fails its health checks: the service stops it, and another takes its place.
pub fn unhealthy(state: &mut EcsState, arn: &str, reason: &str, context: &Context) {
    schedule::end_task(state, arn, StopCode::ServiceSchedulerInitiated, reason, context.now);
    schedule::settle(state, context);
}

/// No process of the task is left.
pub fn stopped(state: &mut EcsState, arn: &str, context: &Context) {
    if state.tasks.get(arn).is_some_and(|task| !task.ending) {
        stopping(state, arn, context);
    }
    let Some(task) = state.tasks.get_mut(arn) else { return };
    task.last = LastStatus::Stopped;
    task.executed.get_or_insert(context.now);
    task.stopped = Some(context.now);
    task.containers.iter_mut().for_each(|container| container.last = LastStatus::Stopped);
    schedule::settle(state, context);
}
