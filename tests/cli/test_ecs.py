"""The AWS CLI and boto3 against the local ECS: with a container instance (`up`) and without."""

import json
import urllib.request
import uuid

import pytest
from conftest import Cli, eventually, keeps_the_model
from up import SIDECAR, Up, definition, namespaces

CONTAINER = {
    "name": "app", "image": "sleep", "memory": 32, "command": ["/bin/sleep", "1000"], "stopTimeout": 2,
}  # fmt: skip
DEFINITION = definition("web", CONTAINER)


@pytest.fixture
def up(tmp_path):
    namespaces()
    started = Up(tmp_path, DEFINITION)
    yield started
    assert started.close() == 0


@pytest.fixture
def aws_up(up, environment):
    return Cli(environment | {"AWS_ENDPOINT_URL": up.url})


@pytest.fixture
def ecs_up(up, session):
    client = session.client("ecs", endpoint_url=up.url)
    client.meta.events.register("before-parse.ecs.*", keeps_the_model)
    return client


def test_a_service_is_waited_for_listed_and_described(aws_up, ecs_up):
    aws_up("ecs", "wait", "services-stable", "--cluster", "blue", "--services", "web")
    arns = aws_up("ecs", "list-tasks", "--cluster", "blue", "--service-name", "web")["taskArns"]
    assert len(arns) == len(set(arns)) == 3
    tasks = aws_up("ecs", "describe-tasks", "--cluster", "blue", "--include", "TAGS", "--tasks", *arns)["tasks"]
    assert {task["lastStatus"] for task in tasks} == {"RUNNING"}
    assert {task["group"] for task in tasks} == {"service:web"}
    addresses = {task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"] for task in tasks}
    assert len(addresses) == 3
    # The same through boto3, held against the service's model.
    assert len(ecs_up.describe_tasks(cluster="blue", tasks=arns)["tasks"]) == 3
    (service,) = ecs_up.describe_services(cluster="blue", services=["web"])["services"]
    assert (service["runningCount"], service["desiredCount"]) == (3, 3)
    (cluster,) = ecs_up.describe_clusters(clusters=["blue"])["clusters"]
    assert (cluster["runningTasksCount"], cluster["registeredContainerInstancesCount"]) == (3, 1)
    pages = ecs_up.get_paginator("list_tasks").paginate(cluster="blue", PaginationConfig={"PageSize": 2})
    assert [len(page["taskArns"]) for page in pages] == [2, 1]


def test_a_stopped_task_is_replaced(aws_up):
    aws_up("ecs", "wait", "services-stable", "--cluster", "blue", "--services", "web")
    before = aws_up("ecs", "list-tasks", "--cluster", "blue")["taskArns"]
    stopped = aws_up("ecs", "stop-task", "--cluster", "blue", "--task", before[0], "--reason", "a test")["task"]
    assert stopped["desiredStatus"] == "STOPPED"
    aws_up("ecs", "wait", "tasks-stopped", "--cluster", "blue", "--tasks", before[0])
    aws_up("ecs", "wait", "services-stable", "--cluster", "blue", "--services", "web")
    after = aws_up("ecs", "list-tasks", "--cluster", "blue")["taskArns"]
    assert len(after) == 3
    assert set(before) - set(after) == {before[0]}
    (ended,) = aws_up("ecs", "describe-tasks", "--cluster", "blue", "--tasks", before[0])["tasks"]
    assert (ended["lastStatus"], ended["stopCode"]) == ("STOPPED", "UserInitiated")
    assert ended["stoppedReason"] == "a test"
    gone = aws_up("ecs", "list-tasks", "--cluster", "blue", "--desired-status", "STOPPED")["taskArns"]
    assert gone == [before[0]]


def test_a_service_follows_its_desired_count_and_is_deleted(aws_up):
    update = ["ecs", "update-service", "--cluster", "blue", "--service", "web", "--desired-count"]
    for count in ["1", "2", "0"]:
        aws_up(*update, count)
        aws_up("ecs", "wait", "services-stable", "--cluster", "blue", "--services", "web")
        assert len(aws_up("ecs", "list-tasks", "--cluster", "blue")["taskArns"]) == int(count)
    aws_up("ecs", "delete-service", "--cluster", "blue", "--service", "web")
    aws_up("ecs", "wait", "services-inactive", "--cluster", "blue", "--services", "web")
    aws_up("ecs", "delete-cluster", "--cluster", "blue")


def test_services_and_tasks_of_ones_own(aws_up, ecs_up):
    registered = aws_up("ecs", "register-task-definition", "--cli-input-json", json.dumps(DEFINITION))
    assert registered["taskDefinition"]["revision"] == 2
    aws_up("ecs", "create-cluster", "--cluster-name", "green")
    aws_up(
        "ecs", "create-service", "--cluster", "green", "--service-name", "other", "--task-definition", "web:2",
        "--desired-count", "1",
    )  # fmt: skip
    (job,) = aws_up("ecs", "run-task", "--cluster", "green", "--task-definition", "web")["tasks"]
    aws_up("ecs", "wait", "tasks-running", "--cluster", "green", "--tasks", job["taskArn"])
    aws_up("ecs", "wait", "services-stable", "--cluster", "green", "--services", "other")
    assert len(ecs_up.list_tasks(cluster="green")["taskArns"]) == 2
    assert len(ecs_up.list_tasks(cluster="green", serviceName="other")["taskArns"]) == 1


def test_a_program_that_is_not_there_is_said_by_the_task(aws_up):
    broken = DEFINITION | {"family": "broken", "containerDefinitions": [CONTAINER | {"command": ["/nowhere"]}]}
    aws_up("ecs", "register-task-definition", "--cli-input-json", json.dumps(broken))
    (job,) = aws_up("ecs", "run-task", "--task-definition", "broken")["tasks"]
    aws_up("ecs", "wait", "tasks-stopped", "--tasks", job["taskArn"])
    (task,) = aws_up("ecs", "describe-tasks", "--tasks", job["taskArn"])["tasks"]
    assert task["stopCode"] == "TaskFailedToStart"
    assert "there is no program" in task["stoppedReason"]


def test_the_count_of_running_tasks_is_a_metric(aws_up):
    aws_up("ecs", "wait", "services-stable", "--cluster", "blue", "--services", "web")

    def values():
        found = aws_up("cloudwatch", "list-metrics", "--namespace", "ECS/ContainerInsights")["Metrics"]
        return [metric for metric in found if metric["MetricName"] == "RunningTaskCount"]

    (metric,) = eventually(values, "the metric is there")
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in metric["Dimensions"]}
    assert dimensions == {"ClusterName": "blue", "ServiceName": "web"}


