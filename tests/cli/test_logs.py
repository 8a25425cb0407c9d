"""Log groups, streams and events through the AWS CLI and boto3."""

import time

import pytest


@pytest.fixture(scope="session")
def logs(session, server):
    return session.client("logs", endpoint_url=server)


@pytest.fixture
def group(logs, request):
    name = f"/aws/fis/{request.node.name}"
    logs.create_log_group(logGroupName=name, tags={"team": "web"})
    yield name
    logs.delete_log_group(logGroupName=name)


def now():
    return int(time.time() * 1000)


def test_a_group_through_the_cli(aws):
    assert aws("logs", "create-log-group", "--log-group-name", "/aws/fis/cli") is None
    aws("logs", "put-retention-policy", "--log-group-name", "/aws/fis/cli", "--retention-in-days", "7")
    (told,) = aws("logs", "describe-log-groups", "--log-group-name-prefix", "/aws/fis/cli")["logGroups"]
    assert told["retentionInDays"] == 7
    assert told["arn"] == "arn:aws:logs:eu-west-1:000000000000:log-group:/aws/fis/cli:*"
    stream = ["--log-group-name", "/aws/fis/cli", "--log-stream-name", "s"]
    aws("logs", "create-log-stream", *stream)
    aws("logs", "put-log-events", *stream, "--log-events", f"timestamp={now()},message=hello")
    assert [event["message"] for event in aws("logs", "get-log-events", *stream)["events"]] == ["hello"]
    aws("logs", "put-log-group-deletion-protection", "--log-group-identifier", "/aws/fis/cli", "--deletion-protection-enabled")
    kept = aws.refused("logs", "delete-log-group", "--log-group-name", "/aws/fis/cli")
    assert "(ValidationException)" in kept
    aws(
        "logs", "put-log-group-deletion-protection", "--log-group-identifier", "/aws/fis/cli",
        "--no-deletion-protection-enabled",
    )  # fmt: skip
    both = ["--order-by", "LastEventTime", "--log-stream-name-prefix", "s"]
    refused = aws.refused("logs", "describe-log-streams", "--log-group-name", "/aws/fis/cli", *both)
    assert "Cannot order by LastEventTime with a logStreamNamePrefix." in refused
    again = aws.refused("logs", "create-log-group", "--log-group-name", "/aws/fis/cli")
    assert "(ResourceAlreadyExistsException)" in again
    aws("logs", "delete-log-group", "--log-group-name", "/aws/fis/cli")
    gone = aws.refused("logs", "get-log-events", *stream)
    assert "(ResourceNotFoundException)" in gone


def test_events_are_read_page_by_page(logs, group):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    start = now()
    events = [{"timestamp": start + number, "message": f"line {number}"} for number in range(25)]
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)
    seen, token = [], None
    while True:
        more = {"nextToken": token} if token else {"startFromHead": True}
        page = logs.get_log_events(logGroupName=group, logStreamName="s", limit=10, **more)
        if page["nextForwardToken"] == token:
            break
        seen += [event["message"] for event in page["events"]]
        token = page["nextForwardToken"]
    assert seen == [event["message"] for event in events]


def test_events_are_filtered(logs, group):
    start = now()
    for stream in ("one", "two"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        events = [
            {"timestamp": start, "message": '{"event_type": "action-start"}'},
            {"timestamp": start + 1, "message": '{"event_type": "action-end"}'},
        ]
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, filterPattern='{ $.event_type = "action-end" }', PaginationConfig={"PageSize": 1}
    )
    found = [event for page in pages for event in page["events"]]
    assert [event["logStreamName"] for event in found] == ["one", "two"]
    assert len({event["eventId"] for event in found}) == 2
    with pytest.raises(logs.exceptions.InvalidParameterException) as refused:
        logs.filter_log_events(logGroupName=group, filterPattern="[ip, user]")
    assert "filter pattern" in str(refused.value)


def test_old_events_are_told_to_be_rejected(logs, group):
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    events = [{"timestamp": now() - 15 * 24 * 3600 * 1000, "message": "old"}]
    answer = logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert "lastEventTimestamp" not in stream
