"""`taskfault-local task-definition add`: a user's own definition in, one with the sidecar out.

What comes out is held against boto3 (which refuses members that it does not know), the local AWS, botocore's model and
cfn-lint.
"""

import json
import subprocess

import boto3
import botocore.loaders
import botocore.model
import botocore.validate
import pytest
import yaml
from conftest import BIN_DIR, REGION

IMAGE = "111122223333.dkr.ecr.us-west-2.amazonaws.com/taskfault:0.1.0"
APPLICATION = {
    "family": "web",
    "networkMode": "awsvpc",
    "taskRoleArn": "arn:aws:iam::111122223333:role/web",
    "executionRoleArn": "arn:aws:iam::111122223333:role/ecsTaskExecutionRole",
    "cpu": "512",
    "memory": "1024",
    "containerDefinitions": [
        {
            "name": "app",
            "image": "public.ecr.aws/docker/library/httpd:2.4",
            "cpu": 384,
            "memoryReservation": 128,
            "portMappings": [{"containerPort": 80}],
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {"awslogs-group": "/web", "awslogs-region": "us-west-2", "awslogs-stream-prefix": "app"},
            },
        }
    ],
}
FARGATE = {**APPLICATION, "requiresCompatibilities": ["FARGATE"]}
EC2 = {**APPLICATION, "requiresCompatibilities": ["EC2"]}


def run(definition, *options, file="-"):
    """What the program makes of a definition (an object, or a text)."""
    text = definition if isinstance(definition, str) else json.dumps(definition)
    command = [BIN_DIR / "taskfault-local", "task-definition", "add", file, *options]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=20)


