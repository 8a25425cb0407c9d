"""`taskfault status` shows every active fault; network faults of `taskfault inject` and of documents go through the
ECS agent where NET_ADMIN is missing, with the sources S3 and DYNAMODB."""

import calendar
import contextlib
import http.server
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
import uuid

import pytest
from conftest import REGION, Sidecar, eventually

pytestmark = pytest.mark.sidecar

# The capability is dropped for good, as Fargate never gives it.
WITHOUT_NET_ADMIN = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"] if os.geteuid() == 0 else []
LIST = {
    "syncToken": "1795262400",
    "createDate": "2026-11-21-12-00-00",
    "prefixes": [
        {"ip_prefix": "192.0.2.0/28", "region": REGION, "service": "S3", "network_border_group": "x"},
        {"ip_prefix": "192.0.2.16/28", "region": "us-west-2", "service": "S3", "network_border_group": "x"},
        {"ip_prefix": "192.0.2.32/28", "region": REGION, "service": "DYNAMODB", "network_border_group": "x"},
        {"ip_prefix": "192.0.2.48/28", "region": REGION, "service": "EC2", "network_border_group": "x"},
    ],
    "ipv6_prefixes": [
        {"ipv6_prefix": "2001:db8::/40", "region": REGION, "service": "S3", "network_border_group": "x"}
    ],
}


@contextlib.contextmanager
def serving(answer):
    """The address of a server that answers each GET with what `answer` makes of its path, as JSON."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(answer(self.path)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


@pytest.fixture
def published():
    """The address of a server that plays the publisher of AWS's list, and the paths that were asked of it."""
    asked = []

    def answer(path):
        asked.append(path)
        return LIST

    with serving(answer) as address:
        yield f"{address}/ip-ranges.json", asked


@pytest.fixture
def start_powerless(sidecar_binary, server, ssm, tmp_path):
    """Starts sidecars of one task, one after another, in the same state folder, without NET_ADMIN."""
    started, task = [], uuid.uuid4().hex

    def start(**variables):
        sidecar = Sidecar(sidecar_binary, server, ssm, tmp_path, task=task, wrapper=WITHOUT_NET_ADMIN, **variables)
        started.append(sidecar)
        return sidecar

    yield start
    for sidecar in started:
        sidecar.close()


@pytest.fixture
def at_agent(server):
    """What runs in a task, as the agent would say: fault to request."""

    def probe(task):
        with urllib.request.urlopen(f"{server}/_taskfault/faults", timeout=10) as response:
            tasks = json.load(response)
        return {fault["fault"]: fault["request"] for fault in tasks.get(f"demo/web/{task}", [])}

    return probe


@pytest.fixture
def status(sidecar_binary, tmp_path):
    """What `taskfault status` shows of the state folder: as JSON or text."""

    def run(*words, state=tmp_path / "state"):
        command = [sidecar_binary, "status", "--state-dir", state, *words]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return json.loads(shown.stdout) if "--json" in words else shown.stdout

    return run


