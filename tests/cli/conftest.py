"""The unmodified AWS CLI and boto3 against a real `taskfault-local`, and a real `taskfault sidecar`.

    python3 -m venv /some/folder && /some/folder/bin/pip install -r tests/cli/requirements.txt
    cargo build && /some/folder/bin/python -m pytest tests/cli

TASKFAULT_BIN_DIR names the folder of the binaries, target/debug if it is not set. TASKFAULT_REQUIRE_SIDECAR=1
makes a binary without `sidecar` an error instead of a skip.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request
import uuid

import boto3
import botocore.config
import pytest

REGION = "eu-west-1"
ACCOUNT = "000000000000"
# The role for experiments that the local AWS brings along, by name and by ARN.
SEEDED_ROLE = "taskfault-local-experiment"
SEEDED_ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{SEEDED_ROLE}"
ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN_DIR = pathlib.Path(os.environ.get("TASKFAULT_BIN_DIR", ROOT / "target" / "debug")).resolve()

# An RSA key made for these tests; nothing is signed with it. It makes instances that never come online.
PUBLIC_KEY = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAn+f8uNSBpW6nGPfx72Cd50ZkQttyKwbQCzDxjSgJWqtJGImJifM96/BqUe7u"
    "crkTF4Acl+IYXp6FZi73vEorfhv5yfrD7kY8EaeAYYLpOyOMKCXnEvyPpMqoNxo0e5GnRHZlD5gEnoqXOct9+OpidAnaJ2GyKUovq/3A"
    "xe7UVccAACS2P/Pc9I5K//3ygXTpYb1pjTaT6tCA2LlOjkmPe2ayMykC1PlWqWi2NM9s96eAXKk7K6LbtUDucyeelt+/doXvSxX9PCpu"
    "o04/h5jkLKiF8Y19w3NXjCh4qY+GuEVzlaKAgH/qpE1EOUQlGzDIjaCaAhF9rUL8Wzrl3rx3rwIDAQAB"
)


def pytest_collection_modifyitems(items):
    """What takes its minute whatever is done takes it while other tests run."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


def eventually(probe, what, seconds=60):
    """The first true result of `probe`; fails with `what` if there is none in time."""
    end = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def stop(process):
    """Ends one process that a fixture started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def signed(service, region=REGION):
    """What a client shows besides its call: the form of a signature, which is all that the local AWS looks at."""
    scope = f"Credential=local/20261127/{region}/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature={'0' * 64}"}


def post(url, body, headers=None):
    """One JSON call without an AWS client."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), headers or {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        text = response.read()
    return json.loads(text) if text else None


def keeps_the_model(operation_model, response_dict, **_):
    """Fails if an answer has a member, a type or an enum value that the service's model does not have.

    Clients overlook all of these, so a misspelt member would only be missing.
    """
    if response_dict["status_code"] == 200:
        body = json.loads(response_dict["body"] or b"{}")
        wrong = list(departures(body, operation_model.output_shape, operation_model.name))
        assert not wrong, wrong


def departures(value, shape, place):
    """Where `value` departs from a shape of botocore's model."""
    if shape.type_name == "structure":
        if not isinstance(value, dict):
            yield f"{place}: {value!r} is no structure"
            return
        for name, member in value.items():
            if name in shape.members:
                yield from departures(member, shape.members[name], f"{place}.{name}")
            else:
                yield f"{place}.{name} is not in the model"
    elif shape.type_name == "list":
        for item in value:
            yield from departures(item, shape.member, f"{place}[]")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from departures(item, shape.value, f"{place}[{key}]")
    elif not isinstance(value, SCALARS[shape.type_name]) or isinstance(value, bool) != (shape.type_name == "boolean"):
        yield f"{place}: {value!r} is no {shape.type_name}"
    elif getattr(shape, "enum", None) and value and value not in shape.enum:
        yield f"{place}: {value!r} is not one of {shape.enum}"


SCALARS = {"string": str, "integer": int, "long": int, "boolean": bool, "timestamp": (int, float)}


