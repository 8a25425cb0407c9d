//! Clusters. The cluster `default` is always there; one that a task from elsewhere names is made for it.

use serde_json::{Value, json};

use super::external::Sidecar;
use super::names::is_name;
use super::request::{Answer, Request, invalid, last_segment, missing, tag_list};
use super::state::DEFAULT_CLUSTER;
use super::{Cluster, EcsState, LastStatus, ServiceStatus, arn, external};
use crate::Context;
use crate::error::ApiError;

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
    cluster.active = true;
    cluster.tags.extend(tags);
    Ok(json!({ "cluster": item(state, sidecars, name, true, context) }))
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
    state.clusters.entry(name.clone()).or_insert_with(|| Cluster::new(&name)).active = false;
    Ok(json!({ "cluster": item(state, sidecars, &name, true, context) }))
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
    let with_tags = request.includes("TAGS");
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in names.into_iter().map(last_segment) {
        match name == DEFAULT_CLUSTER || state.clusters.contains_key(name) {
            true => found.push(item(state, sidecars, name, with_tags, context)),
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

/// Refuses the name of a cluster that is not there (any more).
pub(super) fn check(state: &EcsState, name: &str) -> Result<(), ApiError> {
    match state.clusters.get(name) {
        Some(cluster) if cluster.active => Ok(()),
        None if name == DEFAULT_CLUSTER => Ok(()),
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

fn item(state: &EcsState, sidecars: &[Sidecar], name: &str, with_tags: bool, context: &Context) -> Value {
    let cluster = state.clusters.get(name);
    let active = cluster.is_none_or(|cluster| cluster.active);
    let services = state.services.values();
    let services = services.filter(|it| it.cluster == name && it.status == ServiceStatus::Active).count();
    let [running, pending] = counts(state, sidecars, name);
    let tags = cluster.filter(|_| with_tags).map_or_else(|| json!([]), |cluster| tag_list(&cluster.tags));
    json!({
        "clusterArn": arn(context, &format!("cluster/{name}")),
        "clusterName": name,
        "status": if active { "ACTIVE" } else { "INACTIVE" },
        "registeredContainerInstancesCount": usize::from(active && state.has_instance),
        "runningTasksCount": running,
        "pendingTasksCount": pending,
        "activeServicesCount": services,
        "statistics": [],
        "tags": tags,
        "settings": [],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    })
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
        assert_eq!(fixture.ok("ListClusters", json!({}))["clusterArns"].as_array().unwrap().len(), 1);
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
        assert_eq!(rest["clusterArns"].as_array().unwrap().len(), 2);
        assert_eq!(fixture.refused("ListClusters", json!({ "nextToken": "x" })), "InvalidParameterException");
        assert_eq!(
            fixture.refused("ListClusters", json!({ "maxResults": 101 })),
            "InvalidParameterException"
        );
    }
}
