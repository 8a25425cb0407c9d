"""Commands to instances that never answer: what the service alone decides."""

import datetime

import botocore.exceptions
import pytest
from conftest import REGION

STRESS = "AWSFIS-Run-CPU-Stress"


def code(refused):
    return refused.value.response["Error"]["Code"]


def test_an_undelivered_command_through_the_cli(aws, silent_instance):
    sent = aws(
        "ssm", "send-command", "--document-name", STRESS, "--instance-ids", silent_instance,
        "--parameters", "DurationSeconds=20,LoadPercent=60,CPU=1", "--comment", "half a minute of work",
    )["Command"]  # fmt: skip
    assert sent["Status"] == sent["StatusDetails"] == "Pending"
    assert sent["TargetCount"] == 1
    assert sent["Parameters"] == {"DurationSeconds": ["20"], "LoadPercent": ["60"], "CPU": ["1"]}
    assert sent["MaxConcurrency"] == "50"
    assert sent["MaxErrors"] == "0"

    (listed,) = aws("ssm", "list-commands", "--command-id", sent["CommandId"])["Commands"]
    assert listed["Comment"] == "half a minute of work"
    (invocation,) = aws(
        "ssm", "list-command-invocations", "--command-id", sent["CommandId"], "--details"
    )["CommandInvocations"]  # fmt: skip
    assert invocation["InstanceId"] == silent_instance
    assert invocation["Status"] == "Pending"
    got = aws(
        "ssm", "get-command-invocation", "--command-id", sent["CommandId"], "--instance-id", silent_instance,
        "--plugin-name", "FaultInjection",
    )  # fmt: skip
    assert (got["Status"], got["ResponseCode"], got["ExecutionStartDateTime"]) == ("Pending", -1, "")

    assert aws("ssm", "cancel-command", "--command-id", sent["CommandId"]) is None
    (cancelled,) = aws("ssm", "list-commands", "--command-id", sent["CommandId"])["Commands"]
    assert cancelled["Status"] == "Cancelled"
    assert cancelled["CompletedCount"] == 1


def test_several_steps_are_answered_as_a_whole_where_none_is_named(aws, ssm, silent_instance):
    """As the waiters of the AWS CLI and the SDKs ask."""
    sent = ssm.send_command(
        DocumentName=STRESS, InstanceIds=[silent_instance], Parameters={"DurationSeconds": ["20"]}
    )
    arguments = ["--command-id", sent["Command"]["CommandId"], "--instance-id", silent_instance]
    whole = aws("ssm", "get-command-invocation", *arguments)
    assert (whole["Status"], whole["PluginName"], whole["StandardOutputContent"]) == ("Pending", "", "")
    refused = aws.refused("ssm", "get-command-invocation", *arguments, "--plugin-name", "NoSuchStep")
    assert "(InvalidPluginName)" in refused and "InstallDependencies, FaultInjection" in refused
    named = aws("ssm", "get-command-invocation", *arguments, "--plugin-name", "InstallDependencies")
    assert named["PluginName"] == "InstallDependencies"
    ssm.cancel_command(CommandId=sent["Command"]["CommandId"])


def test_the_only_step_need_not_be_named(ssm, silent_instance):
    sent = ssm.send_command(
        DocumentName="AWS-RunShellScript", InstanceIds=[silent_instance], Parameters={"commands": ["true"]}
    )
    got = ssm.get_command_invocation(CommandId=sent["Command"]["CommandId"], InstanceId=silent_instance)
    assert got["PluginName"] == "aws:runShellScript"
    ssm.cancel_command(CommandId=sent["Command"]["CommandId"], InstanceIds=[silent_instance])


def test_targets_are_found_by_tag(ssm, silent_instance):
    (tag,) = ssm.list_tags_for_resource(ResourceType="ManagedInstance", ResourceId=silent_instance)["TagList"]
    found = ssm.send_command(
        DocumentName=f"arn:aws:ssm:{REGION}::document/{STRESS}",
        Targets=[{"Key": "tag:ECS_TASK_ARN", "Values": [tag["Value"]]}],
        Parameters={"DurationSeconds": ["20"]},
    )["Command"]
    assert found["TargetCount"] == 1
    listed = ssm.list_command_invocations(CommandId=found["CommandId"])["CommandInvocations"]
    assert [invocation["InstanceId"] for invocation in listed] == [silent_instance]
    ssm.cancel_command(CommandId=found["CommandId"])
    no_target = ssm.send_command(
        DocumentName=STRESS,
        Targets=[{"Key": "tag:ECS_TASK_ARN", "Values": ["no_target"]}],
        Parameters={"DurationSeconds": ["20"]},
    )["Command"]
    assert (no_target["TargetCount"], no_target["StatusDetails"]) == (0, "NoInstancesInTag")


