"""The image that ships: one static program and nothing else."""

import io
import json
import subprocess
import tarfile

import pytest

from containers import LABEL, ROOT, docker, inspect

# What the project promises: the program, and with it the image, stays below this.
BUDGET_BYTES = 10 * 1000 * 1000

# Without a network, removed when it ends.
RUN = ["run", "--rm", "--pull", "never", "--network", "none", "--label", LABEL]

FAULTS = [
    "cpu-stress", "disk-fill", "io-stress", "kill-process", "memory-stress", "network-blackhole-port",
    "network-latency", "network-packet-loss",
]


@pytest.fixture(scope="module")
def members(image):
    """Every entry of every layer, as (name, size, mode)."""
    saved = subprocess.run(["docker", "image", "save", image], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as outer:
        manifest = json.load(outer.extractfile("manifest.json"))
        found = []
        for layer in manifest[0]["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(outer.extractfile(layer).read())) as inner:
                found += [(entry.name, entry.size, entry.mode) for entry in inner.getmembers()]
    return found


def run(image, *arguments):
    return docker(*RUN, image, *arguments, check=False)


def test_the_image_is_one_executable_file(members):
    ((name, _, mode),) = members
    assert name == "taskfault"
    assert mode & 0o111 == 0o111


def test_the_image_is_within_its_budget(members):
    size = sum(size for _, size, _ in members)
    print(f"\nimage: {size / 1e6:.2f} MB of {BUDGET_BYTES / 1e6:.0f} MB")
    assert size <= BUDGET_BYTES


def test_the_program_is_static(image, tmp_path):
    container = docker("create", "--label", LABEL, image).stdout.strip()
    try:
        docker("cp", f"{container}:/taskfault", str(tmp_path / "taskfault"))
    finally:
        docker("rm", container)
    said = subprocess.run(["file", "--brief", tmp_path / "taskfault"], capture_output=True, text=True, check=True)
    assert "statically linked" in said.stdout or "static-pie linked" in said.stdout
    assert "interpreter" not in said.stdout
    assert ", stripped" in said.stdout


def test_the_image_starts_the_sidecar_and_carries_nothing_of_the_build(image):
    config = inspect(image)["Config"]
    assert config["Entrypoint"] == ["/taskfault"]
    assert config["Cmd"] == ["sidecar"]
    assert config["User"] == "0:0"
    names = {variable.partition("=")[0] for variable in config["Env"] or []}
    assert names <= {"PATH"}


def test_it_lists_its_faults(image):
    result = run(image, "faults")
    assert result.returncode == 0, result.stderr
    for fault in FAULTS:
        assert fault in result.stdout


def test_doctor_says_what_works_here(image):
    result = run(image, "doctor")
    assert "cpu-stress" in result.stdout, result.stderr
    assert "panicked" not in result.stderr


def test_a_sidecar_without_its_variables_says_which(image):
    result = run(image)
    assert result.returncode != 0
    assert "MANAGED_INSTANCE_ROLE_NAME" in result.stderr + result.stdout
    assert "panicked" not in result.stderr


def test_the_debug_image_has_a_shell(image):
    tag = "taskfault:test-debug"
    docker("build", "--label", LABEL, "--tag", tag, "--target", "debug", str(ROOT), timeout=1800)
    result = docker(*RUN, "--entrypoint", "sh", tag, "-c", "/taskfault --version")
    assert result.stdout.startswith("taskfault ")
