"""How a sidecar starts, fails to start, and starts again: one clear line, and nothing left in the service."""

import pathlib
import signal
import subprocess
import threading

import pytest
from conftest import eventually
from front import Relay, refusal
from test_sidecar import SCRIPT, STRESS, still_well

pytestmark = pytest.mark.sidecar

NOTHING = "http://127.0.0.1:1"
NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
CREDENTIALS = "AWS_CONTAINER_CREDENTIALS_FULL_URI"


@pytest.fixture
def relay(server):
    """Opens relays to the local AWS that change calls by rules."""
    opened = []

    def between(**rules):
        opened.append(Relay(server, rules))
        return opened[-1].url

    yield between
    for each in opened:
        each.close()


@pytest.fixture
def nothing_left(ssm):
    """Says whether activations and instances are those of before."""

    def present():
        return (
            {found["ActivationId"] for found in ssm.describe_activations()["ActivationList"]},
            {found["InstanceId"] for found in ssm.describe_instance_information()["InstanceInformationList"]},
        )

    before = present()
    return lambda: present() == before


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MANAGED_INSTANCE_ROLE_NAME": None}, ["MANAGED_INSTANCE_ROLE_NAME is not set", "name (not the ARN)"]),
        ({"MANAGED_INSTANCE_ROLE_NAME": ""}, ["MANAGED_INSTANCE_ROLE_NAME is not set"]),
        ({"MANAGED_INSTANCE_ROLE_NAME": "arn:aws:iam::1:role/x"}, ["arn:aws:iam::1:role/x", "not a role name"]),
        ({"ECS_CONTAINER_METADATA_URI_V4": ""}, ["ECS_CONTAINER_METADATA_URI_V4 is not set"]),
        ({"ECS_CONTAINER_METADATA_URI_V4": "ftp://x/y"}, ["ECS_CONTAINER_METADATA_URI_V4", "ftp://x/y"]),
        ({"ECS_CONTAINER_METADATA_URI_V4": f"{NOTHING}/v4/x"}, [f"task metadata at {NOTHING}/v4/x/task", "refused"]),
        ({"AWS_ENDPOINT_URL": "localhost"}, ["AWS_ENDPOINT_URL", "http://HOST"]),
        ({"AWS_ENDPOINT_URL": NOTHING}, ["CreateActivation", f"cannot reach {NOTHING}", "VPC endpoints"]),
        ({"AWS_ENDPOINT_URL": "http://no.such.host.invalid"}, ["cannot reach http://no.such.host.invalid", "DNS"]),
        (NO_KEYS, ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "taskRoleArn"]),
        (NO_KEYS | {CREDENTIALS: "nonsense"}, [CREDENTIALS, "nonsense"]),
        (NO_KEYS | {CREDENTIALS: f"{NOTHING}/c"}, ["credentials", f"{NOTHING}/c", "refused", "taskRoleArn"]),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(start_process, server, nothing_left, variables, words):
    line = start_process(server, **variables).failed()
    assert " ERROR " in line
    assert all(word in line for word in words), line
    assert nothing_left()


@pytest.mark.parametrize(
    ("call", "rule", "words"),
    [
        ("task", lambda _: (200, b"<html>"), ["task metadata", "makes no sense"]),
        ("task", lambda _: (200, b'{"TaskARN":"short"}'), ["TaskARN", "short"]),
        ("CreateActivation", refusal("AccessDeniedException"), ["because of the test", "iam:PassRole"]),
        ("CreateActivation", lambda _: (403, b"<html>"), ["CreateActivation", "HTTP 403", "proxy"]),
        ("RegisterManagedInstance", refusal("ActivationExpired"), ["ActivationExpired", "clock"]),
        ("RegisterManagedInstance", refusal("RegistrationLimitExceeded"), ["RegistrationLimitExceeded"]),
        ("RequestManagedInstanceRoleToken", refusal("AccessDeniedException"), ["managed-instance role"]),
        (
            "RequestManagedInstanceRoleToken",
            lambda _: (200, b'{"AccessKeyId":"A","SecretAccessKey":"B","SessionToken":"C","TokenExpirationDate":1e19}'),
            ["TokenExpirationDate"],
        ),
        ("UpdateInstanceInformation", refusal("AccessDeniedException"), ["managed-instance role"]),
    ],
)  # fmt: skip
def test_a_refused_start_says_why_and_leaves_nothing(start_process, relay, nothing_left, call, rule, words):
    process = start_process(relay(**{call: rule}))
    line = process.failed()
    assert " ERROR " in line and all(word in line for word in words), line
    assert nothing_left()
    assert list(process.state.iterdir()) == []


