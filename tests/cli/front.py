"""A relay between the sidecar and the local AWS: TLS in front of it, or calls that are changed on their way."""

import contextlib
import datetime
import http.server
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit


class TlsFront:
    """Takes TLS connections and passes on what is inside, as it is."""

    def __init__(self, target, certificate, key):
        self.target = (urlsplit(target).hostname, urlsplit(target).port)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError):
            inside = self.tls.wrap_socket(connection, server_side=True)
            relay(inside, socket.create_connection(self.target))

    def close(self):
        # A thread that waits in accept() is not woken by close() alone.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Wire:
    """Passes on plain connections, and can speak on the control channel in the name of the service."""

    def __init__(self, target):
        self.target = (urlsplit(target).hostname, urlsplit(target).port)
        self.channel = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=TlsFront.accept, args=(self,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError):
            if b"role=subscribe" in connection.recv(4096, socket.MSG_PEEK):
                self.channel = connection
            relay(connection, socket.create_connection(self.target))

    def speak(self, payload):
        """One binary message to the sidecar. The service must be silent meanwhile."""
        self.channel.sendall(b"\x82\x7f" + struct.pack(">Q", len(payload)) + payload)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def relay(one, other):
    """Passes bytes both ways until one side ends."""

    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=pump, args=(other, one), daemon=True)
    back.start()
    pump(one, other)
    back.join()
    one.close()
    other.close()


class Proxy:
    """A real HTTP proxy, tinyproxy. It alone knows `name`, as this machine, and says in its log whom it connects."""

    def __init__(self, folder, name, user=None):
        probe = socket.create_server(("127.0.0.1", 0))
        self.port = probe.getsockname()[1]
        probe.close()
        self.log = folder / "tinyproxy.log"
        hosts, settings = folder / "hosts", folder / "tinyproxy.conf"
        hosts.write_text(f"127.0.0.1 localhost {name}\n")
        lines = [f"Port {self.port}", "Listen 127.0.0.1", "Timeout 600", f'LogFile "{self.log}"', "LogLevel Connect"]
        settings.write_text("\n".join([*lines, *([f"BasicAuth {user}"] if user else [])]) + "\n")
        # The name stands in the hosts file of its own mount namespace.
        inside = 'mount --bind "$1" /etc/hosts && exec tinyproxy -d -c "$2"'
        own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--user", "--map-root-user"]
        self.process = subprocess.Popen(
            [*own, "sh", "-c", inside, "sh", hosts, settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.url = f"http://127.0.0.1:{self.port}"
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, "tinyproxy did not start"
                time.sleep(0.05)

    def close(self):
        self.process.kill()
        self.process.wait()


class Relay:
    """Passes on HTTP calls, except those that `rules` names by operation or last part of the path.

    A rule is called with the request and a function that passes it on, and returns (status, body).
    """

    # Its clock, in the Date of its answers.
    seconds_ahead = 0

    def __init__(self, target, rules):
        self.target = target
        self.rules = rules
        relay = self

        class Calls(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                name = self.headers.get("X-Amz-Target", self.path).replace("/", ".").rsplit(".", 1)[-1]
                pass_on = lambda: relay.pass_on(self.command, self.path, self.headers, body)
                rule = relay.rules.get(name)
                refused = relay.refuses(self.headers)
                status, answer = refused or (rule(pass_on) if rule else pass_on())
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            do_GET = do_POST

            def date_time_string(self, timestamp=None):
                return super().date_time_string((timestamp or time.time()) + relay.seconds_ahead)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Calls)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def refuses(self, headers):
        """An answer in place of the service's; none by default."""

    def pass_on(self, method, path, headers, body):
        """The service's own answer."""
        kept = {name: value for name, value in headers.items() if name.lower() not in ("connection", "content-length")}
        request = urllib.request.Request(self.target + path, body if method == "POST" else None, kept, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Strict(Relay):
    """Takes no signature that is five minutes off, as AWS does not, whoever made it."""

    def __init__(self, target, seconds_ahead=0):
        self.seconds_ahead = seconds_ahead
        self.refused = 0
        self.taken = 0
        super().__init__(target, {})

    def refuses(self, headers):
        signed = headers.get("X-Amz-Date")
        if not signed:
            return None
        at = datetime.datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC).timestamp()
        if abs(at - time.time() - self.seconds_ahead) <= 300:
            self.taken += 1
            return None
        self.refused += 1
        words = {"__type": "InvalidSignatureException", "message": f"Signature expired: {signed} is now too far off"}
        return 400, json.dumps(words).encode()


def refusal(code, status=400):
    """A rule: the error of a JSON 1.1 service."""
    return lambda _: (status, json.dumps({"__type": code, "message": "because of the test"}).encode())


def authority(folder, name, host="localhost"):
    """A certificate authority of its own and a certificate of it for a host; the paths (ca, certificate, key)."""
    run = lambda *arguments: subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60
    )
    ca, ca_key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate, key, request = (folder / f"{name}-localhost.{end}" for end in ("pem", "key", "csr"))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("req", "-x509", *curve, "-days", 2, "-subj", f"/CN={name}", "-keyout", ca_key, "-out", ca,
        "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    run("req", *curve, "-subj", "/CN=localhost", "-keyout", key, "-out", request)
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
    run("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", 2,
        "-extfile", extensions, "-out", certificate)  # fmt: skip
    return ca, certificate, key
