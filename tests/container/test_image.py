"""The image that ships: one static program and nothing else."""

import io
import json
import struct
import subprocess
import tarfile

import pytest

from containers import LABEL, ROOT, docker, inspect

# What the project promises: the program, and with it the image, stays below this.
BUDGET_BYTES = 10 * 1000 * 1000

# Who the program runs as, and what its file gives it (linux/capability.h).
USER = 65532
KILL, SETGID, SETPCAP, NET_ADMIN = 5, 6, 8, 12

# Without a network, removed when it ends.
RUN = ["run", "--rm", "--pull", "never", "--network", "none", "--label", LABEL]

FAULTS = [
    "cpu-stress", "disk-fill", "io-stress", "kill-process", "memory-stress", "network-blackhole-port",
    "network-latency", "network-packet-loss",
]


@pytest.fixture(scope="module")
def members(image):
    """Every entry of every layer."""
    saved = subprocess.run(["docker", "image", "save", image], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as outer:
        manifest = json.load(outer.extractfile("manifest.json"))
        found = []
        for layer in manifest[0]["Layers"]:
            with tarfile.open(fileobj=io.BytesIO(outer.extractfile(layer).read())) as inner:
                found += inner.getmembers()
    return found


def copied(image, name, folder):
    """A file of the image, in a folder."""
    container = docker("create", "--label", LABEL, image).stdout.strip()
    try:
        docker("cp", f"{container}:/{name}", str(folder / name))
    finally:
        docker("rm", "--volumes", container)
    return folder / name


def run(image, *arguments):
    return docker(*RUN, image, *arguments, check=False)


def test_the_image_is_one_program_its_licences_and_a_folder_for_its_state(members):
    found = {entry.name: entry for entry in members}
    folders = {"var", "var/lib", "var/lib/amazon", "var/lib/amazon/ssm"}
    assert set(found) == {"taskfault", "licences.txt", "sbom.cdx.json"} | folders
    assert found["taskfault"].mode & 0o111 == 0o111
    assert {name for name, entry in found.items() if entry.isdir()} == folders
    state = found["var/lib/amazon/ssm"]
    assert (state.uid, state.gid, state.mode & 0o777) == (USER, USER, 0o755)
    # As text, as the archive has it: struct vfs_cap_data of linux/capability.h.
    granted = found["taskfault"].pax_headers["SCHILY.xattr.security.capability"].encode()
    revision, low, inheritable, *high = struct.unpack("<IIIII", granted)
    # Without the effective bit, or it could not be executed where one of them is missing.
    assert (revision, inheritable, high) == (0x0200_0000, 0, [0, 0])
    assert low == 1 << KILL | 1 << SETGID | 1 << SETPCAP | 1 << NET_ADMIN


def test_what_is_linked_is_said(image, tmp_path):
    assert "Apache License" in copied(image, "licences.txt", tmp_path).read_text()
    assert len(json.loads(copied(image, "sbom.cdx.json", tmp_path).read_text())["components"]) > 50


def test_the_image_is_within_its_budget(members):
    size = sum(entry.size for entry in members)
    print(f"\nimage: {size / 1e6:.2f} MB of {BUDGET_BYTES / 1e6:.0f} MB")
    assert size <= BUDGET_BYTES


def test_the_program_is_static(image, tmp_path):
    program = copied(image, "taskfault", tmp_path)
    said = subprocess.run(["file", "--brief", program], capture_output=True, text=True, check=True)
    assert "statically linked" in said.stdout or "static-pie linked" in said.stdout
    assert "interpreter" not in said.stdout
    assert ", stripped" in said.stdout


def test_the_image_starts_the_sidecar_and_carries_nothing_of_the_build(image):
    config = inspect(image)["Config"]
    assert config["Entrypoint"] == ["/taskfault"]
    assert config["Cmd"] == ["sidecar"]
    assert config["User"] == f"{USER}:{USER}"
    assert set(config["Volumes"]) == {"/var/lib/amazon/ssm"}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    if head.returncode == 0:
        assert config["Labels"]["org.opencontainers.image.revision"] == head.stdout.strip()
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
