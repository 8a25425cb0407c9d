"""`taskfault-local run`: one experiment as a gate, its exit codes and its report."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess

import pytest

from conftest import BIN_DIR, SEEDED_ROLE_ARN, Server, eventually


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A local AWS in which a minute is a second."""
    server = Server(tmp_path_factory.mktemp("run"), "127.0.0.1:0", "--speed", "60")
    yield server.url
    assert server.close() == 0


def template(folder, duration="PT2M", **changes):
    """A template that only waits: it needs no task."""
    body = {
        "description": "waits",
        "stopConditions": [{"source": "none"}],
        "roleArn": SEEDED_ROLE_ARN,
        "targets": {},
        "actions": {"Wait": {"actionId": "aws:fis:wait", "parameters": {"duration": duration}}},
        **changes,
    }
    file = folder / "template.json"
    file.write_text(json.dumps(body))
    return file


def command(endpoint, *arguments):
    defaults = {"--watch-after": "0", "--wait": "0"}
    options = [word for option, value in defaults.items() if option not in arguments for word in (option, value)]
    return [BIN_DIR / "taskfault-local", "run", "--endpoint", endpoint, *options, *arguments]


def run(endpoint, *arguments):
    return subprocess.run(command(endpoint, *arguments), capture_output=True, text=True, timeout=120)


def shown_until(running, text):
    """What a run shows up to the line that has a text."""
    shown = ""
    while text not in shown:
        line = running.stdout.readline()
        assert line, shown
        shown += line
    return shown


def test_a_completed_experiment_is_a_success_with_a_report(quick, tmp_path):
    done = run(quick, template(tmp_path), "--report", tmp_path / "report")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "action Wait: completed" in done.stdout and "experiment: completed" in done.stdout
    record = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [it["status"] for it in record["experiments"]] == ["completed"]
    assert "waits" in (tmp_path / "report" / "report.html").read_text()
    assert "removed" in done.stdout, "the template that it made"


def test_ctrl_c_stops_the_experiment(quick, tmp_path):
    running = subprocess.Popen(command(quick, template(tmp_path, "PT12H")), stdout=subprocess.PIPE, text=True)
    shown = shown_until(running, "action Wait: running")
    running.send_signal(signal.SIGINT)
    shown += running.communicate(timeout=60)[0]
    assert running.returncode == 130, shown
    assert "experiment: stopped" in shown and "removed" in shown


@pytest.mark.parametrize("term, drawn", [("xterm", True), ("dumb", False)])
def test_on_a_terminal_one_line_shows_how_it_stands(quick, tmp_path, term, drawn):
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": term, "NO_COLOR": "1"}
    running = subprocess.Popen(command(quick, template(tmp_path)), stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    # The read fails when nobody has the other end any more.
    with contextlib.suppress(OSError):
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert running.wait() == 0, shown
    text = shown.decode()
    assert "action Wait: completed" in text
    assert ("Wait for " in text, "\x1b[" in text) == (drawn, drawn), text
    assert not re.search(r"\x1b\[[0-9;]*m", text), "NO_COLOR"


def test_what_was_stopped_by_others_is_told_apart(quick, tmp_path, session):
    fis = session.client("fis", endpoint_url=quick)
    running = subprocess.Popen(command(quick, template(tmp_path, "PT12H")), stdout=subprocess.PIPE, text=True)
    alive = lambda: [it["id"] for it in fis.list_experiments()["experiments"] if it["state"]["status"] == "running"]
    fis.stop_experiment(id=eventually(alive, "the experiment runs")[0])
    shown = running.communicate(timeout=60)[0]
    assert running.returncode == 3, shown


def test_an_experiment_without_targets_fails(quick, tmp_path):
    file = template(
        tmp_path,
        targets={
            "Tasks": {
                "resourceType": "aws:ecs:task",
                "parameters": {"cluster": "nobody", "service": "here"},
                "selectionMode": "ALL",
            }
        },
        actions={
            "Kill": {
                "actionId": "aws:ecs:task-kill-process",
                "parameters": {"processName": "python"},
                "targets": {"Tasks": "Tasks"},
            }
        },
    )
    done = run(quick, file)
    assert done.returncode == 4, done.stdout + done.stderr


def test_a_template_that_is_refused_does_nothing(quick, tmp_path, session):
    fis = session.client("fis", endpoint_url=quick)
    before = len(fis.list_experiment_templates()["experimentTemplates"])
    done = run(quick, template(tmp_path, "five minutes"))
    assert done.returncode == 5 and "ValidationException" in done.stderr, done.stderr
    assert len(fis.list_experiment_templates()["experimentTemplates"]) == before
    assert run(quick, "EXT000nothere").returncode == 5


def test_no_server_and_nothing_to_read(tmp_path):
    done = run("http://127.0.0.1:1", template(tmp_path))
    assert done.returncode == 6 and "start taskfault-local" in done.stderr, done.stderr
    done = run("127.0.0.1:1", template(tmp_path), "--wait", "600")
    assert done.returncode == 6 and "does not begin with http://" in done.stderr, done.stderr
    done = run("http://127.0.0.1:1", template(tmp_path), "--report", "/proc/nowhere")
    assert done.returncode == 1 and "writing /proc/nowhere" in done.stderr, done.stderr
    done = run("http://127.0.0.1:1", tmp_path / "missing.json")
    assert done.returncode == 1 and "missing.json" in done.stderr, done.stderr
    done = run("http://127.0.0.1:1", template(tmp_path), "--wait", "1")
    assert done.returncode == 6 and "waiting up to 1 s" in done.stdout, done
