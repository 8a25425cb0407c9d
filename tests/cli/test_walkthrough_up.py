"""The published way into the ECS task actions on `taskfault-local up`: real tasks, so that what it does to them shows.

The same script as in test_walkthrough.py, against a service of three tasks whose application is called `python`.
"""

import json
import subprocess
import threading

import pytest
from conftest import ACCOUNT, REGION, ROOT, Cli, eventually, ssm_client
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


RUNBOOK = "Taskfault-Run-On-Tasks"
DOCUMENTS, IAM = ROOT / "deploy" / "documents", ROOT / "deploy" / "iam"
FINAL = ("completed", "stopped", "failed")


def of_account(file):
    """A file of deploy with the names of this account and region, as its page says."""
    return file.read_text().replace("ACCOUNT_ID", ACCOUNT).replace("REGION", REGION)


def compact(value):
    """FIS takes no blanks in a parameter."""
    return json.dumps(value, separators=(",", ":"))


def test_the_runbook_runs_a_fault_on_tasks_and_fis_cancels_it(up, session):
    aws, ssm = Cli(of_user(up.url)), ssm_client(session, up.url)
    eventually(lambda: len(online(ssm, 3)) == 3, "three sidecars are online")
    for role in ("automation", "experiment"):
        name = f"taskfault-{role}"
        trust = of_account((DOCUMENTS if role == "automation" else IAM) / f"{role}-role.trust.json")
        policy = of_account(DOCUMENTS / f"{role}-role.policy.json")
        aws("iam", "create-role", "--role-name", name, "--assume-role-policy-document", trust)
        aws("iam", "put-role-policy", "--role-name", name, "--policy-name", "taskfault", "--policy-document", policy)
    aws(
        "ssm", "create-document", "--name", RUNBOOK, "--document-type", "Automation", "--document-format", "YAML",
        "--content", f"file://{DOCUMENTS / f'{RUNBOOK}.yaml'}",
    )  # fmt: skip

    def begin(**changes):
        """Starts an experiment of the template with other parameters of the runbook."""
        template = json.loads(of_account(DOCUMENTS / "run-on-tasks.template.json"))
        parameters = template["actions"]["stress-half"]["parameters"]
        said = json.loads(parameters["documentParameters"]) | changes
        parameters["documentParameters"] = compact(said)
        made = aws("fis", "create-experiment-template", "--cli-input-json", json.dumps(template))
        started = aws("fis", "start-experiment", "--experiment-template-id", made["experimentTemplate"]["id"])
        return started["experiment"]["id"]

    def state(experiment):
        return aws("fis", "get-experiment", "--id", experiment)["experiment"]["state"]

    def ended(experiment):
        return eventually(lambda: (now := state(experiment))["status"] in FINAL and now, "the experiment ends")

    def execution():
        """The newest one, with the statuses of its steps."""
        (newest, *_) = ssm.describe_automation_executions()["AutomationExecutionMetadataList"]
        found = ssm.get_automation_execution(AutomationExecutionId=newest["AutomationExecutionId"])["AutomationExecution"]
        return found, {step["StepName"]: step["StepStatus"] for step in found["StepExecutions"]}

    def commands(experiment):
        return [one for one in up.record()["commands"] if one.get("experiment") == experiment]

    # Half of three tasks is one, for five minutes, unless somebody stops it.
    experiment = begin()
    (sent,) = eventually(lambda: [one for one in commands(experiment) if one["status"] == "InProgress"], "it is stressed")
    found, steps = execution()
    assert found["Outputs"] == {} and steps["WaitForEnd"] == "InProgress" and steps["CheckEnd"] == "Pending"
    aws("fis", "stop-experiment", "--id", experiment)
    assert ended(experiment)["status"] == "stopped"
    found, steps = execution()
    assert found["AutomationExecutionStatus"] == "Cancelled"
    assert (steps["WaitForEnd"], steps["CancelFault"], steps["WaitForUndo"]) == ("Cancelled", "Success", "Success")
    (after,) = commands(experiment)
    assert (after["id"], after["status"]) == (sent["id"], "Cancelled")

    # All of them, to the end.
    short = compact({"DurationSeconds": ["2"], "LoadPercent": ["10"]})
    experiment = begin(Selection="ALL", DocumentParameters=short)
    assert ended(experiment) == {"status": "completed", "reason": "Experiment completed."}
    found, steps = execution()
    assert found["AutomationExecutionStatus"] == "Success" and steps["CancelFault"] == "Pending"
    assert sorted(found["Outputs"]["Choose.Tasks"]) == sorted(online(ssm, 3))
    assert {one["task"] for one in commands(experiment)} == set(online(ssm, 3))

    # One by its ARN, and what cannot be.
    task = next(iter(online(ssm, 3)))
    experiment = begin(TargetBy="TaskArns", TaskArns=[task], Selection="COUNT(1)", DocumentParameters=short)
    assert ended(experiment)["status"] == "completed"
    assert [one["task"] for one in commands(experiment)] == [task]
    for changes, why in [
        ({"Service": "nobody"}, "ServiceNotFoundException"),
        ({"Selection": "PERCENT(10)"}, "PERCENT(10) of 3 tasks is none"),
        ({"TargetBy": "TaskArns", "TaskArns": [task + "0"], "Selection": "ALL"}, "0 sidecars"),
        ({"DocumentName": "No-Such-Document"}, "No-Such-Document"),
    ]:
        failed = ended(begin(**changes))
        assert failed["status"] == "failed" and why in failed["reason"], failed
        assert failed["error"]["location"] == "actions.stress-half"
