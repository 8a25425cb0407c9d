"""A real sidecar against a local AWS that misbehaves: nothing is lost, nothing runs twice."""

import pytest
from conftest import Server, Sidecar, ssm_client
from test_sidecar import SCRIPT, STRESS, still_well

pytestmark = pytest.mark.sidecar


def test_it_comes_back_after_a_cut_connection(sidecar, switches):
    command = sidecar.send(SCRIPT, {"commands": ["sleep 1; echo through"]})
    sidecar.running(command)
    switches.drop_sockets()
    assert sidecar.finished(command)["Status"] == "Success"
    assert sidecar.invocation(command)["StandardOutputContent"] == "through\n"
    still_well(sidecar)


@pytest.mark.parametrize("channel", ["denied", "error", "hangup"])
def test_it_falls_back_to_the_long_poll(sidecar, switches, channel):
    switches(channel=channel, poll_seconds=1)
    switches.drop_sockets()
    still_well(sidecar)
    switches(channel="open")
    still_well(sidecar)


@pytest.mark.parametrize(
    "misbehaviour",
    [
        {"duplicate_jobs": True},
        {"withhold_delivery_acks": True, "redelivery_seconds": 1},
        {"withhold_reply_acks": True},
    ],
    ids=["duplicate_jobs", "withhold_delivery_acks", "withhold_reply_acks"],
)
@pytest.mark.parametrize("channel", ["open", "denied"])
def test_a_command_runs_once_and_is_answered(start_sidecar, switches, tmp_path, channel, misbehaviour):
    switches(channel=channel, poll_seconds=1, **misbehaviour)
    sidecar = start_sidecar()
    marks = tmp_path / "marks"
    # Longer than a re-delivery takes.
    command = sidecar.send(SCRIPT, {"commands": [f"echo ran >> {marks}; sleep 3; echo done"]})
    assert sidecar.finished(command)["Status"] == "Success"
    assert sidecar.invocation(command)["StandardOutputContent"] == "done\n"
    still_well(sidecar)
    assert marks.read_text() == "ran\n"


def test_it_outlives_its_tokens_and_changes_its_key(start_sidecar, switches):
    switches(token_lifetime_seconds=4)
    sidecar = start_sidecar()
    switches(update_key_pair=True)
    # Longer than a token lives.
    command = sidecar.send(SCRIPT, {"commands": ["sleep 6"]})
    assert sidecar.finished(command)["Status"] == "Success"
    assert switches.now()["update_key_pair"] is False, "no token was asked for"
    # Under the new key, whose tokens have to be good as well.
    command = sidecar.send(SCRIPT, {"commands": ["sleep 5"]})
    assert sidecar.finished(command)["Status"] == "Success"
    still_well(sidecar)


def test_a_restart_of_the_local_aws_loses_nothing(sidecar_binary, session, tmp_path):
    state = str(tmp_path / "state.json")
    server = Server(tmp_path, "127.0.0.1:0", "--state", state)
    client = ssm_client(session, server.url)
    (folder := tmp_path / "sidecar").mkdir()
    sidecar = Sidecar(sidecar_binary, server.url, client, folder)
    try:
        command = sidecar.send(STRESS, {"DurationSeconds": ["4"], "LoadPercent": ["10"], "CPU": ["1"]})
        sidecar.running(command)
        assert server.close() == 0
        server = Server(tmp_path, server.url.removeprefix("http://"), "--state", state)
        assert sidecar.finished(command)["Status"] == "Success"
        assert "10" in sidecar.invocation(command, "FaultInjection")["StandardOutputContent"]
        still_well(sidecar)
        assert sidecar.terminate() == 0
        assert sidecar.information() is None
    finally:
        sidecar.close()
        server.close()
