"""Faults in real containers that share what the containers of a task share, under the limits that docker sets.

The program runs in the plain base image: what is tested is the fault, not the shipped image.
"""

import contextlib
import json

import pytest

from conftest import BINARIES, DEBIAN
from containers import Container, docker, eventually, inspect

PROGRAM = ("--volume", f"{BINARIES / 'taskfault'}:/taskfault:ro")
PORT = 8080
# Two processes by names of their own, and the shell that waits for them.
APPLICATION = "cp /bin/sleep /tmp/victim; cp /bin/sleep /tmp/bystander; /tmp/victim 600 & /tmp/bystander 600 & wait; sleep 600"


def names(container):
    """The names of the processes that a container sees, in order."""
    script = "cat /proc/[0-9]*/comm 2>/dev/null; true"
    return sorted(docker("exec", container.id, "sh", "-c", script).stdout.split())


def ended(container):
    """Waits for the end of a container; gives its exit code, and its output and errors together."""
    eventually("it ends", lambda: not container.state()["Running"])
    return container.state()["ExitCode"], container.log()


@pytest.fixture
def start():
    """Starts containers that are removed at the end."""
    with contextlib.ExitStack() as started:
        yield lambda *words: started.enter_context(Container(*words))


@pytest.fixture
def inject(start):
    """Starts `taskfault inject WORDS` in a container with these options of docker."""

    def run(words, *options):
        return start(*options, *PROGRAM, DEBIAN, "/taskfault", "inject", *words.split())

    return run


def test_kill_by_name_reaches_all_containers_of_the_task(start, inject):
    first = start(DEBIAN, "sh", "-c", APPLICATION)
    shared = ("--pid", f"container:{first.id}")
    second = start(*shared, DEBIAN, "sh", "-c", APPLICATION)
    eventually("both run", lambda: names(first).count("victim") == 2 and names(second).count("bystander") == 2)
    # An address space apart: a container of the same machine that is not of the task.
    stranger = start(DEBIAN, "sh", "-c", APPLICATION)
    eventually("it runs", lambda: "victim" in names(stranger))
    code, said = ended(inject("kill-process --process-name victim --signal SIGKILL", *shared))
    assert code == 0, said
    assert "2 processes" in said
    eventually("both victims are gone", lambda: "victim" not in names(first))
    assert names(first).count("bystander") == 2
    assert names(stranger).count("victim") == 1
    code, said = ended(inject("kill-process --process-name victim", *shared))
    assert code == 1 and "victim" in said, said


def test_kill_by_name_without_a_shared_namespace_says_so(inject):
    code, said = ended(inject("kill-process --process-name victim"))
    assert code == 1
    assert "pidMode" in said, said


def test_kill_spares_the_sidecar_itself(start, inject):
    first = start(DEBIAN, "sh", "-c", APPLICATION)
    code, said = ended(inject("kill-process --process-name taskfault", "--pid", f"container:{first.id}"))
    assert code == 1, said


@pytest.fixture
def server(start, network):
    """A container that answers HTTP."""
    program = BINARIES / "taskfault-local"
    container = start(
        "--network", network, "--volume", f"{program}:/taskfault-local:ro",
        DEBIAN, "/taskfault-local", "--listen", f"0.0.0.0:{PORT}",
    )
    eventually("it listens", lambda: "http://" in container.log(), container)
    return container


def answers(client, address, port=PORT):
    """Whether a connection from the client's container comes about."""
    script = f"exec 3<>/dev/tcp/{address}/{port}"
    return docker("exec", client.id, "timeout", "3", "bash", "-c", script, check=False).returncode == 0


def test_a_black_hole_between_two_containers(start, inject, server, network):
    client = start("--network", network, DEBIAN, "sleep", "600")
    address = server.address(network)
    assert answers(client, address)
    # A connection that was there before: it says a line whenever there is one to say, for as long as it may.
    request = "GET /_taskfault/health HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n"
    stalls = (
        f"exec 3<>/dev/tcp/{address}/{PORT}; touch /tmp/open; while [ ! -e /tmp/go ]; do sleep 0.1; done; "
        f"printf '{request}' >&3; timeout 3 head -c 4 <&3 | grep -q HTTP && echo alive >/tmp/said || echo stalled >/tmp/said"
    )
    docker("exec", "--detach", client.id, "bash", "-c", stalls)
    there = lambda file: docker("exec", client.id, "test", "-e", file, check=False).returncode == 0
    eventually("the connection is open", lambda: there("/tmp/open"))
    hole = inject(
        f"network-blackhole-port --port {PORT} --traffic-type ingress --duration 10m",
        "--network", f"container:{server.id}", "--cap-add", "NET_ADMIN",
    )
    eventually("it has begun", lambda: "all packets lost" in hole.log(), hole)
    assert not answers(client, address)
    docker("exec", client.id, "touch", "/tmp/go")
    eventually("the connection that was open has been tried", lambda: there("/tmp/said"))
    assert docker("exec", client.id, "cat", "/tmp/said").stdout == "stalled\n"
    status = docker("exec", hole.id, "/taskfault", "status", "--json").stdout
    (live,) = json.loads(status)["injected"]
    assert live["fault"] == "network-blackhole-port"
    # The container is killed: nobody is left to undo anything, and nobody needs to.
    docker("kill", "--signal", "KILL", hole.id)
    eventually("the way is free", lambda: answers(client, address))
    # And once more, to its end by a signal.
    hole = inject(
        f"network-blackhole-port --port {PORT} --traffic-type ingress --duration 10m",
        "--network", f"container:{server.id}", "--cap-add", "NET_ADMIN",
    )
    eventually("it has begun", lambda: "all packets lost" in hole.log(), hole)
    assert not answers(client, address)
    docker("stop", "--time", "20", hole.id)
    code, said = ended(hole)
    assert code == 143, said
    assert "undone: rules removed" in said
    assert answers(client, address)


def test_without_net_admin_it_says_what_to_change(inject):
    code, said = ended(inject("network-latency --duration 60s"))
    assert code == 1
    assert "NET_ADMIN is missing" in said, said


@pytest.mark.parametrize("percent", [50, 100])
def test_memory_stress_stays_below_the_limit_of_the_container(inject, percent):
    stress = inject(f"memory-stress --duration 4s --percent {percent} --workers 2", "--memory", "160m", "--memory-swap", "160m")
    code, said = ended(stress)
    assert code == 0, said
    assert not inspect(stress.id)["State"]["OOMKilled"]
    assert "limit: 160.0 MiB (" in said and ("memory.limit_in_bytes" in said or "memory.max" in said), said
    assert "undone: all of it is given back" in said


def test_cpu_stress_means_the_share_of_the_container(inject):
    code, said = ended(inject("cpu-stress --duration 4s --percent 50", "--cpus", "0.4"))
    assert code == 0, said
    assert "50 % of the limit of 0.4 vCPU (" in said, said
    assert "cpu.cfs_quota_us" in said or "cpu.max" in said, said


def test_io_stress_lives_under_a_memory_limit(inject):
    stress = inject("io-stress --duration 4s --percent 1 --workers 2", "--memory", "64m", "--memory-swap", "64m")
    code, said = ended(stress)
    assert code == 0, said
    assert not inspect(stress.id)["State"]["OOMKilled"]
    assert "undone: no file and no thread left" in said
