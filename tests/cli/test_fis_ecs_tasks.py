"""Experiments on tasks that `taskfault-local up` really runs: who is hit, and that StopTask is one."""

import pytest
from conftest import ACCOUNT, REGION, eventually, ssm_client
from test_fis_api import ROLE, STRESS
from test_fis_experiments import client
from up import NETWORK, SIDECAR, Up, definition, namespaces, online

pytestmark = [pytest.mark.sidecar, pytest.mark.xdist_group("ecs-tasks")]

SLEEP = {"name": "app", "image": "sleep", "memory": 32, "command": ["/bin/sleep", "1000"], "stopTimeout": 2}
# A second at --speed 60, and next to no load.
TOUCH = STRESS | {"parameters": {"duration": "PT1M", "percent": "1", "workers": "1"}}


@pytest.fixture(scope="module")
def up(sidecar_binary, tmp_path_factory):
    """Two tasks of service `web` in cluster `blue`; more are added through the API."""
    namespaces()
    folder = tmp_path_factory.mktemp("up")
    started = Up(folder, definition("web", SLEEP, SIDECAR), "--speed", "60", count=2)
    yield started
    assert started.close() == 0


@pytest.fixture(scope="module")
def ssm(up, session):
    return ssm_client(session, up.url)


@pytest.fixture(scope="module")
def ecs(up, session):
    return client(session, up.url, "ecs")


@pytest.fixture(scope="module")
def fis(up, session):
    return client(session, up.url, "fis")


@pytest.fixture(scope="module")
def tasks(ecs, ssm):
    """The ARNs of all tasks, by a word for who they are: two of web, one of api, one of green, one of nobody."""
    for family in ("api", "job"):
        ecs.register_task_definition(**definition(family, SLEEP, SIDECAR))
    ecs.create_cluster(clusterName="green")
    tags = [{"key": "Team", "value": "blue"}, {"key": "Stage", "value": "test"}]
    for cluster, name, more in (("blue", "api", tags), ("green", "web", tags[:1])):
        ecs.create_service(
            cluster=cluster, serviceName=name, taskDefinition="api", desiredCount=1, tags=more, propagateTags="SERVICE",
            networkConfiguration=NETWORK,
        )  # fmt: skip
    ecs.run_task(
        cluster="blue", taskDefinition="job", startedBy="tester", tags=[{"key": "Team", "value": "red"}],
        networkConfiguration=NETWORK,
    )  # fmt: skip
    online(ssm, 5)
    listed = lambda **more: ecs.list_tasks(**more)["taskArns"]
    web = ecs.describe_tasks(cluster="blue", tasks=listed(cluster="blue", serviceName="web"))["tasks"]
    # The tasks of a service are in zones a, b, and so on.
    one, two = (task["taskArn"] for task in sorted(web, key=lambda task: task["availabilityZone"]))
    (api,), (green,) = listed(cluster="blue", serviceName="api"), listed(cluster="green", serviceName="web")
    (job,) = listed(cluster="blue", startedBy="tester")
    return {"one": one, "two": two, "api": api, "green": green, "job": job}


def start(fis, target, action=TOUCH, selection="ALL"):
    target = {"resourceType": "aws:ecs:task", "selectionMode": selection} | target
    made = fis.create_experiment_template(
        description="a test", roleArn=ROLE, stopConditions=[{"source": "none"}], targets={"tasks": target},
        actions={"act": action},
    )  # fmt: skip
    return fis.start_experiment(experimentTemplateId=made["experimentTemplate"]["id"])["experiment"]["id"]


def ended(fis, experiment):
    def over():
        found = fis.get_experiment(id=experiment)["experiment"]
        return found if found["state"]["status"] in ("completed", "stopped", "failed") else None

    return eventually(over, f"experiment {experiment} ends")


def by_filter(path, *values):
    return {"filters": [{"path": path, "values": list(values)}]}


