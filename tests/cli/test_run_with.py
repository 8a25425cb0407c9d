"""`taskfault-local run --with`: a service that is started for one experiment and ended with it."""

import json
import os
import pathlib
import signal
import subprocess

import pytest
from conftest import BIN_DIR, eventually
from test_run import shown_until, template
from up import APPLICATION, SIDECAR, definition, descendants, namespaces

TARGET = {
    "resourceType": "aws:ecs:task", "selectionMode": "COUNT(1)",
    "parameters": {"cluster": "blue", "service": "web-service"},
}  # fmt: skip
STRESS = {
    "actionId": "aws:ecs:task-cpu-stress", "targets": {"Tasks": "Some"},
    "parameters": {"duration": "PT1M", "percent": "20", "workers": "1"},
}  # fmt: skip


def files(folder, *containers, **changes):
    """A template of CPU stress on one task of a service, and the task definition of that service."""
    made = {"targets": {"Some": TARGET}, "actions": {"Stress": STRESS}} | changes
    file = folder / "web.json"
    file.write_text(json.dumps(definition("web", *(containers or (APPLICATION, SIDECAR)))))
    return template(folder, **made), file


def command(template, definition, *options):
    return [
        BIN_DIR / "taskfault-local", "run", template, "--with", definition, "--watch-after", "1", *options,
    ]  # fmt: skip


def environment():
    """Without AWS_ENDPOINT_URL and the like: the endpoint is that of the service."""
    return {"PATH": os.environ["PATH"]}


def alive(processes):
    """Those that have not ended; one that nobody has waited for yet has."""
    found = []
    for process in processes:
        try:
            if (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(process)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


@pytest.mark.sidecar
def test_one_command_starts_loads_experiments_and_ends(tmp_path, sidecar_binary):
    namespaces()
    done = subprocess.run(
        command(*files(tmp_path), "--speed", "20", "--count", "2", "--report", tmp_path / "out", "--max-failed", "100"),
        capture_output=True, text=True, timeout=240, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [it["status"] for it in record["experiments"]] == ["completed"]
    assert len(record["tasks"]) == 2, record["tasks"]
    assert sum(second["ok"] for second in record["load"]["seconds"]) > 0, "its first port mapping was loaded"
    assert "up  stopping the tasks" in done.stderr, done.stderr


@pytest.mark.sidecar
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_the_service(sent, tmp_path, sidecar_binary):
    namespaces()
    running = subprocess.Popen(
        command(*files(tmp_path), "--count", "1"),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(), start_new_session=True,
    )  # fmt: skip
    shown = shown_until(running, "action Stress: running")
    service = set(descendants(running.pid)) - {pathlib.Path("/proc") / str(running.pid)}
    assert service
    if sent == signal.SIGINT:
        # As a terminal does: to all of the foreground.
        os.killpg(running.pid, sent)
    else:
        running.kill()
    shown += running.communicate(timeout=120)[0]
    if sent == signal.SIGINT:
        assert running.returncode == 130 and "experiment: stopped" in shown, shown
        assert not alive(service), "the run has waited for them"
    else:
        eventually(lambda: not alive(service), "the service ends with who started it")


def test_thresholds_on_answers_need_a_port(tmp_path):
    without = {member: value for member, value in APPLICATION.items() if member != "portMappings"}
    done = subprocess.run(
        command(*files(tmp_path, without), "--max-p95", "100"), capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 1 and "no container has a port mapping" in done.stderr, done.stderr


def test_what_cannot_start_says_why(tmp_path):
    named, _ = files(tmp_path)
    done = subprocess.run(
        command(named, tmp_path / "none.json"), capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 1 and "reading " in done.stderr and "none.json" in done.stderr, done.stderr
    (tmp_path / "bad.json").write_text('{"containerDefinitions": []}')
    done = subprocess.run(command(named, tmp_path / "bad.json"), capture_output=True, text=True, env=environment())
    assert done.returncode == 1 and "has no family" in done.stderr and "did not start" in done.stderr, done.stderr


def test_a_speed_needs_a_service(tmp_path):
    named, _ = files(tmp_path)
    done = subprocess.run(
        [BIN_DIR / "taskfault-local", "run", named, "--speed", "15"], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 2 and "--with <FILE>" in done.stderr, done.stderr
