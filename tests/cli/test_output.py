"""The output of commands in S3 and CloudWatch Logs, where SendCommand asks for it."""

import pytest
from conftest import Cli, Server, Sidecar, ssm_client
from test_sidecar import SCRIPT, STRESS

pytestmark = pytest.mark.sidecar

BUCKET = "a-bucket"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A local AWS with a bucket: its URL, and the bucket's folder."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / BUCKET).mkdir()
    started = Server(tmp_path_factory.mktemp("server"), "127.0.0.1:0", "--s3", str(folder))
    yield started.url, folder / BUCKET
    assert started.close() == 0


@pytest.fixture
def sidecar(sidecar_binary, local, session, tmp_path):
    started = Sidecar(sidecar_binary, local[0], ssm_client(session, local[0]), tmp_path)
    yield started
    started.close()


@pytest.fixture
def aws(environment, local):
    return Cli(environment | {"AWS_ENDPOINT_URL": local[0]})


def test_output_goes_to_the_bucket_and_the_log_group(aws, sidecar, local, tmp_path):
    asked = {
        "OutputS3BucketName": BUCKET,
        "OutputS3KeyPrefix": "some/prefix",
        "CloudWatchOutputConfig": {"CloudWatchOutputEnabled": True, "CloudWatchLogGroupName": "a-group"},
    }
    command = sidecar.send(SCRIPT, {"commands": ["echo out; echo more; echo err >&2"]}, **asked)
    assert sidecar.finished(command)["Status"] == "Success"
    got = sidecar.invocation(command)
    assert (got["StandardOutputContent"], got["StandardErrorContent"]) == ("out\nmore\n", "err\n")
    # The layout of the stock agent.
    folder = f"some/prefix/{command}/{sidecar.instance_id}/awsrunShellScript/0.awsrunShellScript"
    written = {str(path.relative_to(local[1])): path.read_text() for path in local[1].rglob("*") if path.is_file()}
    assert written == {f"{folder}/stdout": "out\nmore\n", f"{folder}/stderr": "err\n"}
    copy = tmp_path / "copy"
    aws("s3api", "get-object", "--bucket", BUCKET, "--key", f"{folder}/stdout", str(copy))
    assert copy.read_text() == "out\nmore\n"
    stream = f"{command}/{sidecar.instance_id}/aws-runShellScript"
    for name, lines in (("stdout", ["out", "more"]), ("stderr", ["err"])):
        events = aws(
            "logs", "get-log-events", "--log-group-name", "a-group", "--log-stream-name", f"{stream}/{name}"
        )["events"]
        assert [event["message"] for event in events] == lines


def test_without_a_name_the_group_is_that_of_the_document(aws, sidecar):
    parameters = {"DurationSeconds": ["1"], "LoadPercent": ["10"], "CPU": ["1"]}
    command = sidecar.send(STRESS, parameters, CloudWatchOutputConfig={"CloudWatchOutputEnabled": True})
    assert sidecar.finished(command)["Status"] == "Success"
    events = aws("logs", "filter-log-events", "--log-group-name", f"/aws/ssm/{STRESS}")["events"]
    assert any("achieved: mean" in event["message"] for event in events), events


def test_what_could_not_be_written_is_said_and_changes_nothing_else(sidecar):
    command = sidecar.send(SCRIPT, {"commands": ["echo out"]}, OutputS3BucketName="no-such-bucket")
    assert sidecar.finished(command)["Status"] == "Success"
    got = sidecar.invocation(command)
    assert got["StandardOutputContent"] == "out\n"
    said = got["StandardErrorContent"]
    assert said.startswith("note: the output could not be written to s3://no-such-bucket/") and "NoSuchBucket" in said
