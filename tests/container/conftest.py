"""One image, one private network and one local AWS for all tests; a task (application and sidecar) for each."""

import functools
import os
import subprocess
import tempfile
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import boto3
import pytest

from containers import LABEL, ROOT, Container, docker, eventually

BINARIES = Path(os.environ.get("TASKFAULT_BIN_DIR", ROOT / "target" / "release"))
IMAGE = "taskfault:test"
DEBIAN = "debian:bookworm-slim"
PORT = 4566


@pytest.fixture(scope="session")
def image():
    """The image as `make image` makes it, from whatever base images are there, without the commit in the program. It
    stays, labelled, so that the next build is quick."""
    environment = {**os.environ, "COMMIT": "", "BUILD_OPTIONS": f"--label {LABEL}"}
    with tempfile.TemporaryDirectory() as folder:
        command = [ROOT / "scripts" / "image", IMAGE, f"{folder}/image"]
        built = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return IMAGE


@pytest.fixture(scope="session")
def network():
    name = f"taskfault-{uuid.uuid4().hex[:8]}"
    docker("network", "create", "--label", LABEL, name)
    yield name
    docker("network", "rm", name)


@pytest.fixture(scope="session")
def local_aws(network):
    """The local AWS in a container: the tasks reach it by name, the tests at a loopback port."""
    program = BINARIES / "taskfault-local"
    with Container(
        "--network", network, "--network-alias", "local-aws", "--publish", f"127.0.0.1::{PORT}",
        "--volume", f"{program}:/taskfault-local:ro",
        DEBIAN, "/taskfault-local", "--listen", f"0.0.0.0:{PORT}", "--allow-host", "local-aws",
    ) as container:
        eventually("the local AWS listens", lambda: healthy(container), container)
        yield container


def healthy(container):
    try:
        url = f"http://{container.published(PORT)}/_taskfault/health"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError, AssertionError, IndexError):
        return False


@pytest.fixture(scope="session")
def client(local_aws):
    """A client for a service of the local AWS."""
    return functools.partial(
        boto3.client, endpoint_url=f"http://{local_aws.published(PORT)}", region_name="us-east-1",
        aws_access_key_id="test", aws_secret_access_key="test",
    )


@pytest.fixture
def application(network):
    """What the fault is for: the container whose namespaces a task shares."""
    with Container("--network", network, DEBIAN, "sleep", "infinity") as container:
        yield container


class Task:
    """The sidecar of one task, and its instance in Systems Manager."""

    def __init__(self, container, client, arn):
        self.container, self.arn = container, arn
        self.ssm, self.ecs = client("ssm"), client("ecs")

    def instance(self):
        """What Systems Manager knows of it; None if it does not know it (any more)."""
        filters = [{"Key": "tag:ECS_TASK_ARN", "Values": [self.arn]}]
        found = self.ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
        return found[0] if found else None

    def online(self):
        def is_online():
            instance = self.instance()
            return instance if instance and instance["PingStatus"] == "Online" else None

        return eventually("the sidecar is Online", is_online, self.container)


@pytest.fixture
def task(image, application, local_aws, client):
    """A sidecar that shares the application's network and processes, with half a CPU and a root file system that
    cannot be written, as in an ECS task."""
    task_id = uuid.uuid4().hex
    endpoint = f"http://local-aws:{PORT}"
    variables = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": endpoint,
        "ECS_CONTAINER_METADATA_URI_V4": f"{endpoint}/v4/tests/web/{task_id}",
        "MANAGED_INSTANCE_ROLE_NAME": "taskfault-managed-instance",
    }
    environment = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    with Container(
        "--network", f"container:{application.id}", "--pid", f"container:{application.id}",
        "--cap-add", "NET_ADMIN", "--cpus", "0.5", "--read-only", *environment, image,
    ) as container:
        arn = f"arn:aws:ecs:us-east-1:000000000000:task/tests/{task_id}"
        yield Task(container, client, arn)
