"""The published way into the ECS task actions, with the real CLI, real sidecars and real applications.

Three tasks of one service, each an application called `python` and a sidecar in a PID namespace of their own.
`--speed` makes five minutes five seconds; nothing else is different from AWS.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import uuid

import boto3
import pytest
from conftest import (
    ACCOUNT, REGION, SEEDED_ROLE, SEEDED_ROLE_ARN, Cli, Server, SidecarProcess, eventually, ssm_client,
)

# Its tests go on where the one before has ended.
pytestmark = pytest.mark.xdist_group("walkthrough")

CLUSTER = "ecs-blueprint-infra"
SERVICE = "fis-service"
SCRIPT = pathlib.Path(__file__).parent / "walkthrough" / "walkthrough.sh"

# A task: processes that see each other, and that all end with the first of them.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
# The application under its name, then the sidecar in place of the shell.
WITH_APPLICATION = ["sh", "-c", '"$0" -S -c "import time; time.sleep(3600)" & exec "$@"']


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URL of a local AWS whose minutes are seconds."""
    started = Server(tmp_path_factory.mktemp("server"), "127.0.0.1:0", "--speed", "60")
    yield started.url
    assert started.close() == 0


def of_user(url):
    """What a user of a local AWS sets."""
    return {
        "PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": "/nonexistent",
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture(scope="module")
def environment(server):
    return of_user(server)


@pytest.fixture(scope="module")
def aws(environment):
    return Cli(environment)


@pytest.fixture(scope="module")
def ssm(server):
    session = boto3.session.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION)
    return ssm_client(session, server)


@pytest.fixture(scope="module")
def fis(server):
    session = boto3.session.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION)
    return session.client("fis", endpoint_url=server)


class Task:
    """An application called `python` and its sidecar."""

    def __init__(self, sidecar_binary, server, folder):
        self.id = uuid.uuid4().hex
        self.arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{CLUSTER}/{self.id}"
        folder.mkdir()
        python = folder / "python"
        python.symlink_to(os.path.realpath(sys.executable))
        self.sidecar = SidecarProcess(
            sidecar_binary,
            server,
            folder,
            wrapper=[*NAMESPACE, *WITH_APPLICATION, python],
            ECS_CONTAINER_METADATA_URI_V4=f"{server}/v4/{CLUSTER}/{SERVICE}/{self.id}",
            ECS_AGENT_URI=f"{server}/api/{CLUSTER}/{SERVICE}/{self.id}",
        )
        self.python = str(python)

    def instance(self, ssm):
        """Its managed instance, once it is online."""
        assert self.sidecar.process.poll() is None, self.sidecar.log_path.read_text()
        filters = [{"Key": "tag:ECS_TASK_ARN", "Values": [self.arn]}]
        found = ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
        return found[0]["InstanceId"] if found and found[0]["PingStatus"] == "Online" else None

    def application_runs(self):
        """Whether its application is there, seen from outside of its namespace."""
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if (entry / "cmdline").read_bytes().split(b"\0")[0] == self.python.encode():
                        return (entry / "comm").read_text() == "python\n"
                except (FileNotFoundError, ProcessLookupError):
                    pass
        return False


@pytest.fixture(scope="module")
def tasks(sidecar_binary, server, ssm, tmp_path_factory):
    """Three tasks of the service, online."""
    folder = tmp_path_factory.mktemp("tasks")
    started = []
    try:
        for number in range(3):
            started.append(Task(sidecar_binary, server, folder / str(number)))
        for task in started:
            task.instance_id = eventually(lambda: task.instance(ssm), "the sidecar comes online")
            eventually(task.application_runs, "the application starts")
        yield started
    finally:
        for task in started:
            # `unshare` waits for its child whatever SIGTERM says; its end is the end of the namespace.
            task.sidecar.process.kill()
            task.sidecar.close()


def status(aws, experiment):
    return aws("fis", "get-experiment", "--id", experiment)["experiment"]["state"]["status"]


def commands_since(ssm, document, before):
    """The commands of one document that were not there before."""
    listed = ssm.list_commands()["Commands"]
    return [command for command in listed if command["DocumentName"] == document and command["CommandId"] not in before]


