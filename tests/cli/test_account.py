"""Who am I, and what is not there."""

import botocore.exceptions
import pytest
from conftest import ACCOUNT


def test_caller_identity_through_the_cli(aws):
    answer = aws("sts", "get-caller-identity")
    assert answer["Account"] == ACCOUNT
    assert answer["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"


def test_caller_identity_through_boto3(session, server):
    assert session.client("sts", endpoint_url=server).get_caller_identity()["UserId"] == ACCOUNT


def test_an_operation_that_is_not_there_is_said_to_be_unknown(ssm):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        ssm.describe_patch_baselines()
    assert refused.value.response["Error"]["Code"] == "UnknownOperationException"
