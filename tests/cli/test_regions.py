"""A client acts in the region that it signs for; one process plays them all."""

import json
import uuid

import boto3
import botocore.config
import botocore.exceptions
import pytest
from conftest import ACCOUNT, PUBLIC_KEY, REGION, Cli, Server, post

ELSEWHERE = "us-west-2"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "fis.amazonaws.com"}, "Action": "sts:AssumeRole"},
]})
REGISTER = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.RegisterManagedInstance"}


@pytest.fixture
def local(tmp_path):
    started = Server(tmp_path)
    yield started
    assert started.close() == 0


def client(service, url, region):
    config = botocore.config.Config(retries={"max_attempts": 0})
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.client(service, endpoint_url=url, region_name=region, config=config, **keys)


def alarm(cloudwatch):
    cloudwatch.put_metric_alarm(
        AlarmName="errors", Namespace="N", MetricName="M", Statistic="Sum", Period=60, EvaluationPeriods=1,
        Threshold=1, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    return cloudwatch.describe_alarms()["MetricAlarms"][0]["AlarmArn"]


def test_an_experiment_is_watched_by_an_alarm_of_its_region(local):
    """The published walk-through in us-west-2, at a local AWS that is told nothing of it."""
    arn = alarm(client("cloudwatch", local.url, ELSEWHERE))
    assert arn == f"arn:aws:cloudwatch:{ELSEWHERE}:{ACCOUNT}:alarm:errors"
    role = client("iam", local.url, ELSEWHERE).create_role(RoleName="fis", AssumeRolePolicyDocument=TRUST)["Role"]
    fis = client("fis", local.url, ELSEWHERE)
    template = fis.create_experiment_template(
        clientToken="a", description="waits", roleArn=role["Arn"], stopConditions=[{"source": "aws:cloudwatch:alarm", "value": arn}],
        actions={"wait": {"actionId": "aws:fis:wait", "parameters": {"duration": "PT1M"}}},
    )["experimentTemplate"]
    assert f":fis:{ELSEWHERE}:" in template["arn"]
    started = fis.start_experiment(clientToken="b", experimentTemplateId=template["id"])["experiment"]
    assert f":fis:{ELSEWHERE}:" in started["arn"]
    fis.stop_experiment(id=started["id"])
    # Nobody else sees any of it, but the role.
    assert client("fis", local.url, REGION).list_experiments()["experiments"] == []
    assert client("cloudwatch", local.url, REGION).describe_alarms()["MetricAlarms"] == []
    assert client("iam", local.url, REGION).get_role(RoleName="fis")["Role"]["Arn"] == role["Arn"]


def test_an_agent_belongs_to_the_region_of_its_activation(local):
    ssm = client("ssm", local.url, ELSEWHERE)
    activation = ssm.create_activation(IamRole="local")
    registered = post(
        local.url,
        {
            "ActivationId": activation["ActivationId"], "ActivationCode": activation["ActivationCode"],
            "PublicKey": PUBLIC_KEY, "PublicKeyType": "Rsa", "Fingerprint": str(uuid.uuid4()),
        },
        REGISTER,
    )  # fmt: skip
    found = ssm.describe_instance_information()["InstanceInformationList"]
    assert [instance["InstanceId"] for instance in found] == [registered["InstanceId"]]
    assert client("ssm", local.url, REGION).describe_instance_information()["InstanceInformationList"] == []


def test_regions_are_kept_over_a_restart_in_another_one(tmp_path):
    keep = ["--state", str(tmp_path / "state.json")]
    local = Server(tmp_path, "127.0.0.1:0", *keep)
    for region in [REGION, ELSEWHERE]:
        client("ecs", local.url, region).create_cluster(clusterName=f"of-{region}")
    client("iam", local.url, REGION).create_role(RoleName="fis", AssumeRolePolicyDocument=TRUST)
    assert local.close() == 0
    again = Server(tmp_path, "127.0.0.1:0", *keep, region=ELSEWHERE)
    for region in [REGION, ELSEWHERE]:
        (arn,) = client("ecs", again.url, region).list_clusters()["clusterArns"]
        assert arn == f"arn:aws:ecs:{region}:{ACCOUNT}:cluster/of-{region}"
    assert client("iam", again.url, REGION).list_roles()["Roles"]
    assert again.close() == 0


def test_the_cli_and_what_is_no_region(local, environment):
    aws = Cli(environment | {"AWS_ENDPOINT_URL": local.url, "AWS_REGION": ELSEWHERE, "AWS_DEFAULT_REGION": ELSEWHERE})
    cluster = aws("ecs", "create-cluster", "--cluster-name", "a")["cluster"]["clusterArn"]
    assert cluster == f"arn:aws:ecs:{ELSEWHERE}:{ACCOUNT}:cluster/a"
    assert aws("ecs", "list-clusters", "--region", "eu-central-1")["clusterArns"] == []
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        client("ecs", local.url, "moon-base-1").list_clusters()
    assert raised.value.response["Error"]["Code"] == "InvalidSignatureException"
