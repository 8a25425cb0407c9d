"""A state folder on a file system that stops answering, as NFS and EFS do: a real one, in user space, that is stopped."""

import os
import signal
import subprocess

import pytest
from conftest import eventually, stop

STRESS = "AWSFIS-Run-CPU-Stress"
LONG = {"DurationSeconds": ["3600"], "LoadPercent": ["1"], "CPU": ["1"]}


class Folder:
    """`folder/state` on bindfs, in a mount namespace of its own: nobody else can hang on it."""

    def __init__(self, folder):
        self.below, self.place = folder / "below", folder / "state"
        self.below.mkdir()
        self.place.mkdir()
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "--", "bindfs", "-f", self.below, self.place],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        eventually(self.is_mounted, "bindfs has mounted")
        self.inside = ["nsenter", "--mount", f"--target={self.process.pid}", "--"]

    def is_mounted(self):
        assert self.process.poll() is None, f"no file system in user space: {self.process.stdout.read()}"
        with open(f"/proc/{self.process.pid}/mountinfo") as mounts:
            return any(f" {self.place} " in line for line in mounts)

    def hang(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def answer(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def close(self):
        self.answer()
        stop(self.process)
        self.process.stdout.close()


@pytest.fixture
def folder(tmp_path):
    if not os.environ.get("CI") and (os.geteuid() != 0 or not os.path.exists("/dev/fuse")):
        pytest.skip("SKIP: needs root and /dev/fuse, to mount a file system in user space")
    folder = Folder(tmp_path)
    yield folder
    folder.close()


def test_nothing_waits_for_a_state_folder_that_hangs(folder, start_sidecar, sidecar_binary, ssm):
    sidecar = start_sidecar(wrapper=folder.inside)

    def asked(*words):
        """What `taskfault status` says, and its code. It says something, however the folder is."""
        command = [*folder.inside, sidecar_binary, "status", "--state-dir", folder.place, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    def cancelled(command):
        ssm.cancel_command(CommandId=command)
        assert sidecar.finished(command)["Status"] == "Cancelled"

    def logged(text):
        return eventually(lambda: text in sidecar.log_path.read_text(), f"the log says {text!r}")

    before = sidecar.send(STRESS, LONG)
    sidecar.running(before)
    assert asked("--healthy")[0] == 0 and before in eventually(
        lambda: asked()[1] if "ends by itself" in asked()[1] else None, "the fault is in the status"
    )

    folder.hang()
    cancelled(before)
    logged("the state folder does not answer")
    code, said = asked("--healthy")
    assert code == 0 and "takes commands" in said, said
    code, said = asked()
    assert code == 1 and "the file system does not answer" in said, said
    # New faults start; a script, which has to lie there, does not, and is cancelled all the same.
    meanwhile = sidecar.send(STRESS, LONG)
    sidecar.running(meanwhile)
    eventually(lambda: sidecar.log_path.read_text().count("cpu-stress: ") == 2, "the fault is in force")
    cancelled(meanwhile)
    script = sidecar.send("AWS-RunShellScript", {"commands": ["sleep 600"]})
    sidecar.running(script)
    cancelled(script)

    folder.answer()
    logged("the state folder answers again")
    eventually(lambda: "no command is running" in asked()[1], "the status is true again")

    # The end does not wait either: undone, answered, deregistered.
    last = sidecar.send(STRESS, LONG)
    sidecar.running(last)
    folder.hang()
    assert sidecar.terminate() == 0
    assert sidecar.finished(last)["Status"] == "Cancelled"
    assert sidecar.information() is None
    assert asked("--healthy")[0] == 1
