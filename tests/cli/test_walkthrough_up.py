"""The published way into the ECS task actions on `taskfault-local up`: real tasks, so that what it does to them shows.

The same script as in test_walkthrough.py, against a service of three tasks whose application is called `python`.
"""

import subprocess
import threading

import pytest
from conftest import Cli, eventually, ssm_client
from test_walkthrough import CLUSTER, SCRIPT, SERVICE, of_user
from up import APPLICATION, SIDECAR, Up, definition, namespaces, online

pytestmark = [pytest.mark.sidecar, pytest.mark.xdist_group("walkthrough-up")]


@pytest.fixture(scope="module")
def up(sidecar_binary, tmp_path_factory):
    namespaces()
    options = ["--service", SERVICE, "--speed", "60"]
    started = Up(
        tmp_path_factory.mktemp("up"), definition("blueprint", APPLICATION, SIDECAR), *options, cluster=CLUSTER
    )
    yield started
    assert started.close() == 0


class CpuWatch:
    """The CPU seconds of every sidecar, up to the last moment at which it was seen."""

    def __init__(self, up):
        self.up, self.seconds, self.over = up, {}, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.over.wait(0.2):
            self.seconds |= self.up.sidecars()

    def __enter__(self):
        self.thread.start()
        return self.seconds

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def test_the_published_experiments_hit_real_tasks(up, session, tmp_path):
    user = of_user(up.url)
    aws, ssm = Cli(user), ssm_client(session, up.url)
    before = online(ssm, 3)
    with CpuWatch(up) as cpu:
        done = subprocess.run(
            ["sh", SCRIPT, tmp_path], env=user, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stderr
    outcome = {name: (experiment, status) for name, experiment, status in map(str.split, done.stdout.splitlines())}
    assert {status for _, status in outcome.values()} == {"completed"}, outcome

    fis = session.client("fis", endpoint_url=up.url)

    def hit(name):
        (target,) = fis.list_experiment_resolved_targets(experimentId=outcome[name][0])["resolvedTargets"]
        return target["targetInformation"]["arn"]

    # 80 percent of every CPU for five seconds, in the one task that was picked and in no other. How much that is on
    # a busy machine is no question of this test.
    *others, most = sorted(cpu.values())
    assert len(cpu) >= 3 and most > 1 and all(seconds < most / 4 for seconds in others), cpu
    assert cpu[hit("cpu-stress").split("/")[-1]] == most, cpu

    # The killed task has stopped, and one that was not there before runs in its place.
    killed = hit("kill-process")
    assert killed in before
    aws("ecs", "wait", "tasks-stopped", "--cluster", CLUSTER, "--tasks", killed)
    aws("ecs", "wait", "services-stable", "--cluster", CLUSTER, "--services", SERVICE)
    (task,) = aws("ecs", "describe-tasks", "--cluster", CLUSTER, "--tasks", killed)["tasks"]
    assert (task["lastStatus"], task["stopCode"]) == ("STOPPED", "EssentialContainerExited")
    exits = {container["name"]: container["exitCode"] for container in task["containers"]}
    assert exits == {"app": 137, "taskfault": 0}, "SIGKILL to the application, a clean end of the sidecar"
    now = aws("ecs", "list-tasks", "--cluster", CLUSTER, "--service-name", SERVICE)["taskArns"]
    assert set(before) - set(now) == {killed}
    (new,) = set(now) - set(before)
    eventually(lambda: new in online(ssm, 3), "the sidecar of the replacement is online")
    assert [it["replaces"] for it in up.record()["tasks"] if it["arn"] == new] == [killed]
