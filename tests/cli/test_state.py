"""`--state`: what was acknowledged is there after `kill -9`, and a file that cannot be used is said at the start."""

import json
import os
import subprocess

import boto3
import botocore.config
from conftest import BIN_DIR, REGION, SEEDED_ROLE, Server


TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "fis.amazonaws.com"}, "Action": "sts:AssumeRole"},
]})


def client(service, url):
    config = botocore.config.Config(retries={"max_attempts": 0})
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return boto3.client(service, endpoint_url=url, region_name=REGION, config=config, **keys)


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    state = tmp_path / "state.json"
    for number in range(5):
        server = Server(tmp_path, "127.0.0.1:0", "--state", str(state))
        clusters = client("ecs", server.url)
        assert len(clusters.list_clusters()["clusterArns"]) == number
        clusters.create_cluster(clusterName=f"cluster-{number}")
        client("logs", server.url).create_log_group(logGroupName=f"/group/{number}")
        client("iam", server.url).create_role(RoleName=f"role-{number}", AssumeRolePolicyDocument=TRUST)
        client("cloudwatch", server.url).put_metric_data(
            Namespace="N", MetricData=[{"MetricName": f"metric-{number}", "Value": 1}]
        )
        server.process.kill()
        server.close()
    server = Server(tmp_path, "127.0.0.1:0", "--state", str(state))
    assert len(client("ecs", server.url).list_clusters()["clusterArns"]) == 5
    assert len(client("logs", server.url).describe_log_groups()["logGroups"]) == 5
    roles = {role["RoleName"] for role in client("iam", server.url).list_roles()["Roles"]}
    assert roles == {SEEDED_ROLE, *(f"role-{number}" for number in range(5))}
    assert len(client("cloudwatch", server.url).list_metrics()["Metrics"]) == 5
    assert server.close() == 0
    # Nothing half written stays.
    assert sorted(os.listdir(tmp_path)) == ["server.log", "state.json"]
    assert json.loads(state.read_text())


def test_a_file_that_cannot_be_used_is_said_at_the_start(tmp_path):
    damaged = tmp_path / "damaged.json"
    damaged.write_text("{")
    for file, why in [
        (damaged, "is not ours or is damaged"),
        (tmp_path, "Is a directory"),
        (tmp_path / "no" / "folder.json", "No such file or directory"),
        ("/proc/self/state.json", "could not write the state file"),
    ]:
        words = [BIN_DIR / "taskfault-local", "--listen", "127.0.0.1:0", "--state", file]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and why in done.stderr and str(file) in done.stderr, done.stderr
    assert damaged.read_text() == "{"