@pytest.fixture
def inject(sidecar_binary, server, tmp_path):
    """Starts `taskfault inject` in a task of its own, without NET_ADMIN; gives the process and the task's id."""
    with contextlib.ExitStack() as started:

        def start(*words, **variables):
            task = uuid.uuid4().hex
            state = tmp_path / "inject"
            state.mkdir(exist_ok=True)
            environment = {
                "PATH": os.environ["PATH"],
                "TASKFAULT_STATE_DIR": str(state),
                "ECS_CONTAINER_METADATA_URI_V4": f"{server}/v4/demo/web/{task}",
                "ECS_AGENT_URI": f"{server}/api/demo/web/{task}",
            } | variables
            process = subprocess.Popen(
                [*WITHOUT_NET_ADMIN, sidecar_binary, "inject", *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            started.callback(process.kill)
            return process, task

        yield start


def seconds_left(until):
    return calendar.timegm(time.strptime(until, "%Y-%m-%dT%H:%M:%S.%fZ")) - time.time()


def test_status_shows_what_is_active_and_what_remains(start_powerless, status, ssm):
    sidecar = start_powerless()
    call = {"id": "an-action", "callTime": int(time.time()), "callCount": 1}
    latency = sidecar.send(
        "AWSFIS-Run-Network-Latency-ECS",
        {
            "FISActionState": [json.dumps(call, separators=(",", ":"))],
            "DurationSeconds": ["600"],
            "Sources": ["10.0.0.0/8"],
        },
    )
    stress = sidecar.send("AWSFIS-Run-CPU-Stress", {"DurationSeconds": ["300"], "LoadPercent": ["1"], "CPU": ["1"]})

    def active():
        commands = {one["command_id"]: one for one in status("--json")["sidecar"]["commands"]}
        both = [commands.get(latency, {}), commands.get(stress, {})]
        return both if all(one.get("started") for one in both) else None

    on_heartbeats, plain = eventually(active, "both faults are shown")
    assert on_heartbeats["fault"] == "network-latency"
    assert "200 ms ± 10 ms to 10.0.0.0/8" in on_heartbeats["started"]
    assert "the ECS agent runs it" in on_heartbeats["started"]
    assert 500 < seconds_left(on_heartbeats["until"]) <= 600
    before = seconds_left(on_heartbeats["heartbeat_until"])
    assert before <= 60
    assert plain["started"].startswith("cpu-stress: 1 thread at 1.0 % of a core")
    assert 200 < seconds_left(plain["until"]) <= 300
    assert plain["heartbeat_until"] is None
    text = status()
    assert f"{stress} AWSFIS-Run-CPU-Stress (cpu-stress) since" in text
    assert "    ends by itself in " in text and "if FIS sends no heartbeat" in text
    # A heartbeat moves the end. Its time is FIS's, in whole seconds.
    later = {"id": "an-action", "callTime": int(time.time()) + 30, "callCount": 2}
    beat = sidecar.send(
        "AWSFIS-Run-Network-Latency-ECS",
        {
            "FISActionState": [json.dumps(later, separators=(",", ":"))],
            "DurationSeconds": ["600"],
            "Sources": ["10.0.0.0/8"],
        },
    )
    assert sidecar.finished(beat)["Status"] == "Success"
    eventually(lambda: seconds_left(active()[0]["heartbeat_until"]) > 60, "the heartbeat is shown")
    for command in (latency, stress):
        ssm.cancel_command(CommandId=command)
        sidecar.finished(command)
    eventually(lambda: status("--json")["sidecar"]["commands"] == [], "nothing is shown any more")


def test_s3_and_dynamodb_are_the_published_prefixes_of_the_region(start_powerless, at_agent, published):
    url, asked = published
    sidecar = start_powerless(TASKFAULT_IP_RANGES_URL=url)
    call = {"id": "s3", "callTime": int(time.time()), "callCount": 1}
    command = sidecar.send(
        "AWSFIS-Run-Network-Packet-Loss-ECS",
        {
            "FISActionState": [json.dumps(call, separators=(",", ":"))],
            "DurationSeconds": ["1"],
            "Sources": ["S3,10.0.0.1,DYNAMODB"],
            "LossPercent": ["50"],
        },
    )
    assert sidecar.finished(command)["Status"] == "Success"
    assert asked == ["/ip-ranges.json"]
    output = sidecar.invocation(command, "FaultInjection")["StandardOutputContent"]
    assert f"to S3 (2 prefixes of {REGION}, AWS's list of 2026-11-21, " in output
    assert f"DYNAMODB (1 prefix of {REGION}, AWS's list of 2026-11-21, " in output


def test_inject_goes_through_the_ecs_agent_and_stops_it(inject, at_agent, status, published):
    url, _ = published
    words = ("network-latency", "--duration", "5m", "--delay-milliseconds", "300", "--sources", "S3,10.0.0.0/8")
    process, task = inject(*words, TASKFAULT_IP_RANGES_URL=url)
    request = eventually(lambda: at_agent(task).get("network-latency"), "the fault starts")
    assert request["DelayMilliseconds"] == 300
    assert {"192.0.2.0/28", "10.0.0.0/8"} <= set(request["Sources"])
    assert not {"192.0.2.16/28", "192.0.2.32/28", "192.0.2.48/28"} & set(request["Sources"])
    assert "169.254.170.2" in request["SourcesToFilter"]

    def shown():
        active = status("--json")["injected"]
        return [one for one in active if one["fault"] == "network-latency" and one["pid"] == process.pid]

    (one,) = eventually(shown, "status shows it")
    assert one["until"] - one["since"] == 300
    assert f"taskfault inject network-latency runs as process {process.pid}, ends by itself in " in status()
    process.send_signal(signal.SIGINT)
    output, complaints = process.communicate(timeout=60)
    assert process.returncode == 130, complaints
    assert "the ECS agent runs it, NET_ADMIN being missing here" in complaints
    assert "through the ECS agent" in output and "undone: the ECS agent says stopped" in output
    assert at_agent(task) == {}
    assert shown() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("network-packet-loss", "--duration", "60s", "--traffic-type", "ingress"), "egress"),
        (("network-latency", "--duration", "60s", "--interface", "eth7"), "interface"),
        (("network-latency", "--duration", "60s", "--sources", "no.such.name.invalid"), "no.such.name.invalid"),
    ],
)
def test_what_the_agent_cannot_do_is_refused_and_nothing_runs(inject, at_agent, words, said):
    process, task = inject(*words)
    output, complaints = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert said in complaints
    assert at_agent(task) == {}


