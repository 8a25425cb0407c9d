"""A task that has IPv6 alone: a network in which there is no address of IPv4, not even on the loopback interface, and a
name that stands for one address of IPv6. The local AWS and its client are in there, too."""

import json
import os
import shutil
import subprocess
import uuid

import pytest
from conftest import ACCOUNT, BIN_DIR, REGION, eventually, stop

pytestmark = pytest.mark.sidecar

NAME = "aws.test"
URL = f"http://{NAME}:4566"
# Its own hosts file is all that is asked for names.
SET_UP = """
ip link set lo up && ip address del 127.0.0.1/8 dev lo && printf "::1 %s\\n" "$1" >"$2" \
    && mount --bind "$2" /etc/hosts && echo ready && exec cat
"""


class Network:
    """A network with the loopback interface alone, and a hosts file. Everything in it ends with its `with`."""

    def __init__(self, folder):
        command = ["unshare", "--user", "--map-root-user", "--net", "--mount", "sh", "-c", SET_UP, "sh"]
        self.holder = subprocess.Popen(
            [*command, NAME, folder / "hosts"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.folder, self.started = folder, []
        if self.holder.stdout.readline() != "ready\n":
            self.__exit__()
            if os.environ.get("CI"):
                pytest.fail("user, network and mount namespaces are refused")
            pytest.skip("user, network and mount namespaces are refused")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            stop(process)
        self.holder.stdin.close()
        self.holder.wait()
        self.holder.stdout.close()

    def inside(self, *words):
        """The command that runs one in there."""
        enter = ["nsenter", f"--target={self.holder.pid}", "--user", "--net", "--mount", "--preserve-credentials"]
        return [*enter, *map(str, words)]

    def start(self, log, environment, *words):
        with open(self.folder / log, "w") as out:
            process = subprocess.Popen(self.inside(*words), stdout=out, stderr=out, env=environment)
        self.started.append(process)
        return process

    def aws(self, environment, *words):
        """The AWS CLI in there; its answer, or None while it is refused."""
        command = self.inside(shutil.which("aws", path=environment["PATH"]), *words, "--output", "json")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout) if done.returncode == 0 else None


def test_a_task_of_ipv6_alone_registers_runs_a_command_and_leaves(sidecar_binary, environment, tmp_path):
    client = environment | {"AWS_ENDPOINT_URL": URL}
    task = uuid.uuid4().hex
    variables = {
        "PATH": os.environ["PATH"], "MANAGED_INSTANCE_ROLE_NAME": "local", "AWS_ENDPOINT_URL": URL,
        "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local",
        "ECS_CONTAINER_METADATA_URI_V4": f"http://[::1]:4566/v4/demo/web/{task}",
    }  # fmt: skip
    with Network(tmp_path) as network:
        options = ("--region", REGION, "--account", ACCOUNT, "--allow-host", NAME)
        network.start("local-aws", environment, BIN_DIR / "taskfault-local", "--listen", "[::1]:4566", *options)
        instances = lambda: network.aws(client, "ssm", "describe-instance-information")
        eventually(instances, "the local AWS answers")
        state = tmp_path / "state"
        sidecar = network.start("sidecar", variables, sidecar_binary, "sidecar", "--state-dir", state)
        log = lambda: (tmp_path / "sidecar").read_text()

        def online():
            assert sidecar.poll() is None, log()
            found = instances()["InstanceInformationList"]
            return found[0] if found and found[0]["PingStatus"] == "Online" else None

        instance = eventually(online, "the sidecar is Online")["InstanceId"]
        eventually(lambda: f"control channel open endpoint={URL}" in log(), "the control channel is open")
        sent = network.aws(
            client, "ssm", "send-command", "--instance-ids", instance, "--document-name", "AWSFIS-Run-CPU-Stress",
            "--parameters", "DurationSeconds=1,CPU=1,LoadPercent=20",
        )  # fmt: skip

        def ended():
            listed = network.aws(client, "ssm", "list-command-invocations", "--command-id", sent["Command"]["CommandId"])
            return [it["Status"] for it in listed["CommandInvocations"] if it["Status"] not in ("Pending", "InProgress")]

        assert eventually(ended, "the command ends") == ["Success"], log()
        # What doctor says of the way.
        said = subprocess.run(
            network.inside(sidecar_binary, "doctor", "--state-dir", state), env=variables, capture_output=True, text=True
        )
        for service in ("ssm", "ssmmessages", "ec2messages"):
            assert [line for line in said.stdout.splitlines() if line.split()[:2] == ["ok", service]], said.stdout
        sidecar.terminate()
        assert sidecar.wait(timeout=40) == 0, log()
        assert instances()["InstanceInformationList"] == []
        # Nothing in there could have been reached by IPv4.
        asked = subprocess.run(network.inside("ip", "-4", "-json", "address"), capture_output=True, text=True, check=True)
        assert [link["addr_info"] for link in json.loads(asked.stdout) if link.get("addr_info")] == []
