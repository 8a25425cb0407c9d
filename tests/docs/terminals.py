"""Terminals of a user who follows a page: shells in a network of their own, and what they print."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from pages import BIN_DIR, ROOT

# How long a command of a page may take, in seconds; for a busy machine.
TIMEOUT = 300

# A network of its own, so that a page may name the ports it likes, and so that nothing of the machine is touched.
NAMESPACES = ["unshare", "--user", "--map-root-user", "--net"]
LOOPBACK_UP = """
import fcntl, socket, struct
interface = struct.pack("16sh", b"lo", 0x1 | 0x40)
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, interface)
"""
# Building is done; a page that says `make build` finds the programs there.
MAKE = '#!/bin/sh\nfor target; do grep -q "^$target:" Makefile || { echo "no target $target" >&2; exit 2; }; done\n'


class NoNamespaces(Exception):
    """This user may not make namespaces."""


class Desk:
    """A copy of the repository's folder, with the programs in it, and the terminals that are open there."""

    def __init__(self, folder):
        self.folder = folder / "taskfault"
        self.folder.mkdir()
        for entry in ROOT.iterdir():
            if entry.name not in ("target", ".git"):
                (self.folder / entry.name).symlink_to(entry)
        (self.folder / "target").mkdir()
        (self.folder / "target" / "release").symlink_to(BIN_DIR)
        tools = folder / "tools"
        tools.mkdir()
        (tools / "make").write_text(MAKE)
        (tools / "make").chmod(0o755)
        self.path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.terminals = {}
        made = subprocess.run([*NAMESPACES, "true"], capture_output=True, timeout=10)
        if made.returncode != 0:
            raise NoNamespaces(made.stderr.decode())
        self.network = subprocess.Popen([*NAMESPACES, "sleep", "infinity"])
        self.run_inside([sys.executable, "-S", "-c", LOOPBACK_UP])

    def inside(self, command):
        """The command in the desk's network."""
        return ["nsenter", "--preserve-credentials", "--user", "--net", f"--target={self.network.pid}", *command]

    def run_inside(self, command):
        # Until `unshare` has made the namespaces, the command would run outside of them.
        outside = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.network.pid}/ns/net") == outside or not self.mapped():
            time.sleep(0.01)
        subprocess.run(self.inside(command), check=True, timeout=10)

    def mapped(self):
        return Path(f"/proc/{self.network.pid}/uid_map").read_text() != ""

    def terminal(self, title):
        """The terminal with that title; a new one is opened."""
        if title not in self.terminals:
            self.terminals[title] = Terminal(self.inside(["bash", "--norc"]), self.folder, self.environment())
        return self.terminals[title]

    def environment(self):
        """A user's, with nothing of this machine's own AWS set-up."""
        return {"PATH": self.path, "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", "LANG": "C.UTF-8"}

    def close(self):
        try:
            for terminal in self.terminals.values():
                terminal.close()
        finally:
            self.network.kill()
            self.network.wait()


class Terminal:
    """One shell. Its output goes to a file, so that it may print as it likes without a reader."""

    def __init__(self, command, folder, environment):
        self.said = folder.parent / f"terminal-{time.monotonic_ns()}"
        with open(self.said, "wb") as output:
            self.shell = subprocess.Popen(
                command, cwd=folder, env=environment, text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.began = 0

    def type(self, text):
        """Sends commands to the shell."""
        self.began = self.said.stat().st_size
        self.shell.stdin.write(text)
        self.shell.stdin.flush()

    def output(self):
        """What has been printed since the last commands."""
        return self.said.read_bytes()[self.began :].decode()

    def run(self, text):
        """Runs commands to their end: their output, and the exit code of the last that failed, or 0."""
        mark = f"---{time.monotonic_ns()}---"
        self.type(f"trap 'failed=$?' ERR; failed=0\n{text}\necho {mark} $failed\n")
        # What goes on in the background may still print behind the mark.
        ended = lambda: re.search(rf"(?s)(.*){mark} (\d+)\n", self.output())
        wait(ended, lambda: f"{text}\nhas not ended; it said:\n{self.output()}")
        output, code = ended().groups()
        return output, int(code)

    def close(self):
        """Ctrl-C, then the end of the session."""
        if self.shell.poll() is None:
            os.killpg(self.shell.pid, signal.SIGINT)
            self.shell.stdin.close()
            try:
                self.shell.wait(timeout=40)
            finally:
                self.shell.kill()
                self.shell.wait()


def wait(done, otherwise):
    """Waits until something is so."""
    end = time.monotonic() + TIMEOUT
    while not done():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.05)


def missing(expected, output):
    """The first line of a page's output that the real output does not have, or None.

    Lines must come in this order; others may stand between them. Numbers and ids are others' in every run, and `…`
    stands for anything.
    """
    lines = iter(output.splitlines())
    for line in expected.splitlines():
        if line.strip() and not any(re.fullmatch(pattern(line), real.strip()) for real in lines):
            return line
    return None


def pattern(line):
    """The regular expression for a line of output."""
    kinds = [
        ("…", lambda _: ".*"),
        (r"\b(EXT|EXP|mi-)[0-9A-Za-z]{10,}", lambda found: found[1] + "[0-9A-Za-z]+"),
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", lambda _: "[0-9a-f-]+"),
        (r"\b[0-9a-f]{8,}\b", lambda _: "[0-9a-f]+"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", lambda _: r"\S+Z"),
        (r"\d+(\.\d+)?", lambda _: r"\d+(\.\d+)?"),
        (r"\s+", lambda _: r"\s+"),
        (r".", lambda found: re.escape(found[0])),
    ]
    token = re.compile("|".join(f"(?P<kind{number}>{expression})" for number, (expression, _) in enumerate(kinds)))
    result = ""
    for found in token.finditer(line.strip()):
        expression, make = kinds[int(found.lastgroup.removeprefix("kind"))]
        result += make(re.fullmatch(expression, found[0], re.DOTALL))
    return result