def test_where_there_is_no_way_that_is_said(inject):
    environment = {"ECS_CONTAINER_METADATA_URI_V4": "", "ECS_AGENT_URI": ""}
    process, _ = inject("network-latency", "--duration", "60s", "--sources", "S3", **environment)
    _, complaints = process.communicate(timeout=60)
    # Neither an agent nor NET_ADMIN: said before anything is looked up.
    assert process.returncode == 1
    assert "ECS_AGENT_URI is not set" in complaints


def test_what_a_killed_inject_leaves_is_shown(inject, at_agent, status, tmp_path):
    words = ("network-blackhole-port", "--duration", "5m", "--port", "443", "--traffic-type", "egress")
    process, task = inject(*words)
    eventually(lambda: at_agent(task), "the fault starts")
    process.kill()
    process.wait(timeout=20)
    state = tmp_path / "inject"
    assert status("--json", state=state)["left_at_ecs_agent"] == ["network-blackhole-port"]
    assert "was left running at the ECS agent by a process that is gone" in status(state=state)
    assert at_agent(task), "the agent has no time limit: documented, and true"


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a PID namespace")
def test_memory_of_containers_that_cannot_be_seen_counts(sidecar_binary, tmp_path):
    mib = 1024 * 1024
    answers = {
        "/v4/x": {"DockerId": "own"},
        "/v4/x/task": {
            "TaskARN": f"arn:aws:ecs:{REGION}:000000000000:task/demo/{uuid.uuid4().hex}",
            "Limits": {"CPU": 1, "Memory": 1024},
        },
        "/v4/x/task/stats": {
            "own": {"memory_stats": {"usage": 5 * mib, "stats": {}}},
            "application": {"memory_stats": {"usage": 700 * mib, "stats": {"inactive_file": 100 * mib}}},
        },
    }

    with serving(answers.__getitem__) as address:
        environment = {
            "PATH": os.environ["PATH"],
            "TASKFAULT_STATE_DIR": str(tmp_path),
            "ECS_CONTAINER_METADATA_URI_V4": f"{address}/v4/x",
        }
        alone = ["unshare", "--pid", "--fork", "--mount-proc"]
        words = ["memory-stress", "--duration", "1s", "--percent", "1"]
        shown = subprocess.run(
            [*alone, sidecar_binary, "inject", *words], capture_output=True, text=True, timeout=60, env=environment
        )
    assert shown.returncode == 0, shown.stderr
    source = "task metadata; the use of other containers is taken from its statistics"
    assert f"limit: 1.0 GiB ({source}), 6" in shown.stdout, shown.stdout
