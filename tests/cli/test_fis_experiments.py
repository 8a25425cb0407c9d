"""Experiments against real sidecars: each selection, each way to end, with the unmodified clients."""

import json
import re
import uuid

import botocore.config
import pytest
from conftest import ACCOUNT, REGION, Server, Sidecar, eventually, keeps_the_model, post, ssm_client
from test_fis_api import ROLE, STRESS, TASKS, WAIT, refused

pytestmark = pytest.mark.sidecar

# PT5M is ten seconds.
SPEED = "30"


def client(session, url, service):
    config = botocore.config.Config(retries={"max_attempts": 0})
    made = session.client(service, endpoint_url=url, config=config)
    made.meta.events.register(f"before-parse.{service}.*", keeps_the_model)
    return made


class Stage:
    """A local AWS of its own with short experiments, and sidecars in it."""

    def __init__(self, folder, session, binary, *options):
        self.folder, self.session, self.binary, self.options = folder, session, binary, options
        self.sidecars = []
        self.server = Server(folder, "127.0.0.1:0", "--speed", SPEED, *options)
        self.connect()

    def connect(self):
        self.url = self.server.url
        self.ssm = ssm_client(self.session, self.url)
        self.fis = client(self.session, self.url, "fis")
        self.logs = self.session.client("logs", endpoint_url=self.url)
        self.cloudwatch = self.session.client("cloudwatch", endpoint_url=self.url)

    def add(self, count=1, **variables):
        """Starts sidecars, each in a task of cluster demo and service web."""
        for _ in range(count):
            folder = self.folder / f"task{len(self.sidecars)}"
            folder.mkdir()
            self.sidecars.append(Sidecar(self.binary, self.url, self.ssm, folder, **variables))
        return self.sidecars[-1]

    def create(self, selection="ALL", action=STRESS, **more):
        target = TASKS | {"selectionMode": selection, "parameters": {"cluster": "demo", "service": "web"}}
        made = self.fis.create_experiment_template(
            **{
                "description": "a test",
                "roleArn": ROLE,
                "stopConditions": [{"source": "none"}],
                "targets": {"tasks": target},
                "actions": {"act": action},
            }
            | more
        )
        return made["experimentTemplate"]["id"]

    def start(self, template, **more):
        return self.fis.start_experiment(experimentTemplateId=template, **more)["experiment"]["id"]

    def get(self, experiment):
        return self.fis.get_experiment(id=experiment)["experiment"]

    def ended(self, experiment, seconds=120):
        """The experiment, once it is over."""

        def over():
            found = self.get(experiment)
            return found if found["state"]["status"] in ("completed", "stopped", "failed") else None

        return eventually(over, f"experiment {experiment} ends", seconds)

    def running(self, experiment, count=1):
        """The invocations of its commands, once their agents have taken all of them."""

        def taken():
            found = self.invocations(experiment)
            return found if len(found) == count and all(one["Status"] == "InProgress" for one in found) else None

        return eventually(taken, f"{count} command(s) of {experiment} run")

    def invocations(self, experiment):
        listed = self.ssm.list_command_invocations()["CommandInvocations"]
        return [one for one in listed if experiment in one.get("Comment", "")]

    def said(self, *words):
        # Long notes are broken into lines; each line begins with three columns.
        lines = (self.folder / "server.log").read_text().splitlines()
        text = " ".join(re.sub(r"^\S+  \S+\s+.{46}\s*", "", line) for line in lines)
        return all(word in text for word in words)

    def close(self):
        for sidecar in self.sidecars:
            sidecar.close()
        self.server.close()


@pytest.fixture
def stage(tmp_path, session, sidecar_binary):
    made = Stage(tmp_path, session, sidecar_binary)
    yield made
    made.close()


def statuses(experiment):
    return {name: action["state"]["status"] for name, action in experiment["actions"].items()}


