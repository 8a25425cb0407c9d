"""The docker command, as the tests use it. Everything made here carries the label taskfault.test."""

import json
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LABEL = "taskfault.test=true"


def docker(*arguments, check=True, timeout=120):
    """Runs docker; returns its result with stdout and stderr as text. A failure says what docker said."""
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    if check and result.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: {result.stderr.strip() or result.stdout.strip()}")
    return result


def inspect(thing):
    return json.loads(docker("inspect", thing).stdout)[0]


class Container:
    """A container that runs while its `with` lasts, and is removed at the end, whatever happened."""

    def __init__(self, *arguments):
        self.id = docker("create", "--pull", "never", "--label", LABEL, *arguments).stdout.strip()

    def __enter__(self):
        try:
            docker("start", self.id)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        docker("rm", "--force", "--volumes", self.id)

    def log(self):
        result = docker("logs", self.id)
        return result.stdout + result.stderr

    def state(self):
        return inspect(self.id)["State"]

    def address(self, network):
        return inspect(self.id)["NetworkSettings"]["Networks"][network]["IPAddress"]

    def published(self, port):
        """The loopback address that a port was published at, as host:port."""
        return docker("port", self.id, f"{port}/tcp").stdout.splitlines()[0]

    def cpu_percent(self):
        """What it uses now, in percent of one core, as the docker daemon measures it over a second."""
        text = docker("stats", "--no-stream", "--format", "{{.CPUPerc}}", self.id).stdout
        return float(text.strip().rstrip("%"))


def eventually(what, found, container=None, patience=60):
    """Waits until found() gives something true and returns it; gives up after `patience` seconds, or when the
    container that it is waiting for has ended, and shows its log."""
    end = time.monotonic() + patience
    while True:
        value = found()
        if value:
            return value
        ended = container is not None and not container.state()["Running"]
        if ended or time.monotonic() > end:
            why = "the container ended" if ended else f"not within {patience} s"
            raise AssertionError(f"{what}: {why}\n{container.log() if container else ''}")
        time.sleep(0.2)
