"""`taskfault inject http-fault` between two network namespaces, seen from outside: by curl, by Python's HTTP client, by
bytes behind an upgrade."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from conftest import eventually, stop
from front import authority

PEER = pathlib.Path(__file__).with_name("http_peer.py")
NEAR, FAR = "10.9.0.1", "10.9.0.2"
NEAR_6, FAR_6 = "fd09::1", "fd09::2"
# Where ECS gives credentials; here the far side has it.
CREDENTIALS = "169.254.170.2"


class Space:
    """A network namespace, for as long as a process holds it."""

    def __init__(self):
        self.holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"], stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout.readline() == "ready\n"
        self.enter = ["nsenter", "--net", f"--target={self.holder.pid}", "--"]
        self.started = []

    def run(self, *words, **more):
        return subprocess.run([*self.enter, *map(str, words)], capture_output=True, text=True, timeout=60, **more)

    def ip(self, words):
        done = self.run("ip", *words.split())
        assert done.returncode == 0, done.stderr

    def start(self, *words, **more):
        process = subprocess.Popen(
            [*self.enter, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )
        self.started.append(process)
        return process

    def peer(self, *words):
        """What a client of http_peer.py says."""
        done = self.run(sys.executable, PEER, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start_peer(self, *words):
        """A peer that goes on."""
        process = self.start(sys.executable, PEER, *words)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        return process

    def curl(self, *words):
        return self.run("curl", "-sS", "-m", "20", *words)

    def rules(self):
        return self.run("nft", "list", "ruleset").stdout

    def close(self):
        for process in self.started:
            stop(process)
            for pipe in (process.stdin, process.stdout, process.stderr):
                pipe.close()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class Ground:
    """Two namespaces with a cable between them: in the near one are the application and the fault."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.near, self.far = Space(), Space()
        near, far = self.near.holder.pid, self.far.holder.pid
        made = f"link add eth0 netns {near} type veth peer name eth0 netns {far}"
        subprocess.run(["ip", *made.split()], check=True)
        for space, addresses in [(self.near, [NEAR, NEAR_6]), (self.far, [FAR, FAR_6, CREDENTIALS])]:
            for address in addresses:
                prefix, more = ("64", " nodad") if ":" in address else ("24", "")
                space.ip(f"address add {address}/{prefix} dev eth0{more}")
            space.ip("link set lo up")
            space.ip("link set eth0 up")
        self.near.ip(f"route add default via {FAR}")
        self.far.start_peer("serve", "0.0.0.0", 80)
        self.far.start_peer("serve", FAR_6, 80)

    def inject(self, *words):
        """A fault whose rules are there."""
        environment = {**os.environ, "TASKFAULT_STATE_DIR": str(self.folder)}
        words = ["inject", "http-fault", "--duration", "10m", *words]
        fault = self.near.start(self.binary, *words, env=environment)

        def is_there():
            assert fault.poll() is None, fault.stdout.read() + fault.stderr.read()
            return "redirect to" in self.near.rules()

        eventually(is_there, "the fault has started")
        return fault

    def end(self, fault):
        """Ends a fault, looks that nothing is left; gives what it said and its outcome."""
        fault.send_signal(signal.SIGINT)
        said, complaints = fault.communicate(timeout=30)
        assert fault.returncode == 130, said + complaints
        assert "undone: rules removed, connections that the fault carried are reset" in said, said
        assert self.near.rules() == ""
        return said, json.loads(said.splitlines()[-1])


@pytest.fixture
def ground(sidecar_binary, tmp_path):
    if not os.environ.get("CI") and os.geteuid() != 0:
        pytest.skip("SKIP: needs root, for network namespaces")
    ground = Ground(sidecar_binary, tmp_path)
    yield ground
    ground.near.close()
    ground.far.close()