def at_first(rule, times):
    """A rule that holds for so many calls; then they are passed on."""
    left = iter([rule] * times)
    return lambda pass_on: next(left, lambda _: pass_on())(pass_on)


@pytest.mark.parametrize(
    "rule",
    [refusal("ThrottlingException"), lambda _: (503, b"<html>")],
    ids=["throttled", "broken"],
)
def test_a_service_that_is_slow_to_come_is_waited_for(start_process, server, relay, nothing_left, rule):
    process = start_process(relay(CreateActivation=at_first(rule, 4)))
    eventually(lambda: " online " in process.log_path.read_text(), "it comes online")
    assert process.terminate() == 0
    assert nothing_left()


@pytest.mark.parametrize(
    "rule",
    [
        lambda _: (200, b"<html>"),
        lambda _: (200, b'{"x":'),
        lambda _: (302, b""),
        lambda _: (404, b"not here"),
        refusal("AccessDeniedException"),
        refusal("UnrecognizedClientException", 403),
    ],
    ids=["html", "cut", "redirect", "404", "denied", "unknown-key"],
)
def test_one_odd_answer_to_each_call_of_the_start_does_not_end_it(start_process, relay, nothing_left, rule):
    calls = ["task", "CreateActivation", "RegisterManagedInstance", "RequestManagedInstanceRoleToken"]
    odd = {call: at_first(rule, 1) for call in [*calls, "UpdateInstanceInformation"]}
    process = start_process(relay(**odd))
    eventually(lambda: " online " in process.log_path.read_text(), "it comes online")
    assert "trying again" in process.log_path.read_text()
    assert process.terminate() == 0
    assert nothing_left()


def test_a_registration_whose_answer_is_lost_is_made_anew(start_process, relay, ssm):
    def lost(pass_on):
        assert pass_on()[0] == 200
        return 200, b"<html>"

    process = start_process(relay(RegisterManagedInstance=at_first(lost, 1)))
    eventually(lambda: " online " in process.log_path.read_text(), "it comes online")
    text = process.log_path.read_text()
    assert "the answer that names the instance was lost" in text
    assert process.terminate() == 0
    # The first instance is one that nobody knows the name of: the log says how to find it.
    (activation,) = [line.split("activation=")[1].split()[0] for line in text.splitlines() if "was lost" in line]
    filters = [{"Key": "ActivationIds", "Values": [activation]}]
    for left in ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]:
        ssm.deregister_managed_instance(InstanceId=left["InstanceId"])


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    "call", ["CreateActivation", "RegisterManagedInstance", "RequestManagedInstanceRoleToken"]
)
def test_a_stop_while_a_call_is_under_way_leaves_nothing(start_process, relay, nothing_left, call, signum):
    made, stopped = threading.Event(), threading.Event()

    def slow(pass_on):
        answer = pass_on()
        made.set()
        # The answer comes when the sidecar knows that it is to stop.
        assert stopped.wait(30)
        return answer

    process = start_process(relay(**{call: slow}))
    assert made.wait(30)
    process.process.send_signal(signum)
    eventually(lambda: "stopping" in process.log_path.read_text(), "it knows of the signal")
    stopped.set()
    assert "stopped while starting" in process.failed()
    assert nothing_left()
    assert list(process.state.iterdir()) == []


def healthy(process, binary):
    """Whether the container's health check passes."""
    check = [binary, "status", "--healthy", "--state-dir", process.state]
    return subprocess.run(check, capture_output=True, timeout=10).returncode == 0


def test_a_throttled_start_waits_its_turn_and_is_healthy(
    start_process, sidecar_binary, server, switches, nothing_left
):
    # Every call of the start is among them, and none is asked to retry at once.
    switches(throttle_next=10_000)
    process = start_process(server)
    eventually(lambda: healthy(process, sidecar_binary), "it waits for its turn")
    text = process.log_path.read_text()
    # The retry budget is hours, and the log says so once, not with every call.
    assert text.count("trying again") == 1 and "gives_up_s=7200" in text, text
    assert "online" not in text
    switches(throttle_next=2)
    eventually(lambda: " online " in process.log_path.read_text(), "it comes online")
    assert process.terminate() == 0
    assert nothing_left()