def test_the_two_published_experiments(stage):
    stage.add(3)
    group = "fis"
    stage.logs.create_log_group(logGroupName=group)
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:*"
    log = {"logSchemaVersion": 2, "cloudWatchLogsConfiguration": {"logGroupArn": arn}}
    experiment = stage.start(stage.create("PERCENT(66)", logConfiguration=log))
    ended = stage.ended(experiment)
    assert ended["state"] == {"status": "completed", "reason": "Experiment completed."}
    assert statuses(ended) == {"act": "completed"}
    lasted = ended["actions"]["act"]["endTime"] - ended["actions"]["act"]["startTime"]
    assert lasted.total_seconds() >= 10
    (only,) = stage.invocations(experiment)
    assert only["DocumentName"] == "AWSFIS-Run-CPU-Stress"
    assert only["Status"] in ("Success", "Cancelled")
    (chosen,) = stage.fis.list_experiment_resolved_targets(experimentId=experiment)["resolvedTargets"]
    assert chosen["targetInformation"]["arn"] in [sidecar.task_arn for sidecar in stage.sidecars]
    assert stage.said("rounds down: 1")
    events = stage.logs.get_log_events(logGroupName=group, logStreamName=f"/aws/fis/{experiment}", startFromHead=True)
    kinds = [json.loads(event["message"])["log_type"] for event in events["events"]]
    assert kinds == [
        "experiment-start", "target-resolution-start", "target-resolution-detail", "target-resolution-end",
        "action-start", "action-end", "experiment-end",
    ]  # fmt: skip

    kill = {"actionId": "aws:ecs:task-kill-process", "parameters": {"processName": f"no-{uuid.uuid4().hex[:8]}"}}
    experiment = stage.start(stage.create("COUNT(1)", kill | {"targets": {"Tasks": "tasks"}}))
    ended = stage.ended(experiment)
    # There is no such process, which fails the command, the action and the experiment.
    assert ended["state"]["status"] == "failed"
    assert ended["state"]["error"]["location"] == "actions.act"
    assert stage.invocations(experiment)[0]["DocumentName"] == "AWSFIS-Run-Kill-Process"
    assert stage.said("list-command-invocations")


@pytest.mark.parametrize(
    ("selection", "count"), [("ALL", 3), ("COUNT(2)", 2), ("COUNT(9)", 3), ("PERCENT(67)", 2), ("PERCENT(100)", 3)]
)
def test_selections(stage, selection, count):
    stage.add(3)
    experiment = stage.start(stage.create(selection))
    stage.running(experiment, count)
    found = stage.fis.list_experiment_resolved_targets(experimentId=experiment, targetName="tasks", maxResults=1)
    assert len(found["resolvedTargets"]) == 1 and ("nextToken" in found) == (count > 1)
    stage.fis.stop_experiment(id=experiment)
    ended = stage.ended(experiment)
    assert ended["state"]["status"] == "stopped"
    assert statuses(ended) == {"act": "stopped"}
    assert {one["Status"] for one in stage.invocations(experiment)} == {"Cancelled"}
    code, status, message = refused(stage.fis.stop_experiment, id=experiment)
    assert (code, status) == ("ValidationException", 400) and "stopped already" in message


def test_an_empty_target_fails_or_skips(stage):
    for mode, status, action in (("fail", "failed", "cancelled"), ("skip", "completed", "skipped")):
        template = stage.create(experimentOptions={"emptyTargetResolutionMode": mode})
        ended = stage.ended(stage.start(template))
        assert (ended["state"]["status"], statuses(ended)) == (status, {"act": action})


def test_a_rehearsal_and_tags(stage):
    stage.add()
    experiment = stage.start(stage.create(), experimentOptions={"actionsMode": "skip-all"}, tags={"a": "b"})
    ended = stage.ended(experiment)
    assert statuses(ended) == {"act": "skipped"}
    assert ended["tags"] == {"a": "b"} and ended["experimentOptions"]["actionsMode"] == "skip-all"
    assert stage.invocations(experiment) == []
    assert [one["id"] for one in stage.fis.list_experiments()["experiments"]] == [experiment]


def test_an_alarm_stops_the_experiment(stage):
    stage.add()
    name = "an alarm with blanks"
    stage.cloudwatch.put_metric_alarm(
        AlarmName=name, Namespace="N", MetricName="M", Statistic="Sum", Period=3600, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanThreshold", TreatMissingData="ignore",
    )  # fmt: skip
    arn = stage.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["AlarmArn"]
    template = stage.create(stopConditions=[{"source": "aws:cloudwatch:alarm", "value": arn}])
    experiment = stage.start(template)
    stage.running(experiment)
    stage.cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    ended = stage.ended(experiment)
    assert ended["state"] == {"status": "stopped", "reason": "Experiment halted by stop condition."}
    assert statuses(ended) == {"act": "stopped"}
    assert stage.invocations(experiment)[0]["Status"] == "Cancelled"
    assert stage.said("it stops nothing"), "an alarm that looks at an hour is too slow for this experiment"
    stage.cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="still")
    second = stage.ended(stage.start(template))
    assert second["state"]["status"] == "stopped" and statuses(second) == {"act": "cancelled"}


def test_the_death_of_the_sidecar_in_the_middle(stage):
    sidecar = stage.add()
    experiment = stage.start(stage.create())
    stage.running(experiment)
    assert sidecar.terminate() == 0
    ended = stage.ended(experiment)
    assert ended["state"]["status"] == "failed"
    assert ended["actions"]["act"]["state"]["status"] == "failed"


