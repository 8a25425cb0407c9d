"""A real sidecar over https and wss, with an authority of its own in AWS_CA_BUNDLE."""

import pytest
from conftest import eventually
from front import TlsFront, authority
from test_sidecar import SCRIPT, still_well

pytestmark = pytest.mark.sidecar


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    """An authority and what it signed: (ca, certificate, key)."""
    return authority(tmp_path_factory.mktemp("tls"), "trusted")


@pytest.fixture
def front(server, trusted):
    """The local AWS behind TLS."""
    opened = TlsFront(server, *trusted[1:])
    yield opened.url
    opened.close()


def test_a_whole_life_over_tls(start_sidecar, ssm, front, trusted):
    sidecar = start_sidecar(AWS_ENDPOINT_URL=front, AWS_CA_BUNDLE=str(trusted[0]))
    eventually(lambda: f"control channel open endpoint={front}" in sidecar.log_path.read_text(), "wss is open")
    still_well(sidecar)
    command = sidecar.send(SCRIPT, {"commands": ["sleep 600"]})
    sidecar.running(command)
    ssm.cancel_command(CommandId=command)
    assert sidecar.finished(command)["Status"] == "Cancelled"
    assert sidecar.terminate() == 0
    assert sidecar.information() is None


def test_the_long_poll_over_tls(start_sidecar, switches, front, trusted):
    switches(channel="denied", poll_seconds=1)
    still_well(start_sidecar(AWS_ENDPOINT_URL=front, AWS_CA_BUNDLE=str(trusted[0])))


@pytest.mark.parametrize("bundle", ["none", "another"])
def test_a_service_that_is_not_trusted_is_refused_in_words(start_process, front, server, tmp_path, bundle):
    other = str(authority(tmp_path, "another")[0]) if bundle == "another" else None
    metadata = f"{server}/v4/demo/web/tls{bundle}"
    line = start_process(front, AWS_CA_BUNDLE=other, ECS_CONTAINER_METADATA_URI_V4=metadata).failed()
    assert "CreateActivation" in line and front in line
    assert "certificate" in line and "UnknownIssuer" in line
    assert "AWS_CA_BUNDLE" in line


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["missing", "nonsense"])
def test_a_bad_bundle_is_named(start_process, server, tmp_path, content):
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    line = start_process(server, AWS_CA_BUNDLE=str(bundle)).failed()
    assert f"AWS_CA_BUNDLE={bundle}" in line
