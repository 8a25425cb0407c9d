"""The role that an experiment runs with: the calls of the walk-through, and what IAM refuses."""

import json

import boto3
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


def test_a_policy_through_the_cli(aws, iam, role, tmp_path):
    document = tmp_path / "policy.json"
    document.write_text(json.dumps(PERMISSIONS))
    made = aws("iam", "create-policy", "--policy-name", "cli-policy", "--policy-document", f"file://{document}")["Policy"]
    arn = made["Arn"]
    assert arn == "arn:aws:iam::000000000000:policy/cli-policy"
    aws("iam", "create-policy-version", "--policy-arn", arn, "--policy-document", f"file://{document}", "--set-as-default")
    shown = aws("iam", "get-policy-version", "--policy-arn", arn, "--version-id", "v2")["PolicyVersion"]
    assert shown["Document"] == PERMISSIONS and shown["IsDefaultVersion"]
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    listed = aws("iam", "list-policies", "--scope", "Local", "--only-attached")["Policies"]
    assert [(policy["Arn"], policy["AttachmentCount"]) for policy in listed] == [(arn, 1)]
    assert "(DeleteConflict)" in aws.refused("iam", "delete-policy", "--policy-arn", arn)
    iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    aws("iam", "delete-policy-version", "--policy-arn", arn, "--version-id", "v1")
    aws("iam", "delete-policy", "--policy-arn", arn)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_policy(PolicyArn=arn)


def test_a_role_is_assumed_and_its_credentials_are_checked(aws, iam, role, server):
    arn = iam.get_role(RoleName=role)["Role"]["Arn"]
    assume = ["sts", "assume-role", "--role-arn", arn, "--role-session-name", "me"]
    assert "(AccessDenied)" in aws.refused(*assume), "it trusts FIS alone"
    mine = {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps({"Statement": [mine]}))
    given = aws(*assume)["Credentials"]

    def session(secret, token):
        keys = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": secret, "aws_session_token": token}
        return boto3.session.Session(region_name="eu-west-1", **keys)

    taken = session(given["SecretAccessKey"], given["SessionToken"])
    identity = taken.client("sts", endpoint_url=server).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::000000000000:assumed-role/{role}/me"
    taken.client("ssm", endpoint_url=server).list_commands()
    for secret, token in [("wrong", given["SessionToken"]), (given["SecretAccessKey"], "wrong")]:
        with pytest.raises(botocore.exceptions.ClientError):
            session(secret, token).client("sts", endpoint_url=server).get_caller_identity()