def test_the_published_experiments_run_unchanged(aws, environment, fis, ssm, tasks, tmp_path):
    before = {command["CommandId"] for command in ssm.list_commands()["Commands"]}
    done = subprocess.run(
        ["sh", SCRIPT, tmp_path], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    outcome = {name: (experiment, status) for name, experiment, status in map(str.split, done.stdout.splitlines())}
    assert {name: status for name, (_, status) in outcome.items()} == {
        "cpu-stress": "completed",
        "kill-process": "completed",
    }

    # 66 percent of three tasks is one task: FIS rounds down.
    (stress,) = commands_since(ssm, "AWSFIS-Run-CPU-Stress", before)
    assert stress["TargetCount"] == 1
    assert stress["Parameters"]["LoadPercent"] == ["80"]
    experiment = aws("fis", "get-experiment", "--id", outcome["cpu-stress"][0])["experiment"]
    assert experiment["actions"]["stress-cpu"]["state"]["status"] == "completed"
    assert experiment["tags"] == {"Name": "cpu-stress"}
    took = fis.get_experiment(id=outcome["cpu-stress"][0])["experiment"]
    took = took["endTime"] - took["startTime"]
    assert took >= datetime.timedelta(seconds=5), "five minutes, sixty times shorter"

    (kill,) = commands_since(ssm, "AWSFIS-Run-Kill-Process", before)
    assert (kill["TargetCount"], kill["Status"]) == (1, "Success")
    (invocation,) = ssm.list_command_invocations(CommandId=kill["CommandId"])["CommandInvocations"]
    for task in tasks:
        hit = task.instance_id == invocation["InstanceId"]
        assert task.application_runs() != hit, "one application was killed, and no other"

    # Everything was put away; the experiments stay, as records.
    assert aws("fis", "list-experiment-templates")["experimentTemplates"] == []
    assert aws("cloudwatch", "describe-alarms")["MetricAlarms"] == []
    assert [role["RoleName"] for role in aws("iam", "list-roles")["Roles"]] == [SEEDED_ROLE]
    assert len(aws("fis", "list-experiments")["experiments"]) == 2


def test_an_alarm_stops_an_experiment_and_its_log_says_so(aws, ssm, tasks, tmp_path):
    before = {command["CommandId"] for command in ssm.list_commands()["Commands"]}
    group = "/aws/fis/walkthrough"
    aws("logs", "create-log-group", "--log-group-name", group)
    name = "Too many errors of fis-service"
    aws(
        "cloudwatch", "put-metric-alarm", "--alarm-name", name, "--namespace", "Shop", "--metric-name", "Errors",
        "--statistic", "Sum", "--period", "60", "--evaluation-periods", "1", "--threshold", "10",
        "--comparison-operator", "GreaterThanThreshold", "--treat-missing-data", "notBreaching",
    )  # fmt: skip

    def alarm():
        return aws("cloudwatch", "describe-alarms", "--alarm-names", name)["MetricAlarms"][0]

    eventually(lambda: alarm()["StateValue"] == "OK", "the alarm is evaluated")
    template = json.loads((SCRIPT.parent / "cpu-stress.json").read_text())
    template["roleArn"] = SEEDED_ROLE_ARN
    template["stopConditions"][0]["value"] = alarm()["AlarmArn"]
    # An hour is a minute here: the experiment would last far longer than the test waits for the alarm.
    template["actions"]["stress-cpu"]["parameters"]["duration"] = "PT12H"
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:*"
    template["logConfiguration"] = {"logSchemaVersion": 2, "cloudWatchLogsConfiguration": {"logGroupArn": arn}}
    file = tmp_path / "template.json"
    file.write_text(json.dumps(template))
    made = aws("fis", "create-experiment-template", "--cli-input-json", f"file://{file}")["experimentTemplate"]["id"]
    experiment = aws("fis", "start-experiment", "--experiment-template-id", made)["experiment"]["id"]
    eventually(lambda: status(aws, experiment) == "running", "the experiment runs")

    def stress():
        commands = commands_since(ssm, "AWSFIS-Run-CPU-Stress", before)
        return commands[0] if commands else None

    eventually(lambda: (stress() or {}).get("Status") == "InProgress", "the CPU is stressed")

    def erring():
        aws(
            "cloudwatch", "put-metric-data", "--namespace", "Shop", "--metric-name", "Errors", "--value", "100",
            "--unit", "Count",
        )  # fmt: skip
        return status(aws, experiment) in ("stopping", "stopped")

    eventually(erring, "the alarm stops the experiment")
    eventually(lambda: status(aws, experiment) == "stopped", "the experiment has stopped")
    ended = aws("fis", "get-experiment", "--id", experiment)["experiment"]
    assert "stop condition" in ended["state"]["reason"], ended["state"]
    assert ended["actions"]["stress-cpu"]["state"]["status"] == "stopped"
    assert stress()["Status"] == "Cancelled"

    stream = ["--log-group-name", group, "--log-stream-name", f"/aws/fis/{experiment}", "--start-from-head"]
    events = [json.loads(event["message"]) for event in aws("logs", "get-log-events", *stream)["events"]]
    kinds = [event["log_type"] for event in events]
    assert kinds[0] == "experiment-start" and kinds[-1] == "experiment-end", kinds
    assert {"target-resolution-start", "target-resolution-end", "action-start", "action-end"} <= set(kinds)
    assert all(event["id"] == experiment for event in events)
    pattern = '{ $.log_type = "experiment-end" }'
    (found,) = aws("logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", pattern)["events"]
    assert json.loads(found["message"]) == events[-1]