def test_without_a_container_instance_tasks_are_refused_in_words(aws):
    family = f"refused-{uuid.uuid4().hex[:8]}"
    aws("ecs", "register-task-definition", "--cli-input-json", json.dumps(DEFINITION | {"family": family}))
    for call in (
        ["create-service", "--service-name", "web", "--task-definition", family],
        ["run-task", "--task-definition", family],
    ):
        said = aws.refused("ecs", *call)
        assert "InvalidParameterException" in said
        assert "taskfault-local up FILE" in said


@pytest.mark.sidecar
def test_a_sidecar_from_elsewhere_is_a_running_task(aws, start_sidecar, server):
    sidecar = start_sidecar()
    listed = ["ecs", "list-tasks", "--cluster", "demo", "--service-name", "web"]
    assert sidecar.task_arn in aws(*listed)["taskArns"]
    (task,) = aws("ecs", "describe-tasks", "--cluster", "demo", "--tasks", sidecar.task_arn)["tasks"]
    assert (task["lastStatus"], task["group"]) == ("RUNNING", "service:web")
    assert {container["name"] for container in task["containers"]} == {"app", "taskfault"}
    assert "was not started here" in aws.refused("ecs", "stop-task", "--cluster", "demo", "--task", sidecar.task_arn)
    assert sidecar.terminate() == 0
    arns = aws("ecs", "list-tasks", "--cluster", "demo")["taskArns"]
    assert sidecar.task_arn not in arns


@pytest.mark.sidecar
def test_metadata_of_a_task_of_the_cluster_is_true(tmp_path, environment, sidecar_binary):
    namespaces()
    up = Up(tmp_path, definition("web", CONTAINER, SIDECAR) | {"cpu": "512"}, count=1)
    try:
        aws = Cli(environment | {"AWS_ENDPOINT_URL": up.url})

        def online():
            found = aws("ssm", "describe-instance-information")["InstanceInformationList"]
            return [instance for instance in found if instance["PingStatus"] == "Online"]

        (instance,) = eventually(online, "the sidecar is Online")
        (arn,) = aws("ecs", "list-tasks", "--cluster", "blue")["taskArns"]
        tags = aws(
            "ssm", "list-tags-for-resource", "--resource-type", "ManagedInstance",
            "--resource-id", instance["InstanceId"],
        )["TagList"]  # fmt: skip
        assert {"Key": "ECS_TASK_ARN", "Value": arn} in tags
        with urllib.request.urlopen(f"{up.url}/v4/blue/web/{arn.split('/')[-1]}/task", timeout=10) as answer:
            metadata = json.load(answer)
        assert metadata["Limits"] == {"CPU": 0.5}
        assert [container["Name"] for container in metadata["Containers"]] == ["app", "taskfault"]
        aws("ecs", "stop-task", "--cluster", "blue", "--task", arn)
        aws("ecs", "wait", "tasks-stopped", "--cluster", "blue", "--tasks", arn)
        left = aws("ssm", "describe-instance-information")["InstanceInformationList"]
        assert instance["InstanceId"] not in [it["InstanceId"] for it in left]
    finally:
        assert up.close() == 0
