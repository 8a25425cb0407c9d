"""A server and its clients in a network of their own, under network faults of a real `taskfault inject`. Run by
test_network_selection.py inside of namespaces; prints one JSON object: what became of each client."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading

TASKFAULT, NEAR, OTHER = sys.argv[1], "127.0.0.2", "127.0.0.3"
PORT, OTHER_PORT = 7000, 7001


def serve(host, port):
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()


def accept(listener):
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=echo, args=(stream,), daemon=True).start()


def echo(stream):
    try:
        while data := stream.recv(100):
            stream.sendall(data)
    except OSError:
        pass


def connect(host, port):
    return socket.create_connection((host, port), timeout=1)


def outcome(work):
    """`answered`, or the name of the error."""
    try:
        work()
        return "answered"
    except OSError as error:
        return type(error).__name__


def exchange(stream):
    stream.sendall(b"x")
    if not stream.recv(1):
        raise EOFError


def new(host, port):
    return outcome(lambda: exchange(connect(host, port)))


def under(words, clients):
    """What the clients see under a fault, and what the fault says at its end."""
    command = [TASKFAULT, "inject", *words.split(), "--duration", "60s", "--interface", "lo"]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TASKFAULT_STATE_DIR": folder}
        fault = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        began = fault.stdout.readline()
        seen = clients() if fault.poll() is None else {}
        fault.send_signal(signal.SIGINT)
        return {**seen, "said": began + fault.communicate()[0]}


def main():
    for host in (NEAR, OTHER, "::1"):
        for port in (PORT, OTHER_PORT):
            serve(host, port)
    kept = connect(NEAR, PORT)
    refused = under(
        f"network-reset --connections new --ports {PORT} --sources {NEAR},::1",
        lambda: {
            "target": new(NEAR, PORT),
            "target, IPv6": new("::1", PORT),
            "other port": new(NEAR, OTHER_PORT),
            "other peer": new(OTHER, PORT),
            "open": outcome(lambda: exchange(kept)),
        },
    )
    six = connect("::1", PORT)
    reset = under(
        f"network-reset --connections established --sources {NEAR},::1",
        lambda: {
            "target": outcome(lambda: exchange(kept)),
            "target, IPv6": outcome(lambda: exchange(six)),
            "other peer": new(OTHER, PORT),
        },
    )
    lost = under(
        f"network-packet-loss --loss-percent 100 --traffic-type ingress --sources ALL --ports local:{PORT},local:9000-9100",
        lambda: {"target": new(NEAR, PORT), "other port": new(NEAR, OTHER_PORT)},
    )
    spared = under(
        f"network-packet-loss --loss-percent 100 --traffic-type ingress --sources ALL --exclude-ports {PORT},local:{PORT}",
        lambda: {"excluded port": new(NEAR, PORT), "other port": new(NEAR, OTHER_PORT)},
    )
    after = {"target": new(NEAR, PORT), "other port": new(NEAR, OTHER_PORT)}
    print(json.dumps({"refused": refused, "reset": reset, "lost": lost, "spared": spared, "after": after}))


main()
