"""task-definition.json against the model of RegisterTaskDefinition that botocore ships, and against what the
sidecar needs of it."""

import copy
import json
import re
from pathlib import Path

import botocore.loaders
import botocore.model
import botocore.validate
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def definition():
    return json.loads((ROOT / "task-definition.json").read_text())


@pytest.fixture(scope="module")
def request_shape():
    model = botocore.loaders.Loader().load_service_model("ecs", "service-2")
    return botocore.model.ServiceModel(model, "ecs").operation_model("RegisterTaskDefinition").input_shape


def complaints(value, shape, where=""):
    """What the model has to say beyond the client's own validation: enums, patterns, lengths."""
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from complaints(member, shape.members[name], f"{where}.{name}")
    elif shape.type_name == "list":
        for index, member in enumerate(value):
            yield from complaints(member, shape.member, f"{where}[{index}]")
    elif shape.type_name == "map":
        for key, member in value.items():
            yield from complaints(key, shape.key, f"{where} key")
            yield from complaints(member, shape.value, f"{where}.{key}")
    elif shape.type_name == "string":
        if getattr(shape, "enum", None) and value not in shape.enum:
            yield f"{where}: {value!r} is not one of {shape.enum}"
        pattern = shape.metadata.get("pattern")
        if pattern and not re.search(pattern, value):
            yield f"{where}: {value!r} does not match {pattern}"


def errors(value, shape):
    report = botocore.validate.ParamValidator().validate(value, shape)
    if report.has_errors():
        return [report.generate_report()]
    return list(complaints(value, shape))


def sidecar(definition):
    return next(c for c in definition["containerDefinitions"] if c["name"] == "taskfault")


def test_the_definition_is_what_the_api_accepts(definition, request_shape):
    assert errors(definition, request_shape) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["pidMode"], "tasks"),
        (["requiresCompatibilities"], ["EC3"]),
        (["networkMode"], "vpc"),
        (["enableFaultInjection"], "true"),
        (["containerDefinitions", 1, "logConfiguration", "logDriver"], "cloudwatch"),
        (["containerDefinitions", 1, "stopTimeout"], "30"),
        (["containerDefinitions", 1, "healthcheck"], {}),
    ],
)
def test_a_wrong_value_is_noticed(definition, request_shape, path, value):
    wrong = copy.deepcopy(definition)
    *way, last = path
    place = wrong
    for step in way:
        place = place[step]
    place[last] = value
    assert errors(wrong, request_shape)


def test_the_task_shares_what_faults_need(definition):
    assert definition["requiresCompatibilities"] == ["EC2"]
    assert definition["pidMode"] == "task"
    assert definition["networkMode"] == "awsvpc"
    assert definition["enableFaultInjection"] is True


def test_the_sidecar_has_what_it_needs(definition):
    container = sidecar(definition)
    assert container["essential"] is True
    assert container["linuxParameters"]["capabilities"] == {"add": ["NET_ADMIN"]}
    assert "privileged" not in container
    # The image's own user, a root that cannot be written, and a volume for what has to be: at a path that the image
    # declares as one, or it would be root's.
    assert container["user"] == "65532:65532"
    assert f"\nUSER {container['user']}\n" in runtime_stage()
    assert container["readonlyRootFilesystem"] is True
    (mount,) = container["mountPoints"]
    assert mount["sourceVolume"] in {volume["name"] for volume in definition["volumes"]}
    assert f'\nVOLUME ["{mount["containerPath"]}"]\n' in runtime_stage()
    # Made for the task, where there is Docker and where there is not.
    assert all(set(volume) == {"name"} for volume in definition["volumes"])
    assert container["stopTimeout"] == 30
    assert "MANAGED_INSTANCE_ROLE_NAME" in {entry["name"] for entry in container["environment"]}
    assert container["logConfiguration"]["logDriver"] == "awslogs"
    # A log driver that blocks would fill the pipe that the sidecar logs to.
    assert container["logConfiguration"]["options"]["mode"] == "non-blocking"
    # An empty image has no shell: CMD, not CMD-SHELL.
    assert container["healthCheck"]["command"] == ["CMD", "/taskfault", "status", "--healthy"]
    # A memory limit of its own would end a memory stress instead of loading the task.
    assert "memory" not in container
    # Weight 0 would leave a CPU stress next to nothing beside a busy application.
    assert container["cpu"] >= 64


def runtime_stage():
    """The stage of the Dockerfile that ships."""
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    # What is built without a target.
    assert stages[-1].strip() == "runtime"
    (stage,) = [stage for stage in stages if stage.startswith("scratch AS runtime\n")]
    return stage


def test_the_command_is_the_one_of_the_image(definition):
    last_stage = runtime_stage()
    assert f"CMD {json.dumps(sidecar(definition)['command'])}" in last_stage
    assert 'ENTRYPOINT ["/taskfault"]' in last_stage


def test_containers_fit_into_the_task(definition):
    containers = definition["containerDefinitions"]
    assert sum(c["cpu"] for c in containers) <= int(definition["cpu"])
    assert sum(c["memoryReservation"] for c in containers) <= int(definition["memory"])


def test_roles_have_the_names_of_the_policies(definition):
    assert definition["taskRoleArn"].endswith(":role/taskfault-task")
    environment = {entry["name"]: entry["value"] for entry in sidecar(definition)["environment"]}
    role = environment["MANAGED_INSTANCE_ROLE_NAME"]
    assert f":role/{role}" in (ROOT / "deploy/iam/task-role.policy.json").read_text()
