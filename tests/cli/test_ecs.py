"""The AWS CLI and boto3 against the local ECS: with a container instance (`up`) and without."""

import json
import urllib.request
import uuid

import pytest
from conftest import ACCOUNT, REGION, ROOT, SEEDED_ROLE_ARN, Cli, eventually, keeps_the_model
from up import NETWORK, Up, definition, namespaces

CONTAINER = {
    "name": "app", "image": "sleep", "memory": 32, "command": ["/bin/sleep", "1000"], "stopTimeout": 2,
}  # fmt: skip
DEFINITION = definition("web", CONTAINER) | {"tags": [{"key": "Team", "value": "blue"}]}
IN_SUBNETS = ["--network-configuration", json.dumps(NETWORK)]


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
    # Each is in a zone of its own, with an address of this zone's subnet.
    zones = {task["availabilityZone"]: task for task in tasks}
    assert sorted(zones) == [f"{REGION}{letter}" for letter in "abc"]
    for place, (_, task) in enumerate(sorted(zones.items())):
        (attachment,) = task["attachments"]
        details = {detail["name"]: detail["value"] for detail in attachment["details"]}
        assert details["privateIPv4Address"].startswith(f"169.254.{173 + place}.")
        assert (task["launchType"], task["containers"][0]["memory"]) == ("EC2", "32")
    assert len({task["attachments"][0]["details"][0]["value"] for task in tasks}) == 3, "subnets"
    managed = {"aws:ecs:clusterName": "blue", "aws:ecs:serviceName": "web"}
    for task in tasks:
        assert {tag["key"]: tag["value"] for tag in task["tags"]} == managed | {"Team": "blue"}
    # The same through boto3, held against the service's model.
    assert len(ecs_up.describe_tasks(cluster="blue", tasks=arns)["tasks"]) == 3
    (service,) = ecs_up.describe_services(cluster="blue", services=["web"])["services"]
    assert (service["runningCount"], service["desiredCount"]) == (3, 3)
    (cluster,) = ecs_up.describe_clusters(clusters=["blue"])["clusters"]
    assert (cluster["runningTasksCount"], cluster["registeredContainerInstancesCount"]) == (3, 3)
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
    create = ["ecs", "create-service", "--cluster", "green", "--service-name", "other", "--task-definition", "web:2"]
    assert "Network Configuration must be provided when networkMode 'awsvpc'" in aws_up.refused(*create)
    aws_up(*create, "--desired-count", "1", *IN_SUBNETS)
    (job,) = aws_up("ecs", "run-task", "--cluster", "green", "--task-definition", "web", *IN_SUBNETS)["tasks"]
    aws_up("ecs", "wait", "tasks-running", "--cluster", "green", "--tasks", job["taskArn"])
    aws_up("ecs", "wait", "services-stable", "--cluster", "green", "--services", "other")
    assert len(ecs_up.list_tasks(cluster="green")["taskArns"]) == 2
    assert len(ecs_up.list_tasks(cluster="green", serviceName="other")["taskArns"]) == 1


