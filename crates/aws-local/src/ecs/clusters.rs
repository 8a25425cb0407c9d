//! Clusters. One that a task from elsewhere names is made for it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::external::Sidecar;
use super::names::is_name;
use super::request::{Answer, Request, invalid, last_segment, missing, tag_list};
use super::state::DEFAULT_CLUSTER;
use super::zone::Zone;
use super::{Cluster, EcsState, LastStatus, ServiceStatus, arn, external};
use crate::Context;
use crate::error::ApiError;

/// Members of CreateCluster that nothing here acts upon, or that tasks are started by; told as they were sent.
const KEPT: [&str; 5] = [
    "capacityProviders",
    "configuration",
    "defaultCapacityProviderStrategy",
    "serviceConnectDefaults",
    "settings",
];

/// CreateCluster; making one that is there already changes nothing.
pub(super) fn create(
    request: &Request<'_>,
    state: &mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Answer {
    let name = request.text("clusterName").unwrap_or(DEFAULT_CLUSTER);
    if !is_name(name) {
        return Err(invalid(
            "Cluster names have letters, digits, hyphens and underscores only, 255 at most.",
        ));
    }
    let tags = request.tags()?;
    let cluster = state.clusters.entry(name.to_owned()).or_insert_with(|| Cluster::new(name));
    if !cluster.active {
        *cluster = Cluster::new(name);
    }
    cluster.tags.extend(tags);
    cluster.kept.extend(request.kept(&KEPT));
    Ok(json!({ "cluster": item(state, sidecars, name, WHOLE, context) }))
}

/// DeleteCluster: only an empty one.
pub(super) fn delete(
    request: &Request<'_>,
    state: &mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Answer {
    let name = last_segment(request.required("cluster")?).to_owned();
    check(state, &name)?;
    let services = state.services.values();
    if services.into_iter().any(|it| it.cluster == name && it.status != ServiceStatus::Inactive) {
        let message = "The Cluster cannot be deleted while Services are active.";
        return Err(ApiError::new("ClusterContainsServicesException", message));
    }
    if counts(state, sidecars, &name).iter().any(|count| *count > 0) {
        let message = "The Cluster cannot be deleted while Tasks are active.";
        return Err(ApiError::new("ClusterContainsTasksException", message));
    }
    if let Some(cluster) = state.clusters.get_mut(&name) {
        cluster.active = false;
    }
    Ok(json!({ "cluster": item(state, sidecars, &name, WHOLE, context) }))
}

/// DescribeClusters.
pub(super) fn describe(
    request: &Request<'_>,
    state: &mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Answer {
    let mut names = request.texts("clusters");
    if names.is_empty() {
        names.push(DEFAULT_CLUSTER);
    }
    let with = With {
        tags: request.includes("TAGS"),
        settings: request.includes("SETTINGS"),
        configurations: request.includes("CONFIGURATIONS"),
    };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names.into_iter().map(last_segment) {
        match state.clusters.contains_key(name) {
            true => found.push(item(state, sidecars, name, with, context)),
            false => failures.push(missing(arn(context, &format!("cluster/{name}")))),
        }
    }
    Ok(json!({ "clusters": found, "failures": failures }))
}

/// ListClusters.
pub(super) fn list(request: &Request<'_>, state: &mut EcsState, context: &Context) -> Answer {
    let active = state.clusters.values().filter(|cluster| cluster.active);
    let arns = active.map(|cluster| arn(context, &format!("cluster/{}", cluster.name))).collect();
    request.page("clusterArns", arns, 100)
}

/// Every cluster that is there: its ARN, its tags, and what DescribeClusters shows.
pub fn described(
    state: &EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Vec<(String, BTreeMap<String, String>, Value)> {
    let active = state.clusters.values().filter(|cluster| cluster.active);
    let described = active.map(|cluster| {
        let arn = arn(context, &format!("cluster/{}", cluster.name));
        (arn, cluster.tags.clone(), item(state, sidecars, &cluster.name, WHOLE, context))
    });
    described.collect()
}

/// Refuses the name of a cluster that is not there (any more).
pub(super) fn check(state: &EcsState, name: &str) -> Result<(), ApiError> {
    match state.clusters.get(name) {
        Some(cluster) if cluster.active => Ok(()),
        _ => Err(ApiError::new("ClusterNotFoundException", "Cluster not found.")),
    }
}

/// Running and pending tasks.
fn counts(state: &EcsState, sidecars: &[Sidecar], name: &str) -> [usize; 2] {
    let own = || state.tasks.values().filter(|task| task.cluster == name);
    let running = own().filter(|task| task.last == LastStatus::Running).count();
    let pending = own().filter(|task| task.last < LastStatus::Running).count();
    let others = external::present(state, sidecars).filter(|task| task.cluster == name).count();
    [running + others, pending]
}

/// What is told only if it is asked for.
#[derive(Debug, Clone, Copy)]
struct With {
    tags: bool,
    settings: bool,
    configurations: bool,
}

const WHOLE: With = With { tags: true, settings: true, configurations: true };

fn item(state: &EcsState, sidecars: &[Sidecar], name: &str, with: With, context: &Context) -> Value {
    let cluster = state.clusters.get(name);
    let active = cluster.is_none_or(|cluster| cluster.active);
    let services = state.services.values();
    let services = services.filter(|it| it.cluster == name && it.status == ServiceStatus::Active).count();
    let [running, pending] = counts(state, sidecars, name);
    // One in each zone.
    let instances = if active && state.instances_since.is_some() { Zone::all().count() } else { 0 };
    let tags = cluster.filter(|_| with.tags).map_or_else(|| json!([]), |cluster| tag_list(&cluster.tags));
    let mut item = json!({
        "clusterArn": arn(context, &format!("cluster/{name}")),
        "clusterName": name,
        "status": if active { "ACTIVE" } else { "INACTIVE" },
        "registeredContainerInstancesCount": instances,
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "activeServicesCount": services,
        "statistics": [],
        "tags": tags,
        "settings": [],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    });
    for (name, value) in cluster.iter().flat_map(|cluster| &cluster.kept) {
        let is_told = match name.as_str() {
            "settings" => with.settings,
            "configuration" => with.configurations,
            _ => true,
        };
        if is_told {
            item[name] = value.clone();
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use serde_json::json;

    #[test]
    fn a_cluster_is_made_once_and_deleted_when_it_is_empty() {
        let mut fixture = Fixture::new();
        fixture.ok("CreateCluster", json!({ "clusterName": "one" }));
        let again = fixture.ok("CreateCluster", json!({ "clusterName": "one" }));
        assert_eq!(again["cluster"]["status"], "ACTIVE");
        assert_eq!(
            fixture.ok("ListClusters", json!({}))["clusterArns"].as_array().unwrap().len(),
            2,
            "and default"
        );
        let described = fixture.ok("DescribeClusters", json!({ "clusters": ["one", "two"] }));
        assert_eq!(described["clusters"][0]["clusterName"], "one");
        assert_eq!(described["failures"][0]["reason"], "MISSING");
        fixture.ok("DeleteCluster", json!({ "cluster": described["clusters"][0]["clusterArn"] }));
        assert_eq!(fixture.refused("DeleteCluster", json!({ "cluster": "one" })), "ClusterNotFoundException");
        assert_eq!(fixture.refused("ListTasks", json!({ "cluster": "one" })), "ClusterNotFoundException");
    }

    #[test]
    fn a_cluster_with_a_service_or_a_task_stays() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 1);
        let body = json!({ "cluster": "default" });
        assert_eq!(fixture.refused("DeleteCluster", body.clone()), "ClusterContainsServicesException");
        fixture.start_all();
        fixture.ok("DeleteService", json!({ "service": "app", "force": true }));
        assert_eq!(fixture.refused("DeleteCluster", body.clone()), "ClusterContainsServicesException");
        fixture.end_all();
        fixture.ok("DeleteCluster", body);
    }

    #[test]
    fn pages_cover_all_clusters() {
        let mut fixture = Fixture::new();
        for number in 0..5 {
            fixture.ok("CreateCluster", json!({ "clusterName": format!("c{number}") }));
        }
        let first = fixture.ok("ListClusters", json!({ "maxResults": 3 }));
        let rest = fixture.ok("ListClusters", json!({ "nextToken": first["nextToken"] }));
        assert_eq!(rest["clusterArns"].as_array().unwrap().len(), 3, "with default");
        assert_eq!(fixture.refused("ListClusters", json!({ "nextToken": "x" })), "InvalidParameterException");
        assert_eq!(
            fixture.refused("ListClusters", json!({ "maxResults": 101 })),
            "InvalidParameterException"
        );
    }
}