GOOD = {"DurationSeconds": ["20"]}
BAD_COMMANDS = [
    ({"Parameters": {"DurationSeconds": ["20"], "LoadPercent": ["101"]}}, "InvalidParameters", "LoadPercent"),
    ({"Parameters": {"DurationSeconds": ["5m"]}}, "InvalidParameters", "DurationSeconds"),
    ({"Parameters": {"DurationSeconds": ["20"], "Colour": ["red"]}}, "InvalidParameters", "Colour"),
    ({"Parameters": {}}, "InvalidParameters", "DurationSeconds"),
    ({"Parameters": {"DurationSeconds": ["20", "30"]}}, "InvalidParameters", "exactly one"),
    ({"Parameters": {"DurationSeconds": ["20"], "InstallDependencies": ["true"]}}, "InvalidParameters", "[True, False]"),
    ({"Parameters": {"DurationSeconds": ["9" * 10_000_000]}}, None, ""),
    ({"DocumentName": "No-Such-Document"}, "InvalidDocument", "No-Such-Document"),
    ({"DocumentName": ""}, "ValidationException", "documentName"),
    ({"DocumentVersion": "9"}, "InvalidDocumentVersion", "9"),
    ({"InstanceIds": ["mi-11111111111111111"]}, "InvalidInstanceId", "mi-11111111111111111"),
    ({"InstanceIds": ["nonsense"]}, "ValidationException", "instanceIds"),
    ({"InstanceIds": []}, "ValidationException", "InstanceIds or Targets"),
    ({"TimeoutSeconds": 29}, "ValidationException", "timeoutSeconds"),
    ({"TimeoutSeconds": 2_592_001}, "ValidationException", "timeoutSeconds"),
    ({"Comment": "c" * 101}, "ValidationException", "less than or equal to 100"),
    ({"MaxConcurrency": "none"}, "ValidationException", "maxConcurrency"),
    ({"MaxErrors": "200%"}, "ValidationException", "maxErrors"),
]


@pytest.mark.parametrize(("change", "expected", "says"), BAD_COMMANDS, ids=range(len(BAD_COMMANDS)))
def test_bad_commands_are_refused_and_leave_nothing(ssm, silent_instance, change, expected, says):
    request = {"DocumentName": STRESS, "InstanceIds": [silent_instance], "Parameters": GOOD, **change}
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        ssm.send_command(**request)
    if expected:
        assert code(refused) == expected
    assert says in str(refused.value)
    assert ssm.list_commands(InstanceId=silent_instance)["Commands"] == []


def test_an_instance_given_twice_is_refused(ssm, silent_instance):
    with pytest.raises(ssm.exceptions.DuplicateInstanceId):
        ssm.send_command(DocumentName=STRESS, InstanceIds=[silent_instance] * 2, Parameters=GOOD)


def test_a_cancel_for_another_command_is_refused(aws, ssm, silent_instance):
    sent = ssm.send_command(DocumentName=STRESS, InstanceIds=[silent_instance], Parameters=GOOD)["Command"]
    for arguments, expected in (
        (["--command-id", "11111111-1111-4111-8111-111111111111"], "(InvalidCommandId)"),
        (["--command-id", sent["CommandId"], "--instance-ids", "mi-11111111111111111"], "(InvalidInstanceId)"),
        (["--command-id", "x" * 36], "(InvalidCommandId)"),
    ):
        assert expected in aws.refused("ssm", "cancel-command", *arguments)
    (listed,) = ssm.list_commands(CommandId=sent["CommandId"])["Commands"]
    assert listed["Status"] == "Pending"
    ssm.cancel_command(CommandId=sent["CommandId"])


def test_an_invocation_that_is_not_there(aws, silent_instance):
    refused = aws.refused(
        "ssm", "get-command-invocation", "--command-id", "11111111-1111-4111-8111-111111111111",
        "--instance-id", silent_instance,
    )  # fmt: skip
    assert "(InvocationDoesNotExist)" in refused


def test_commands_are_filtered_and_paged(aws, ssm, silent_instance):
    sent = [
        ssm.send_command(DocumentName=STRESS, InstanceIds=[silent_instance], Parameters=GOOD)["Command"]
        for _ in range(3)
    ]
    ids = [command["CommandId"] for command in sent]
    ssm.cancel_command(CommandId=ids[1])
    pages = ssm.get_paginator("list_commands").paginate(
        InstanceId=silent_instance, PaginationConfig={"PageSize": 2}
    )
    assert [command["CommandId"] for page in pages for command in page["Commands"]] == ids[::-1]
    cancelled = aws(
        "ssm", "list-commands", "--instance-id", silent_instance, "--filters", "key=Status,value=Cancelled"
    )
    assert [command["CommandId"] for command in cancelled["Commands"]] == [ids[1]]
    later = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).isoformat()
    none = aws(
        "ssm", "list-commands", "--instance-id", silent_instance, "--filters", f"key=InvokedAfter,value={later}"
    )
    assert none["Commands"] == []
    for id in ids:
        ssm.cancel_command(CommandId=id)


def test_an_instance_that_goes_away_can_no_longer_be_commanded(ssm, silent_instance):
    ssm.deregister_managed_instance(InstanceId=silent_instance)
    with pytest.raises(ssm.exceptions.InvalidInstanceId):
        ssm.send_command(DocumentName=STRESS, InstanceIds=[silent_instance], Parameters=GOOD)
