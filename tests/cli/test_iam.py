"""The role that an experiment runs with: the calls of the walk-through, and what IAM refuses."""

import json

import botocore.exceptions
import pytest

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": ["fis.amazonaws.com"]}, "Action": "sts:AssumeRole"},
    ],
}
PERMISSIONS = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["ssm:SendCommand", "ssm:ListCommands", "ssm:CancelCommand"],
            "Resource": ["arn:aws:ssm:*:*:document/*", "*"],
        },
    ],
}


@pytest.fixture(scope="session")
def iam(session, server):
    return session.client("iam", endpoint_url=server)


@pytest.fixture
def role(iam):
    """The name of a role without policies."""
    name = "fis-experiments"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    yield name
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
    iam.delete_role(RoleName=name)


def code(refused):
    return refused.value.response["Error"]["Code"]


def test_a_role_through_the_cli(aws, tmp_path):
    trust, permissions = tmp_path / "trust.json", tmp_path / "permissions.json"
    trust.write_text(json.dumps(TRUST))
    permissions.write_text(json.dumps(PERMISSIONS))
    made = aws(
        "iam", "create-role", "--role-name", "cli-role", "--assume-role-policy-document", f"file://{trust}",
        "--tags", "Key=Name,Value=fis",
    )["Role"]  # fmt: skip
    assert made["Arn"] == "arn:aws:iam::000000000000:role/cli-role"
    assert made["AssumeRolePolicyDocument"] == TRUST
    policy = ["--role-name", "cli-role", "--policy-name", "run"]
    assert aws("iam", "put-role-policy", *policy, "--policy-document", f"file://{permissions}") is None
    assert aws("iam", "get-role-policy", *policy)["PolicyDocument"] == PERMISSIONS
    assert aws("iam", "list-role-policies", "--role-name", "cli-role")["PolicyNames"] == ["run"]
    assert "(DeleteConflict)" in aws.refused("iam", "delete-role", "--role-name", "cli-role")
    aws("iam", "delete-role-policy", *policy)
    aws("iam", "delete-role", "--role-name", "cli-role")
    assert "(NoSuchEntity)" in aws.refused("iam", "get-role", "--role-name", "cli-role")


def test_managed_policies_are_attached_and_detached(iam, role):
    arn = "arn:aws:iam::aws:policy/service-role/AWSFaultInjectionSimulatorECSAccess"
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert attached == [{"PolicyName": "AWSFaultInjectionSimulatorECSAccess", "PolicyArn": arn}]
    with pytest.raises(iam.exceptions.DeleteConflictException):
        iam.delete_role(RoleName=role)
    iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.detach_role_policy(RoleName=role, PolicyArn=arn)


def test_a_role_is_told_with_its_dates_and_tags(iam, role):
    found = iam.get_role(RoleName=role)["Role"]
    assert found["MaxSessionDuration"] == 3600
    assert found["CreateDate"].tzinfo is not None
    assert found["RoleId"].startswith("AROA")
    assert role in [found["RoleName"] for page in iam.get_paginator("list_roles").paginate() for found in page["Roles"]]


def test_pages_are_followed_by_the_client(iam, role):
    for number in range(5):
        iam.put_role_policy(RoleName=role, PolicyName=f"p{number}", PolicyDocument=json.dumps(PERMISSIONS))
    pages = iam.get_paginator("list_role_policies").paginate(RoleName=role, PaginationConfig={"PageSize": 2})
    assert [name for page in pages for name in page["PolicyNames"]] == [f"p{number}" for number in range(5)]


def test_mistakes_are_told(iam, role):
    with pytest.raises(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(TRUST))
    with pytest.raises(iam.exceptions.MalformedPolicyDocumentException):
        iam.create_role(RoleName="other", AssumeRolePolicyDocument=json.dumps(PERMISSIONS))
    with pytest.raises(iam.exceptions.MalformedPolicyDocumentException) as refused:
        iam.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument='{"Statement": [{"Effect": "Alow"}]}')
    assert "Effect of statement 1" in str(refused.value)
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        iam.create_role(RoleName="no blanks allowed", AssumeRolePolicyDocument=json.dumps(TRUST))
    assert code(refused) == "ValidationError"
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role_policy(RoleName=role, PolicyName="never")
