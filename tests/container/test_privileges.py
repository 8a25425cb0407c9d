"""The image as the user that it names: with NET_ADMIN and without, as root, and with a root file system that cannot be
written. What the process may do once it runs, and that every fault does its work under it."""

import json
import re

import pytest

from conftest import DEBIAN
from containers import LABEL, Container, docker, eventually

RUN = ("run", "--rm", "--pull", "never", "--read-only", "--label", LABEL)
NET_ADMIN = ("--cap-add", "NET_ADMIN")
ROOT = ("--user", "0:0")
STATE = "/var/lib/amazon/ssm"
# Bits of linux/capability.h.
KILL, NET_ADMIN_BIT, DAC_OVERRIDE = 1 << 5, 1 << 12, 1 << 1


def findings(image, *options):
    """What doctor finds, by name: whether it is good, and its text."""
    result = docker(*RUN, *options, image, "doctor", "--json", check=False)
    assert "system call" not in result.stderr, result.stderr
    found = json.loads(result.stdout)["findings"]
    return {one["name"]: (one["verdict"] == "good", one["words"]) for one in found}


def test_the_capabilities_of_the_file_are_enough(image):
    found = findings(image, *NET_ADMIN)
    for name in ("NET_ADMIN", "KILL", "lifeline", "state folder"):
        assert found[name][0], found[name]


@pytest.mark.parametrize("options", [(), ("--cap-drop", "ALL")])
def test_it_starts_without_net_admin_and_says_so(image, options):
    found = findings(image, *options)
    good, text = found["NET_ADMIN"]
    assert not good and "missing" in text
    # Docker gives KILL, and Fargate too.
    assert found["KILL"][0] == (options == ())


def test_a_container_that_may_gain_nothing_runs_without_the_capabilities(image):
    """With no-new-privileges the kernel gives a file no capabilities, and does execute it."""
    found = findings(image, *NET_ADMIN, "--security-opt", "no-new-privileges")
    assert not found["NET_ADMIN"][0] and not found["KILL"][0]
    assert found["state folder"][0], found["state folder"]


def test_a_volume_of_the_task_belongs_to_the_user_of_the_image(image):
    """As the agent of ECS on EC2 makes one for a volume without a path: a local volume of Docker, by name."""
    volume = docker("volume", "create", "--label", LABEL).stdout.strip()
    try:
        found = findings(image, "--volume", f"{volume}:{STATE}")
    finally:
        docker("volume", "rm", volume)
    assert found["state folder"][0], found["state folder"]


def test_a_folder_that_is_roots_is_refused_with_whose_it_is(image, tmp_path):
    tmp_path.chmod(0o755)
    said = {
        "MANAGED_INSTANCE_ROLE_NAME": "x", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x", "ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:1/x",
    }  # fmt: skip
    variables = [word for name, value in said.items() for word in ("--env", f"{name}={value}")]
    result = docker(*RUN, *variables, "--network", "none", "--volume", f"{tmp_path}:{STATE}", image, check=False)
    assert result.returncode != 0
    assert f"{STATE} is user 0's, and this is user 65532" in result.stdout + result.stderr


def test_root_still_works(image):
    found = findings(image, *NET_ADMIN, *ROOT)
    for name in ("NET_ADMIN", "KILL", "lifeline", "state folder"):
        assert found[name][0], found[name]


def test_a_running_sidecar_has_given_up_what_it_does_not_need(task, application):
    task.online()
    status = docker("exec", application.id, "sh", "-c", "cat $(dirname $(grep -lx taskfault /proc/[0-9]*/comm))/status").stdout
    said = dict(line.split(":\t", 1) for line in status.splitlines())
    assert said["Uid"].split() == ["65532"] * 4
    assert int(said["CapEff"], 16) == int(said["CapPrm"], 16) == KILL | NET_ADMIN_BIT
    assert int(said["CapInh"], 16) == int(said["CapAmb"], 16) == 0
    assert int(said["CapBnd"], 16) & ~(KILL | NET_ADMIN_BIT | DAC_OVERRIDE) == 0
    assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2")
    assert "system call" not in task.container.log()


# What each fault says when it did what it was asked. The image has no /tmp.
FAULTS = {
    "cpu-stress --duration 2s --percent 20": "achieved",
    "memory-stress --duration 2s --percent 20": "all of it is given back",
    "io-stress --duration 2s --percent 1 --workers 2 --path /var/lib/amazon/ssm": "no file and no thread left",
    "disk-fill --duration 2s --bytes 1048576": "no file can be made on /; /var/lib/amazon/ssm is on the same disk",
    "network-blackhole-port --duration 2s --port 9 --traffic-type egress": "rules removed",
    "process-pause --duration 2s --process-name victim": "undone",
    "kill-process --process-name victim": "1 process",
}


@pytest.mark.parametrize("user", ["65532:65532", "0:0"])
@pytest.mark.parametrize("words", FAULTS)
def test_every_fault_works_and_makes_no_call_that_is_refused(image, network, words, user):
    # Its processes are root's, whoever the sidecar is.
    application = Container(
        "--network", network, DEBIAN, "sh", "-c", "cp /bin/sleep /tmp/victim; /tmp/victim 600; sleep 600"
    )
    with application:
        eventually("it runs", lambda: "victim" in docker("top", application.id, "-o", "pid,comm").stdout)
        shared = ("--network", f"container:{application.id}", "--pid", f"container:{application.id}")
        # Memory by a limit, so that the share is small.
        options = (*shared, *NET_ADMIN, "--user", user, "--memory", "160m", "--memory-swap", "160m")
        result = docker(*RUN, *options, image, "inject", *words.split(), check=False)
        said = result.stdout + result.stderr
        assert result.returncode == 0, said
        assert FAULTS[words] in said, said
        assert not re.search("system call|OOM killer could not", said), said
