"""`taskfault-local up` for tests: a service of tasks that are real, and what their processes do, seen from outside."""

import json
import os
import pathlib
import subprocess
import urllib.request

import pytest
from conftest import ACCOUNT, BIN_DIR, REGION, eventually, stop

SIDECAR = {
    "name": "taskfault", "image": "taskfault", "memory": 64,
    "environment": [{"name": "MANAGED_INSTANCE_ROLE_NAME", "value": "local"}],
}  # fmt: skip
# A web service under the name that the published experiment kills.
APPLICATION = {
    "name": "app", "image": "taskfault-local", "memory": 64, "command": ["application", "--port", "80"],
    "portMappings": [{"containerPort": 80}], "dockerLabels": {"taskfault.process-name": "python"},
}  # fmt: skip


# What tasks with awsvpc need. Subnets of another account stand for the three zones in turn.
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1", "subnet-2", "subnet-3"]}}


def definition(family, *containers):
    """A task definition of these containers."""
    return {"family": family, "networkMode": "awsvpc", "pidMode": "task", "containerDefinitions": list(containers)}


def namespaces():
    """Whether this user may make them; a refusal fails where CI is set."""
    try:
        refused = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--net", "true"], capture_output=True, timeout=10
        ).returncode
    except FileNotFoundError:
        refused = 0
    if refused and not os.environ.get("CI"):
        pytest.skip("user namespaces are refused here")


class Up:
    """One `taskfault-local up` with a service of one task definition."""

    def __init__(self, folder, definition, *options, cluster="blue", count=3):
        file = folder / "definition.json"
        file.write_text(json.dumps(definition))
        self.log = folder / "logs" / "local-aws.log"
        self.said = folder / "up.log"
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [
                    BIN_DIR / "taskfault-local", "up", file, "--listen", "127.0.0.1:0", "--region", REGION,
                    "--account", ACCOUNT, "--cluster", cluster, "--count", str(count), "--logs", folder / "logs",
                    *options,
                ],
                stdout=said,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"]},
            )  # fmt: skip
        try:
            self.url = eventually(self.first_line, "up listens").strip()
            assert self.url.startswith("http://127.0.0.1:"), self.said.read_text()
        except BaseException:
            self.close()
            raise

    def first_line(self):
        text = self.said.read_text()
        return text.partition("\n")[0] if "\n" in text or self.process.poll() is not None else None

    def line(self, words):
        """The first line with these words, which may come after the one that says where it listens."""
        return eventually(lambda: [it for it in self.said.read_text().splitlines() if words in it], words)[0]

    def published(self):
        """The URL that `--publish` has said, from when an application answers there: it may start after its sidecar."""
        url = self.line(" leads to ").split()[0] + "/"

        def answers():
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return answer.status == 200
            except OSError:
                return False

        eventually(answers, f"{url} answers")
        return url

    def record(self):
        """What the local AWS has recorded so far."""
        with urllib.request.urlopen(f"{self.url}/_taskfault/record", timeout=10) as answer:
            return json.load(answer)

    def sidecars(self):
        """Of every sidecar that lives: the id of its task, and the CPU seconds that it has used."""
        found = {}
        for pid in descendants(self.process.pid):
            try:
                if (pid / "cmdline").read_bytes().split(b"\0")[1:2] != [b"sidecar"]:
                    continue
                variables = (pid / "environ").read_bytes().split(b"\0")
                fields = (pid / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            (uri,) = [it for it in variables if it.startswith(b"ECS_CONTAINER_METADATA_URI_V4=")]
            # User and system time, of all its threads.
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            found[uri.decode().split("/")[-3]] = seconds
        return found

    def close(self):
        stop(self.process)
        return self.process.returncode


def descendants(root):
    """The /proc folders of all processes below one."""
    parents = {}
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                pass
    below, new = set(), {root}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - below
        below |= new
    return [pathlib.Path("/proc") / str(pid) for pid in below]


def online(ssm, count):
    """The managed instance of every task, by the task's ARN, once so many are online."""

    def all_online():
        found = ssm.describe_instance_information()["InstanceInformationList"]
        return [one["InstanceId"] for one in found if one["PingStatus"] == "Online"]

    instances = eventually(lambda: len(all_online()) >= count and all_online(), f"{count} sidecars are online")
    tasks = {}
    for instance in instances:
        tags = ssm.list_tags_for_resource(ResourceType="ManagedInstance", ResourceId=instance)["TagList"]
        (arn,) = [tag["Value"] for tag in tags if tag["Key"] == "ECS_TASK_ARN"]
        tasks[arn] = instance
    return tasks