def add(definition, *options):
    done = run(definition, "--image", IMAGE, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sidecar(definition):
    return next(it for it in definition["containerDefinitions"] if it["name"] == "taskfault")


@pytest.fixture(scope="module")
def ecs(server):
    url = getattr(server, "url", server)
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.client("ecs", endpoint_url=url, region_name=REGION, **keys)


@pytest.fixture(scope="module")
def model():
    service = botocore.loaders.Loader().load_service_model("ecs", "service-2")
    return botocore.model.ServiceModel(service, "ecs")


@pytest.mark.parametrize("definition", [EC2, FARGATE, APPLICATION], ids=["ec2", "fargate", "unsaid"])
def test_what_comes_out_is_registered_and_comes_out_the_same_again(ecs, definition):
    added = add(definition)
    ecs.register_task_definition(**added)
    described = ecs.describe_task_definition(taskDefinition="web", include=["TAGS"])
    described.pop("ResponseMetadata")
    again = run(json.dumps(described, default=str))
    assert again.returncode == 0, again.stderr
    again = json.loads(again.stdout)
    # ECS shows the defaults of what was not given; a second round has nothing more to add.
    assert json.loads(run(again).stdout) == again
    ecs.register_task_definition(**again)
    assert sidecar(again)["image"] == IMAGE
    removed = run(again, "--remove")
    assert removed.returncode == 0, removed.stderr
    removed = json.loads(removed.stdout)
    assert [it["name"] for it in removed["containerDefinitions"]] == ["app"]
    assert "pidMode" not in removed and "enableFaultInjection" not in removed
    ecs.register_task_definition(**removed)


def test_everything_that_only_describe_has_goes_and_the_rest_stays(model):
    """By the model: every member of a described definition that the request does not have."""
    described = set(model.shape_for("TaskDefinition").members)
    registered = set(model.operation_model("RegisterTaskDefinition").input_shape.members)
    whole = {**APPLICATION, **{name: None for name in described - set(APPLICATION)}}
    done = run({"taskDefinition": whole}, "--image", IMAGE)
    assert done.returncode == 0, done.stderr
    kept = set(json.loads(done.stdout))
    assert kept == (described & registered) | {"enableFaultInjection", "pidMode", "volumes"}


@pytest.mark.parametrize("definition", [EC2, FARGATE], ids=["ec2", "fargate"])
def test_what_comes_out_keeps_the_model(model, definition):
    shape = model.operation_model("RegisterTaskDefinition").input_shape
    report = botocore.validate.ParamValidator().validate(add(definition), shape)
    assert not report.has_errors(), report.generate_report()


def test_net_admin_is_for_ec2_alone():
    capabilities = sidecar(add(EC2))["linuxParameters"]["capabilities"]
    assert "NET_ADMIN" in capabilities["add"]
    for on_fargate in (add(FARGATE), add(APPLICATION, "--fargate")):
        assert "NET_ADMIN" not in json.dumps(on_fargate)
        assert on_fargate["requiresCompatibilities"] == ["FARGATE"]


@pytest.mark.parametrize("definition", [EC2, FARGATE], ids=["ec2", "fargate"])
def test_the_sidecar_is_not_root_and_has_a_volume_for_what_it_writes(definition):
    added = add(definition)
    container = sidecar(added)
    assert (container["user"], container["readonlyRootFilesystem"]) == ("65532:65532", True)
    assert container["mountPoints"] == [{"sourceVolume": "taskfault", "containerPath": "/var/lib/amazon/ssm"}]
    assert added["volumes"] == [{"name": "taskfault"}]
    assert "volumes" not in json.loads(run(added, "--remove").stdout)


def test_yaml_stays_yaml_and_order_stays():
    text = yaml.safe_dump(EC2, sort_keys=False)
    done = run(text, "--image", IMAGE)
    assert done.returncode == 0, done.stderr
    added = yaml.safe_load(done.stdout)
    assert added == add(EC2)
    assert list(added)[: len(EC2)] == list(EC2)
    assert yaml.safe_load(run(done.stdout, "--remove").stdout) == EC2


def test_a_file_is_read_and_left_alone(tmp_path):
    file = tmp_path / "web.json"
    file.write_text(json.dumps(EC2))
    done = run("", "--image", IMAGE, file=str(file))
    assert json.loads(done.stdout) == add(EC2)
    assert json.loads(file.read_text()) == EC2


@pytest.mark.parametrize(
    ("definition", "options", "said"),
    [
        ("no json at all", (), "no task definition"),
        ('{"family": ', (), "no JSON"),
        (EC2, (), "--image"),
        ({**EC2, "networkMode": "bridge"}, ("--image", IMAGE), "a network of its own"),
        ({**EC2, "networkMode": "none"}, ("--image", IMAGE), "without a network"),
        ({**EC2, "pidMode": "host"}, ("--image", IMAGE), "whole instance"),
        ({**EC2, "family": "a b"}, ("--image", IMAGE), "invalid characters"),
        (EC2, ("--image", IMAGE, "--fargate"), "requiresCompatibilities is EC2"),
        (
            {**EC2, "containerDefinitions": [{"name": "taskfault", "image": "redis:7", "memory": 64}]},
            ("--image", IMAGE),
            "another image (redis:7)",
        ),
        (EC2, ("--remove",), "no container taskfault"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(definition, options, said):
    done = run(definition, *options)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_a_file_that_is_not_there_is_said():
    done = run("", "--check", file="/nonexistent/web.json")
    assert done.returncode == 1 and "/nonexistent/web.json" in done.stderr


def changed(**members):
    """The definition with the sidecar, with other members of the sidecar."""
    added = add(EC2)
    sidecar(added).update(members)
    return added


@pytest.mark.parametrize(
    ("definition", "code", "said"),
    [
        (lambda: add(EC2), 0, "faults will work"),
        (lambda: add(FARGATE), 0, "faults will work"),
        (lambda: EC2, 1, "there is no container taskfault"),
        (lambda: {**add(EC2), "taskRoleArn": None}, 1, "no taskRoleArn"),
        (lambda: {**add(EC2), "pidMode": None}, 1, "no pidMode"),
        (lambda: {**add(EC2), "networkMode": "bridge"}, 1, "networkMode is bridge"),
        (lambda: {**add(EC2), "networkMode": "host"}, 1, "TASKFAULT_ALLOW_HOST_NETWORK"),
        (lambda: changed(environment=[]), 1, "MANAGED_INSTANCE_ROLE_NAME"),
        (lambda: changed(environment=[{"name": "MANAGED_INSTANCE_ROLE_NAME", "value": "arn:aws:iam::1:role/x"}]), 1, "no ARN"),
        (lambda: changed(memory=256), 0, "memory limit of its own"),
        (lambda: changed(readonlyRootFilesystem=True, mountPoints=[]), 1, "no place for its state"),
        (lambda: changed(mountPoints=[{"sourceVolume": "taskfault", "containerPath": "/data"}]), 1, "no volume at /var/lib"),
        (lambda: changed(essential=False), 0, "not essential"),
        (lambda: changed(healthCheck={"command": ["CMD-SHELL", "true"]}), 1, "wants a shell"),
    ],
)
def test_check_says_what_will_not_work(definition, code, said):
    done = run(definition(), "--check")
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr, done.stderr


def test_two_agents_in_one_task_are_noticed():
    with_agent = add(EC2)
    agent = {"name": "agent", "image": "public.ecr.aws/amazon-ssm-agent/amazon-ssm-agent:latest", "memory": 64}
    with_agent["containerDefinitions"].append(agent)
    assert "container agent" in run(with_agent, "--check").stderr
