"""With TASKFAULT_LOG_FORMAT=emf the log has metrics in CloudWatch's embedded metric format."""

import json

import jsonschema
import pytest
from conftest import ROOT
from test_sidecar import STRESS

pytestmark = pytest.mark.sidecar

SCHEMA = json.loads((ROOT / "tests/data/emf-schema.json").read_text())


def test_starts_ends_and_what_was_achieved_are_metrics(start_sidecar):
    sidecar = start_sidecar(TASKFAULT_LOG_FORMAT="emf")
    command = sidecar.send(STRESS, {"DurationSeconds": ["2"], "LoadPercent": ["30"], "CPU": ["1"]})
    assert sidecar.finished(command)["Status"] == "Success"
    lines = [json.loads(line) for line in sidecar.log_path.read_text().splitlines()]
    metrics = [line for line in lines if "_aws" in line]
    assert len(lines) > len(metrics), "the log itself is there, too"
    for line in metrics:
        jsonschema.validate(line, SCHEMA)
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "taskfault"
        assert directive["Dimensions"] == [["cluster", "service", "fault"]]
        assert (line["cluster"], line["service"], line["fault"]) == ("demo", "web", "cpu-stress")
        assert all(isinstance(line[metric["Name"]], (int, float)) for metric in directive["Metrics"])
        assert line["command"] == command
    started, ended = metrics
    assert (started["started"], started["active"]) == (1, 1)
    assert (ended["ended"], ended["active"], ended["failed"]) == (1, 0, 0)
    assert 0 < ended["mean_percent"] < 40 and ended["lived_seconds"] >= 2
