"""A sidecar without NET_ADMIN performs network faults through the ECS agent's fault endpoints."""

import json
import os
import signal
import time
import urllib.request
import uuid

import pytest
from conftest import Sidecar, eventually

pytestmark = pytest.mark.sidecar

LATENCY = "AWSFIS-Run-Network-Latency-ECS"
LOSS = "AWSFIS-Run-Network-Packet-Loss-ECS"
HOLE = "AWSFIS-Run-Network-Blackhole-Port-ECS"
# The capability is dropped for good, as Fargate never gives it.
WITHOUT_NET_ADMIN = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]


@pytest.fixture
def start_powerless(sidecar_binary, server, ssm, tmp_path):
    """Starts sidecars of one task, one after another, in the same state folder, without NET_ADMIN."""
    started = []
    task = uuid.uuid4().hex

    def start():
        wrapper = WITHOUT_NET_ADMIN if os.geteuid() == 0 else []
        started.append(Sidecar(sidecar_binary, server, ssm, tmp_path, task=task, wrapper=wrapper))
        return started[-1]

    yield start
    for sidecar in started:
        sidecar.close()


@pytest.fixture
def powerless(start_powerless):
    return start_powerless()


@pytest.fixture
def running(server):
    """What runs in a sidecar's task, as the agent would say: fault to request."""

    def probe(sidecar):
        with urllib.request.urlopen(f"{server}/_taskfault/faults", timeout=10) as response:
            tasks = json.load(response)
        task = sidecar.task_uri.split("/v4/")[1]
        return {fault["fault"]: fault["request"] for fault in tasks.get(task, [])}

    return probe


def state(action, count, when=None):
    """FISActionState as FIS sends it."""
    call = {"id": action, "callTime": int(when or time.time()), "callCount": count}
    return json.dumps(call, separators=(",", ":"))


def parameters(action, count=1, when=None, **more):
    values = {"FISActionState": state(action, count, when), "DurationSeconds": "600", **more}
    return {name: [value] for name, value in values.items()}


def step(sidecar, command):
    return sidecar.invocation(command, "FaultInjection")


def test_metadata_says_that_the_endpoints_are_there(powerless):
    with urllib.request.urlopen(f"{powerless.task_uri}/task", timeout=10) as response:
        assert json.load(response)["FaultInjectionEnabled"] is True


@pytest.mark.parametrize(
    ("document", "more", "fault", "expected"),
    [
        (
            LATENCY,
            {"Sources": "10.0.0.0/8,localhost", "DelayMilliseconds": "300", "FlowsPercent": "30"},
            "network-latency",
            {
                "DelayMilliseconds": 300,
                "JitterMilliseconds": 10,
                "FlowsPercent": 30,
                "Sources": ["10.0.0.0/8", "127.0.0.1"],
            },
        ),
        (
            LOSS,
            {"Sources": "ALL"},
            "network-packet-loss",
            {"LossPercent": 7, "FlowsPercent": 100, "Sources": ["0.0.0.0/0"]},
        ),
        (
            HOLE,
            {"Protocol": "tcp", "Port": "443", "TrafficType": "egress"},
            "network-blackhole-port",
            {"Port": 443, "Protocol": "tcp", "TrafficType": "egress"},
        ),
    ],
    ids=["latency", "loss", "blackhole"],
)
def test_a_fault_lives_on_heartbeats_until_it_is_cancelled(
    ssm, powerless, running, document, more, fault, expected
):
    action = str(uuid.uuid4())
    first = powerless.send(document, parameters(action, **more))
    request = eventually(lambda: running(powerless).get(fault), "the fault starts")
    filtered = request.pop("SourcesToFilter")
    assert request == expected
    assert "169.254.170.2" in filtered
    # In any order, one of them twice.
    for count in (3, 2, 3):
        beat = powerless.send(document, parameters(action, count, **more))
        assert powerless.finished(beat)["Status"] == "Success"
        assert action in step(powerless, beat)["StandardOutputContent"]
    assert list(running(powerless)) == [fault]
    ssm.cancel_command(CommandId=first)
    assert powerless.finished(first)["Status"] == "Cancelled"
    assert running(powerless) == {}
    output = step(powerless, first)
    assert output["ResponseCode"] == 137
    assert "through the ECS agent" in output["StandardOutputContent"]
    assert "undone: the ECS agent says stopped" in output["StandardOutputContent"]
    # Its action is over: a heartbeat has nothing to extend.
    late = powerless.send(document, parameters(action, 4, **more))
    assert powerless.finished(late)["Status"] == "Failed"
    answer = step(powerless, late)
    assert answer["ResponseCode"] == 1
    assert f"there is no fault of FIS action {action}" in answer["StandardErrorContent"]


def test_a_first_call_that_is_too_old_starts_nothing(powerless, running):
    old = powerless.send(LATENCY, parameters("late", when=time.time() - 90, Sources="ALL"))
    assert powerless.finished(old)["Status"] == "Failed"
    answer = step(powerless, old)
    assert answer["ResponseCode"] == 1
    assert "more than 60 s ago" in answer["StandardErrorContent"]
    assert running(powerless) == {}


def test_heartbeats_do_not_wait_behind_running_commands(powerless, running):
    first = powerless.send(LATENCY, parameters("busy", Sources="ALL"))
    eventually(lambda: running(powerless), "the fault starts")
    stress = {"DurationSeconds": ["600"], "LoadPercent": ["0"], "CPU": ["1"]}
    for _ in range(8):
        powerless.send("AWSFIS-Run-CPU-Stress", stress)
    beat = powerless.send(LATENCY, parameters("busy", 2, Sources="ALL"))
    assert powerless.finished(beat)["Status"] == "Success"
    powerless.running(first)


def test_what_the_agent_cannot_do_is_said_and_nothing_runs(powerless, running):
    command = powerless.send(LATENCY, parameters("name", Sources="no.such.name.invalid"))
    assert powerless.finished(command)["Status"] == "Failed"
    assert "no.such.name.invalid" in step(powerless, command)["StandardErrorContent"]
    first = powerless.send(LATENCY, parameters("one", Sources="ALL"))
    eventually(lambda: running(powerless), "the fault starts")
    second = powerless.send(LOSS, parameters("two", Sources="ALL"))
    assert powerless.finished(second)["Status"] == "Failed"
    assert "There is already one network latency fault running" in step(powerless, second)["StandardErrorContent"]
    assert list(running(powerless)) == ["network-latency"]
    powerless.running(first)


def test_sigterm_in_the_middle_stops_the_fault(powerless, running):
    command = powerless.send(LATENCY, parameters("term", Sources="ALL"))
    eventually(lambda: running(powerless), "the fault starts")
    assert powerless.terminate() == 0
    assert running(powerless) == {}
    assert powerless.finished(command)["Status"] == "Cancelled"


def test_what_a_kill_leaves_is_stopped_by_the_next_start(start_powerless, running):
    first = start_powerless()
    first.send(LATENCY, parameters("kill", Sources="ALL"))
    eventually(lambda: running(first), "the fault starts")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(timeout=10)
    # The agent has no time limit and the kernel holds nothing: documented, and true.
    assert list(running(first)) == ["network-latency"]
    second = start_powerless()
    eventually(lambda: running(second) == {}, "the next start tidies up")
    said = "stopped a fault that an earlier life left running"
    eventually(lambda: said in second.log_path.read_text(), "the log says so")
