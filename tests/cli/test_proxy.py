"""A sidecar behind a real proxy: everything but metadata goes through it, by CONNECT, and a proxy that will not is named."""

import os
import shutil
import socket
import subprocess

import pytest
from conftest import eventually
from front import Proxy, TlsFront, authority
from test_sidecar import still_well

pytestmark = pytest.mark.sidecar

# Nobody but the proxy knows this name.
NAME = "aws.localhost"


@pytest.fixture(scope="module", autouse=True)
def tinyproxy():
    if not shutil.which("tinyproxy"):
        if os.environ.get("CI"):
            pytest.fail("there is no tinyproxy: scripts/install-deps")
        pytest.skip("there is no tinyproxy: scripts/install-deps")


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("tls"), "proxied", NAME)


@pytest.fixture
def front(server, trusted):
    """The local AWS behind TLS, under the name that only the proxy knows."""
    opened = TlsFront(server, *trusted[1:])
    yield f"https://{NAME}:{opened.url.rsplit(':', 1)[1]}"
    opened.close()


@pytest.fixture
def proxy(tmp_path):
    started = []

    def start(user=None):
        folder = tmp_path / f"proxy{len(started)}"
        folder.mkdir()
        started.append(Proxy(folder, NAME, user))
        return started[-1]

    yield start
    for one in started:
        one.close()


def variables(front, trusted, proxy):
    return {"AWS_ENDPOINT_URL": front, "AWS_CA_BUNDLE": str(trusted[0]), "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy}


def test_a_whole_life_through_a_proxy_with_a_password(start_sidecar, trusted, front, proxy):
    behind = proxy(user="ann secret-1")
    url = behind.url.replace("http://", "http://ann:secret%2D1@")
    sidecar = start_sidecar(**variables(front, trusted, url))
    eventually(lambda: f"control channel open endpoint={front}" in sidecar.log_path.read_text(), "wss is open")
    still_well(sidecar)
    # What doctor says of the way, from the same environment.
    doctor = subprocess.run(
        [sidecar.process.args[0], "doctor", "--state-dir", sidecar.state],
        env=variables(front, trusted, url) | {"ECS_CONTAINER_METADATA_URI_V4": sidecar.task_uri},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    for service in ("ssm", "ssmmessages", "ec2messages"):
        (line,) = [line for line in doctor.stdout.splitlines() if line.split()[:2] == ["ok", service]]
        assert f"{front} answers, through the proxy {behind.url} (HTTPS_PROXY)" in line
    assert "secret" not in doctor.stdout + sidecar.log_path.read_text()
    assert sidecar.terminate() == 0
    assert sidecar.information() is None
    asked = [line for line in behind.log.read_text().splitlines() if "Request" in line]
    assert asked and all(f"CONNECT {NAME}:" in line for line in asked), asked


def test_the_long_poll_through_a_proxy(start_sidecar, switches, trusted, front, proxy):
    switches(channel="denied", poll_seconds=1)
    behind = proxy()
    still_well(start_sidecar(**variables(front, trusted, None) | {"HTTPS_PROXY": None, "all_proxy": behind.url}))


def test_a_proxy_that_wants_a_password_is_said(start_process, server, trusted, front, proxy):
    behind = proxy(user="ann secret")
    line = start_process(server, **variables(front, trusted, behind.url)).failed()
    assert f"the proxy {behind.url} (HTTPS_PROXY) wants a user and a password" in line and "407" in line


def test_a_proxy_that_hangs_is_said(start_process, server, trusted, front):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        line = start_process(server, **variables(front, trusted, url)).failed()
        assert f"the proxy {url} (HTTPS_PROXY) does not answer within 10 s" in line, line


def test_a_proxy_of_another_kind_is_wrong_usage(start_process, server):
    line = start_process(server, HTTPS_PROXY="socks5://u:secret@127.0.0.1:1080").failed(code=2)
    assert "HTTPS_PROXY is no address of a proxy" in line and "secret" not in line
