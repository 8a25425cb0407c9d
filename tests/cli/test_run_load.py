"""`taskfault-local run --load`: what clients of a real service see of an experiment, in the report and the exit code."""

import http.server
import json
import signal
import subprocess
import threading
import xml.etree.ElementTree

import pytest
from conftest import eventually, ssm_client
from test_run import command, quick, run, shown_until, template  # noqa: F401 (a fixture)
from up import APPLICATION, SIDECAR, Up, definition, namespaces, online


class Service:
    """A small web service that answers with a status, until it is killed."""

    def __init__(self, status=200):
        self.status = status
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(service.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def serve():
    started = []

    def serve(**more):
        started.append(Service(**more))
        return started[-1]

    yield serve
    for service in started:
        service.close()


def phases(record):
    """The seconds of the load before, during and after the experiment."""
    (experiment,) = record["experiments"]
    seconds = record["load"]["seconds"]
    before = [it for it in seconds if it["at"] + 1 <= experiment["started"]]
    after = [it for it in seconds if it["at"] >= experiment["ended"]]
    return before, [it for it in seconds if it not in before + after], after


def failed(seconds):
    return sum(sum(second["errors"].values()) for second in seconds)


@pytest.mark.sidecar
def test_a_black_hole_is_seen_by_clients_for_as_long_as_it_lasts(tmp_path, session, sidecar_binary):
    namespaces()
    up = Up(
        tmp_path, definition("web", APPLICATION, SIDECAR), "--publish", "0:80", "--speed", "12", "--service", "web",
        count=1,
    )  # fmt: skip
    try:
        online(ssm_client(session, up.url), 1)
        target = {
            "resourceType": "aws:ecs:task", "selectionMode": "ALL", "parameters": {"cluster": "blue", "service": "web"},
        }  # fmt: skip
        hole = {
            "actionId": "aws:ecs:task-network-blackhole-port",
            "parameters": {"duration": "PT1M", "port": "80", "trafficType": "ingress"},
            "targets": {"Tasks": "tasks"},
        }
        file = template(tmp_path, targets={"tasks": target}, actions={"hole": hole})
        report = tmp_path / "report"
        done = run(
            up.url, file, "--report", report, "--load", up.published(), "--rate", "20", "--watch-after", "8",
            "--max-failed", "90",
        )  # fmt: skip
    finally:
        assert up.close() == 0
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((report / "report.json").read_text())
    assert (record["load"]["rate"], record["load"]["what"].split(":")[0]) == (20, "GET 127.0.0.1")
    before, during, after = phases(record)
    assert all(second["sent"] == 20 for second in record["load"]["seconds"])
    assert len(before) >= 4 and failed(before) == 0
    assert failed(during) > 20, "clients waited, and gave up"
    # Those that were due in the last second of the fault may fail after it.
    assert len(after) >= 6 and failed(after[3:]) == 0, "it is over"
    for second in record["load"]["seconds"]:
        assert 0 < second["p50_ms"] <= second["p95_ms"] <= second["p99_ms"]
    assert max(second["p95_ms"] for second in before) < 1000 < max(second["p95_ms"] for second in during)
    # The tasks' CPU and the command come from the local AWS, the load from the run: one record.
    assert record["cpu"] and record["commands"][0]["steps"], record
    page = (report / "report.html").read_text()
    for series in ("answered", "failed", "p50", "p95", "p99", "window", "command", "task", "line-1"):
        assert f'data-series="{series}"' in page, series
    assert "What clients saw" in page and "20 requests per second" in page
    lines = [line for line in done.stdout.splitlines() if " load: " in line]
    assert len(lines) >= 3 and "100 requests in 5 s, 0 failed, P95 " in lines[0], done.stdout
    assert "kept: at most 90 % of the requests fail" in done.stdout
    assert "target tasks: " in done.stdout, "what was chosen"


def test_a_dead_target_of_two_fails_half_of_the_requests_and_the_gate(quick, serve, tmp_path):  # noqa: F811
    one, other = serve(), serve()
    report = tmp_path / "report"
    running = subprocess.Popen(
        command(
            quick, template(tmp_path, "PT3M"), "--load", one.url, "--load", other.url, "--max-failed", "5", "--report",
            report,
        ),
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    shown = shown_until(running, "action Wait: running")
    other.close()
    shown += running.communicate(timeout=60)[0]
    assert running.returncode == 7, shown
    record = json.loads((report / "report.json").read_text())
    before, during, _ = phases(record)
    assert failed(before) == 0
    # A request that it had accepted breaks; all that come later are refused.
    kinds = {kind for second in during for kind in second["errors"]}
    assert "refused" in kinds and kinds <= {"refused", "connection broken"}
    assert during[1]["sent"] == 30 and 12 <= failed([during[1]]) <= 18, "requests go round"
    assert "MISSED: at most 5 % of the requests fail" in shown and "(--max-failed)" in shown
    assert [check["passed"] for check in record["checks"]] == [False]


def test_results_for_a_pipeline_and_a_report_as_baseline(quick, serve, tmp_path):  # noqa: F811
    service, file = serve(), template(tmp_path, "PT2M")
    load = ("--load", service.url, "--watch-after", "3", "--recover-within", "60")
    junit, summary = tmp_path / "results" / "junit.xml", tmp_path / "summary.md"
    done = run(quick, file, *load, "--report", tmp_path / "before", "--max-p95", "1999", "--junit", junit, "--json")
    assert done.returncode == 0, done
    result = json.loads(done.stdout)
    assert (result["passed"], result["exit_code"], result["status"]) == (True, 0, "completed")
    assert [check["name"] for check in result["checks"]] == ["max-p95", "recover-within"]
    during = result["clients"]["during"]
    assert during["answered"] == during["sent"] - during["failed"] > 0 and during["p95_ms"] > 0, result
    assert "experiment: completed" in done.stderr, "progress"
    suite = xml.etree.ElementTree.parse(junit).getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("3", "0")

    baseline = tmp_path / "before" / "report.json"
    summary.write_text("of another step\n")
    # A thousandth of the time of before cannot be had.
    slower = ("--baseline", baseline, "--max-slowdown", "0.001")
    done = run(quick, file, *load, *slower, "--junit", junit, "--summary", summary)
    assert done.returncode == 7, done
    text = summary.read_text()
    assert text.startswith("of another step\n## taskfault: waits") and "| **failed** | P95 during" in text, text
    suite = xml.etree.ElementTree.parse(junit).getroot().find("testsuite")
    assert (suite.get("failures"), len(suite.findall("testcase/failure"))) == ("1", 1)
    for wrong, words in ((tmp_path / "none.json", "none.json"), (file, "not a report.json")):
        done = run(quick, file, *load, "--baseline", wrong)
        assert (done.returncode, done.stdout) == (1, "") and words in done.stderr, done


def test_it_waits_for_a_service_that_is_yet_to_come(quick, serve, tmp_path):  # noqa: F811
    service = serve(status=503)
    running = subprocess.Popen(
        command(quick, template(tmp_path), "--load", service.url, "--wait", "100"), stdout=subprocess.PIPE, text=True
    )
    shown = shown_until(running, "waiting up to")
    assert "no success (2xx)" in shown, shown
    service.status = 200
    shown += running.communicate(timeout=90)[0]
    assert running.returncode == 0 and "experiment: completed" in shown, shown


def test_ctrl_c_at_rest_does_nothing_and_while_watching_writes_the_report(quick, serve, tmp_path, session):  # noqa: F811
    service, fis = serve(), session.client("fis", endpoint_url=quick)
    experiments = lambda: len(fis.list_experiments()["experiments"])
    before = experiments()
    for at, code in (("at rest", 130), ("watching for", 0)):
        report = tmp_path / at.replace(" ", "-")
        running = subprocess.Popen(
            command(
                quick, template(tmp_path, "PT1M"), "--load", service.url, "--report", report, "--watch-after", "600"
            ),
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        shown = shown_until(running, at)
        running.send_signal(signal.SIGINT)
        shown += running.communicate(timeout=60)[0]
        assert running.returncode == code, shown
        assert "removed" in shown, "the template that it made"
        assert (report / "report.html").exists() == (code == 0)
        assert experiments() - before == (1 if code == 0 else 0)


def test_what_cannot_be_loaded_is_refused_before_anything_is_made(quick, serve, tmp_path, session):  # noqa: F811
    fis = session.client("fis", endpoint_url=quick)
    before = len(fis.list_experiments()["experiments"])
    file = template(tmp_path)
    gone = serve()
    gone.close()
    for url, code, words in (
        ("https://127.0.0.1/", 2, "speaks no https"),
        ("127.0.0.1:80", 2, "does not begin with http://"),
        (gone.url, 1, "nothing listens there"),
        (serve(status=503).url, 1, "no success (2xx)"),
        ("http://no.such.name.invalid/", 1, "no.such.name.invalid"),
    ):
        done = run(quick, file, "--load", url)
        assert (done.returncode, done.stdout) == (code, ""), done
        assert words in done.stderr, done.stderr
    assert run(quick, file, "--rate", "5").returncode == 2, "a rate of no load"
    assert len(fis.list_experiments()["experiments"]) == before
    assert fis.list_experiment_templates()["experimentTemplates"] == []
