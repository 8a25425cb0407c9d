"""A real sidecar against a local AWS that misbehaves: nothing is lost, nothing runs twice."""

import contextlib
import os
import pathlib
import signal
import shutil
import subprocess
import tempfile
import time

import pytest
from conftest import Server, Sidecar, SidecarProcess, eventually, ssm_client, stop
from test_sidecar import SCRIPT, STRESS, still_well

pytestmark = pytest.mark.sidecar


def test_it_comes_back_after_a_cut_connection(sidecar, switches):
    command = sidecar.send(SCRIPT, {"commands": ["sleep 1; echo through"]})
    sidecar.running(command)
    switches.drop_sockets()
    assert sidecar.finished(command)["Status"] == "Success"
    assert sidecar.invocation(command)["StandardOutputContent"] == "through\n"
    still_well(sidecar)


def test_it_comes_back_twenty_times_during_a_command(sidecar, switches, tmp_path):
    end = tmp_path / "end"
    command = sidecar.send(SCRIPT, {"commands": [f"until [ -e {end} ]; do sleep 0.1; done; echo through"]})
    sidecar.running(command)
    opened = lambda: sidecar.log_path.read_text().count("control channel open")
    for cut in range(1, 21):
        eventually(lambda: opened() == cut, f"the channel is open for the {cut}th time")
        # One that has carried nothing is opened again less and less often.
        still_well(sidecar)
        switches.drop_sockets()
    end.touch()
    assert sidecar.finished(command)["Status"] == "Success"
    assert sidecar.invocation(command)["StandardOutputContent"] == "through\n"
    still_well(sidecar)


def test_a_reply_that_was_made_between_the_channels_arrives(sidecar, switches, tmp_path):
    end = tmp_path / "end"
    command = sidecar.send(SCRIPT, {"commands": [f"until [ -e {end} ]; do sleep 0.01; done; echo between"]})
    sidecar.running(command)
    switches(channel="denied", poll_seconds=1)
    switches.drop_sockets()
    # The control channel is closed, and the long poll is not there before the next try is refused.
    end.touch()
    assert sidecar.finished(command)["Status"] == "Success"
    assert sidecar.invocation(command)["StandardOutputContent"] == "between\n"


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


def test_an_instance_that_is_not_known_any_more_is_registered_anew(sidecar_binary, session, tmp_path):
    """A local AWS that was restarted without its state has forgotten it, as AWS has one that was deregistered."""
    server = Server(tmp_path)
    (folder := tmp_path / "sidecar").mkdir()
    sidecar = Sidecar(sidecar_binary, server.url, ssm_client(session, server.url), folder)
    healthy = lambda: subprocess.run(
        [sidecar_binary, "status", "--healthy", "--state-dir", sidecar.state],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    try:
        assert healthy().returncode == 0, healthy().stdout
        first = sidecar.instance_id
        command = sidecar.send(STRESS, {"DurationSeconds": ["3600"], "LoadPercent": ["10"], "CPU": ["1"]})
        sidecar.running(command)
        server.process.kill()
        server.close()
        server = Server(tmp_path, server.url.removeprefix("http://"))
        eventually(lambda: healthy().returncode == 1, "it is unhealthy meanwhile")
        assert "not known to Systems Manager any more" in healthy().stdout
        sidecar.instance_id = eventually(sidecar.registered, "it registers anew")["InstanceId"]
        assert sidecar.instance_id != first
        eventually(lambda: healthy().returncode == 0, "it is healthy again")
        log = sidecar.log_path.read_text()
        assert log.count("does not know this instance any more") == 1, log
        # Nobody could have cancelled what ran.
        assert "command cancelled" in log or "fault undone" in log, log
        still_well(sidecar)
        assert sidecar.terminate() == 0
        assert sidecar.information() is None
        assert {it.name for it in sidecar.state.iterdir()} <= {"orchestration"}
    finally:
        sidecar.close()
        server.close()


def test_a_deregistered_instance_is_registered_anew(sidecar, ssm):
    first = sidecar.instance_id
    ssm.deregister_managed_instance(InstanceId=first)
    found = eventually(lambda: (it := sidecar.registered()) and it["InstanceId"] != first and it, "it registers anew")
    sidecar.instance_id = found["InstanceId"]
    still_well(sidecar)


def test_what_does_not_answer_is_not_healthy(sidecar, sidecar_binary):
    health = lambda: subprocess.run(
        [sidecar_binary, "status", "--healthy", "--state-dir", sidecar.state],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (health().returncode, health().stdout) == (0, f"the sidecar (process {sidecar.process.pid}) takes commands\n")
    sidecar.process.send_signal(signal.SIGSTOP)
    stopped = health()
    sidecar.process.send_signal(signal.SIGCONT)
    assert stopped.returncode == 1 and "does not answer within 1 s" in stopped.stdout, stopped
    eventually(lambda: health().returncode == 0, "it is healthy again")
    sidecar.process.kill()
    sidecar.process.wait()
    assert health().returncode == 1 and "no sidecar is running here" in health().stdout


def test_a_second_sidecar_in_one_folder_says_who_has_it(sidecar, sidecar_binary, server, tmp_path):
    second = SidecarProcess(sidecar_binary, server, tmp_path)
    try:
        line = second.failed()
        assert f"another sidecar (process {sidecar.process.pid}) uses the state folder" in line, line
        still_well(sidecar)
    finally:
        second.close()


def test_out_of_threads_it_still_finds_its_way(sidecar_binary, server, ssm, tmp_path, switches):
    """Threads are counted by user, for every user but root."""
    if os.geteuid() != 0:
        pytest.skip("SKIP: needs root, to become a user of whom there is nothing else")
    (tmp_path / "state").mkdir()
    for path in [tmp_path, tmp_path / "state"]:
        os.chown(path, 23456, 23456)
    # Up to the folder for temporary files, which everybody may enter.
    for folder in [tmp_path, *tmp_path.parents]:
        if folder == pathlib.Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    as_user = ["setpriv", "--reuid", "23456", "--regid", "23456", "--clear-groups", "prlimit", "--nproc=16"]
    sidecar = Sidecar(
        # Where that user can get at it.
        shutil.copy(sidecar_binary, tmp_path), server, ssm, tmp_path, wrapper=as_user,
        AWS_ENDPOINT_URL=server.replace("127.0.0.1", "localhost"),
    )  # fmt: skip
    # Takes every thread that the user may still have.
    others = "while sleep 600 & do :; done"
    crowd = last = None
    try:
        opened = lambda: sidecar.log_path.read_text().count("control channel open")
        eventually(lambda: opened() == 1, "the control channel is open")
        # tokio's own threads for this end after 10 s without work.
        time.sleep(12)
        crowd = subprocess.Popen([*as_user, "sh", "-c", others], start_new_session=True)
        assert crowd.wait(timeout=30) == 2, "sh cannot fork"
        # Its own place is free again.
        last = subprocess.Popen([*as_user, "sleep", "600"])
        switches.drop_sockets()
        eventually(lambda: opened() == 2, "its name was looked up again")
        command = sidecar.send("AWSFIS-Run-Kill-Process", {"ProcessName": ["nobody-has-this-name"]})
        assert sidecar.finished(command)["Status"] == "Failed"
        assert sidecar.terminate() == 0
    finally:
        sidecar.close()
        if crowd:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(crowd.pid, signal.SIGKILL)
        if last:
            stop(last)