def test_two_experiments_at_once_on_one_task(stage):
    stage.add()
    hole = {
        "actionId": "aws:ecs:task-io-stress",
        "parameters": {"duration": "PT5M", "percent": "1"},
        "targets": {"Tasks": "tasks"},
    }
    one, two = stage.start(stage.create()), stage.start(stage.create("ALL", hole))
    assert stage.ended(one)["state"]["status"] == "completed"
    assert stage.ended(two)["state"]["status"] == "completed"


def test_actions_one_after_the_other(stage):
    stage.add()
    actions = {"first": WAIT, "second": STRESS | {"startAfter": ["first"]}, "third": WAIT | {"startAfter": ["second"]}}
    ended = stage.ended(stage.start(stage.create(actions=actions)))
    assert set(statuses(ended).values()) == {"completed"}
    run = ended["actions"]
    assert run["first"]["endTime"] <= run["second"]["startTime"]
    assert run["second"]["endTime"] <= run["third"]["startTime"]


def test_a_document_of_the_user_and_an_alarm(stage):
    """Actions as published for instances of EC2, for which managed instances stand here."""
    sidecar = stage.add()
    stage.cloudwatch.put_metric_alarm(
        AlarmName="quiet", Namespace="N", MetricName="M", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    target = {
        "resourceType": "aws:ec2:instance", "resourceTags": {"FAULT_INJECTION_SIDECAR": "true"},
        "filters": [{"path": "State.Name", "values": ["running"]}], "selectionMode": "ALL",
    }  # fmt: skip
    send = {
        "actionId": "aws:ssm:send-command", "targets": {"Instances": "instances"},
        "parameters": {
            "documentArn": f"arn:aws:ssm:{REGION}::document/AWSFIS-Run-CPU-Stress", "duration": "PT1M",
            "documentParameters": '{"DurationSeconds":"1","LoadPercent":["10"]}',
        },
    }  # fmt: skip

    def check(states):
        alarm = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:quiet"
        parameters = {"alarmArns": alarm, "alarmStates": states}
        return {"actionId": "aws:cloudwatch:assert-alarm-state", "parameters": parameters, "startAfter": ["send"]}

    def run(states):
        actions = {"send": send, "check": check(states)}
        experiment = stage.start(stage.create(targets={"instances": target}, actions=actions))
        return experiment, stage.ended(experiment)

    experiment, ended = run("OK,INSUFFICIENT_DATA")
    assert statuses(ended) == {"send": "completed", "check": "completed"}
    (only,) = stage.invocations(experiment)
    assert only["InstanceId"] == sidecar.instance_id and only["Status"] in ("Success", "Cancelled")
    _, ended = run("ALARM")
    assert statuses(ended) == {"send": "completed", "check": "failed"}
    assert "quiet is in the state" in ended["state"]["reason"]


def test_twenty_tasks_and_the_quota(stage):
    stage.add(20)
    load = {"parameters": {"duration": "PT5M", "percent": "1", "workers": "1"}}
    template = stage.create("ALL", STRESS | load)
    ended = stage.ended(stage.start(template))
    assert ended["state"]["error"]["code"] == "QuotaExceededFailure"
    post(f"{stage.url}/_taskfault/switches", {"fis_targets_per_action": 0})
    experiment = stage.start(template)
    ended = stage.ended(experiment, seconds=240)
    assert ended["state"]["status"] == "completed", ended["state"]
    assert len(stage.invocations(experiment)) == 20


def test_a_restart_in_the_middle(tmp_path, session, sidecar_binary):
    state = str(tmp_path / "state.json")
    stage = Stage(tmp_path, session, sidecar_binary, "--state", state)
    try:
        stage.add()
        long = STRESS | {"parameters": {"duration": "PT12H", "percent": "1"}}
        experiment = stage.start(stage.create("ALL", long))
        stage.running(experiment)
        address = stage.url.removeprefix("http://")
        assert stage.server.close() == 0
        stage.server = Server(tmp_path, address, "--speed", SPEED, "--state", state)
        stage.connect()
        ended = stage.ended(experiment)
        assert ended["state"]["status"] == "failed" and "restarted" in ended["state"]["reason"]
        assert stage.invocations(experiment)[0]["Status"] == "Cancelled"
        assert stage.said("the time it was away is lost")
    finally:
        stage.close()


def test_the_safety_lever(stage):
    stage.add()
    template = stage.create()
    experiment = stage.start(template)
    stage.running(experiment)
    engaged = {"status": "engaged", "reason": "an incident"}
    stage.fis.update_safety_lever_state(id="default", state=engaged)
    assert stage.ended(experiment)["state"]["status"] == "stopped"
    assert refused(stage.fis.start_experiment, experimentTemplateId=template)[:2] == ("ConflictException", 409)
    assert stage.fis.get_safety_lever(id="default")["safetyLever"]["state"] == engaged