def test_what_matches_is_answered_in_the_servers_place(ground):
    before = ground.near.curl(f"http://{FAR}/orders/7").stdout
    fault = ground.inject(
        *["--action", "status", "--status", "429", "--path", "/orders/*", "--method", "GET,PUT"],
        *["--body", '{"why":"injected"}', "--answer-headers", "Content-Type: application/json|Retry-After: 5"],
    )
    for host in [FAR, f"[{FAR_6}]"]:
        answer = ground.near.curl("-i", f"http://{host}/orders/7?x=1").stdout
        assert answer.startswith("HTTP/1.1 429 Too Many Requests\n"), answer
        assert "Retry-After: 5\n" in answer and answer.endswith('\n\n{"why":"injected"}'), answer
        # What a client sends before it reads is of no account.
        put = ground.near.curl("-o", "/dev/null", "-w", "%{http_code}", "-T", ground.binary, f"http://{host}/orders/7")
        assert put.stdout == "429", put
        for other in [("-X", "POST", f"http://{host}/orders/7"), (f"http://{host}/order/7",)]:
            assert ground.near.curl("-o", "/dev/null", "-w", "%{http_code}", *other).stdout == "200", other
    _, outcome = ground.end(fault)
    achieved = outcome["achieved"]
    assert (achieved["requests"], achieved["matched_requests"], achieved["hit_requests"]) == (8, 4, 4), achieved
    assert (outcome["matched"], outcome["touched"]) == (4, "all")
    assert ground.near.curl(f"http://{FAR}/orders/7").stdout == before


def test_each_request_of_a_connection_is_decided_anew(ground):
    fault = ground.inject("--action", "status", "--path", "/hit", "--body", "no")
    client = ground.near.start_peer("keep", FAR, 80)

    def ask(path):
        client.stdin.write(path + "\n")
        client.stdin.flush()
        return client.stdout.readline().strip()

    for _ in range(3):
        assert ask("/hit") == "503 no"
        assert ask("/chunked") == f"200 GET /chunked from {NEAR}"
        assert ask("/other") == f"200 GET /other from {NEAR}"
    _, outcome = ground.end(fault)
    assert outcome["achieved"]["connections"] == 1
    # It was carried by the fault, and does not hang.
    assert ask("/other") == "ConnectionResetError"
    assert ask("/other") == f"200 GET /other from {NEAR}"


def test_a_share_of_the_requests(ground):
    fault = ground.inject("--action", "status", "--requests-percent", "30")
    counts = dict(pair.split("=") for pair in ground.near.peer("many", FAR, 80, 400).split())
    hit = int(counts["503"])
    # 120 of 400 expected; six standard deviations are 55.
    assert 65 <= hit <= 175 and int(counts["200"]) == 400 - hit, counts
    said, outcome = ground.end(fault)
    assert f"400 requests on 1 connections, 400 matched, {hit} of them hit" in said
    assert outcome["achieved"]["hit_percent"] == pytest.approx(100 * hit / 400, abs=0.06)
    assert outcome["asked"]["percent"] == 30


