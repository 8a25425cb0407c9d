"""useEcsFaultInjectionEndpoints: FIS, `-ECS` documents, heartbeats, a sidecar without NET_ADMIN, the fault endpoints.

The endpoints are those of the local AWS: they keep and tell what runs, and touch no packet. Heartbeats and their
minute are real seconds whatever --speed says, so the two faults that need them begin with the first test here, and the
tests that look at their ends come last of all.
"""

import json
import os
import re
import time
import urllib.request
import uuid

import pytest
from conftest import Server, Sidecar, eventually, ssm_client
from test_ecs_endpoints import WITHOUT_NET_ADMIN
from test_fis_api import ROLE, TASKS
from test_fis_experiments import client

pytestmark = [pytest.mark.sidecar, pytest.mark.xdist_group("endpoints")]

LATENCY = ("latency", {"delayMilliseconds": "300", "sources": "10.0.0.0/8"})
LOSS = ("packet-loss", {"lossPercent": "20"})
HOLE = ("blackhole-port", {"port": "5432", "trafficType": "egress"})


class Fis:
    """A local AWS with FIS in it."""

    def __init__(self, folder, session):
        self.server = Server(folder, "127.0.0.1:0", "--speed", "30")
        self.url = self.server.url
        self.ssm, self.fis = ssm_client(session, self.url), client(session, self.url, "fis")

    def start(self, task_arn, fault):
        """An experiment with one network fault through the endpoints; twelve hours are 24 minutes here."""
        name, parameters = fault
        action = {
            "actionId": f"aws:ecs:task-network-{name}",
            "parameters": {"duration": "PT12H", "useEcsFaultInjectionEndpoints": "true"} | parameters,
            "targets": {"Tasks": "tasks"},
        }
        target = {name: TASKS[name] for name in ("resourceType", "selectionMode")} | {"resourceArns": [task_arn]}
        made = self.fis.create_experiment_template(
            description="a test", roleArn=ROLE, stopConditions=[{"source": "none"}], targets={"tasks": target},
            actions={"act": action},
        )  # fmt: skip
        started = self.fis.start_experiment(experimentTemplateId=made["experimentTemplate"]["id"])
        return started["experiment"]["id"]

    def status(self, experiment):
        return self.fis.get_experiment(id=experiment)["experiment"]["state"]["status"]

    def stop(self, experiment):
        self.fis.stop_experiment(id=experiment)
        eventually(lambda: self.status(experiment) == "stopped", "the experiment has stopped")

    def commands(self, experiment):
        """The commands of an experiment, the first call first."""
        listed = self.ssm.list_commands()["Commands"]
        return sorted(
            (one for one in listed if experiment in one.get("Comment", "")), key=lambda one: one["RequestedDateTime"]
        )


@pytest.fixture(scope="session")
def agent(tmp_path_factory, session):
    """The ECS agent of every task here, and FIS of most."""
    made = Fis(tmp_path_factory.mktemp("agent"), session)
    yield made
    made.server.close()


@pytest.fixture(scope="session")
def running(agent):
    """What runs in a sidecar's task, as the ECS agent would say."""

    def probe(sidecar):
        with urllib.request.urlopen(f"{agent.url}/_taskfault/faults", timeout=10) as response:
            faults = json.load(response).get(sidecar.task_uri.split("/v4/")[1], [])
        return {fault["fault"]: fault["request"] for fault in faults}

    return probe


@pytest.fixture(scope="session")
def add(agent, sidecar_binary, tmp_path_factory):
    """Starts sidecars without NET_ADMIN, at any FIS."""
    started = []

    def start(fis):
        task = uuid.uuid4().hex
        wrapper = WITHOUT_NET_ADMIN if os.geteuid() == 0 else []
        folder = tmp_path_factory.mktemp("task")
        agent_uri = {"ECS_AGENT_URI": f"{agent.url}/api/demo/web/{task}"}
        started.append(Sidecar(sidecar_binary, fis.url, fis.ssm, folder, task=task, wrapper=wrapper, **agent_uri))
        return started[-1]

    yield start
    for sidecar in started:
        # At the FIS that is gone, a sidecar would try to deregister for a while.
        sidecar.process.kill()
        sidecar.close()


@pytest.fixture(scope="session")
def kept(agent, add, running):
    """A fault whose FIS lives: the sidecar, the experiment, and when it began."""
    sidecar = add(agent)
    experiment = agent.start(sidecar.task_arn, LATENCY)
    eventually(lambda: running(sidecar), "the fault starts")
    return sidecar, experiment, time.monotonic()


@pytest.fixture(scope="session")
def orphan(add, running, session, tmp_path_factory):
    """A fault whose FIS died at once: its sidecar."""
    fis = Fis(tmp_path_factory.mktemp("fis"), session)
    sidecar = add(fis)
    fis.start(sidecar.task_arn, LOSS)
    eventually(lambda: running(sidecar), "the fault starts")
    fis.server.process.kill()
    fis.server.close()
    return sidecar


@pytest.mark.usefixtures("kept", "orphan")
@pytest.mark.parametrize(
    ("fault", "name", "expected"),
    [
        (LATENCY, "network-latency", {"DelayMilliseconds": 300, "Sources": ["10.0.0.0/8"]}),
        (LOSS, "network-packet-loss", {"LossPercent": 20, "FlowsPercent": 100, "Sources": ["0.0.0.0/0"]}),
        (HOLE, "network-blackhole-port", {"Port": 5432, "Protocol": "tcp", "TrafficType": "egress"}),
    ],
    ids=["latency", "loss", "blackhole"],
)
def test_a_fault_goes_through_the_endpoints_and_stops_with_its_experiment(agent, add, running, fault, name, expected):
    sidecar = add(agent)
    experiment = agent.start(sidecar.task_arn, fault)
    request = eventually(lambda: running(sidecar).get(name), "the fault starts")
    assert expected.items() <= request.items(), request
    agent.stop(experiment)
    assert running(sidecar) == {}
    (first,) = agent.commands(experiment)
    assert first["DocumentName"] == f"AWSFIS-Run-{name.title()}-ECS" and first["Status"] == "Cancelled"


@pytest.mark.last
def test_heartbeats_keep_a_fault_for_more_than_their_minute(agent, running, kept):
    sidecar, experiment, began = kept
    beats = lambda: [one for one in agent.commands(experiment)[1:] if one["Status"] == "Success"]
    # 60 s after the first call the fault would have ended by itself.
    eventually(lambda: time.monotonic() > began + 63, "a minute has passed", 90)
    assert list(running(sidecar)) == ["network-latency"]
    assert agent.status(experiment) == "running"
    assert len(beats()) >= 3, "one every 20 s"
    states = [one["Parameters"]["FISActionState"][0] for one in agent.commands(experiment)]
    assert [f'"callCount":{count + 1}}}' in state for count, state in enumerate(states)] == [True] * len(states)
    agent.stop(experiment)
    assert running(sidecar) == {}


@pytest.mark.last
def test_a_fault_ends_a_minute_after_its_fis_has_died(running, orphan):
    eventually(lambda: running(orphan) == {}, "the fault ends by itself", 90)
    assert orphan.process.poll() is None, "it was not the end of the sidecar that ended it"
    said = orphan.log_path.read_text()
    (lived,) = re.findall("fault undone fault=.*network-packet-loss.* lived_seconds=([0-9.]+)", said)
    assert 50 < float(lived) < 75, "neither its FIS's death ended it, nor its 24 minutes"
    assert "FaultInjection=Failed" in said