def test_a_stop_while_throttled_ends_at_once(start_process, sidecar_binary, relay, nothing_left):
    process = start_process(relay(CreateActivation=refusal("ThrottlingException")))
    eventually(lambda: healthy(process, sidecar_binary), "it is throttled")
    process.process.send_signal(signal.SIGTERM)
    assert "stopped while starting" in process.failed()
    assert nothing_left()
    assert list(process.state.iterdir()) == []


@pytest.fixture
def killed(start_sidecar):
    """A sidecar that was killed; its task and its state are still there."""
    sidecar = start_sidecar()
    sidecar.process.kill()
    sidecar.process.wait()
    return sidecar


def again(start_sidecar, killed, **variables):
    return start_sidecar(ECS_CONTAINER_METADATA_URI_V4=killed.task_uri, **variables)


def test_a_killed_sidecar_comes_back_as_the_same_instance(ssm, start_sidecar, killed):
    waiting = killed.send(SCRIPT, {"commands": ["echo sent meanwhile"]})
    sidecar = again(start_sidecar, killed)
    assert sidecar.instance_id == killed.instance_id
    assert sidecar.finished(waiting)["Status"] == "Success"
    still_well(sidecar)
    assert sidecar.terminate() == 0
    assert sidecar.information() is None


def test_a_command_that_the_sidecar_was_killed_over_is_answered(start_sidecar):
    killed = start_sidecar()
    command = killed.send(STRESS, {"DurationSeconds": ["3600"], "LoadPercent": ["1"], "CPU": ["1"]})
    # The file is what the next life learns it from.
    journal = killed.state / "commands.jsonl"
    eventually(lambda: journal.exists() and command in journal.read_text(), "the sidecar writes down what it takes")
    killed.process.kill()
    killed.process.wait()
    sidecar = again(start_sidecar, killed)
    assert sidecar.finished(command)["Status"] == "Failed"
    still_well(sidecar)


def test_a_service_that_is_ill_does_not_make_a_second_instance(start_process, relay, ssm, killed, nothing_left):
    ill = relay(RequestManagedInstanceRoleToken=refusal("ThrottlingException"))
    process = start_process(ill, ECS_CONTAINER_METADATA_URI_V4=killed.task_uri)
    throttled = "RequestManagedInstanceRoleToken: ThrottlingException"
    eventually(lambda: throttled in process.log_path.read_text(), "it is throttled")
    process.process.send_signal(signal.SIGTERM)
    assert "stopped while starting" in process.failed()
    # What it could not find out about stays as it was, for its next life.
    assert (process.state / "taskfault.json").exists()
    assert nothing_left()
    ssm.deregister_managed_instance(InstanceId=killed.instance_id)


@pytest.mark.parametrize("content", ["", "{", '{"instance_id": 1}'], ids=["empty", "cut", "wrong"])
def test_a_damaged_identity_is_replaced(ssm, start_sidecar, killed, content):
    (killed.state / "taskfault.json").write_text(content)
    ssm.deregister_managed_instance(InstanceId=killed.instance_id)
    sidecar = again(start_sidecar, killed)
    assert sidecar.instance_id != killed.instance_id
    assert "damaged" in sidecar.log_path.read_text()
    still_well(sidecar)


def test_a_second_signal_changes_nothing(sidecar, nothing_left):
    command = sidecar.send(SCRIPT, {"commands": ["sleep 600"]})
    sidecar.running(command)
    for _ in range(3):
        sidecar.process.send_signal(signal.SIGTERM)
        sidecar.process.send_signal(signal.SIGINT)
    assert sidecar.process.wait(timeout=30) == 0
    assert sidecar.information() is None
    assert sidecar.finished(command, seconds=5)["Status"] == "Cancelled"


def test_no_secret_is_left_in_the_environment_that_the_kernel_shows(start_sidecar):
    """Root with SYS_PTRACE reads it; scripts have it still."""
    sidecar = start_sidecar(MY_API_TOKEN="do-not-show", PLAIN="shown")
    shown = pathlib.Path(f"/proc/{sidecar.process.pid}/environ").read_bytes().split(b"\0")
    assert b"MY_API_TOKEN=" + b"x" * len("do-not-show") in shown and b"PLAIN=shown" in shown, shown
    assert not any(b"do-not-show" in one for one in shown)
    answer = sidecar.finished(sidecar.send(SCRIPT, {"commands": ["echo $MY_API_TOKEN"]}))
    assert "do-not-show" in answer["CommandPlugins"][0]["Output"], answer
