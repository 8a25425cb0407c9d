"""The AWS CLI and boto3 drive a real sidecar."""

import json
import re
import signal
import uuid

import pytest
from conftest import REGION, eventually

pytestmark = pytest.mark.sidecar

STRESS = "AWSFIS-Run-CPU-Stress"
SCRIPT = "AWS-RunShellScript"


def statuses(invocation):
    """The status of each step of an entry of ListCommandInvocations."""
    return {plugin["Name"]: plugin["Status"] for plugin in invocation["CommandPlugins"]}


def seconds(iso):
    """`PT1M4.5S` in seconds."""
    hours, minutes, rest = re.fullmatch(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?", iso).groups("0")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def still_well(sidecar):
    """It is online and does what it is told."""
    command = sidecar.send(SCRIPT, {"commands": ["echo well"]})
    assert sidecar.finished(command)["Status"] == "Success"
    assert sidecar.invocation(command)["StandardOutputContent"] == "well\n"
    assert sidecar.information()["PingStatus"] == "Online"


def test_it_is_a_managed_instance_with_the_tags_of_its_task(aws, sidecar):
    found = aws(
        "ssm", "describe-instance-information", "--filters", f"Key=tag:ECS_TASK_ARN,Values={sidecar.task_arn}"
    )
    (instance,) = found["InstanceInformationList"]
    assert re.fullmatch(r"mi-[0-9a-f]{17}", instance["InstanceId"])
    assert instance["PingStatus"] == "Online"
    assert instance["PlatformType"] == "Linux"
    assert instance["ResourceType"] == "ManagedInstance"
    assert instance["AgentVersion"].startswith("3.3.")
    assert instance["IamRole"] == "local"
    tags = aws(
        "ssm", "list-tags-for-resource", "--resource-type", "ManagedInstance",
        "--resource-id", instance["InstanceId"],
    )["TagList"]  # fmt: skip
    tags = {tag["Key"]: tag["Value"] for tag in tags}
    assert tags.keys() == {"ECS_TASK_ARN", "ECS_TASK_AVAILABILITY_ZONE", "FAULT_INJECTION_SIDECAR"}
    assert tags["ECS_TASK_ARN"] == sidecar.task_arn
    assert tags["FAULT_INJECTION_SIDECAR"] == "true"


@pytest.mark.parametrize("prefix", ["", f"arn:aws:ssm:{REGION}::document/"], ids=["name", "arn"])
def test_cpu_stress_through_the_cli(aws, sidecar, prefix):
    sent = aws(
        "ssm", "send-command", "--document-name", prefix + STRESS,
        "--targets", f"Key=tag:ECS_TASK_ARN,Values={sidecar.task_arn}",
        "--parameters", "DurationSeconds=2,LoadPercent=60,CPU=1",
    )["Command"]  # fmt: skip
    assert sidecar.finished(sent["CommandId"])["Status"] == "Success"
    (invocation,) = aws(
        "ssm", "list-command-invocations", "--command-id", sent["CommandId"], "--details"
    )["CommandInvocations"]  # fmt: skip
    assert statuses(invocation) == {"InstallDependencies": "Success", "FaultInjection": "Success"}
    assert all(len(plugin["Output"]) <= 2500 for plugin in invocation["CommandPlugins"])
    got = aws(
        "ssm", "get-command-invocation", "--command-id", sent["CommandId"],
        "--instance-id", sidecar.instance_id, "--plugin-name", "FaultInjection",
    )  # fmt: skip
    assert got["ResponseCode"] == 0
    # A stress that ends before its duration is a failure (the published document checks it too).
    assert seconds(got["ExecutionElapsedTime"]) >= 2
    assert "60" in got["StandardOutputContent"]
    assert got["StandardErrorContent"] == ""
    (command,) = aws("ssm", "list-commands", "--command-id", sent["CommandId"])["Commands"]
    assert (command["Status"], command["CompletedCount"], command["ErrorCount"]) == ("Success", 1, 0)


def test_the_waiter_of_boto3_sees_the_end(ssm, sidecar):
    command = sidecar.send(STRESS, {"DurationSeconds": ["1"], "LoadPercent": ["10"], "CPU": ["1"]})
    waiter = ssm.get_waiter("command_executed")
    waiter.wait(
        CommandId=command,
        InstanceId=sidecar.instance_id,
        PluginName="FaultInjection",
        WaiterConfig={"Delay": 1, "MaxAttempts": 30},
    )
    assert sidecar.finished(command)["Status"] == "Success"


def test_a_running_stress_is_cancelled_through_the_cli(aws, sidecar):
    command = sidecar.send(STRESS, {"DurationSeconds": ["3600"], "LoadPercent": ["10"], "CPU": ["1"]})
    sidecar.running(command)
    aws("ssm", "cancel-command", "--command-id", command)
    ended = sidecar.finished(command, seconds=20)
    assert ended["Status"] == "Cancelled"
    assert statuses(ended)["FaultInjection"] == "Cancelled"
    (listed,) = aws("ssm", "list-commands", "--command-id", command)["Commands"]
    assert listed["Status"] == "Cancelled"
    still_well(sidecar)


def test_a_cancel_of_a_finished_command_changes_nothing(ssm, sidecar):
    command = sidecar.send(SCRIPT, {"commands": ["true"]})
    assert sidecar.finished(command)["Status"] == "Success"
    ssm.cancel_command(CommandId=command)
    assert sidecar.finished(command)["Status"] == "Success"
    still_well(sidecar)


def test_a_queued_command_is_cancelled(ssm, sidecar):
    running = [sidecar.send(SCRIPT, {"commands": ["sleep 600"]}) for _ in range(5)]
    for command in running:
        sidecar.running(command)
    queued = sidecar.send(SCRIPT, {"commands": ["echo never"]})
    ssm.cancel_command(CommandId=queued)
    for command in running:
        ssm.cancel_command(CommandId=command)
    for command in [*running, queued]:
        assert sidecar.finished(command)["Status"] == "Cancelled"
    assert sidecar.invocation(queued)["StandardOutputContent"] == ""
    still_well(sidecar)


def test_a_shell_script_through_the_cli(aws, sidecar):
    sent = aws(
        "ssm", "send-command", "--document-name", SCRIPT, "--instance-ids", sidecar.instance_id,
        "--parameters", json.dumps({"commands": ["echo out; echo err >&2", "exit 3"], "workingDirectory": ["/"]}),
    )["Command"]  # fmt: skip
    assert sidecar.finished(sent["CommandId"])["Status"] == "Failed"
    got = aws(
        "ssm", "get-command-invocation", "--command-id", sent["CommandId"], "--instance-id", sidecar.instance_id
    )
    assert got["Status"] == "Failed"
    assert got["ResponseCode"] == 3
    assert got["StandardOutputContent"] == "out\n"
    assert got["StandardErrorContent"].startswith("err\n")


def test_output_is_cut_at_every_limit(sidecar):
    lines = ["yes o | head -c 60000", "yes e | head -c 60000 >&2"]
    command = sidecar.send(SCRIPT, {"commands": lines})
    listed = sidecar.finished(command)
    assert listed["Status"] == "Success"
    got = sidecar.invocation(command)
    assert got["StandardOutputContent"].startswith("o\no\n")
    assert got["StandardErrorContent"].startswith("e\ne\n")
    assert 20_000 < len(got["StandardOutputContent"]) <= 24_000
    assert 7_000 < len(got["StandardErrorContent"]) <= 8_000
    assert len(listed["CommandPlugins"][0]["Output"]) <= 2_500


def test_output_that_is_not_text_does_not_get_lost(sidecar):
    command = sidecar.send(SCRIPT, {"commands": [r"printf 'a\377\200b\n'"]})
    assert sidecar.finished(command)["Status"] == "Success"
    assert re.fullmatch("a\ufffd+b\n", sidecar.invocation(command)["StandardOutputContent"])


# The service only wants digits; the range is the agent's to check (the published document's script does).
@pytest.mark.parametrize("duration", ["0", "43201"])
def test_a_duration_out_of_range_fails_clearly_and_starts_nothing(sidecar, duration):
    command = sidecar.send(STRESS, {"DurationSeconds": [duration]})
    assert sidecar.finished(command)["Status"] == "Failed"
    got = sidecar.invocation(command, "FaultInjection")
    assert "DurationSeconds" in got["StandardErrorContent"]
    assert duration in got["StandardErrorContent"]
    still_well(sidecar)


def test_an_unknown_plugin_fails_in_words(ssm, sidecar):
    name = f"test-{uuid.uuid4().hex}"
    content = {"schemaVersion": "2.2", "mainSteps": [{"name": "one", "action": "aws:nothing", "inputs": {}}]}
    ssm.create_document(Name=name, Content=json.dumps(content))
    try:
        command = sidecar.send(name, {})
        ended = sidecar.finished(command)
        assert ended["Status"] == "Failed"
        assert "aws:nothing is not supported" in ended["CommandPlugins"][0]["Output"]
        still_well(sidecar)
    finally:
        ssm.delete_document(Name=name)


def test_a_document_of_several_steps_reports_each(ssm, sidecar):
    name = f"test-{uuid.uuid4().hex}"
    step = lambda name, line: {"name": name, "action": "aws:runShellScript", "inputs": {"runCommand": [line]}}
    steps = [step("first", "echo {{ Word }}"), step("second", "exit 7"), step("third", "echo last")]
    content = {
        "schemaVersion": "2.2",
        "parameters": {"Word": {"type": "String", "default": "default", "allowedPattern": "^[a-z]+$"}},
        "mainSteps": steps,
    }
    ssm.create_document(Name=name, Content=json.dumps(content))
    try:
        command = sidecar.send(name, {"Word": ["sent"]})
        ended = sidecar.finished(command)
        assert ended["Status"] == "Failed"
        assert statuses(ended) == {"first": "Success", "second": "Failed", "third": "Success"}
        assert sidecar.invocation(command, "first")["StandardOutputContent"] == "sent\n"
        assert sidecar.invocation(command, "second")["ResponseCode"] == 7
        default = sidecar.send(name, {})
        sidecar.finished(default)
        assert sidecar.invocation(default, "first")["StandardOutputContent"] == "default\n"
    finally:
        ssm.delete_document(Name=name)


def test_a_hundred_commands_at_once_all_run(sidecar, switches):
    switches(redelivery_seconds=1)
    commands = [sidecar.send(SCRIPT, {"commands": [f"echo {number}"]}) for number in range(100)]
    for number, command in enumerate(commands):
        assert sidecar.finished(command, seconds=120)["Status"] == "Success"
        assert sidecar.invocation(command)["StandardOutputContent"] == f"{number}\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_stop_in_the_middle_of_a_stress_leaves_nothing(ssm, sidecar, signum):
    activation = sidecar.information()["ActivationId"]
    command = sidecar.send(STRESS, {"DurationSeconds": ["3600"], "LoadPercent": ["10"], "CPU": ["1"]})
    sidecar.running(command)
    sidecar.process.send_signal(signum)
    assert sidecar.process.wait(timeout=30) == 0
    assert sidecar.information() is None
    filters = [{"FilterKey": "ActivationIds", "FilterValues": [activation]}]
    assert ssm.describe_activations(Filters=filters)["ActivationList"] == []
    # The command was answered before the instance went away.
    assert sidecar.finished(command, seconds=5)["Status"] in ("Cancelled", "Failed")


def test_a_stop_over_the_long_poll_leaves_nothing(start_sidecar, switches):
    switches(channel="denied", poll_seconds=1)
    sidecar = start_sidecar()
    command = sidecar.send(STRESS, {"DurationSeconds": ["3600"], "LoadPercent": ["10"], "CPU": ["1"]})
    eventually(
        lambda: sidecar.invocation(command, "InstallDependencies")["Status"] == "Success", "the first step is done"
    )
    assert sidecar.terminate() == 0
    assert sidecar.information() is None
    assert sidecar.finished(command, seconds=5)["Status"] == "Cancelled"
