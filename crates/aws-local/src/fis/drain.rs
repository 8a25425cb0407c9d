//! `aws:ecs:drain-container-instances`: a share of the container instances of clusters is DRAINING while it runs.

use super::experiment::Experiment;
use super::select::{Mode, choose};
use super::step::{Failure, Step};
use super::{advice, arn};

/// Sets a share of each cluster's ACTIVE container instances to DRAINING. The service's guide does not say how a share
/// is rounded: down here, as `PERCENT` is.
///
/// # Errors
/// A cluster has no container instances; nothing is changed then.
pub(super) fn start(
    experiment: &mut Experiment,
    name: &str,
    clusters: &[String],
    step: &mut Step<'_>,
) -> Result<(), Failure> {
    let percent = experiment.definition.actions[name].parameters.get("drainagePercentage");
    let percent = percent.and_then(|text| text.parse().ok()).unwrap_or(100);
    let mode = Mode::Percent(percent);
    let mut shares = Vec::with_capacity(clusters.len());
    for cluster in clusters {
        let all = step.services.container_instances(cluster, step.context);
        if all.is_empty() {
            return Err(Failure {
                code: "ConfigurationFailure",
                location: format!("actions.{name}"),
                reason: format!(
                    "Cluster {} has no container instances. Here clusters have them while taskfault-local up runs.",
                    arn::last_name(cluster)
                ),
            });
        }
        let active: Vec<String> =
            all.into_iter().filter(|(_, draining)| !draining).map(|(arn, _)| arn).collect();
        let total = active.len();
        shares.push((cluster, total, choose(active, mode.of(total))));
    }
    for (cluster, total, share) in shares {
        advice::of_drain(experiment, name, cluster, (percent, total, share.len()), step);
        for instance in share {
            // It is of this very list, so it is there.
            step.services.set_draining(&instance, true, step.context);
            step.log(&experiment.id, name, format!("UpdateContainerInstancesState DRAINING {instance}"));
            if let Some(run) = experiment.actions.get_mut(name) {
                run.drained.push(instance);
            }
        }
    }
    Ok(())
}

/// Sets those that the action has drained to ACTIVE again.
pub(super) fn undo(experiment: &mut Experiment, name: &str, step: &mut Step<'_>) {
    let Some(run) = experiment.actions.get_mut(name) else { return };
    for instance in std::mem::take(&mut run.drained) {
        let outcome = match step.services.set_draining(&instance, false, step.context) {
            true => format!("UpdateContainerInstancesState ACTIVE {instance}"),
            false => format!("{instance} is gone, so it does not go back to ACTIVE"),
        };
        step.log(&experiment.id, name, outcome);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::Fixture;

    const CLUSTER: &str = "arn:aws:ecs:eu-west-1:000000000000:cluster/default";

    /// A stage where tasks can be started, so that the cluster has an instance in each of three zones.
    fn fixture() -> Fixture {
        let mut fixture = Fixture::new(0);
        fixture.state.ecs.instances_since = Some(fixture.context.now);
        with_cluster(fixture)
    }

    fn with_cluster(mut fixture: Fixture) -> Fixture {
        let context = fixture.context.clone();
        fixture.state.call_ecs("CreateCluster", &serde_json::Map::new(), &context).unwrap().unwrap();
        fixture
    }

    fn template(fixture: &mut Fixture, percent: &str, mode: &str) -> String {
        let drain = json!({
            "actionId": "aws:ecs:drain-container-instances", "targets": { "Clusters": "all" },
            "parameters": { "drainagePercentage": percent, "duration": "PT2M" },
        });
        fixture.template(json!({
            "targets": { "all": {
                "resourceType": "aws:ecs:cluster", "resourceArns": [CLUSTER], "selectionMode": mode,
            } },
            "actions": { "drain": drain },
        }))
    }

    fn draining(fixture: &mut Fixture) -> Vec<Value> {
        let body = json!({ "status": "DRAINING" });
        let context = fixture.context.clone();
        let answer = fixture.state.call_ecs("ListContainerInstances", body.as_object().unwrap(), &context);
        answer.unwrap().unwrap()["containerInstanceArns"].as_array().unwrap().clone()
    }

    #[test]
    fn a_share_drains_for_the_time_of_the_action_and_comes_back() {
        let mut fixture = fixture();
        let template = template(&mut fixture, "70", "ALL");
        let id = fixture.start(&template);
        assert_eq!(fixture.status(&id).0, "running");
        let first = draining(&mut fixture);
        assert_eq!(first.len(), 2, "70 % of three, rounded down");
        assert!(fixture.notes(&id, "70 % of 3 container instances is 2.10"));
        fixture.pass(119);
        assert_eq!(draining(&mut fixture), first);
        fixture.pass(1);
        assert_eq!(fixture.status(&id).0, "completed");
        assert!(draining(&mut fixture).is_empty());
    }

    #[test]
    fn what_somebody_else_has_drained_stays_so_after_a_stop() {
        let mut fixture = fixture();
        let context = fixture.context.clone();
        let (_, mut services) = fixture.state.fis_and_services();
        let theirs = {
            use super::super::services::Services;
            let (arn, _) = services.container_instances(CLUSTER, &context)[0].clone();
            assert!(services.set_draining(&arn, true, &context));
            arn
        };
        let template = template(&mut fixture, "100", "ALL");
        let id = fixture.start(&template);
        assert_eq!(draining(&mut fixture).len(), 3);
        assert!(fixture.notes(&id, "none is left ACTIVE"));
        fixture.call("StopExperiment", json!({ "id": id })).unwrap();
        fixture.pass(1);
        assert_eq!(fixture.status(&id).0, "stopped");
        assert_eq!(draining(&mut fixture), [json!(theirs)]);
    }

    #[test]
    fn a_cluster_without_container_instances_fails_the_action() {
        let mut fixture = with_cluster(Fixture::new(0));
        let template = template(&mut fixture, "50", "ALL");
        let id = fixture.start(&template);
        fixture.pass(0);
        let (status, reason, _) = fixture.status(&id);
        assert_eq!(status, "failed");
        assert!(reason.contains("Cluster default has no container instances"), "{reason}");
    }

    #[test]
    fn what_is_no_share_or_no_cluster_is_refused() {
        let mut fixture = fixture();
        let made = |fixture: &mut Fixture, percent: &str, arn: &str| {
            let drain = json!({
                "actionId": "aws:ecs:drain-container-instances", "targets": { "Clusters": "all" },
                "parameters": { "drainagePercentage": percent, "duration": "PT2M" },
            });
            let all =
                json!({ "resourceType": "aws:ecs:cluster", "resourceArns": [arn], "selectionMode": "ALL" });
            fixture.try_template(json!({ "targets": { "all": all }, "actions": { "drain": drain } }))
        };
        for percent in ["0", "101", "half", ""] {
            assert_eq!(made(&mut fixture, percent, CLUSTER).unwrap_err().code, "ValidationException");
        }
        let task = Fixture::arn(1);
        assert_eq!(made(&mut fixture, "50", &task).unwrap_err().code, "ValidationException");
        assert!(made(&mut fixture, "50", CLUSTER).is_ok());
    }
}
