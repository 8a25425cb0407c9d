"""Messages on the control channel that no service should send: the sidecar stays online and loses nothing."""

import contextlib
import hashlib
import json
import struct
import time
import uuid

import pytest
from conftest import eventually
from front import Wire
from test_sidecar import SCRIPT, STRESS, still_well

pytestmark = pytest.mark.sidecar

SEND = "aws.ssm.sendCommand"
CANCEL = "aws.ssm.cancelCommand"


def frame(payload, *, kind="agent_job", header=116, created=None, digest=None, length=None):
    """An AgentMessage; the layout is in src/channel/frame.rs."""
    payload = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    created = int(time.time() * 1000) if created is None else created
    return b"".join([
        struct.pack(">I", header), kind.ljust(32).encode(), struct.pack(">IQqQ", 1, created, 0, 0), uuid.uuid4().bytes,
        digest or hashlib.sha256(payload).digest(), struct.pack(">II", 0, len(payload) if length is None else length),
        payload,
    ])  # fmt: skip


def job(content="{}", topic=SEND, job_id=None):
    """The payload of an agent_job."""
    content = content if isinstance(content, str) else json.dumps(content)
    job_id = job_id or f"aws.ssm.{uuid.uuid4()}.mi-0123456789abcdef0"
    return {"Content": content, "JobId": job_id, "Topic": topic, "SchemaVersion": 1}


WHOLE = frame(job())
BAD = {
    **{f"cut at {at}": WHOLE[:at] for at in (1, 4, 36, 119, 120, 121, len(WHOLE) - 1)},
    "longer than it says": frame(job(), length=5),
    "shorter than it says": frame(job(), length=0xFFFFFFFF),
    "endless header": frame(job(), header=0xFFFFFFFF),
    "no header": frame(job(), header=0),
    "another digest": frame(job(), digest=bytes(32)),
    "no date": frame(job(), created=0),
    "a date without end": frame(job(), created=2**64 - 1),
    "the year 10000": frame(job(), created=253_402_300_800_000),
    "not UTF-8": frame(b"\xff\xfe"),
    "not UTF-8 inside": frame(b'{"Content":"\xff","JobId":"aws.ssm.a.mi-1","Topic":"aws.ssm.sendCommand"}'),
    "not JSON": frame(b"nonsense"),
    "JSON, not a job": frame(b"[]"),
    "nested without end": frame(job("[" * 100_000)),
    "text": "a text message",
    "text of a job": json.dumps(job()),
    **{
        f"job id {name}": frame(job(job_id=text))
        for name, text in {
            "empty": "",
            "path": "aws.ssm.../../../../tmp/x.mi-1",
            "slash": "aws.ssm.a/b.mi-1",
            "short": "aws.ssm.",
            "long": "aws.ssm." + "a" * 100_000 + ".mi-1",
        }.items()
    },
    "unknown topic": frame(job({"DocumentName": "x", "DocumentContent": {}}, topic="aws.ssm.other")),
    "unknown document": frame(job({"DocumentName": "x", "DocumentContent": {}})),
    "empty cancel": frame(job("{}", topic=CANCEL)),
    "unknown kind": frame(b"{}", kind="interactive_shell"),
    "acknowledgement of nothing": frame({"acknowledgedMessageId": str(uuid.uuid4())}, kind="agent_job_reply_ack"),
    "acknowledgement without sense": frame(b"{}", kind="agent_job_reply_ack"),
    "a megabyte and more": frame(job("x" * 1_500_000)),
}


def test_nothing_that_comes_over_the_wire_hurts(sidecar, switches):
    running = sidecar.send(SCRIPT, {"commands": ["sleep 600"]})
    sidecar.running(running)
    eventually(lambda: "control channel open" in sidecar.log_path.read_text(), "the control channel is open")
    for name, message in BAD.items():
        try:
            switches.put(sidecar.instance_id, message)
            command = sidecar.send(SCRIPT, {"commands": ["true"]})
            assert sidecar.finished(command)["Status"] == "Success"
        except BaseException as error:
            error.add_note(f"after: {name}")
            raise
    log = sidecar.log_path.read_text()
    assert log.count("control channel open") == 1, "the channel was closed"
    assert max(map(len, log.splitlines())) < 2000
    assert sidecar.invocation(running)["Status"] == "InProgress"
    assert not (sidecar.state / "orchestration").exists() or len(list((sidecar.state / "orchestration").iterdir())) == 1


def test_a_cancel_that_is_not_for_us_changes_nothing(sidecar, switches):
    command = sidecar.send(STRESS, {"DurationSeconds": ["3600"], "LoadPercent": ["10"], "CPU": ["1"]})
    sidecar.running(command)
    for target in (
        f"aws.ssm.{command}.mi-00000000000000000",
        f"aws.ssm.{uuid.uuid4()}.{sidecar.instance_id}",
        command,
        "",
    ):
        switches.put(sidecar.instance_id, frame(job({"CancelMessageId": target}, topic=CANCEL)))
    eventually(lambda: sidecar.log_path.read_text().count("nothing to cancel") == 4, "all four were looked at")
    still_well(sidecar)
    assert sidecar.invocation(command, "FaultInjection")["Status"] in ("Pending", "InProgress")
    switches.put(
        sidecar.instance_id,
        frame(job({"CancelMessageId": f"aws.ssm.{command}.{sidecar.instance_id}"}, topic=CANCEL)),
    )
    assert sidecar.finished(command)["Status"] == "Cancelled"


def test_megabytes_of_json_are_refused(start_sidecar, server):
    wire = Wire(server)
    try:
        sidecar = start_sidecar(AWS_ENDPOINT_URL=wire.url)
        said = sidecar.log_path.read_text
        eventually(lambda: "control channel open" in said(), "the control channel is open")
        still_well(sidecar)
        wire.speak(frame(job({"DocumentName": "x", "DocumentContent": {"description": "x" * 6_000_000}})))
        eventually(lambda: "over the limit" in said(), "it is refused")
        still_well(sidecar)
        assert said().count("control channel open") == 1
        # What is twice over the limit is not read at all: the channel is another one afterwards.
        with contextlib.suppress(OSError):
            wire.speak(frame(job({"DocumentName": "x", "DocumentContent": {"description": "x" * 10_000_000}})))
        eventually(lambda: said().count("control channel open") == 2, "the control channel is open again")
        still_well(sidecar)
    finally:
        wire.close()
