"""Activations, managed instances and their tags, without an agent."""

import datetime

import botocore.exceptions
import pytest


def code(refused):
    return refused.value.response["Error"]["Code"]


def test_an_activation_through_the_cli(aws):
    made = aws(
        "ssm", "create-activation", "--iam-role", "local", "--registration-limit", "2",
        "--default-instance-name", "a name", "--tags", "Key=FAULT_INJECTION_SIDECAR,Value=true",
    )  # fmt: skip
    listed = aws(
        "ssm", "describe-activations",
        "--filters", f"FilterKey=ActivationIds,FilterValues={made['ActivationId']}",
    )  # fmt: skip
    (activation,) = listed["ActivationList"]
    assert activation["RegistrationLimit"] == 2
    assert activation["RegistrationsCount"] == 0
    assert activation["Expired"] is False
    assert activation["DefaultInstanceName"] == "a name"
    assert activation["Tags"] == [{"Key": "FAULT_INJECTION_SIDECAR", "Value": "true"}]
    assert aws("ssm", "delete-activation", "--activation-id", made["ActivationId"]) is None
    again = aws.refused("ssm", "delete-activation", "--activation-id", made["ActivationId"])
    assert "(InvalidActivation)" in again


def test_an_activation_lives_a_day_unless_told_otherwise(ssm):
    now = datetime.datetime.now(datetime.timezone.utc)
    made = [
        ssm.create_activation(IamRole="local")["ActivationId"],
        ssm.create_activation(IamRole="local", ExpirationDate=now + datetime.timedelta(minutes=10))["ActivationId"],
    ]
    filters = [{"FilterKey": "ActivationIds", "FilterValues": made}]
    listed = {item["ActivationId"]: item for item in ssm.describe_activations(Filters=filters)["ActivationList"]}
    lives = [listed[id]["ExpirationDate"] - listed[id]["CreatedDate"] for id in made]
    assert lives[0] == datetime.timedelta(days=1)
    assert lives[1] <= datetime.timedelta(minutes=10)
    for id in made:
        ssm.delete_activation(ActivationId=id)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, "ValidationException"),
        ({"IamRole": "r" * 65}, "ValidationException"),
        ({"IamRole": "r", "RegistrationLimit": 1001}, "ValidationException"),
        ({"IamRole": "r", "Description": "d" * 257}, "ValidationException"),
        ({"IamRole": "r", "Tags": [{"Key": "#", "Value": ""}]}, "ValidationException"),
        ({"IamRole": "r", "ExpirationDate": datetime.datetime(2020, 1, 1)}, "InvalidParameters"),
    ],
)
def test_bad_activations_are_refused(ssm, members, expected):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        ssm.create_activation(**members)
    assert code(refused) == expected


def test_an_instance_has_the_tags_of_its_activation(aws, ssm, silent_instance):
    arguments = ["--resource-type", "ManagedInstance", "--resource-id", silent_instance]
    (tag,) = aws("ssm", "list-tags-for-resource", *arguments)["TagList"]
    assert tag["Key"] == "ECS_TASK_ARN"
    aws("ssm", "add-tags-to-resource", *arguments, "--tags", "Key=Team,Value=web")
    aws("ssm", "remove-tags-from-resource", *arguments, "--tag-keys", "ECS_TASK_ARN")
    listed = ssm.list_tags_for_resource(ResourceType="ManagedInstance", ResourceId=silent_instance)
    assert listed["TagList"] == [{"Key": "Team", "Value": "web"}]
    found = aws("ssm", "describe-instance-information", "--filters", f"Key=InstanceIds,Values={silent_instance}")
    (instance,) = found["InstanceInformationList"]
    assert instance["PingStatus"] == "Inactive"
    assert instance["ResourceType"] == "ManagedInstance"
    assert instance["IamRole"] == "local"


def test_an_instance_is_found_by_either_filter_form_and_by_tag(aws, silent_instance):
    for filters in (
        ["--filters", f"Key=InstanceIds,Values={silent_instance}"],
        ["--instance-information-filter-list", f"key=InstanceIds,valueSet={silent_instance}"],
    ):
        found = aws("ssm", "describe-instance-information", *filters)["InstanceInformationList"]
        assert [instance["InstanceId"] for instance in found] == [silent_instance]
    none = aws("ssm", "describe-instance-information", "--filters", "Key=tag:ECS_TASK_ARN,Values=nobody")
    assert none["InstanceInformationList"] == []


def test_a_bad_filter_is_named(aws):
    refused = aws.refused("ssm", "describe-instance-information", "--filters", "Key=Colour,Values=red")
    assert "(InvalidFilterKey)" in refused and "Colour" in refused


def test_an_instance_is_deregistered_once(aws, silent_instance):
    aws("ssm", "deregister-managed-instance", "--instance-id", silent_instance)
    refused = aws.refused("ssm", "deregister-managed-instance", "--instance-id", silent_instance)
    assert "(InvalidInstanceId)" in refused


def test_pages_are_followed_by_the_client(ssm):
    made = {ssm.create_activation(IamRole="local")["ActivationId"] for _ in range(3)}
    pages = ssm.get_paginator("describe_activations").paginate(PaginationConfig={"PageSize": 2})
    seen = [activation["ActivationId"] for page in pages for activation in page["ActivationList"]]
    assert made <= set(seen)
    assert len(seen) == len(set(seen))
    for id in made:
        ssm.delete_activation(ActivationId=id)