def test_fargate_container_instances_and_tags(aws_up, ecs_up):
    """What ECS says of itself, in one cluster: launch types, a drained instance, tags of every kind of resource."""
    aws_up("ecs", "wait", "services-stable", "--cluster", "blue", "--services", "web")
    # Fargate takes it in a size of its own, and without NET_ADMIN.
    small = DEFINITION | {"requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512"}
    adds = {"linuxParameters": {"capabilities": {"add": ["NET_ADMIN"]}}}
    for refused, said in (
        (small | {"memory": "4096"}, "No Fargate configuration exists for given values: 256 CPU, 4096 memory"),
        (small | {"pidMode": "host"}, "do not support pidMode 'host'. The supported value for pidMode is 'task'"),
        (small | {"containerDefinitions": [CONTAINER | adds]}, "NET_ADMIN is not allowed on Fargate"),
        (small | {"containerDefinitions": [{"image": "x"}]}, "Container.name should not be null or empty"),
    ):
        with pytest.raises(ecs_up.exceptions.ClientException, match=said.replace("(", r"\(")):
            ecs_up.register_task_definition(**refused | {"family": "small"})
    ecs_up.register_task_definition(**small | {"family": "small"})
    with pytest.raises(ecs_up.exceptions.InvalidParameterException, match="does not support launch_type FARGATE"):
        ecs_up.run_task(cluster="blue", taskDefinition="web", launchType="FARGATE", networkConfiguration=NETWORK)
    configuration = {"maximumPercent": 150, "minimumHealthyPercent": 50}
    service = ecs_up.create_service(
        cluster="blue", serviceName="small", taskDefinition="small", desiredCount=1, launchType="FARGATE",
        networkConfiguration=NETWORK, deploymentConfiguration=configuration, propagateTags="SERVICE",
        tags=[{"key": "Team", "value": "green"}],
    )["service"]  # fmt: skip
    told = (service["launchType"], service["platformVersion"], service["platformFamily"])
    assert told == ("FARGATE", "LATEST", "Linux")
    assert service["networkConfiguration"] == NETWORK
    assert configuration.items() <= service["deploymentConfiguration"].items()
    ecs_up.get_waiter("services_stable").wait(cluster="blue", services=["small"], WaiterConfig={"Delay": 1})
    (arn,) = ecs_up.list_tasks(cluster="blue", launchType="FARGATE")["taskArns"]
    (task,) = ecs_up.describe_tasks(cluster="blue", tasks=[arn])["tasks"]
    assert (task["platformVersion"], task["cpu"], task["memory"]) == ("1.4.0", "256", "512")
    assert "containerInstanceArn" not in task and task["tags"] == []
    assert ecs_up.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "Team", "value": "green"}]
    aws_up("ecs", "tag-resource", "--resource-arn", arn, "--tags", "key=Stage,value=test")
    aws_up("ecs", "untag-resource", "--resource-arn", arn, "--tag-keys", "Team")
    assert aws_up("ecs", "list-tags-for-resource", "--resource-arn", arn)["tags"] == [{"key": "Stage", "value": "test"}]
    # A drained container instance loses the task of its service, and not the one of Fargate.
    arns = aws_up("ecs", "list-container-instances", "--cluster", "blue")["containerInstanceArns"]
    drained = arns[0]
    counted = ecs_up.describe_container_instances(cluster="blue", containerInstances=arns)["containerInstances"]
    assert [one["runningTasksCount"] for one in counted] == [1, 1, 1]
    aws_up(
        "ecs", "update-container-instances-state", "--cluster", "blue", "--container-instances", drained,
        "--status", "DRAINING",
    )  # fmt: skip
    left = lambda: ecs_up.list_tasks(cluster="blue", containerInstance=drained)["taskArns"] == []
    eventually(left, "the instance is empty")
    aws_up("ecs", "wait", "services-stable", "--cluster", "blue", "--services", "web", "small")
    assert ecs_up.list_tasks(cluster="blue", launchType="FARGATE")["taskArns"] == [arn]
    assert len(ecs_up.list_tasks(cluster="blue", serviceName="web")["taskArns"]) == 3


def test_an_experiment_drains_container_instances_and_gives_them_back(up, ecs_up, session):
    fis = session.client("fis", endpoint_url=up.url)
    fis.meta.events.register("before-parse.fis.*", keeps_the_model)
    ecs_up.get_waiter("services_stable").wait(cluster="blue", services=["web"], WaiterConfig={"Delay": 1})
    cluster = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/blue"
    template = fis.create_experiment_template(
        clientToken="drain", description="a zone is drained", roleArn=SEEDED_ROLE_ARN,
        stopConditions=[{"source": "none"}],
        targets={"all": {"resourceType": "aws:ecs:cluster", "resourceArns": [cluster], "selectionMode": "ALL"}},
        actions={"drain": {
            "actionId": "aws:ecs:drain-container-instances", "targets": {"Clusters": "all"},
            "parameters": {"drainagePercentage": "34", "duration": "PT10M"},
        }},
    )["experimentTemplate"]["id"]  # fmt: skip
    experiment = fis.start_experiment(clientToken="start", experimentTemplateId=template)["experiment"]["id"]
    draining = lambda: ecs_up.list_container_instances(cluster="blue", status="DRAINING")["containerInstanceArns"]
    (instance,) = eventually(draining, "an instance drains")
    left = lambda: ecs_up.list_tasks(cluster="blue", containerInstance=instance)["taskArns"] == []
    eventually(left, "the service has left it")
    assert len(ecs_up.list_tasks(cluster="blue", serviceName="web")["taskArns"]) >= 3
    fis.stop_experiment(id=experiment)
    stopped = lambda: fis.get_experiment(id=experiment)["experiment"]["state"]["status"] == "stopped"
    eventually(stopped, "the experiment has stopped")
    assert draining() == []


# Healthy while its file is there; the second task never finds it gone.
CHECKED = CONTAINER | {
    "healthCheck": {"command": ["CMD-SHELL", "test ! -e sick-$HOSTNAME"], "interval": 5, "retries": 1},
    "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}],
}
INIT = CONTAINER | {"name": "init", "essential": False, "command": ["/bin/sh", "-c", "exit 0"]}


