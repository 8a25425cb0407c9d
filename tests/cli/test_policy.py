"""What the platform team forbids in a task's environment, the sidecar refuses before it touches anything."""

import subprocess

import pytest
from test_sidecar import SCRIPT, STRESS

pytestmark = pytest.mark.sidecar

POLICY = {
    "TASKFAULT_ALLOW": "cpu-stress,network-*",
    "TASKFAULT_MAX_DURATION": "5m",
    "TASKFAULT_MAX_PERCENT": "80",
    "TASKFAULT_ALLOW_SHELL": None,
    "TASKFAULT_DENY_TARGETS": "192.0.2.0/24",
}


def stress(percent, seconds):
    return {"DurationSeconds": [str(seconds)], "LoadPercent": [str(percent)], "CPU": ["1"]}


def test_what_the_policy_forbids_is_refused_with_its_variable(start_sidecar):
    sidecar = start_sidecar(**POLICY)
    asked = [
        ("TASKFAULT_MAX_DURATION", STRESS, stress(10, 301)),
        ("TASKFAULT_MAX_PERCENT", STRESS, stress(81, 60)),
        ("TASKFAULT_ALLOW", "AWSFIS-Run-Kill-Process", {"ProcessName": ["nobody"]}),
        ("TASKFAULT_ALLOW_SHELL", SCRIPT, {"commands": ["touch was-here"]}),
    ]
    commands = {}
    for variable, document, parameters in asked:
        commands[variable] = sidecar.send(document, parameters)
        ended = sidecar.finished(commands[variable])
        assert ended["Status"] == "Failed", ended
        output = "".join(plugin["Output"] for plugin in ended["CommandPlugins"])
        assert variable in output, output
    assert not list(sidecar.state.rglob("was-here"))
    # In the log: who asked, for what, and why not.
    log = sidecar.log_path.read_text()
    for variable, command in commands.items():
        (refusal,) = [line for line in log.splitlines() if command in line and "command refused" in line]
        assert f"reason={variable}" in refusal or variable in refusal, refusal
        assert "document=" in refusal and "parameters=" in refusal, refusal
    # What is allowed goes on, and its start and end say who asked.
    command = sidecar.send(STRESS, stress(10, 1))
    assert sidecar.finished(command)["Status"] == "Success"
    lines = [line for line in sidecar.log_path.read_text().splitlines() if command in line]
    assert all(STRESS in line and "LoadPercent" in line for line in lines), lines
    for words in ("command accepted", "cpu-stress: ", "fault undone", "command ended"):
        assert sum(words in line for line in lines) == 1, (words, lines)
    # Who looks into the task sees it.
    shown = subprocess.run(
        [sidecar.process.args[0], "status", "--state-dir", sidecar.state], capture_output=True, text=True, check=True
    )
    policy = [line.removeprefix("policy: ") for line in shown.stdout.splitlines() if line.startswith("policy: ")]
    assert policy == [f"{name}={value}" for name, value in POLICY.items() if value]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("TASKFAULT_ALLOW", "cpu-stres", "there is no fault"),
        ("TASKFAULT_MAX_PERCENT", "80%", "from 1 to 100"),
        ("TASKFAULT_MAX_DURATON", "5m", "there is no such variable"),
    ],
)
def test_a_typo_is_wrong_usage_and_one_line(start_process, server, sidecar_binary, variable, value, words):
    process = start_process(server, **{variable: value})
    line = process.failed(code=2)
    assert f"{variable}=" in line and value in line and words in line
    assert len([line for line in process.log_path.read_text().splitlines() if " INFO " not in line]) == 1
    assert list(process.state.iterdir()) == []
    for command in (["inject", "cpu-stress", "--duration", "1s", "--percent", "0"], ["doctor"]):
        done = subprocess.run([sidecar_binary, *command], env={variable: value}, capture_output=True, text=True)
        assert done.returncode == 2 and variable in done.stderr, done


@pytest.mark.parametrize(
    ("variable", "value", "options"),
    [
        ("TASKFAULT_ALLOW", "disk-fill", ["cpu-stress", "--duration", "1s"]),
        ("TASKFAULT_MAX_DURATION", "10s", ["cpu-stress", "--duration", "11s"]),
        ("TASKFAULT_MAX_PERCENT", "10", ["disk-fill", "--duration", "1s", "--bytes", "4096"]),
    ],
)
def test_inject_obeys_it_too(sidecar_binary, variable, value, options):
    done = subprocess.run([sidecar_binary, "inject", *options], env={variable: value}, capture_output=True, text=True)
    assert done.returncode == 2 and variable in done.stderr and done.stdout == "", done
