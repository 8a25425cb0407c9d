"""deploy/compose as a project of its own, and what users and operators see of it.

It runs with `docker compose` where that is there, else with `docker-compose`. Only ports, labels and the speed are
the tests' own: five minutes take twenty seconds.
"""

import http.client
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
import uuid

import boto3
import pytest
from botocore.exceptions import BotoCoreError

from containers import LABEL, ROOT, docker, eventually

FOLDER = ROOT / "deploy" / "compose"
CLUSTER, SERVICE, REGION, ACCOUNT = "ecs-blueprint-infra", "fis-service", "us-east-1", "000000000000"
TASKS = ("task-1", "task-2", "task-3")
SPEED = 15
PATIENCE = 120


def compose_command():
    """Compose as this machine has it."""
    if docker("compose", "version", check=False).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if os.environ.get("CI") == "true":
        pytest.fail("neither `docker compose` nor docker-compose is installed (make deps)")
    pytest.skip("SKIP: neither `docker compose` nor docker-compose is installed (make deps)")


def arn(task):
    """The ARN of a task of compose.yaml."""
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{CLUSTER}/{task[-1] * 32}"


def answers(url):
    """Whether a request is answered."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False


class Project:
    """The stage while its `with` lasts; gone at the end, whatever happened."""

    def __init__(self, folder, image, local_image):
        self.name = f"taskfault-test-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        ours = {"TASKFAULT_IMAGE": image, "TASKFAULT_LOCAL_IMAGE": local_image, "TASKFAULT_SPEED": str(SPEED)}
        # Port 0 takes a free one.
        self.environment = {**os.environ, **ours, "AWS_PORT": "0", "TASK_PORTS": "0"}
        self.command = [*compose_command(), "-p", self.name, "-f", FOLDER / "compose.yaml"]
        # What a test makes carries its label, and the experiment reads and writes in the test's folder.
        label = dict([LABEL.split("=")])
        services = {*self("config", "--services").stdout.split(), "experiment"}
        changes = {name: {"labels": label} for name in services}
        changes["experiment"]["volumes"] = [f"{folder}:/here"]
        networks = {"default": {"labels": label}}
        (folder / "changes.yaml").write_text(json.dumps({"services": changes, "networks": networks}))
        self.command += ["-f", folder / "changes.yaml"]

    def __enter__(self):
        try:
            self("up", "-d")
            self.all_is_well()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self("down", "--volumes", "--remove-orphans", "--timeout", "10")

    def __call__(self, *words):
        """Runs compose."""
        done = subprocess.run(
            [*self.command, *words], env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def left(self, kind):
        """The containers, networks or volumes that are there of it."""
        everything = ["--all"] if kind == "container" else []
        project = f"label=com.docker.compose.project={self.name}"
        return docker(kind, "ls", *everything, "--quiet", "--filter", project).stdout.split()

    def id(self, service):
        """The container of a service, running or not."""
        project, service = (f"label=com.docker.compose.{it}" for it in (f"project={self.name}", f"service={service}"))
        (found,) = docker("ps", "--all", "--quiet", "--filter", project, "--filter", service).stdout.split()
        return found

    def url(self, service, port):
        """Where a port of a service is published now: a free port is another one after a restart."""
        return "http://" + docker("port", self.id(service), f"{port}/tcp").stdout.splitlines()[0]

    def log(self, *services):
        return self("logs", "--no-color", "--tail", "40", *services).stdout

    def all_is_well(self):
        """Waits until every sidecar is Online and every application answers."""
        try:
            for task in TASKS:
                eventually(f"{task} is Online", lambda task=task: self.is_online(task), patience=PATIENCE)
                eventually(f"{task} answers", lambda task=task: answers(self.url(task, 8080)), patience=PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def environment_of_a_user(self):
        """What the README has a user set."""
        return {
            "PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": "",
            "AWS_ENDPOINT_URL": self.url("local-aws", 4566), "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local",
        }  # fmt: skip

    def aws(self, *words):
        """The AWS CLI of the tests; its answer as JSON."""
        done = subprocess.run(
            ["aws", *words, "--output", "json"], env=self.environment_of_a_user(), capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null")

    @property
    def ssm(self):
        return boto3.client(
            "ssm", endpoint_url=self.url("local-aws", 4566), region_name=REGION, aws_access_key_id="test",
            aws_secret_access_key="test",
        )  # fmt: skip

    def instance(self, task):
        """What Systems Manager knows of a task; None if it does not know it (any more)."""
        filters = [{"Key": "tag:ECS_TASK_ARN", "Values": [arn(task)]}]
        found = self.ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
        return found[0] if found else None

    def is_online(self, task):
        try:
            found = self.instance(task)
        except BotoCoreError:
            return False  # The local AWS does not listen yet.
        return found is not None and found["PingStatus"] == "Online"

    def commands(self, document):
        """The commands of one document, the newest first."""
        return [it for it in self.ssm.list_commands()["Commands"] if it["DocumentName"] == document]

    def running(self, document):
        """The command of this name that is InProgress, if there is one."""
        return next((it for it in self.commands(document) if it["Status"] == "InProgress"), None)

    def hit_by(self, command):
        """The tasks that a command went to."""
        found = self.ssm.list_command_invocations(CommandId=command["CommandId"])["CommandInvocations"]
        ids = {it["InstanceId"] for it in found}
        return [task for task in TASKS if self.instance(task)["InstanceId"] in ids]

    def stress(self, tasks, seconds):
        """Asks for a CPU stress of 80 % on some tasks; returns what asks for its status."""
        ssm = self.ssm
        command = ssm.send_command(
            DocumentName="AWSFIS-Run-CPU-Stress", InstanceIds=[self.instance(task)["InstanceId"] for task in tasks],
            Parameters={"DurationSeconds": [str(seconds)], "CPU": ["0"], "LoadPercent": ["80"]},
        )["Command"]["CommandId"]  # fmt: skip
        return lambda: ssm.list_commands(CommandId=command)["Commands"][0]["Status"]

    def cpu_percent(self, services):
        """What containers use, in percent of one core, over a second."""
        ids = [self.id(service) for service in services]
        said = docker("stats", "--no-stream", "--format", "{{.CPUPerc}}", *ids).stdout
        return [float(line.rstrip("%")) for line in said.split()]

    def deaths(self, service, since):
        """The exit codes that a service's container has had since a moment."""
        events = docker(
            "events", "--since", str(since), "--until", str(time.time()), "--filter", f"container={self.id(service)}",
            "--filter", "event=die", "--format", "{{.Actor.Attributes.exitCode}}",
        )  # fmt: skip
        return events.stdout.split()

    def in_task(self, task, script):
        """Runs Python in a task, beside its application; what it prints."""
        return docker("exec", self.id(f"{task}-app"), "python", "-c", script).stdout.strip()


class Users:
    """Clients of every task: a request each, again and again, while the `with` lasts."""

    def __init__(self, project):
        self.urls = {task: project.url(task, 8080) for task in TASKS}
        # Whether it was answered, request by request.
        self.said = {task: [] for task in TASKS}
        self.over = threading.Event()

    def __enter__(self):
        self.threads = [threading.Thread(target=self.use, args=(task,)) for task in TASKS]
        for thread in self.threads:
            thread.start()
        return self

    def use(self, task):
        while not self.over.wait(0.02):
            self.said[task].append(answers(self.urls[task]))

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