def test_containers_wait_for_each_other_and_a_sick_one_has_its_task_replaced(tmp_path, environment, monkeypatch):
    namespaces()
    # The tasks' processes have the working directory of `up`.
    monkeypatch.chdir(tmp_path)
    up = Up(tmp_path, definition("web", CHECKED, INIT), count=1)
    try:
        aws = Cli(environment | {"AWS_ENDPOINT_URL": up.url})

        def healthy():
            arns = aws("ecs", "list-tasks", "--cluster", "blue")["taskArns"]
            found = aws("ecs", "describe-tasks", "--cluster", "blue", "--tasks", *arns)["tasks"] if arns else []
            return [task for task in found if task["healthStatus"] == "HEALTHY"]

        (before,) = eventually(healthy, "the first check has succeeded")
        init = {container["name"]: container for container in before["containers"]}["init"]
        assert (init["lastStatus"], init["exitCode"], init["healthStatus"]) == ("STOPPED", 0, "UNKNOWN")
        (tmp_path / f"sick-{before['taskArn'].split('/')[-1]}").touch()
        new = lambda: [task for task in healthy() if task["taskArn"] != before["taskArn"]]
        assert len(eventually(new, "another task is healthy in its place")) == 1
        aws("ecs", "wait", "tasks-stopped", "--cluster", "blue", "--tasks", before["taskArn"])
        (gone,) = aws("ecs", "describe-tasks", "--cluster", "blue", "--tasks", before["taskArn"])["tasks"]
        assert (gone["stopCode"], gone["healthStatus"]) == ("ServiceSchedulerInitiated", "UNHEALTHY")
        assert gone["stoppedReason"] == "Task failed container health checks"
        (service,) = aws("ecs", "describe-services", "--cluster", "blue", "--services", "web")["services"]
        assert any("failed container health checks" in event["message"] for event in service["events"])
    finally:
        assert up.close() == 0


def test_a_program_that_is_not_there_is_said_by_the_task(aws_up):
    broken = DEFINITION | {"family": "broken", "containerDefinitions": [CONTAINER | {"command": ["/nowhere"]}]}
    aws_up("ecs", "register-task-definition", "--cli-input-json", json.dumps(broken))
    # The cluster of a call that names none is not there by itself.
    assert "ClusterNotFoundException" in aws_up.refused("ecs", "run-task", "--task-definition", "broken", *IN_SUBNETS)
    aws_up("ecs", "create-cluster")
    (job,) = aws_up("ecs", "run-task", "--task-definition", "broken", *IN_SUBNETS)["tasks"]
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
    aws("ecs", "create-cluster", "--cluster-name", family)
    for call in (
        ["create-service", "--service-name", "web", "--task-definition", family],
        ["run-task", "--task-definition", family],
    ):
        said = aws.refused("ecs", *call, "--cluster", family, *IN_SUBNETS)
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
def test_the_repositorys_definition_runs_as_it_stands_and_its_metadata_is_true(tmp_path, environment, sidecar_binary):
    namespaces()
    up = Up(tmp_path, json.loads((ROOT / "task-definition.json").read_text()), count=1)
    try:
        up.line("a sample application answers on port 80, called httpd")
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
        with urllib.request.urlopen(f"{up.url}/v4/blue/sample-service/{arn.split('/')[-1]}/task", timeout=10) as answer:
            metadata = json.load(answer)
        assert metadata["Limits"] == {"CPU": 0.5, "Memory": 512}
        assert [container["Name"] for container in metadata["Containers"]] == ["app", "taskfault"]
        # The sample application can be killed by the name of its image; another name says which there are.
        wrong = aws(
            "ssm", "send-command", "--document-name", "AWSFIS-Run-Kill-Process", "--instance-ids",
            instance["InstanceId"], "--parameters", "ProcessName=nginx",
        )["Command"]["CommandId"]  # fmt: skip

        def answered():
            (one,) = aws("ssm", "list-command-invocations", "--command-id", wrong, "--details")["CommandInvocations"]
            return one if one["Status"] in ("Success", "Failed") else None

        said = json.dumps(eventually(answered, "the command ends"))
        assert "no process is called nginx; there are httpd" in said
        assert "PID namespace" not in said
        # Nothing that the stage takes away is warned of, and the sidecar's own health check is run.
        log = (tmp_path / "logs" / arn.split("/")[-1] / "taskfault.log").read_text()
        assert "CAP_SETGID" not in log, log

        def healthy():
            (task,) = aws("ecs", "describe-tasks", "--cluster", "blue", "--tasks", arn)["tasks"]
            return task["healthStatus"] == "HEALTHY"

        eventually(healthy, "the sidecar's health check has succeeded")
        aws("ecs", "stop-task", "--cluster", "blue", "--task", arn)
        aws("ecs", "wait", "tasks-stopped", "--cluster", "blue", "--tasks", arn)
        left = aws("ssm", "describe-instance-information")["InstanceInformationList"]
        assert instance["InstanceId"] not in [it["InstanceId"] for it in left]
    finally:
        assert up.close() == 0
