//! TagResource, UntagResource, ListTagsForResource: of clusters, services, tasks and task definitions.

use serde_json::json;

use super::external::{self, Sidecar};
use super::request::{Answer, Request, check_count, invalid, tag_list};
use super::{EcsState, clusters};
use crate::Context;
use crate::error::ApiError;
use crate::tags::Tags;

/// TagResource.
pub(super) fn add(
    request: &Request<'_>,
    state: &mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Answer {
    let tags = request.tags()?;
    let own = find(request, state, sidecars, context)?;
    let mut all = own.clone();
    all.extend(tags);
    check_count(&all)?;
    *own = all;
    Ok(json!({}))
}

/// UntagResource; a key that is not there changes nothing.
pub(super) fn remove(
    request: &Request<'_>,
    state: &mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Answer {
    let keys = request.texts("tagKeys");
    if let Some(key) = keys.iter().find(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        return Err(invalid(format!("{key}: keys that begin with aws: are for AWS alone.")));
    }
    let own = find(request, state, sidecars, context)?;
    own.retain(|key, _| !keys.contains(&key.as_str()));
    Ok(json!({}))
}

/// ListTagsForResource.
pub(super) fn list(
    request: &Request<'_>,
    state: &mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Answer {
    let arn = request.required("resourceArn")?;
    // Its managed tags are not stored.
    let external =
        external::present(state, sidecars).find(|task| task.arn == arn).map(|task| task.tags(state));
    match external {
        Some(tags) => Ok(json!({ "tags": tag_list(&tags) })),
        None => Ok(json!({ "tags": tag_list(find(request, state, sidecars, context)?) })),
    }
}

/// The tags of the resource that a request names.
fn find<'a>(
    request: &Request<'_>,
    state: &'a mut EcsState,
    sidecars: &[Sidecar],
    context: &Context,
) -> Result<&'a mut Tags, ApiError> {
    let arn = request.required("resourceArn")?;
    let prefix = super::arn(context, "");
    let Some(resource) = arn.strip_prefix(&prefix) else {
        return Err(invalid(format!("Invalid resource ARN: {arn} does not begin with {prefix}.")));
    };
    let missing =
        || ApiError::new("ResourceNotFoundException", format!("The specified resource was not found: {arn}"));
    match resource.split('/').collect::<Vec<_>>().as_slice() {
        ["cluster", name] => {
            clusters::check(state, name)?;
            state.clusters.get_mut(*name).map(|cluster| &mut cluster.tags).ok_or_else(missing)
        }
        ["service", cluster, name] => {
            let key = ((*cluster).to_owned(), (*name).to_owned());
            state.services.get_mut(&key).map(|service| &mut service.tags).ok_or_else(missing)
        }
        ["task", _, _] if state.tasks.contains_key(arn) => {
            state.tasks.get_mut(arn).map(|task| &mut task.tags).ok_or_else(missing)
        }
        ["task", _, _] => {
            let is_there = external::present(state, sidecars).any(|task| task.arn == arn);
            if is_there { Ok(state.external_tags.entry(arn.to_owned()).or_default()) } else { Err(missing()) }
        }
        ["task-definition", name] => {
            let (family, revision) = name.rsplit_once(':').ok_or_else(missing)?;
            let mut revisions = state.definitions.get_mut(family).into_iter().flatten();
            let found = revisions.find(|it| it.revision.to_string() == revision);
            found.map(|definition| &mut definition.tags).ok_or_else(missing)
        }
        [kind, ..] => Err(invalid(format!("Tags of a {kind} are not kept here."))),
        [] => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, definition};
    use serde_json::{Value, json};

    fn tags(fixture: &mut Fixture, arn: &str) -> Value {
        fixture.ok("ListTagsForResource", json!({ "resourceArn": arn }))["tags"].clone()
    }

    fn arn(resource: &str) -> String {
        format!("arn:aws:ecs:eu-west-1:000000000000:{resource}")
    }

    #[test]
    fn tags_come_and_go_with_every_kind_of_resource() {
        let mut fixture = Fixture::new().with_instance();
        fixture.service("app", 1);
        let task = fixture.ok("ListTasks", json!({}))["taskArns"][0].as_str().unwrap().to_owned();
        for arn in [arn("cluster/default"), arn("service/default/app"), arn("task-definition/app:1"), task] {
            let one = json!([{ "key": "team", "value": "a" }, { "key": "stage", "value": "test" }]);
            fixture.ok("TagResource", json!({ "resourceArn": arn, "tags": one }));
            fixture
                .ok("TagResource", json!({ "resourceArn": arn, "tags": [{ "key": "team", "value": "b" }] }));
            fixture.ok("UntagResource", json!({ "resourceArn": arn, "tagKeys": ["stage", "none"] }));
            assert_eq!(tags(&mut fixture, &arn), json!([{ "key": "team", "value": "b" }]), "{arn}");
        }
        let described = fixture.ok("DescribeServices", json!({ "services": ["app"], "include": ["TAGS"] }));
        assert_eq!(described["services"][0]["tags"], json!([{ "key": "team", "value": "b" }]));
        let plain = fixture.ok("DescribeServices", json!({ "services": ["app"] }));
        assert_eq!(plain["services"][0]["tags"], json!([]));
    }

    #[test]
    fn what_is_not_there_and_what_is_aws_is_refused() {
        let mut fixture = Fixture::new();
        let ours = json!([{ "key": "aws:ecs:clusterName", "value": "x" }]);
        let many: Vec<Value> =
            (0..51).map(|number| json!({ "key": format!("k{number}"), "value": "" })).collect();
        for (arn, tags, code) in [
            (arn("cluster/none"), json!([]), "ClusterNotFoundException"),
            (arn("service/default/none"), json!([]), "ResourceNotFoundException"),
            (arn("task/default/0"), json!([]), "ResourceNotFoundException"),
            (arn("task-definition/none:1"), json!([]), "ResourceNotFoundException"),
            (arn("capacity-provider/x"), json!([]), "InvalidParameterException"),
            ("cluster/default".to_owned(), json!([]), "InvalidParameterException"),
            (arn("cluster/default"), ours, "InvalidParameterException"),
            (arn("cluster/default"), json!(many), "InvalidParameterException"),
        ] {
            let body = json!({ "resourceArn": arn, "tags": tags });
            assert_eq!(fixture.refused("TagResource", body), code, "{arn}");
        }
        assert_eq!(tags(&mut fixture, &arn("cluster/default")), json!([]));
    }

    #[test]
    fn tasks_get_tags_from_their_definition_or_service_and_from_ecs() {
        let mut fixture = Fixture::new().with_instance();
        let mut tagged = definition("app");
        tagged["tags"] = json!([{ "key": "from", "value": "definition" }]);
        fixture.ok("RegisterTaskDefinition", tagged);
        let managed = [("aws:ecs:clusterName", "default"), ("aws:ecs:serviceName", "app")];
        for (propagate, with_managed, expected) in [
            (json!("TASK_DEFINITION"), true, [&managed[..], &[("from", "definition")]].concat()),
            (json!("SERVICE"), false, vec![("from", "service")]),
            (json!(null), false, vec![]),
            (json!(null), true, managed.to_vec()),
        ] {
            let body = json!({
                "serviceName": "app", "taskDefinition": "app", "desiredCount": 1, "propagateTags": propagate,
                "enableECSManagedTags": with_managed, "tags": [{ "key": "from", "value": "service" }],
            });
            fixture.ok("CreateService", body);
            let task = fixture.ok("ListTasks", json!({ "serviceName": "app" }))["taskArns"][0].clone();
            let expected: Value =
                expected.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
            assert_eq!(tags(&mut fixture, task.as_str().unwrap()), expected, "{propagate} {with_managed}");
            fixture.ok("DeleteService", json!({ "service": "app", "force": true }));
            fixture.end_all();
        }
        let run = json!({
            "taskDefinition": "app", "propagateTags": "TASK_DEFINITION", "enableECSManagedTags": true,
            "tags": [{ "key": "own", "value": "1" }],
        });
        let task = fixture.ok("RunTask", run)["tasks"][0]["taskArn"].clone();
        let keys: Vec<Value> = tags(&mut fixture, task.as_str().unwrap())
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| tag["key"].clone())
            .collect();
        assert_eq!(keys, ["aws:ecs:clusterName", "from", "own"]);
    }

    #[test]
    fn a_task_from_elsewhere_has_the_managed_tags_and_those_it_is_given() {
        let mut fixture = Fixture::new();
        super::external::note(&mut fixture.state, "demo", "web", "one", &fixture.context);
        let task = arn("task/demo/one");
        let one = json!({ "resourceArn": task, "tags": [{ "key": "ready", "value": "yes" }] });
        assert_eq!(fixture.refused("TagResource", one.clone()), "ResourceNotFoundException");
        fixture.instance(&task);
        fixture.ok("TagResource", one);
        let expected = json!([
            { "key": "aws:ecs:clusterName", "value": "demo" },
            { "key": "aws:ecs:serviceName", "value": "web" },
            { "key": "ready", "value": "yes" },
        ]);
        assert_eq!(tags(&mut fixture, &task), expected);
        let described =
            fixture.ok("DescribeTasks", json!({ "cluster": "demo", "tasks": ["one"], "include": ["TAGS"] }));
        assert_eq!(described["tasks"][0]["tags"], expected);
        fixture.ok("UntagResource", json!({ "resourceArn": task, "tagKeys": ["ready"] }));
        assert_eq!(tags(&mut fixture, &task).as_array().unwrap().len(), 2);
    }
}
