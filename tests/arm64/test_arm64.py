"""The image layout for amd64 and arm64, and the program for arm64 under user emulation: what it says, the faults that ask
no network of the kernel, and a sidecar's life at the local AWS. `scripts/arm64` builds both.

The emulator has neither netlink nor seccomp, and no clone without a signal at the end, which memory stress and process
pause start their children with: those need a kernel for arm64.
"""

import gzip
import hashlib
import io
import json
import os
import signal
import struct
import subprocess
import tarfile
import time
from pathlib import Path

import boto3
import pytest

LAYOUT = Path(os.environ["TASKFAULT_IMAGE_LAYOUT"])
BIN_DIR = Path(os.environ["TASKFAULT_BIN_DIR"])
EMULATOR = "qemu-aarch64-static"
REGION, ROLE = "us-east-1", "taskfault-managed-instance"
# elf.h
EM_X86_64, EM_AARCH64, PT_LOAD, PT_INTERP = 62, 183, 1, 3
# The largest page of a kernel for arm64.
LARGEST_PAGE = 64 * 1024


def blob(descriptor):
    """A blob of the layout, which is what its digest says."""
    algorithm, _, name = descriptor["digest"].partition(":")
    data = (LAYOUT / "blobs" / algorithm / name).read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (name, descriptor["size"])
    return data


def program_of(manifest):
    (layer,) = manifest["layers"]
    unpacked = gzip.decompress(blob(layer))
    config = json.loads(blob(manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(unpacked).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        return archive.extractfile("taskfault").read()


@pytest.fixture(scope="module")
def manifests():
    """The manifests of the index, by architecture."""
    index = json.loads((LAYOUT / "index.json").read_text())
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert json.loads((LAYOUT / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    return {it["platform"]["architecture"]: json.loads(blob(it)) for it in index["manifests"]}


@pytest.fixture(scope="module")
def program(manifests, tmp_path_factory):
    path = tmp_path_factory.mktemp("arm64") / "taskfault"
    path.write_bytes(program_of(manifests["arm64"]))
    path.chmod(0o755)
    return path


def headers(program):
    """The program headers of an ELF file: type, …, alignment."""
    (offset,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    return [struct.unpack_from("<IIQQQQQQ", program, offset + number * size) for number in range(count)]


def run(program, *words, **options):
    return subprocess.run([EMULATOR, program, *words], capture_output=True, text=True, timeout=300, **options)


def test_the_layout_has_an_image_of_each_platform(manifests):
    assert set(manifests) == {"amd64", "arm64"}
    for architecture, machine in (("amd64", EM_X86_64), ("arm64", EM_AARCH64)):
        config = json.loads(blob(manifests[architecture]["config"]))
        assert (config["os"], config["architecture"]) == ("linux", architecture)
        assert config["config"]["User"] == "65532:65532"
        program = program_of(manifests[architecture])
        (found,) = struct.unpack_from("<H", program, 18)
        assert found == machine
        assert PT_INTERP not in [header[0] for header in headers(program)], "static: no loader is asked for"


def test_it_can_be_loaded_with_the_largest_pages(program):
    alignments = [header[7] for header in headers(program.read_bytes()) if header[0] == PT_LOAD]
    assert alignments and all(alignment % LARGEST_PAGE == 0 for alignment in alignments)


def test_it_says_the_same(program):
    for words in (["--version"], ["faults", "--json"], ["--help"]):
        here = subprocess.run([BIN_DIR / "taskfault", *words], capture_output=True, text=True, check=True)
        assert run(program, *words).stdout == here.stdout


def test_doctor_says_what_works_there(program):
    findings = json.loads(run(program, "doctor", "--json").stdout)["findings"]
    assert {"cpu-stress", "memory-stress", "NET_ADMIN"} <= {finding["name"] for finding in findings}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cpu-stress --duration 2s --percent 20 --workers 1", "achieved"),
        ("io-stress --duration 1s --percent 1", "no file and no thread left"),
        ("disk-fill --duration 1s --bytes 1048576", "the file is gone"),
    ],
)
def test_a_fault_does_its_work(program, tmp_path, words, said):
    words = words.split()
    path = ["--path", str(tmp_path)] if words[0] in ("io-stress", "disk-fill") else []
    done = run(program, "inject", *words, *path)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout, done.stdout + done.stderr


@pytest.fixture
def local_aws(tmp_path):
    command = [BIN_DIR / "taskfault-local", "--listen", "127.0.0.1:0", "--region", REGION]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.terminate()


def eventually(probe, what, seconds=120):
    end = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < end, what()
        time.sleep(0.2)
    return found


def test_a_sidecar_registers_runs_a_command_and_leaves(program, local_aws, tmp_path):
    ssm = boto3.client(
        "ssm", endpoint_url=local_aws, region_name=REGION, aws_access_key_id="local", aws_secret_access_key="local"
    )
    environment = {
        "PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": local_aws, "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local", "MANAGED_INSTANCE_ROLE_NAME": ROLE,
        "ECS_CONTAINER_METADATA_URI_V4": f"{local_aws}/v4/tests/web/arm64",
    }  # fmt: skip
    log = tmp_path / "log"
    command = [EMULATOR, program, "sidecar", "--state-dir", tmp_path / "state"]
    with open(log, "w") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as sidecar:
        try:
            instances = lambda: ssm.describe_instance_information()["InstanceInformationList"]
            online = lambda: [it["InstanceId"] for it in instances() if it["PingStatus"] == "Online"]
            (instance,) = eventually(online, log.read_text)
            parameters = {"DurationSeconds": ["2"], "CPU": ["1"], "LoadPercent": ["20"]}
            sent = ssm.send_command(
                InstanceIds=[instance], DocumentName="AWSFIS-Run-CPU-Stress", Parameters=parameters
            )
            listed = lambda: ssm.list_command_invocations(CommandId=sent["Command"]["CommandId"])["CommandInvocations"]
            ended = lambda: [it["Status"] for it in listed() if it["Status"] not in ("Pending", "InProgress")]
            assert eventually(ended, log.read_text) == ["Success"], log.read_text()
            sidecar.send_signal(signal.SIGTERM)
            assert sidecar.wait(timeout=120) == 0, log.read_text()
            assert instances() == []
        finally:
            sidecar.kill()
