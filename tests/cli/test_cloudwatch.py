"""Metrics and alarms in each protocol that clients speak."""

import datetime
import json
import urllib.error
import urllib.request

import boto3
import botocore.config
import botocore.exceptions
import pytest
from conftest import REGION, Server, eventually, signed

PROTOCOLS = ("json", "smithy-rpc-v2-cbor", "query")
ALARM = {
    "Namespace": "Shop",
    "MetricName": "Errors",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 5,
    "ComparisonOperator": "GreaterThanThreshold",
}


def client(server, protocol):
    """boto3's client, made to speak one protocol of the service's model."""
    session = boto3.session.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION)
    loader = session._session.get_component("data_loader")
    load = loader.load_service_model

    def only(service, kind, api_version=None):
        model = load(service, kind, api_version)
        if service == "cloudwatch" and kind == "service-2":
            metadata = {**model["metadata"], "protocol": protocol, "protocols": [protocol]}
            if protocol == "query":
                metadata.pop("awsQueryCompatible", None)
            model = {**model, "metadata": metadata}
        return model

    loader.load_service_model = only
    config = botocore.config.Config(parameter_validation=False, retries={"max_attempts": 0})
    made = session.client("cloudwatch", endpoint_url=server, config=config)
    assert made.meta.service_model.resolved_protocol == protocol
    return made


