"""Resets, and the ports that a network fault is for, on this kernel: what real clients of a real server see."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BIN_DIR

NAMESPACES = ["unshare", "--user", "--map-root-user", "--net"]
PROBE = Path(__file__).parent / "network_probe.py"


@pytest.fixture(scope="module")
def seen():
    refused = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True)
    if refused.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(refused.stderr)
        pytest.skip(f"user namespaces are refused here: {refused.stderr}")
    up = 'ip link set lo up && exec "$0" "$@"'
    command = [*NAMESPACES, "sh", "-c", up, sys.executable, str(PROBE), str(BIN_DIR / "taskfault")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def without_words(seen):
    return {name: outcome for name, outcome in seen.items() if name != "said"}


def test_new_connections_are_refused_and_open_ones_stay(seen):
    assert without_words(seen["refused"]) == {
        "target": "ConnectionRefusedError",
        "target, IPv6": "ConnectionRefusedError",
        "other port": "answered",
        "other peer": "answered",
        "open": "answered",
    }, seen["refused"]["said"]
    assert "packets answered with a reset" in seen["refused"]["said"]
    assert "undone: rules removed" in seen["refused"]["said"]


def test_established_connections_are_reset(seen):
    assert without_words(seen["reset"]) == {
        "target": "ConnectionResetError",
        "target, IPv6": "ConnectionResetError",
        "other peer": "answered",
    }, seen["reset"]["said"]


def test_ports_choose_and_spare(seen):
    assert without_words(seen["lost"]) == {"target": "TimeoutError", "other port": "answered"}, seen["lost"]["said"]
    assert without_words(seen["spared"]) == {"excluded port": "answered", "other port": "TimeoutError"}, seen["spared"]["said"]


def test_all_is_as_before_at_the_end(seen):
    assert seen["after"] == {"target": "answered", "other port": "answered"}
