"""Every command is answered, once, and runs once: whatever is killed, lost or odd on the way."""

import contextlib
import json
import pathlib
import random
import socket
import threading
import time

import pytest
from conftest import Sidecar, eventually
from front import Relay, Wire, relay
from test_sidecar import SCRIPT, still_well

pytestmark = pytest.mark.sidecar


def appends(path, then=""):
    """A script that leaves a line each time it runs."""
    return {"commands": [f"echo ran >> {path}; {then}"]}


def runs(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def relayed(server, start_sidecar, switches):
    """Starts a sidecar whose long poll goes through a relay with the given rules."""
    fronts = []

    def start(**rules):
        switches(channel="denied", redelivery_seconds=1, poll_seconds=1)
        fronts.append(Relay(server, rules))
        return start_sidecar(AWS_ENDPOINT_URL=fronts[-1].url)

    yield start
    for front in fronts:
        front.close()


def test_sixty_kills_leave_no_command_without_its_answer_and_run_none_twice(
    sidecar_binary, server, ssm, tmp_path, switches
):
    """Jobs are offered again and again here, so that a life which has forgotten one takes it a second time."""
    switches(withhold_delivery_acks=True, redelivery_seconds=1)
    chance, task = random.Random(11), "5" * 32
    start = lambda: Sidecar(sidecar_binary, server, ssm, tmp_path, task=task)
    sidecar, sent = start(), []
    try:
        for turn in range(60):
            ran = tmp_path / f"ran-{turn}"
            sent.append((sidecar.send(SCRIPT, appends(ran)), ran))
            time.sleep(chance.uniform(0, 0.15))
            sidecar.process.kill()
            sidecar.close()
            sidecar = start()
        ended = [sidecar.finished(command, 90) for command, _ in sent]
        # Until every job has been offered again, to a life that may take it for new.
        time.sleep(3)
        assert [runs(ran) for _, ran in sent if runs(ran) > 1] == []
        # What was answered Success has run; what was killed says so.
        for (_, ran), one in zip(sent, ended, strict=True):
            assert one["Status"] in ("Success", "Failed"), one
            assert one["Status"] == "Failed" or runs(ran) == 1, one
        assert any(one["Status"] == "Success" for one in ended)
        still_well(sidecar)
    finally:
        sidecar.close()


def test_a_command_that_was_killed_in_the_middle_fails_and_is_not_run_again(start_sidecar, tmp_path, switches):
    switches(withhold_delivery_acks=True, redelivery_seconds=1)
    sidecar, ran = start_sidecar(), tmp_path / "ran"
    pid = tmp_path / "pid"
    command = sidecar.send(SCRIPT, appends(ran, f"echo $$ > {pid}; exec sleep 60"))
    eventually(lambda: runs(ran) == 1 and pid.exists() and pid.read_text(), "it runs")
    script = pathlib.Path("/proc") / pid.read_text().strip() / "comm"
    eventually(lambda: script.read_text() == "sleep\n", "the script has become another program")
    sidecar.process.kill()
    sidecar.process.wait()
    assert script.read_text() == "sleep\n", "the script survives the sidecar"
    again = start_sidecar(ECS_CONTAINER_METADATA_URI_V4=sidecar.task_uri)
    assert again.instance_id == sidecar.instance_id
    answer = again.finished(command)
    assert answer["Status"] == "Failed"
    assert "its script ran on, and was killed when the sidecar started again" in answer["TraceOutput"], answer
    # Nobody waits for it here, so that it may be there without being alive.
    eventually(lambda: not script.exists() or script.with_name("cmdline").read_bytes() == b"", "the script is ended")
    assert list((again.state / "orchestration").iterdir()) == []
    time.sleep(3)
    assert runs(ran) == 1
    still_well(again)


@pytest.mark.parametrize(
    "lost",
    [(500, b"{}"), (503, b""), (200, b"<html>"), (200, b"")],
    ids=["error", "unavailable", "garbage", "empty"],
)
def test_an_acknowledgement_whose_answer_is_lost_still_means_that_the_job_is_ours(relayed, tmp_path, lost):
    def answer_is_lost(pass_on, left=[1]):
        status, body = pass_on()
        assert status == 200, body
        return lost if left and left.pop() else (status, body)

    sidecar, ran = relayed(AcknowledgeMessage=answer_is_lost), tmp_path / "ran"
    assert sidecar.finished(sidecar.send(SCRIPT, appends(ran)))["Status"] == "Success"
    assert runs(ran) == 1


def test_an_acknowledgement_that_never_gets_through_is_tried_until_it_does(relayed, tmp_path):
    tries = []

    def not_yet(pass_on):
        tries.append(time.monotonic())
        return pass_on() if len(tries) > 6 else (500, b"")

    sidecar, ran = relayed(AcknowledgeMessage=not_yet), tmp_path / "ran"
    command = sidecar.send(SCRIPT, appends(ran))
    eventually(lambda: len(tries) > 3, "it is tried again")
    assert runs(ran) == 0, "nothing runs before the service knows"
    assert sidecar.finished(command)["Status"] == "Success"
    assert runs(ran) == 1


def test_one_odd_message_does_not_take_the_others_with_it(relayed, tmp_path):
    odd = [None, 7, "x", [], {}, {"MessageId": None}, {"MessageId": "x", "Payload": None, "Topic": None}]

    def with_odd_ones(pass_on):
        status, body = pass_on()
        answer = json.loads(body or b"{}")
        if status == 200 and answer.get("Messages"):
            answer["Messages"] = [*odd, *answer["Messages"], *odd]
            body = json.dumps(answer).encode()
        return status, body

    sidecar, ran = relayed(GetMessages=with_odd_ones), tmp_path / "ran"
    assert sidecar.finished(sidecar.send(SCRIPT, appends(ran)))["Status"] == "Success"
    assert runs(ran) == 1


class CutOff(Wire):
    """Lets everything through, but cuts a control channel as soon as it is open."""

    def __init__(self, target):
        self.opened = 0
        super().__init__(target)

    def serve(self, connection):
        if b"role=subscribe" not in connection.recv(4096, socket.MSG_PEEK):
            return super().serve(connection)
        self.opened += 1
        there = socket.create_connection(self.target)
        threading.Thread(target=relay, args=(connection, there), daemon=True).start()
        time.sleep(0.3)
        for side in (connection, there):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        return None


def test_a_channel_that_is_cut_as_soon_as_it_opens_is_not_the_only_way(server, start_sidecar, tmp_path):
    front = CutOff(server)
    try:
        sidecar = start_sidecar(AWS_ENDPOINT_URL=front.url)
        eventually(lambda: front.opened >= 2, "it is opened again")
        for turn in range(3):
            ran = tmp_path / f"ran-{turn}"
            assert sidecar.finished(sidecar.send(SCRIPT, appends(ran)))["Status"] == "Success"
            assert runs(ran) == 1
        assert "using the long poll meanwhile" in sidecar.log_path.read_text()
    finally:
        front.close()
