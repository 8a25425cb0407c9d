"""`taskfault-local env` and `taskfault-local aws`: nobody reaches the real AWS by mistake."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ACCOUNT, BIN_DIR, REGION

LOCAL = BIN_DIR / "taskfault-local"
# Debian 12's AWS CLI does not read AWS_ENDPOINT_URL. This one says what it is run with.
OLD_CLI = f"""#!{sys.executable}
import json, os, sys
print(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}))
sys.exit(7)
"""
# A user with a real account.
REAL = {
    "AWS_PROFILE": "production", "AWS_ACCESS_KEY_ID": "AKIAREAL", "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_SESSION_TOKEN": "real", "AWS_DEFAULT_REGION": "us-west-1", "AWS_ENDPOINT_URL_ECS": "http://127.0.0.1:1",
}  # fmt: skip


def test_a_shell_is_led_to_the_local_aws(server, environment):
    user = {"PATH": environment["PATH"], "HOME": "/nonexistent"} | REAL
    script = f'eval "$({LOCAL} env --endpoint {server})" && env && aws sts get-caller-identity && aws ecs list-clusters'
    done = subprocess.run(["sh", "-c", script], env=user, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    variables, _, answers = done.stdout.partition("{")
    variables = dict(line.split("=", 1) for line in variables.splitlines())
    assert variables["AWS_ENDPOINT_URL"] == server and variables["AWS_REGION"] == REGION
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_ECS"} & variables.keys()
    assert "real" not in str(variables).lower()
    assert ACCOUNT in answers and "clusterArns" in answers


def test_without_a_local_aws_the_shell_reaches_nobody():
    done = subprocess.run([LOCAL, "env", "--endpoint", "http://127.0.0.1:9"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "no answer from http://127.0.0.1:9" in done.stderr
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:9\n" in done.stdout
    assert "export AWS_ACCESS_KEY_ID=local\n" in done.stdout


@pytest.fixture
def old_cli(tmp_path):
    (tmp_path / "aws").write_text(OLD_CLI)
    (tmp_path / "aws").chmod(0o755)
    return {"PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]]), "HOME": "/nonexistent"} | REAL


def test_an_old_cli_is_told_where_to_go(server, old_cli):
    words = [LOCAL, "aws", "--endpoint", server, "ecs", "list-clusters", "--output", "json", "--help"]
    done = subprocess.run(words, env=old_cli, capture_output=True, text=True, timeout=30)
    assert done.returncode == 7, done.stderr
    run = json.loads(done.stdout)
    assert run["arguments"] == ["--endpoint-url", server, "ecs", "list-clusters", "--output", "json", "--help"]
    assert run["environment"]["AWS_ACCESS_KEY_ID"] == "local" and run["environment"]["AWS_DEFAULT_REGION"] == REGION
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_ECS"} & run["environment"].keys()


def test_the_cli_is_run_at_a_local_aws_only(server, old_cli):
    for words, code, why in [
        (["--endpoint", "http://127.0.0.1:9", "s3", "ls"], 1, "no answer from http://127.0.0.1:9"),
        (["--endpoint", server, "s3", "ls", "--endpoint-url", "https://s3.amazonaws.com"], 2, "--endpoint URL"),
        (["--endpoint", server, "s3", "ls", "--endpoint-url=https://s3.amazonaws.com"], 2, "--endpoint URL"),
        (["--endpoint", "ecs", "list-clusters"], 2, "an endpoint is http://"),
    ]:
        done = subprocess.run([LOCAL, "aws", *words], env=old_cli, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stdout) == (code, "") and why in done.stderr, done.stderr
    nowhere = old_cli | {"PATH": "/nonexistent"}
    done = subprocess.run([LOCAL, "aws", "--endpoint", server, "s3", "ls"], env=nowhere, capture_output=True, text=True, timeout=30)
    assert done.returncode == 127 and "pip install awscli" in done.stderr


def test_the_real_cli(server, environment):
    user = {"PATH": environment["PATH"], "HOME": "/nonexistent"}
    words = [LOCAL, "aws", "--endpoint", server, "sts", "get-caller-identity", "--output", "json"]
    done = subprocess.run(words, env=user, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and json.loads(done.stdout)["Account"] == ACCOUNT, done.stderr