class Server:
    """One `taskfault-local`."""

    def __init__(self, folder, listen="127.0.0.1:0", *options, region=REGION):
        self.log = open(folder / "server.log", "a")
        self.process = subprocess.Popen(
            [BIN_DIR / "taskfault-local", "--listen", listen, "--region", region, "--account", ACCOUNT, *options],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={"PATH": os.environ["PATH"]},
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), f"taskfault-local did not start, see {self.log.name}"

    def close(self):
        """Ends it as a user does; the exit code."""
        stop(self.process)
        self.process.stdout.close()
        self.log.close()
        return self.process.returncode


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The URL of a `taskfault-local` of our own."""
    started = Server(tmp_path_factory.mktemp("server"))
    yield started.url
    assert started.close() == 0


@pytest.fixture(scope="session")
def environment(server):
    """What a user of the local AWS sets, and nothing of this machine's own AWS set-up."""
    return {
        "PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": "/nonexistent",
        "AWS_ENDPOINT_URL": server,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }


class Cli:
    """The real AWS CLI."""

    def __init__(self, environment):
        self.environment = environment

    def run(self, *arguments):
        """Runs `aws ARGUMENTS --output json`, whatever comes of it."""
        return subprocess.run(
            ["aws", *arguments, "--output", "json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def __call__(self, *arguments):
        """The answer of a call that must succeed; None if the CLI prints nothing."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(self, *arguments):
        """What the CLI prints about a call that must fail."""
        done = self.run(*arguments)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture(scope="session")
def aws(environment):
    return Cli(environment)


@pytest.fixture(scope="session")
def session(environment):
    return boto3.session.Session(
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )


@pytest.fixture(scope="session")
def ssm(session, server):
    return ssm_client(session, server)


def ssm_client(session, server):
    """boto3's client. It does not check what it sends, so that the server has to."""
    config = botocore.config.Config(parameter_validation=False, retries={"max_attempts": 0})
    client = session.client("ssm", endpoint_url=server, config=config)
    client.meta.events.register("before-parse.ssm.*", keeps_the_model)
    return client


@pytest.fixture
def silent_instance(ssm, server):
    """The id of an instance that has registered and never says anything again."""
    activation = ssm.create_activation(
        IamRole="local",
        Tags=[{"Key": "ECS_TASK_ARN", "Value": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/silent/{uuid.uuid4().hex}"}],
    )
    registered = post(
        server,
        {
            "ActivationId": activation["ActivationId"],
            "ActivationCode": activation["ActivationCode"],
            "PublicKey": PUBLIC_KEY,
            "PublicKeyType": "Rsa",
            "Fingerprint": str(uuid.uuid4()),
        },
        {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.RegisterManagedInstance"},
    )
    yield registered["InstanceId"]
    try:
        ssm.deregister_managed_instance(InstanceId=registered["InstanceId"])
    except ssm.exceptions.InvalidInstanceId:
        pass
    ssm.delete_activation(ActivationId=activation["ActivationId"])


@pytest.fixture(scope="session")
def sidecar_binary():
    """The path of a `taskfault` that has the sidecar."""
    binary = BIN_DIR / "taskfault"
    shown = subprocess.run([binary, "sidecar", "--help"], capture_output=True, text=True, timeout=10)
    if shown.returncode != 0 or "--state-dir" not in shown.stdout:
        if os.environ.get("TASKFAULT_REQUIRE_SIDECAR") == "1":
            pytest.fail(f"{binary} has no sidecar command")
        pytest.skip(f"{binary} has no sidecar command yet")
    return binary


class SidecarProcess:
    """One `taskfault sidecar` in one task, however far it comes."""

    def __init__(self, binary, server, folder, task=None, wrapper=(), **variables):
        task = task or uuid.uuid4().hex
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        self.log_path = folder / "log"
        self.log = open(self.log_path, "a")
        environment = {
            "PATH": os.environ["PATH"],
            "MANAGED_INSTANCE_ROLE_NAME": "local",
            "ECS_CONTAINER_METADATA_URI_V4": f"{server}/v4/demo/web/{task}",
            "ECS_AGENT_URI": f"{server}/api/demo/web/{task}",
            "AWS_ENDPOINT_URL": server,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "TASKFAULT_ALLOW_SHELL": "true",
        } | variables
        self.task_uri = environment["ECS_CONTAINER_METADATA_URI_V4"]
        self.process = subprocess.Popen(
            [*wrapper, binary, "sidecar", "--state-dir", self.state],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            # A variable that is None is not set.
            env={name: value for name, value in environment.items() if value is not None},
        )

    def failed(self, code=1):
        """Its last line, once it has ended with this code."""
        assert self.process.wait(timeout=60) == code, self.log_path.read_text()
        return self.log_path.read_text().splitlines()[-1]

    def terminate(self):
        """SIGTERM, as ECS sends it; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def close(self):
        stop(self.process)
        self.log.close()


class Sidecar(SidecarProcess):
    """A sidecar that has come online."""

    def __init__(self, binary, server, ssm, folder, **variables):
        super().__init__(binary, server, folder, **variables)
        self.ssm = ssm
        try:
            with urllib.request.urlopen(f"{self.task_uri}/task", timeout=10) as response:
                self.task_arn = json.load(response)["TaskARN"]
            self.instance_id = eventually(self.registered, "the sidecar registers and comes online")["InstanceId"]
        except BaseException:
            self.close()
            raise

    def registered(self):
        """Its entry in DescribeInstanceInformation, once it is online."""
        assert self.process.poll() is None, f"the sidecar ended early:\n{self.log_path.read_text()}"
        found = self.information()
        return found if found and found["PingStatus"] == "Online" else None

    def information(self):
        """Its entry in DescribeInstanceInformation, if it has one."""
        filters = [{"Key": "tag:ECS_TASK_ARN", "Values": [self.task_arn]}]
        found = self.ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
        assert len(found) <= 1
        return found[0] if found else None

    def send(self, document, parameters, **more):
        """Sends a command to it and returns the command's id."""
        sent = self.ssm.send_command(
            InstanceIds=[self.instance_id], DocumentName=document, Parameters=parameters, **more
        )
        return sent["Command"]["CommandId"]

    def invocation(self, command, step=None):
        """GetCommandInvocation for one step."""
        named = {"PluginName": step} if step else {}
        return self.ssm.get_command_invocation(CommandId=command, InstanceId=self.instance_id, **named)

    def finished(self, command, seconds=60):
        """The entry of ListCommandInvocations, with details, once the command has ended."""

        def ended():
            listed = self.ssm.list_command_invocations(CommandId=command, Details=True)["CommandInvocations"]
            open_statuses = ("Pending", "InProgress", "Delayed", "Cancelling")
            return listed[0] if listed and listed[0]["Status"] not in open_statuses else None

        return eventually(ended, f"command {command} ends", seconds)

    def running(self, command):
        """Waits until the agent has taken a command."""

        def taken():
            listed = self.ssm.list_command_invocations(CommandId=command)["CommandInvocations"]
            return listed and listed[0]["Status"] == "InProgress"

        eventually(taken, f"command {command} starts")


@pytest.fixture
def start_sidecar(sidecar_binary, server, ssm, tmp_path):
    """Starts a sidecar when the test says so, and waits until it is online."""
    started = []

    def start(**variables):
        started.append(Sidecar(sidecar_binary, server, ssm, tmp_path, **variables))
        return started[-1]

    yield start
    for sidecar in started:
        sidecar.close()


@pytest.fixture
def start_process(sidecar_binary, tmp_path):
    """Starts a sidecar that need not come online, against the service at a URL."""
    started = []

    def start(url, **variables):
        started.append(SidecarProcess(sidecar_binary, url, tmp_path, **variables))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def sidecar(start_sidecar):
    """A sidecar that is online."""
    return start_sidecar()


@pytest.fixture
def switches(server):
    """Sets fault switches of the local AWS, and puts them back afterwards."""
    url = f"{server}/_taskfault/switches"
    with urllib.request.urlopen(url, timeout=10) as response:
        before = json.load(response)
    yield Switches(url)
    post(url, before)


class Switches:
    """The fault switches of one local AWS."""

    def __init__(self, url):
        self.url = url

    def __call__(self, **changes):
        """Changes some of them."""
        post(self.url, changes)

    def now(self):
        """All of them, as they are."""
        with urllib.request.urlopen(self.url, timeout=10) as response:
            return json.load(response)

    def put(self, instance_id, message):
        """Puts bytes, or text, on an instance's control channel as they are."""
        kind = {"text": message} if isinstance(message, str) else {"hex": message.hex()}
        post(self.url.replace("/switches", "/send"), {"instance_id": instance_id} | kind)

    def drop_sockets(self):
        """Cuts every control channel."""
        post(self.url.replace("/switches", "/drop-sockets"), {})
