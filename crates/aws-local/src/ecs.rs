//! Elastic Container Service, as far as experiments need it: clusters, task definitions, services and tasks.
//!
//! This is the control plane, plain data: what is wanted and what is known. [`agent`] is what a container
//! instance tells it and takes from it; `taskfault-local up` has one ([`super::up`]). Without one nothing can
//! be started here; tasks whose sidecar has registered from elsewhere (containers, other machines) are seen
//! all the same ([`external`]).
//!
//! Members, limits and error codes are those of the service's public API model (version 2014-11-13); texts of
//! errors where the service's are known.

use std::time::SystemTime;

use serde_json::{Map, Value};

use super::Context;
use super::error::ApiError;
use super::model::ECS;

pub mod agent;
mod clusters;
pub mod definition;
mod definitions;
pub(crate) mod external;
mod fargate;
#[cfg(test)]
mod fixture;
mod instances;
mod launch;
mod metric;
mod names;
mod refusal;
mod request;
mod reservation;
mod schedule;
mod services;
mod state;
mod tags;
mod tasks;
mod zone;

pub use clusters::described as described_clusters;
pub use definition::{
    Condition, ContainerDefinition, Definition, Dependency, HealthCheck, LogConfiguration, PortMapping,
    task_size,
};
pub use external::Sidecar;
pub use instances::{ContainerInstance, container_instances, set_draining};
pub use metric::{RunningCount, running_counts};
pub use names::docker_id;
pub(crate) use names::{arn, is_name};
pub use reservation::{Reservation, reserved};
pub use schedule::is_behind;
pub use state::{
    Cluster, Container, DEFAULT_CLUSTER, EcsState, Health, LastStatus, Launch, Placement, Propagate, Service,
    ServiceEvent, ServiceStatus, StopCode, Task,
};
pub use tasks::{Described, describe, described, stop_task};
pub use zone::{Subnet, Zone};

/// Whether RegisterTaskDefinition takes this request; nothing is registered.
///
/// # Errors
/// As the operation.
pub fn check_definition(request: &Map<String, Value>) -> Result<(), ApiError> {
    let (region, account) = ("us-east-1".to_owned(), "000000000000".to_owned());
    let context = Context { now: SystemTime::UNIX_EPOCH, region, account, speed: 1.0 };
    let answer = call("RegisterTaskDefinition", request, &mut EcsState::default(), &[], &context);
    answer.map_or(Ok(()), |answer| answer.map(drop))
}

/// Performs one client operation; None if it is not one. `sidecars` are those that have registered.
pub fn call(
    operation: &str,
    body: &Map<String, Value>,
    state: &mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Option<Result<Value, ApiError>> {
    if let Err(error) = request::check(ECS.operation(operation)?, body) {
        return Some(Err(error));
    }
    schedule::settle(state, context);
    let request = request::Request::new(body);
    let answer = match operation {
        "CreateCluster" => clusters::create(&request, state, sidecars, context),
        "CreateService" => services::create(&request, state, context),
        "DeleteCluster" => clusters::delete(&request, state, sidecars, context),
        "DeleteService" => services::delete(&request, state, context),
        "DeregisterTaskDefinition" => definitions::deregister(&request, state, context),
        "DescribeClusters" => clusters::describe(&request, state, sidecars, context),
        "DescribeContainerInstances" => instances::describe(&request, state, context),
        "DescribeServices" => services::describe(&request, state, context),
        "DescribeTaskDefinition" => definitions::describe(&request, state, context),
        "DescribeTasks" => tasks::describe_all(&request, state, sidecars, context),
        "ListClusters" => clusters::list(&request, state, context),
        "ListContainerInstances" => instances::list(&request, state, context),
        "ListServices" => services::list(&request, state, context),
        "ListTagsForResource" => tags::list(&request, state, sidecars, context),
        "ListTaskDefinitions" => definitions::list(&request, state, context),
        "ListTasks" => tasks::list(&request, state, sidecars, context),
        "RegisterTaskDefinition" => definitions::register(&request, state, context),
        "RunTask" => tasks::run(&request, state, context),
        "StopTask" => tasks::stop(&request, state, sidecars, context),
        "TagResource" => tags::add(&request, state, sidecars, context),
        "UntagResource" => tags::remove(&request, state, sidecars, context),
        "UpdateContainerInstancesState" => instances::update(&request, state, context),
        "UpdateService" => services::update(&request, state, context),
        _ => return None,
    };
    schedule::settle(state, context);
    Some(answer)
}