@pytest.fixture(params=PROTOCOLS)
def cloudwatch(request, server):
    made = client(server, request.param)
    yield made
    names = [alarm["AlarmName"] for alarm in made.describe_alarms()["MetricAlarms"]]
    if names:
        made.delete_alarms(AlarmNames=names)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The URL of a server whose minutes are seconds."""
    started = Server(tmp_path_factory.mktemp("quick"), "127.0.0.1:0", "--speed", "60")
    yield started.url
    assert started.close() == 0


def code(refused):
    return refused.value.response["Error"]["Code"]


def test_the_cli_speaks_to_an_alarm_whose_name_has_blanks(aws):
    name = "ECS Sample service task count alarm"
    dimensions = [{"Name": "ServiceName", "Value": "fis-service"}, {"Name": "ClusterName", "Value": "ecs-blueprint-infra"}]
    made = aws(
        "cloudwatch", "put-metric-alarm", "--alarm-name", name, "--alarm-description", "tasks",
        "--metric-name", "RunningTaskCount", "--namespace", "ECS/ContainerInsights", "--statistic", "Average",
        "--period", "60", "--evaluation-periods", "1", "--threshold", "1.5",
        "--comparison-operator", "LessThanThreshold", "--dimensions", json.dumps(dimensions),
        "--treat-missing-data", "missing",
    )  # fmt: skip
    assert made is None
    (alarm,) = aws("cloudwatch", "describe-alarms", "--alarm-names", name)["MetricAlarms"]
    assert alarm["AlarmArn"] == f"arn:aws:cloudwatch:{REGION}:000000000000:alarm:{name}"
    assert sorted(alarm["Dimensions"], key=str) == sorted(dimensions, key=str)
    assert alarm["StateValue"] == "INSUFFICIENT_DATA"
    assert alarm["Threshold"] == 1.5
    aws("cloudwatch", "delete-alarms", "--alarm-names", name)
    assert aws("cloudwatch", "describe-alarms", "--alarm-names", name)["MetricAlarms"] == []


def test_an_alarm_is_told_the_same_in_each_protocol(cloudwatch):
    cloudwatch.put_metric_alarm(
        AlarmName="a & <b>", AlarmDescription="", AlarmActions=["arn:aws:sns:eu-west-1:0:t"],
        Dimensions=[{"Name": "Service", "Value": "7"}], DatapointsToAlarm=1, TreatMissingData="ignore", **ALARM,
    )  # fmt: skip
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["a & <b>"])["MetricAlarms"]
    for member, value in ALARM.items():
        assert alarm[member] == value, member
    assert alarm["Dimensions"] == [{"Name": "Service", "Value": "7"}]
    assert alarm["ActionsEnabled"] is True
    assert alarm["OKActions"] == []
    age = datetime.datetime.now(datetime.timezone.utc) - alarm["AlarmConfigurationUpdatedTimestamp"]
    assert abs(age) < datetime.timedelta(minutes=10)
    cloudwatch.disable_alarm_actions(AlarmNames=["a & <b>"])
    assert cloudwatch.describe_alarms()["MetricAlarms"][0]["ActionsEnabled"] is False


def test_errors_have_the_services_names_in_each_protocol(cloudwatch):
    with pytest.raises(cloudwatch.exceptions.ResourceNotFound):
        cloudwatch.set_alarm_state(AlarmName="never", StateValue="OK", StateReason="none")
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        cloudwatch.put_metric_alarm(AlarmName="a", **{**ALARM, "ComparisonOperator": "Above"})
    assert code(refused) == "ValidationError"
    assert "comparisonOperator" in str(refused.value)
    with pytest.raises(cloudwatch.exceptions.InvalidNextToken):
        cloudwatch.describe_alarms(NextToken="%")
    datum = {"MetricName": "Errors", "Value": 1, "Values": [1]}
    with pytest.raises(cloudwatch.exceptions.InvalidParameterCombinationException) as refused:
        cloudwatch.put_metric_data(Namespace="Shop", MetricData=[datum])
    assert code(refused) == "InvalidParameterCombination"
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []


def test_values_come_back_as_statistics(cloudwatch, request):
    now = datetime.datetime.now(datetime.timezone.utc)
    namespace = f"Test/{request.node.callspec.id}"
    dimensions = [{"Name": "Route", "Value": "/"}]
    cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[
            {"MetricName": "Latency", "Dimensions": dimensions, "Timestamp": now, "Unit": "Milliseconds",
             "Values": [1.5, 10], "Counts": [9, 1]},
            {"MetricName": "Latency", "Dimensions": dimensions, "Timestamp": now, "Unit": "Milliseconds", "Value": 20},
        ],
    )  # fmt: skip
    answer = cloudwatch.get_metric_statistics(
        Namespace=namespace, MetricName="Latency", Dimensions=dimensions, Period=300,
        StartTime=now - datetime.timedelta(minutes=10), EndTime=now + datetime.timedelta(minutes=10),
        Statistics=["Sum", "Maximum"], ExtendedStatistics=["p50"],
    )  # fmt: skip
    (point,) = answer["Datapoints"]
    assert (point["Sum"], point["Maximum"], point["Unit"]) == (43.5, 20.0, "Milliseconds")
    assert point["ExtendedStatistics"] == {"p50": 1.5}
    stat = {"Metric": {"Namespace": namespace, "MetricName": "Latency", "Dimensions": dimensions}, "Period": 60, "Stat": "Average"}
    (result,) = cloudwatch.get_metric_data(
        MetricDataQueries=[{"Id": "m1", "MetricStat": stat}],
        StartTime=now - datetime.timedelta(minutes=10), EndTime=now + datetime.timedelta(minutes=10),
    )["MetricDataResults"]  # fmt: skip
    assert result["Values"] == [43.5 / 11]
    assert result["Timestamps"][0] <= now
    (metric,) = cloudwatch.list_metrics(Namespace=namespace)["Metrics"]
    assert metric == {"Namespace": namespace, "MetricName": "Latency", "Dimensions": dimensions}


def test_a_packed_request_is_unpacked(cloudwatch, request):
    """boto3 packs PutMetricData from 10 KiB."""
    namespace = f"Packed/{request.node.callspec.id}"
    sent = []
    cloudwatch.meta.events.register("before-send.cloudwatch.PutMetricData", lambda request, **_: sent.append(request))
    data = [{"MetricName": f"Metric{number}", "Value": number} for number in range(900)]
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
    assert sent[0].headers["Content-Encoding"] in ("gzip", b"gzip")
    pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace=namespace)
    assert sum(len(page["Metrics"]) for page in pages) == 900


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_alarm_follows_its_metric(quick, protocol):
    cloudwatch = client(quick, protocol)
    name = f"errors by {protocol}"
    dimensions = [{"Name": "Protocol", "Value": protocol}]
    cloudwatch.put_metric_alarm(
        AlarmName=name, Dimensions=dimensions, DatapointsToAlarm=2, TreatMissingData="notBreaching",
        **{**ALARM, "EvaluationPeriods": 3},
    )  # fmt: skip

    def state():
        return cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"]

    def erring():
        cloudwatch.put_metric_data(
            Namespace="Shop",
            MetricData=[{"MetricName": "Errors", "Dimensions": dimensions, "Value": 100, "StorageResolution": 1}],
        )
        return state() == "ALARM"

    eventually(lambda: state() == "OK", "the alarm is evaluated")
    eventually(erring, "the alarm goes off")
    eventually(lambda: state() == "OK", "the alarm is over")
    history = cloudwatch.describe_alarm_history(
        AlarmName=name, HistoryItemType="StateUpdate", ScanBy="TimestampAscending"
    )["AlarmHistoryItems"]
    changes = [item["HistorySummary"] for item in history]
    assert changes == [
        "Alarm updated from INSUFFICIENT_DATA to OK",
        "Alarm updated from OK to ALARM",
        "Alarm updated from ALARM to OK",
    ]
    reason = json.loads(history[1]["HistoryData"])["newState"]["stateReason"]
    assert "greater than the threshold (5.0)" in reason


def test_a_state_set_by_hand_is_seen_and_does_not_last(quick):
    cloudwatch = client(quick, "json")
    cloudwatch.put_metric_alarm(AlarmName="by hand", TreatMissingData="notBreaching", **ALARM)

    def state():
        return cloudwatch.describe_alarms(AlarmNames=["by hand"])["MetricAlarms"][0]["StateValue"]

    eventually(lambda: state() == "OK", "the alarm is evaluated")
    cloudwatch.set_alarm_state(AlarmName="by hand", StateValue="ALARM", StateReason="a test")
    eventually(lambda: state() == "OK", "the alarm is evaluated again")
    history = cloudwatch.describe_alarm_history(AlarmName="by hand", HistoryItemType="StateUpdate")
    assert [item["HistorySummary"] for item in history["AlarmHistoryItems"]][:2] == [
        "Alarm updated from ALARM to OK",
        "Alarm updated from OK to ALARM",
    ]


def test_raw_requests_are_answered_in_their_protocol(server):
    """As clients other than botocore write them."""

    def ask(path, headers, body):
        try:
            with urllib.request.urlopen(
                urllib.request.Request(server + path, body, headers | signed("monitoring")), timeout=10
            ) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    status, headers, body = ask("/", form, b"Action=DescribeAlarms&Version=2010-08-01&AlarmNames.member.1=a+b")
    assert (status, headers["Content-Type"]) == (200, "text/xml")
    assert b"<DescribeAlarmsResult>" in body and b"<MetricAlarms></MetricAlarms>" in body
    status, headers, body = ask("/", form, b"Action=DeleteAlarms&AlarmNames.member.1=never")
    assert status == 404 and b"<Code>ResourceNotFound</Code>" in body

    target = {"X-Amz-Target": "GraniteServiceVersion20100801.DeleteAlarms", "Content-Type": "application/x-amz-json-1.0"}
    status, headers, body = ask("/", target, b'{"AlarmNames": ["never"]}')
    assert (status, headers["Content-Type"]) == (404, "application/x-amz-json-1.0")
    assert headers["x-amzn-query-error"] == "ResourceNotFound;Sender"
    assert json.loads(body)["__type"] == "ResourceNotFound"

    path = "/service/GraniteServiceVersion20100801/operation/"
    cbor = {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor", "Accept": "application/cbor"}
    status, headers, body = ask(path + "ListMetrics", cbor, b"\xa1\x69Namespace\x65Never")
    assert (status, headers["smithy-protocol"]) == (200, "rpc-v2-cbor")
    assert b"Metrics\x80" in body
    status, headers, body = ask(path + "DeleteAlarms", cbor, b"\xbf\x6aAlarmNames\x9f\x65never\xff\xff")
    assert status == 404 and b"ResourceNotFound" in body
    status, headers, body = ask(path + "PutDashboard", cbor, b"\xa0")
    assert status == 400 and b"UnknownOperation" in body
    status, headers, body = ask(path + "ListMetrics", cbor, b"not cbor")
    assert status == 400 and b"SerializationException" in body


def test_what_is_not_evaluated_here_is_refused_in_words(aws):
    refused = aws.refused(
        "cloudwatch", "put-metric-alarm", "--alarm-name", "band", "--metrics", '[{"Id": "m"}]',
        "--threshold-metric-id", "m", "--evaluation-periods", "1",
        "--comparison-operator", "GreaterThanUpperThreshold",
    )  # fmt: skip
    assert "(InvalidParameterCombination)" in refused or "(ValidationError)" in refused
    metrics = [{"Id": "e", "Expression": "NO_SUCH(1)", "ReturnData": True}]
    refused = aws.refused(
        "cloudwatch", "put-metric-alarm", "--alarm-name", "math", "--metrics", json.dumps(metrics),
        "--evaluation-periods", "1", "--threshold", "1", "--comparison-operator", "GreaterThanThreshold",
    )  # fmt: skip
    assert "(ValidationError)" in refused and "Error in expression 'e': Function 'NO_SUCH' not found" in refused


def test_metric_math_and_composite_alarms_in_every_protocol(quick):
    """The same alarms by each protocol: told as they were put, and one follows the other."""
    for number, protocol in enumerate(PROTOCOLS):
        cloudwatch = client(quick, protocol)
        namespace, name = f"Math{number}", f"math {protocol}"
        at = datetime.datetime.now(datetime.UTC)
        cloudwatch.put_metric_data(
            Namespace=namespace, MetricData=[{"MetricName": it, "Value": value} for it, value in (("E", 1), ("R", 4))]
        )
        stat = lambda metric: {
            "Metric": {"Namespace": namespace, "MetricName": metric, "Dimensions": []}, "Stat": "Sum", "Period": 60,
        }  # fmt: skip
        metrics = [
            {"Id": "rate", "Expression": "100 * errors / requests", "ReturnData": True},
            {"Id": "errors", "MetricStat": stat("E"), "ReturnData": False},
            {"Id": "requests", "MetricStat": stat("R"), "ReturnData": False},
        ]
        span = {"StartTime": at - datetime.timedelta(minutes=5), "EndTime": at + datetime.timedelta(minutes=5)}
        (result,) = cloudwatch.get_metric_data(MetricDataQueries=metrics, **span)["MetricDataResults"]
        assert (result["Id"], result["Label"], result["Values"]) == ("rate", "rate", [25.0])
        cloudwatch.put_metric_alarm(
            AlarmName=name, Metrics=metrics, EvaluationPeriods=1, Threshold=5,
            ComparisonOperator="GreaterThanThreshold",
        )  # fmt: skip
        rule = f'ALARM("{name}") OR FALSE'
        cloudwatch.put_composite_alarm(AlarmName=f"{name} above", AlarmRule=rule)
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="by hand")
        both = {"AlarmNamePrefix": name, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}

        def follows():
            told = cloudwatch.describe_alarms(**both)
            (alarm,), (above,) = told["MetricAlarms"], told["CompositeAlarms"]
            assert (alarm["Metrics"], above["AlarmRule"]) == (metrics, rule)
            return above["StateValue"] == "ALARM"

        eventually(follows, "the composite alarm follows")
        # Because its child went there, or was there when it was made.
        assert "ALARM at" in cloudwatch.describe_alarms(**both)["CompositeAlarms"][0]["StateReason"]
