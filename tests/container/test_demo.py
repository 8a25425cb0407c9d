"""`taskfault-local demo` in a container: what it says where it may not, and that it works where it may."""

import json
import os
import subprocess

from containers import LABEL, docker
from test_compose import local_image  # noqa: F401

# What a container has to be given for namespaces of its own.
OPTIONS = ["seccomp=unconfined", "systempaths=unconfined", "apparmor=unconfined"]


def test_without_its_options_it_says_which(local_image):  # noqa: F811
    done = docker("run", "--rm", "--pull", "never", "--label", LABEL, local_image, "demo", check=False)
    assert done.returncode == 1, done.stdout
    assert "--security-opt seccomp=unconfined --security-opt systempaths=unconfined" in done.stdout, done.stdout


def test_with_them_tasks_run_and_there_is_a_report(local_image, tmp_path):  # noqa: F811
    options = [word for option in OPTIONS for word in ("--security-opt", option)]
    name = f"taskfault-demo-{os.getpid()}"
    command = [
        "docker", "run", "--rm", "--pull", "never", "--label", LABEL, "--name", name, *options,
        "--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{tmp_path}:/out", local_image, "demo",
    ]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        shown = ""
        # The rest is as outside of a container, which another part plays to its end.
        while "The service at rest" not in shown:
            line = running.stdout.readline()
            assert line, shown
            shown += line
        docker("kill", "--signal", "INT", name)
        shown += running.communicate()[0]
    finally:
        docker("rm", "--force", name, check=False)
    assert running.returncode == 130, shown
    assert "3 tasks run, their sidecars are Online" in shown
    record = json.loads((tmp_path / "taskfault-report" / "report.json").read_text())
    assert len(record["tasks"]) == 3
