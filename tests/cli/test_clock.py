"""A sidecar on a machine whose clock is off: it signs with the service's time, which it has from the Date of its answers."""

import os
import pathlib

import pytest
from conftest import eventually
from front import Strict
from test_sidecar import still_well

pytestmark = pytest.mark.sidecar

LIBRARIES = pathlib.Path("/usr/lib")


@pytest.fixture(scope="module", autouse=True)
def faketime():
    if not any(LIBRARIES.glob("*/faketime/libfaketime.so.1")):
        if os.environ.get("CI"):
            pytest.fail("there is no faketime: scripts/install-deps")
        pytest.skip("there is no faketime: scripts/install-deps")


@pytest.fixture
def service(server):
    opened = []

    def open_at(seconds_ahead=0):
        opened.append(Strict(server, seconds_ahead))
        return opened[-1]

    yield open_at
    for one in opened:
        one.close()


@pytest.mark.parametrize(("off", "way"), [("-55m", "behind"), ("+55m", "ahead of")])
def test_a_clock_that_is_off_by_less_than_an_hour_is_made_up_for(start_sidecar, server, service, off, way):
    strict = service()
    sidecar = start_sidecar(
        # Not by the program `faketime`, which would take the signals in its place.
        LD_PRELOAD=str(next(LIBRARIES.glob("*/faketime/libfaketime.so.1"))),
        FAKETIME=off,
        AWS_ENDPOINT_URL=strict.url,
        ECS_CONTAINER_METADATA_URI_V4=f"{server}/v4/demo/web/clock{way.split()[0]}",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    # Activation, RSA-signed token, heartbeat, long poll and replies: each is signed, and the local AWS looks at that.
    still_well(sidecar)
    assert strict.refused == 1, "one call finds it out"
    eventually(lambda: strict.taken > 6, "calls are signed with the service's time")
    assert f"s {way} that of the service; calls are signed with the service's time" in sidecar.log_path.read_text()
    assert sidecar.terminate() == 0 and sidecar.information() is None


def test_a_clock_that_is_off_by_more_is_the_hint(start_process, server, service):
    other = service(3 * 3600)
    line = start_process(other.url, ECS_CONTAINER_METADATA_URI_V4=f"{server}/v4/demo/web/clock").failed()
    assert "CreateActivation" in line and "Signature expired" in line, line
    assert "s behind that of the service; too far to go on" in line, line