BLUE = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/blue"
TARGETS = [
    ({"parameters": {"cluster": "blue"}}, "one two api job"),
    ({"parameters": {"cluster": BLUE, "service": "web"}}, "one two"),
    ({"parameters": {"service": "web"}}, "one two green"),
    ({"parameters": {"cluster": "green", "service": "api"}}, ""),
    ({"resourceTags": {"Team": "blue"}}, "api green"),
    ({"resourceTags": {"Team": "blue", "Stage": "test"}}, "api"),
    ({"resourceTags": {"Team": "blue"}, "parameters": {"cluster": "green"}}, "green"),
    (by_filter("Group", "service:api", "family:job"), "api job"),
    (by_filter("StartedBy", "tester"), "job"),
    (by_filter("Containers.Name", "app") | {"parameters": {"service": "api"}}, "api"),
    (by_filter("Containers.Name", "nobody"), ""),
    (by_filter("LaunchType", "FARGATE"), ""),
    ({"resourceTags": {"aws:ecs:serviceName": "web"}}, "one two"),
    (by_filter("AvailabilityZone", f"{REGION}b") | {"parameters": {"service": "web", "cluster": "blue"}}, "two"),
    (
        {"filters": [{"path": "LastStatus", "values": ["RUNNING"]}, {"path": "Group", "values": ["family:job"]}]},
        "job",
    ),
    (by_filter("TaskDefinitionArn", f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/api:1"), "api green"),
]


def test_the_right_tasks_are_hit_and_only_those(fis, ssm, tasks):
    experiments, wrong = [], []
    # Each is a second of nearly nothing, and five may run at once.
    for number, (target, expected) in enumerate(TARGETS):
        if number >= 5:
            ended(fis, experiments[number - 5][0])
        experiments.append((start(fis, target), target, expected))
    for experiment, target, expected in experiments:
        status = ended(fis, experiment)["state"]["status"]
        invocations = [
            one
            for one in ssm.list_command_invocations()["CommandInvocations"]
            if experiment in one.get("Comment", "")
        ]
        names = {arn: name for name, arn in tasks.items()}
        owner = {instance: names[arn] for arn, instance in online(ssm, 5).items()}
        hit = sorted(owner[one["InstanceId"]] for one in invocations)
        if (hit, status) != (sorted(expected.split()), "completed" if expected else "failed"):
            wrong.append((target, expected, hit, status))
        assert all(one["Status"] in ("Success", "Cancelled") for one in invocations), invocations
    assert not wrong


def test_a_selection_among_real_tasks(fis, tasks):
    chosen = start(fis, {"parameters": {"cluster": "blue"}}, selection="PERCENT(60)")
    assert ended(fis, chosen)["state"]["status"] == "completed"
    targets = fis.list_experiment_resolved_targets(experimentId=chosen)["resolvedTargets"]
    assert len(targets) == 2, "60 percent of four is 2.4, rounded down"


def test_stop_task_stops_one_and_the_service_replaces_it(fis, ecs, ssm, tasks):
    stop = {"actionId": "aws:ecs:stop-task", "targets": {"Tasks": "tasks"}}
    target = {"parameters": {"cluster": "blue", "service": "web"}}
    experiment = start(fis, target, stop, "COUNT(1)")
    done = ended(fis, experiment)
    assert done["state"]["status"] == "completed"
    assert done["actions"]["act"]["state"]["status"] == "completed"
    (chosen,) = fis.list_experiment_resolved_targets(experimentId=experiment)["resolvedTargets"]
    gone = chosen["targetInformation"]["arn"]
    assert gone in (tasks["one"], tasks["two"])
    ecs.get_waiter("tasks_stopped").wait(cluster="blue", tasks=[gone], WaiterConfig={"Delay": 1})
    (task,) = ecs.describe_tasks(cluster="blue", tasks=[gone])["tasks"]
    assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "UserInitiated")
    assert experiment in task["stoppedReason"]
    ecs.get_waiter("services_stable").wait(cluster="blue", services=["web"], WaiterConfig={"Delay": 1})
    now = ecs.list_tasks(cluster="blue", serviceName="web")["taskArns"]
    assert len(now) == 2 and gone not in now
    (new,) = set(now) - set(tasks.values())
    # It is a target like the others as soon as its sidecar is there.
    assert new in online(ssm, 5)
    assert ended(fis, start(fis, {"resourceArns": [new]}))["state"]["status"] == "completed"
    # One that has stopped is none.
    failed = ended(fis, start(fis, {"resourceArns": [gone]}))
    assert failed["state"]["status"] == "failed" and gone in failed["state"]["reason"]
