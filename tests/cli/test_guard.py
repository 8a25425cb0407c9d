"""Who is answered by the local AWS: names of its own, pages of its own, clients that sign."""

import json
import socket
import subprocess
from urllib.parse import urlsplit

import botocore
import botocore.client
import pytest
from conftest import BIN_DIR, REGION, Server, signed

ECS = {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters", "Content-Type": "application/x-amz-json-1.1"}


def ask(url, method="POST", path="/", headers=None, body=b"{}"):
    """Status and body of one request whose headers are these and no others."""
    address = urlsplit(url)
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in ({"Host": address.netloc} | (headers or {})).items()]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), text.decode(errors="replace")


def test_a_foreign_host_gets_nothing(server):
    """A page may have its own name resolve to this address."""
    for path, method, headers in [
        ("/", "POST", ECS | signed("ecs")),
        ("/experimentTemplates", "GET", signed("fis")),
        ("/_taskfault/record", "GET", {}),
        ("/_taskfault/switches", "POST", {"Content-Type": "application/json"}),
        ("/v2/credentials/task", "GET", {}),
        ("/v1/control-channel/mi-1", "GET", {}),
        ("/api/c/s/t/fault/v1/network-latency/status", "POST", {}),
    ]:
        status, text = ask(server, method, path, headers | {"Host": "evil.example:4566"})
        assert status == 403 and "--allow-host evil.example" in json.loads(text)["message"], (path, text)
    assert ask(server, headers=ECS | signed("ecs"))[0] == 200
    assert ask(server, headers=ECS | signed("ecs") | {"Host": "localhost"})[0] == 200


def test_a_name_can_be_allowed(tmp_path):
    started = Server(tmp_path, "127.0.0.1:0", "--allow-host", "local-aws", "--allow-host", "aws.test")
    for host, status in [("local-aws:4566", 200), ("AWS.test", 200), ("local-aws.evil.example", 403)]:
        assert ask(started.url, headers=ECS | signed("ecs") | {"Host": host})[0] == status, host
    assert started.close() == 0


def test_pages_from_elsewhere_get_nothing(server):
    for headers in [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    ]:
        status, text = ask(server, headers=ECS | signed("ecs") | headers)
        assert status == 403, (headers, text)
    own = {"Origin": server, "Sec-Fetch-Site": "same-origin"}
    assert ask(server, headers=ECS | signed("ecs") | own)[0] == 200


def test_the_switches_take_no_simple_request(server):
    """What a form or a script of any page can send without asking."""
    for kind in [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}]:
        for call in ["switches", "drop-sockets", "send"]:
            status, text = ask(server, "POST", f"/_taskfault/{call}", kind, b'{"throttle_next": 5}')
            assert status == 415 and "application/json" in text, text
    assert json.loads(ask(server, "GET", "/_taskfault/switches", {}, b"")[1])["throttle_next"] == 0


@pytest.mark.parametrize(
    "headers, status, code",
    [
        ({}, 400, "MissingAuthenticationTokenException"),
        ({"Authorization": "Bearer x"}, 400, "IncompleteSignatureException"),
        ({"Authorization": "AWS4-HMAC-SHA256 Credential=a/20261127/eu-west-1/ecs/aws4_request"}, 400, "IncompleteSignatureException"),
        (signed("ssm"), 400, "InvalidSignatureException"),
    ],
)
def test_a_call_of_the_json_protocol_is_signed(server, headers, status, code):
    said, text = ask(server, headers=ECS | headers)
    assert (said, json.loads(text)["__type"]) == (status, code)


def test_other_protocols_say_it_their_way(server):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for action in ["GetCallerIdentity&Version=2011-06-15", "ListRoles&Version=2010-05-08", "DescribeAlarms&Version=2010-08-01"]:
        status, text = ask(server, headers=form, body=f"Action={action}".encode())
        assert status == 403 and "<Code>MissingAuthenticationToken</Code>" in text, text
    status, text = ask(server, "POST", "/experiments", {"Content-Type": "application/json"})
    assert (status, json.loads(text)["message"]) == (403, "Missing Authentication Token")
    cbor = {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"}
    assert ask(server, "POST", "/service/GraniteServiceVersion20100801/operation/ListMetrics", cbor, b"\xa0")[0] == 400


def test_unsigned_boto3_is_told(session, server):
    unsigned = botocore.client.Config(signature_version=botocore.UNSIGNED)
    for service, call in [("ssm", "describe_instance_information"), ("fis", "list_experiments"), ("iam", "list_roles")]:
        client = session.client(service, endpoint_url=server, config=unsigned, region_name=REGION)
        with pytest.raises(botocore.exceptions.ClientError) as raised:
            getattr(client, call)()
        assert raised.value.response["Error"]["Code"].startswith("MissingAuthenticationToken")


def test_the_second_on_a_port_says_who_has_it(server):
    address = urlsplit(server).netloc
    second = subprocess.run(
        [BIN_DIR / "taskfault-local", "--listen", address], capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 1, second.stderr
    assert "taskfault-local --listen" in second.stderr, second.stderr
    assert "listens there; give another address with --listen" in second.stderr, second.stderr