@pytest.mark.parametrize(
    "words, code",
    [
        (["--action", "abort"], 56),
        (["--action", "cut"], 18),
        (["--action", "no-answer"], 28),
        (["--action", "delay", "--delay-milliseconds", "60000"], 28),
        (["--action", "rate", "--rate", "1"], 28),
    ],
    ids=lambda words: words[1] if isinstance(words, list) else "",
)
def test_what_curl_makes_of_it(ground, words, code):
    fault = ground.inject(*words, "--host", FAR)
    done = ground.near.curl("-m", "2", f"http://{FAR}/x")
    assert done.returncode == code, done
    if words[1] == "cut":
        whole = f"GET /x from {NEAR}\n"
        assert done.stdout == whole[: len(whole) // 2]
    assert ground.near.curl("-H", "Host: another", f"http://{FAR}/x").stdout == f"GET /x from {NEAR}\n"
    _, outcome = ground.end(fault)
    assert outcome["achieved"]["hit_requests"] == 1


def test_what_is_not_meant_passes_byte_for_byte(ground, tmp_path):
    fault = ground.inject("--action", "status", "--path", "/hit")
    assert ground.near.peer("upgrade", FAR, 80) == "101 True"
    sent, came = tmp_path / "sent", tmp_path / "came"
    sent.write_bytes(os.urandom(5_000_000))
    for more in [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"], ["--http1.0"]]:
        done = ground.near.curl(*more, "--data-binary", f"@{sent}", "-o", came, f"http://{FAR}/echo")
        assert done.returncode == 0 and came.read_bytes() == sent.read_bytes(), (more, done)
    # HTTP/2 is not understood, and goes its way: the server says that it does not know it.
    assert "HTTP/2" not in ground.near.curl("--http2-prior-knowledge", "-i", f"http://{FAR}/hit").stdout
    said, outcome = ground.end(fault)
    assert outcome["achieved"]["hit_requests"] == 0
    assert "connections passed untouched: they are no HTTP/1.1" in said, said


def test_the_containers_of_a_task_among_themselves_are_not_meant_by_all(ground):
    ground.near.start_peer("serve", "127.0.0.1", 80)
    fault = ground.inject("--action", "status")
    assert ground.near.curl("http://127.0.0.1/x").stdout == "GET /x from 127.0.0.1\n"
    ground.end(fault)
    fault = ground.inject("--action", "status", "--sources", "127.0.0.1", "--body", "no")
    assert ground.near.curl("http://127.0.0.1/x").stdout == "no"
    ground.end(fault)


def test_the_task_fails_its_clients(ground):
    ground.near.start_peer("serve", "0.0.0.0", 8080)
    ground.near.start_peer("serve", NEAR_6, 8080)
    fault = ground.inject(
        "--action", "status", "--traffic-type", "ingress", "--port", "8080", "--path", "/hit", "--body", "no"
    )
    for host in [NEAR, f"[{NEAR_6}]"]:
        assert ground.far.curl(f"http://{host}:8080/hit").stdout == "no"
        assert ground.far.curl(f"http://{host}:8080/other").stdout.startswith("GET /other from ")
    assert ground.near.curl("http://127.0.0.1:8080/hit").stdout == "GET /hit from 127.0.0.1\n"
    assert ground.near.curl(f"http://{FAR}/hit").stdout == f"GET /hit from {NEAR}\n"
    # Who finds the port of the proxy by himself gets nothing out of it.
    port = re.search(r"redirect to :(\d+)", ground.near.rules())[1]
    direct = ground.far.curl(f"http://{NEAR}:{port}/hit")
    assert direct.returncode in (7, 56) and direct.stdout == "", direct
    ground.end(fault)


def test_tls_by_the_name_of_the_host(ground, tmp_path):
    _, certificate, key = authority(tmp_path, "any")
    ground.far.start_peer("tls", FAR, 443, certificate, key)
    for action, error in [("abort", "ConnectionResetError"), ("no-answer", "TimeoutError")]:
        fault = ground.inject("--action", action, "--protocol", "tls", "--host", "*.example.com")
        assert ground.near.peer("tls-get", FAR, 443, "api.example.com") == error
        assert ground.near.peer("tls-get", FAR, 443, "example.org") == "HTTP/1.1 200 OK"
        said, outcome = ground.end(fault)
        assert "2 connections of TLS, 1 matched, 1 of them hit" in said, said


def test_task_credentials_fail_for_the_application_and_not_for_us(ground):
    ground.far.start_peer("serve", CREDENTIALS, 81)
    words = ["--action", "status", "--status", "500", "--port", "81"]
    fault = ground.inject(*words)
    assert ground.near.curl(f"http://{CREDENTIALS}:81/x").stdout.startswith("GET /x"), "not meant by ALL"
    ground.end(fault)
    fault = ground.inject(*words, "--sources", CREDENTIALS)
    code = ground.near.curl("-o", "/dev/null", "-w", "%{http_code}", f"http://{CREDENTIALS}:81/x").stdout
    assert code == "500"
    assert ground.near.peer("ours", CREDENTIALS, 81) == f"200 GET /ours from {NEAR}"
    ground.end(fault)


def test_connections_from_before_go_on_and_that_is_said(ground):
    client = ground.near.start_peer("keep", FAR, 80)
    fault = ground.inject("--action", "status", "--body", "no")
    client.stdin.write("/x\n")
    client.stdin.flush()
    assert client.stdout.readline().strip() == f"200 GET /x from {NEAR}"
    assert ground.near.curl(f"http://{FAR}/x").stdout == "no"
    said, _ = ground.end(fault)
    assert "1 connections to it were open before" in said, said


def test_kill_9_resets_what_it_carried_and_new_connections_go_direct(ground):
    fault = ground.inject("--action", "no-answer")
    waiting = ground.near.start("curl", "-sS", "-m", "60", f"http://{FAR}/x")
    established = ["ss", "-Htn", "state", "established", "dst", FAR]
    eventually(lambda: ground.near.run(*established).stdout.count("\n") >= 2, "both halves of the connection are there")
    fault.kill()
    _, complaints = waiting.communicate(timeout=30)
    assert waiting.returncode == 56 and "reset" in complaints, complaints
    eventually(lambda: ground.near.rules() == "", "the rules are gone")
    assert ground.near.curl(f"http://{FAR}/x").stdout == f"GET /x from {NEAR}\n"


def test_a_process_that_stands_still_is_ended_by_the_kernel(ground):
    environment = {**os.environ, "TASKFAULT_STATE_DIR": str(ground.folder)}
    words = ["inject", "http-fault", "--duration", "1s", "--action", "status", "--body", "no"]
    fault = ground.near.start(ground.binary, *words, env=environment)
    eventually(lambda: "redirect to" in ground.near.rules(), "the fault has started")
    fault.send_signal(signal.SIGSTOP)
    try:
        direct = lambda: ground.near.curl("-m", "1", f"http://{FAR}/x").stdout == f"GET /x from {NEAR}\n"
        eventually(direct, "new connections go direct")
    finally:
        fault.send_signal(signal.SIGCONT)


def test_one_process_has_the_network_faults_of_a_namespace(ground):
    first = ground.inject("--action", "status", "--status", "500")
    environment = {**os.environ, "TASKFAULT_STATE_DIR": str(ground.folder)}
    other = ground.near.run(
        ground.binary, "inject", "http-fault", "--duration", "5s", "--action", "abort", env=environment
    )
    assert other.returncode == 1 and "has a network fault in this network namespace" in other.stderr, other
    ground.end(first)


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["--action", "status", "--status", "99"], "status is 99; accepted are 200 to 599"),
        (["--action", "status", "--requests-percent", "0"], "requests-percent is 0; accepted are 1 to 100 %"),
        (["--action", "status", "--host", "a b"], 'host is "a b"'),
        (["--action", "status", "--path", "orders"], 'path is "orders"'),
        (["--action", "status", "--protocol", "tls"], "what TLS carries is encrypted"),
        (["--action", "delay"], "delay-milliseconds is 0"),
        (["--action", "status", "--sources", "nowhere.invalid"], "these sources have no address: nowhere.invalid"),
    ],
    ids=lambda words: "-".join(words[2:]) if isinstance(words, list) else "",
)
def test_bad_input_is_refused_and_changes_nothing(ground, words, complaint):
    done = ground.near.run(ground.binary, "inject", "http-fault", "--duration", "5s", *words)
    assert done.returncode != 0 and complaint in done.stderr, done
    assert ground.near.rules() == ""


def test_doctor_tells_whether_it_will_work(ground):
    done = ground.near.run(ground.binary, "doctor", "http-fault")
    assert "http-fault" in done.stdout and "new connections are redirected" in done.stdout, done
    assert ground.near.rules() == ""
    without = ground.near.run("setpriv", "--bounding-set", "-net_admin", ground.binary, "doctor", "http-fault")
    assert "this process has no CAP_NET_ADMIN" in without.stdout, without
